"""Amounts of money: read exactly, in major or minor units, and converted by the rate of a day."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET

from pagefold.domains.amounts import DEFAULT_MINOR_DIGITS, MAX_FRACTION_DIGITS, canonical_amount
from pagefold.domains.amounts import MINOR_DIGITS as AMOUNT_DIGITS
from pagefold.domains.domain import InvalidPayload
from pagefold.projections.transforms.builtin.numbers import NUMERIC, ROUNDING, Separator, number_reader
from pagefold.projections.transforms.decimals import (
    CALCULATION,
    MAX_DIGITS,
    Rounding,
    plain_text,
    read_decimal,
    rounded,
    truncated,
)
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.moments import day_of
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.results import remembered
from pagefold.projections.transforms.tables import RateTable
from pagefold.projections.transforms.transform import Built, Example, Expression, Given, Site, Transform, WithRecord
from pagefold.projections.transforms.value_types import ValueType, is_blank

MAX_CURRENCY_DIGITS = 20

REFUSALS = {
    "not_a_number": "the value is not a number as it is meant to be written",
    "out_of_range": "the amount has more than 15 digits before or 6 after the point, or the number more than 40",
    "negative": "the amount is below zero",
    "not_an_integer": "an amount in minor units has a fraction",
    "unknown_currency": "the currency is blank, or not a current one of ISO 4217",
    "unknown_digits": "the number of digits of the minor unit is not known, or is not from 0 to 20",
}


class Money(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `money`."""

    currency: Annotated[Given, msgspec.Meta(description="an ISO 4217 code; as a table, what reads it: `{ from = … }`")]
    unit: Annotated[
        Literal["major", "minor"], msgspec.Meta(description="whether 1990 is 1990 euros, or cents: 19.90")
    ] = "major"
    digits: Annotated[
        int | dict[str, object] | None,
        msgspec.Meta(
            description="the digits of the minor unit, if the source does not keep to ISO 4217; or what reads them"
        ),
    ] = None
    round: Annotated[
        bool, msgspec.Meta(description="rounds to the minor unit, as floats such as 59.950000000000003 need")
    ] = False
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"
    decimal: Annotated[Separator, msgspec.Meta(description="the decimal separator of text")] = "."
    group: Annotated[Separator, msgspec.Meta(description="the separator of thousands in text")] = ""


def minor_digits(currency: str) -> int | None:
    """The digits of a currency's minor unit; None if it has none. Raises `InvalidValue` if ISO 4217 lacks it."""
    from pagefold.projections.transforms.currencies import MINOR_DIGITS  # noqa: PLC0415  # its package is an extra

    if currency not in MINOR_DIGITS:
        raise InvalidValue(
            "unknown_currency", currency, "is not a currency of ISO 4217; `digits` helps with a former one"
        )
    return MINOR_DIGITS[currency]


def currency_reader(given: Given, parameter: str, site: Site) -> Reader:
    """Reads a currency code from the record, or gives the one that the contract has."""
    minor_digits("EUR")  # what is not installed is missed when the contract is compiled, not at its first record
    read = site.given(given, parameter)
    if read is None:
        try:
            minor_digits(str(given))
        except InvalidValue as error:
            raise site.invalid(str(error), parameter) from None
        return lambda _record: given
    return lambda record: _currency_code(read(record))


def _currency_code(value: object) -> str:
    text = value.strip().upper() if type(value) is str else ""
    if len(text) != 3 or not text.isascii() or not text.isalpha():  # noqa: PLR2004  # letters of a code
        raise InvalidValue(
            "unknown_currency", None if value is UNSET else value, "is not a currency code such as 'EUR'"
        )
    return text


def _digits_reader(parameters: Money, site: Site) -> Reader | None:
    """Reads how many digits the minor unit has by the source; None if ISO 4217 decides."""
    if isinstance(parameters.digits, int):
        fixed = _digit_count(parameters.digits)
        return lambda _record: fixed
    read = None if parameters.digits is None else site.given(parameters.digits, "digits")
    return None if read is None else lambda record: _digit_count(read(record))


def _digit_count(value: object) -> int:
    number = UNSET if is_blank(value) else read_decimal(value)
    if number is UNSET or number != truncated(number) or not 0 <= number <= MAX_CURRENCY_DIGITS:
        raise InvalidValue(
            "unknown_digits", None if value is UNSET else value, "is not a number of digits from 0 to 20"
        )
    return int(number)


def amount_text(number: Decimal, currency: str, value: object) -> str:
    """An amount in its canonical form. Raises `InvalidValue`."""
    if number < 0:
        raise InvalidValue("negative", value, "is below zero, which no price is")
    try:
        return canonical_amount(currency, "", format(number.copy_abs(), "f"))
    except InvalidPayload:
        hint = "" if len(plain_text(number).partition(".")[2]) <= MAX_FRACTION_DIGITS else "; `round = true` rounds it"
        raise InvalidValue("out_of_range", value, f"has more digits than an amount may have{hint}") from None


def _money(parameters: Money, site: Site) -> Built:
    if isinstance(parameters.digits, int) and not 0 <= parameters.digits <= MAX_CURRENCY_DIGITS:
        raise site.invalid(f"expected 0 to {MAX_CURRENCY_DIGITS}, got {parameters.digits}", "digits")
    currency = currency_reader(parameters.currency, "currency", site)
    digits = _digits_reader(parameters, site)
    amount = _amount_function(parameters, number_reader(parameters.decimal, parameters.group, site))
    if isinstance(parameters.currency, str) and not isinstance(parameters.digits, dict):
        code, places = parameters.currency, parameters.digits
        return remembered(lambda value: amount(value, code, places))

    def of_record(value: object, record: object) -> str:
        places = digits(record) if digits is not None else None
        return amount(value, str(currency(record)), places if isinstance(places, int) else None)

    return WithRecord(of_record)


def _amount_function(parameters: Money, read: Callable[[object], Decimal]) -> Callable[[object, str, int | None], str]:
    """The amount of a value, a currency, and the digits of its minor unit, if the source knows them."""
    scaled = _scaled if parameters.unit == "minor" else _unscaled

    def amount(value: object, code: str, places: int | None) -> str:
        number = scaled(read(value), code, places, value)
        if parameters.round:
            number = rounded(number, _rounding_digits(code, places), parameters.rounding)
        return amount_text(number, code, value)

    return amount


def _unscaled(number: Decimal, _code: str, _places: int | None, _value: object) -> Decimal:
    return number


def _scaled(number: Decimal, code: str, places: int | None, value: object) -> Decimal:
    """An amount in minor units as one in major units."""
    if number != truncated(number):
        raise InvalidValue("not_an_integer", value, "has a fraction, which an amount in minor units cannot have")
    if places is None:
        places = minor_digits(code)
    if places is None:
        raise InvalidValue("unknown_digits", code, "has no minor unit; give `digits`")
    return CALCULATION.scaleb(number, -places)


def _rounding_digits(code: str, places: int | None) -> int:
    """The digits to round to: those of the source, but not more than the currency has."""
    own = AMOUNT_DIGITS.get(code, DEFAULT_MINOR_DIGITS)
    return own if places is None else min(own, places)


MONEY = Transform(
    name="money",
    summary=(
        "An amount of money, exactly: a decimal text with the digits of its currency, and more only if they are not "
        "zero. Text and JSON numbers are read digit by digit."
    ),
    inputs=NUMERIC,
    output=ValueType.DECIMAL,
    parameters=Money,
    main="currency",
    per_item=True,
    build=_money,
    refusals=REFUSALS,
    examples=(
        Example("EUR", "019.9000", "19.90"),
        Example({"currency": "JPY", "unit": "minor"}, 1990, "1990"),
        Example({"currency": "EUR", "unit": "minor"}, "1990", "19.90"),
        Example({"currency": "KWD", "unit": "minor"}, 1990, "1.990"),
        Example(
            {"currency": {"from": "cur"}, "unit": "minor", "digits": {"from": "digits"}},
            10000,
            "100.00",
            record={"cur": "EUR", "digits": 2},
        ),
        Example({"currency": "EUR", "round": True}, Decimal("59.950000000000003"), "59.95"),
        Example({"currency": "EUR", "decimal": ",", "group": "."}, "1.234,50", "1234.50"),
        Example("EUR", Decimal("59.950000000000003"), refused="out_of_range"),
        Example("EUR", "-1.00", refused="negative"),
        Example("EUR", "19,90", refused="not_a_number"),
        Example({"currency": "EUR", "unit": "minor"}, "19.90", refused="not_an_integer"),
        Example({"currency": {"from": "cur"}, "unit": "minor"}, 5, refused="unknown_currency", record={"cur": "ZZZ"}),
    ),
)


class Currency(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `currency`."""

    to: Annotated[str, msgspec.Meta(description="the currency of the result")]
    currency: Annotated[Given, msgspec.Meta(description="the currency of the amount; as a table, what reads it")]
    rates: Annotated[str, msgspec.Meta(description="the name of the contract's table of rates")]
    day: Annotated[Expression, msgspec.Meta(description="what reads the day whose rate counts, a date or a moment")]
    max_age: Annotated[
        Annotated[int, msgspec.Meta(ge=0)] | None,
        msgspec.Meta(description="how many days old the rate may be on that day; without it, any"),
    ] = None
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"
    result: Annotated[
        Literal["object", "amount"],
        msgspec.Meta(description="an object that keeps the original amount, the rate and its day; or the amount alone"),
    ] = "object"


def _converter(parameters: Currency, rates: RateTable) -> Callable[[Decimal, str, date, object], dict[str, object]]:
    to, places = parameters.to, AMOUNT_DIGITS.get(parameters.to, DEFAULT_MINOR_DIGITS)

    def convert(number: Decimal, base: str, day: date, value: object) -> dict[str, object]:
        since, rate = (day, Decimal(1)) if base == to else _rate(rates, (base, to), day, parameters.max_age)
        try:
            converted = rounded(CALCULATION.multiply(number, rate), places, parameters.rounding)
        except ArithmeticError:
            raise InvalidValue("out_of_range", value, f"gives an amount of more than {MAX_DIGITS} digits") from None
        return {
            "amount": amount_text(converted, to, value),
            "currency": to,
            "original": {"amount": amount_text(number, base, value), "currency": base},
            "rate": plain_text(rate),
            "rateDay": since.isoformat(),
        }

    return convert


def _rate(rates: RateTable, pair: tuple[str, str], day: date, max_age: int | None) -> tuple[date, Decimal]:
    found = rates.find(*pair, day)
    if found is None:
        raise InvalidValue("no_rate", f"{pair[0]}/{pair[1]}", f"has no rate on {day} in the table {rates.name!r}")
    if max_age is not None and (day - found[0]).days > max_age:
        raise InvalidValue(
            "old_rate",
            f"{pair[0]}/{pair[1]}",
            f"has no rate of the {max_age} days before {day}; the last is of {found[0]}",
        )
    return found


def _currency(parameters: Currency, site: Site) -> WithRecord:
    currency_reader(parameters.to, "to", site)
    base = currency_reader(parameters.currency, "currency", site)
    read_day = site.expression(parameters.day, "day")
    convert = _converter(parameters, site.rates(parameters.rates, "rates"))
    whole = parameters.result == "object"

    def result(value: object, record: object) -> object:
        converted = convert(read_decimal(value), str(base(record)), day_of(read_day(record)), value)
        return converted if whole else converted["amount"]

    return WithRecord(result)


_RATES = (("USD", "EUR", "2026-01-01", "0.85"), ("USD", "EUR", "2026-02-01", "0.9"))

CURRENCY = Transform(
    name="currency",
    summary=(
        "An amount in another currency, by the rate of a day from a table, rounded to the minor unit. The original "
        "amount is kept. No clock is read: the day comes from the record."
    ),
    inputs=NUMERIC,
    output=ValueType.ANYTHING,
    output_of=lambda parameters: ValueType.OBJECT if parameters.result == "object" else ValueType.DECIMAL,
    parameters=Currency,
    build=_currency,
    refusals={
        **REFUSALS,
        "no_rate": "the table has no rate of the pair on that day or before",
        "old_rate": "the newest rate is older than `max_age` allows",
        "no_day": "the day is blank, or is not a date or a moment",
    },
    examples=(
        Example(
            {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "day"},
            "19.99",
            {
                "amount": "16.99",
                "currency": "EUR",
                "original": {"amount": "19.99", "currency": "USD"},
                "rate": "0.85",
                "rateDay": "2026-01-01",
            },
            record={"day": "2026-01-31"},
            rates=_RATES,
        ),
        Example(
            {"to": "EUR", "currency": {"from": "cur"}, "rates": "ecb", "day": "day", "result": "amount"},
            "10",
            "9.00",
            record={"cur": "USD", "day": "2026-02-03T10:00:00Z"},
            rates=_RATES,
        ),
        Example(
            {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "day"},
            "10",
            refused="no_rate",
            record={"day": "2025-12-31"},
            rates=_RATES,
        ),
        Example(
            {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "day", "max_age": 7},
            "10",
            refused="old_rate",
            record={"day": "2026-03-01"},
            rates=_RATES,
        ),
        Example(
            {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "day"},
            "10",
            refused="no_day",
            record={},
            rates=_RATES,
        ),
    ),
)

MONEY_TRANSFORMS = (MONEY, CURRENCY)
