"""Amounts with a unit: kept as an object, converted exactly, written for people."""

import re
from decimal import Context, Decimal
from fractions import Fraction
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.builtin.numbers import NUMERIC, ROUNDING, Separator, number_reader
from pagefold.projections.transforms.decimals import MAX_DIGITS, Rounding, plain_text, rounded
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.transform import (
    Example,
    Given,
    Site,
    Transform,
    ValueFunction,
    WithRecord,
    wrong_type,
)
from pagefold.projections.transforms.units import KINDS, Unit, find_unit
from pagefold.projections.transforms.value_types import ValueType, is_blank

SIGNIFICANT_DIGITS = 15
"""How many digits a conversion keeps that has no end, such as a third."""

_QUOTIENT = Context(prec=120, traps=[])

_amount_and_unit = re.compile(r"([+-]?[0-9.,' \u00a0\u202f\u2009]*[0-9])\s*([^\s0-9].{0,40})", re.DOTALL)

Places = Annotated[int, msgspec.Meta(ge=0, le=20)]

REFUSALS = {
    "not_a_number": "the amount is not a number as it is meant to be written",
    "out_of_range": "the amount has more than 40 digits before or after its point",
    "unknown_unit": "the unit is blank, or is not one of the table",
    "other_kind": "the units do not measure the same: grams are no metres",
}


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `metric`."""

    unit: Annotated[
        Given | None,
        msgspec.Meta(
            description="the unit; as a table, what reads it; without it, the value is an object of `amount` and "
            "`unit`, or a text such as `1.25 kg`"
        ),
    ] = None
    to: Annotated[str | None, msgspec.Meta(description="the unit to convert to")] = None
    places: Annotated[
        Places | None, msgspec.Meta(description="how many decimals to round to; without it, every digit")
    ] = None
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"
    decimal: Annotated[Separator, msgspec.Meta(description="the decimal separator of text")] = "."
    group: Annotated[Separator, msgspec.Meta(description="the separator of thousands in text")] = ""
    unknown: Annotated[
        Literal["refuse", "keep"], msgspec.Meta(description="what becomes of a unit that is not in the table")
    ] = "refuse"


def converted(number: Decimal, unit: Unit, to: Unit, value: object) -> Fraction:
    """The amount in another unit, exactly. Raises `InvalidValue` for units of two kinds."""
    if unit.kind != to.kind:
        raise InvalidValue("other_kind", value, f"is in {unit.name}, which measures {unit.kind}, and not {to.kind}")
    return (Fraction(number) * unit.factor + unit.offset - to.offset) / to.factor


def fraction_text(exact: Fraction, places: int | None, rounding: Rounding, value: object) -> str:
    """The digits of a fraction: all of them if they end, else 15; or so many decimals as are asked for."""
    number = _QUOTIENT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
    if abs(number.adjusted()) > MAX_DIGITS and number:
        raise InvalidValue("out_of_range", value, f"gives an amount of more than {MAX_DIGITS} digits")
    if places is not None:
        return plain_text(rounded(_digits_of(exact, places + 2), places, rounding))
    if Fraction(number) == exact:
        return plain_text(number)
    digits = max(0, SIGNIFICANT_DIGITS - 1 - number.adjusted())
    return plain_text(rounded(_digits_of(exact, digits + 2), digits, "half_even"))


def _digits_of(exact: Fraction, places: int) -> Decimal:
    """The fraction with so many decimals; if it has more, the last is neither 0 nor 5, so that rounding is right."""
    scaled, rest = divmod(abs(exact.numerator) * 10**places, exact.denominator)
    if rest and scaled % 5 == 0:
        scaled += 1
    return Decimal(f"{scaled if exact >= 0 else -scaled}E-{places}")


def unit_reader(given: Given, parameter: str, site: Site, *, keep: bool = False) -> Reader:
    """Reads a unit from the record, or gives that of the contract. Raises `InvalidMapping` for one that is unknown."""
    read = site.given(given, parameter)
    if read is None:
        unit = find_unit(str(given))
        if unit is None and not keep:
            raise site.invalid(f"{given!r:.40} is not a unit; the table has units of {', '.join(KINDS)}", parameter)
        return lambda _record: given
    return read


def known_unit(value: object) -> Unit:
    """The unit of a name. Raises `InvalidValue`."""
    found = find_unit(value) if type(value) is str else None
    if found is not None:
        return found
    raise InvalidValue("unknown_unit", None if value is UNSET else value, "is not a unit of the table")


def target_unit(name: str, parameter: str, site: Site) -> Unit:
    """A unit of the contract. Raises `InvalidMapping`."""
    unit = find_unit(name)
    if unit is None:
        raise site.invalid(f"{name!r:.40} is not a unit; the table has units of {', '.join(KINDS)}", parameter)
    return unit


def _metric(parameters: Metric, site: Site) -> WithRecord:
    keep = parameters.unknown == "keep"
    if keep and parameters.to is not None:
        raise site.invalid("a unit that is not in the table cannot be converted: leave out `to`", "unknown")
    read_unit = None if parameters.unit is None else unit_reader(parameters.unit, "unit", site, keep=keep)
    read = number_reader(parameters.decimal, parameters.group, site)
    to = None if parameters.to is None else target_unit(parameters.to, "to", site)

    def metric(value: object, record: object) -> object:
        amount, unit_text = _parts(value) if read_unit is None else (value, read_unit(record))
        if is_blank(amount):
            return UNSET
        unknown = keep and type(unit_text) is str and not is_blank(unit_text) and find_unit(unit_text) is None
        unit = str(unit_text).strip() if unknown else known_unit(unit_text)
        return {"amount": _amount(read(amount), unit, to, parameters, value), "unit": _name(to or unit)}

    return WithRecord(metric)


def _name(unit: Unit | str) -> str:
    return unit if isinstance(unit, str) else unit.name


def _amount(number: Decimal, unit: Unit | str, to: Unit | None, parameters: Metric, value: object) -> str:
    if to is not None and isinstance(unit, Unit):
        return fraction_text(converted(number, unit, to, value), parameters.places, parameters.rounding, value)
    if parameters.places is not None:
        number = rounded(number, parameters.places, parameters.rounding)
    return plain_text(number)


def _parts(value: object) -> tuple[object, object]:
    """The amount and the unit of an object, or of a text that has both."""
    if type(value) is dict:
        return value.get("amount"), value.get("unit")
    if type(value) is str:
        found = _amount_and_unit.fullmatch(value.strip())
        if found is None:
            raise InvalidValue("not_a_number", value, "is not an amount with a unit, such as '1.25 kg'")
        return found[1], found[2]
    raise InvalidValue("unknown_unit", value, "has no unit; `unit` says which")


METRIC = Transform(
    name="metric",
    summary="An amount with its unit, as an object. The unit gets its canonical name; the amount is exact.",
    inputs=(ValueType.TEXT, ValueType.NUMBER, ValueType.OBJECT),
    output=ValueType.METRIC,
    parameters=Metric,
    main="unit",
    build=_metric,
    refusals=REFUSALS,
    examples=(
        Example(
            {"unit": {"from": "weight-unit"}}, "800", {"amount": "800", "unit": "GRAM"}, record={"weight-unit": "GRAM"}
        ),
        Example({"unit": "g", "to": "kg"}, "800", {"amount": "0.8", "unit": "KILOGRAM"}),
        Example({}, "1.25 kg", {"amount": "1.25", "unit": "KILOGRAM"}),
        Example({"to": "cm"}, {"amount": "10.00", "unit": "in"}, {"amount": "25.4", "unit": "CENTIMETER"}),
        Example({"to": "°C", "places": 1}, {"amount": "100", "unit": "°F"}, {"amount": "37.8", "unit": "CELSIUS"}),
        Example({"unit": "furlong", "unknown": "keep"}, 3, {"amount": "3", "unit": "furlong"}),
        Example({}, "3 furlongs", refused="unknown_unit"),
        Example({"to": "kg"}, "3 m", refused="other_kind"),
    ),
)


class Convert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `convert`."""

    unit: Annotated[Given, msgspec.Meta(description="the unit of the value; as a table, what reads it")]
    to: Annotated[str, msgspec.Meta(description="the unit of the result")]
    places: Annotated[
        Places | None, msgspec.Meta(description="how many decimals to round to; without it, every digit")
    ] = None
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"


def _convert(parameters: Convert, site: Site) -> WithRecord:
    read_unit = unit_reader(parameters.unit, "unit", site)
    to = target_unit(parameters.to, "to", site)
    fixed = None if isinstance(parameters.unit, dict) else target_unit(parameters.unit, "unit", site)
    if fixed is not None and fixed.kind != to.kind:
        raise site.invalid(f"{fixed.name} measures {fixed.kind}, and {to.name} measures {to.kind}", "to")
    read = number_reader(".", "", site)

    def convert(value: object, record: object) -> str:
        unit = fixed or known_unit(read_unit(record))
        return fraction_text(converted(read(value), unit, to, value), parameters.places, parameters.rounding, value)

    return WithRecord(convert)


CONVERT = Transform(
    name="convert",
    summary=(
        "A number in another unit, by exact factors. A result whose digits do not end has 15 of them, unless `places` "
        "says how many decimals."
    ),
    inputs=NUMERIC,
    output=ValueType.DECIMAL,
    parameters=Convert,
    per_item=True,
    build=_convert,
    refusals=REFUSALS,
    examples=(
        Example({"unit": "GRAM", "to": "KILOGRAM"}, "1250", "1.25"),
        Example({"unit": "lb", "to": "kg"}, 1, "0.45359237"),
        Example({"unit": "kg", "to": "lb", "places": 3}, 1, "2.205"),
        Example({"unit": {"from": "u"}, "to": "m"}, "5", record={"u": "kg"}, refused="other_kind"),
    ),
)


class MetricToString(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `metric_to_string`."""

    form: Annotated[str, msgspec.Meta(description="the text, with `{amount}`, and `{symbol}` or `{unit}`")] = (
        "{amount} {symbol}"
    )
    to: Annotated[str | None, msgspec.Meta(description="the unit to convert to")] = None
    places: Annotated[Places | None, msgspec.Meta(description="how many decimals to round to")] = None
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"
    decimal: Annotated[Separator, msgspec.Meta(min_length=1, description="the decimal separator that is written")] = "."


_field = re.compile(r"\{(\w*)\}")
_FIELDS = {"amount", "symbol", "unit"}


def _metric_to_string(parameters: MetricToString, site: Site) -> ValueFunction:
    if not set(_field.findall(parameters.form)) <= _FIELDS or "{amount}" not in parameters.form:
        raise site.invalid("expected {amount}, and {symbol} or {unit}", "form")
    metric = _metric(Metric(to=parameters.to, places=parameters.places, rounding=parameters.rounding), site).function

    def write(value: object) -> object:
        if type(value) is not dict:
            raise wrong_type(value, "an amount with a unit")
        made = metric(value, None)
        return _filled(parameters, made) if type(made) is dict else UNSET

    return write


def _filled(parameters: MetricToString, metric: dict[str, str]) -> str:
    parts = {
        "amount": metric["amount"].replace(".", parameters.decimal),
        "symbol": known_unit(metric["unit"]).symbol,
        "unit": metric["unit"],
    }
    return _field.sub(lambda found: parts[found[1]], parameters.form)


METRIC_TO_STRING = Transform(
    name="metric_to_string",
    summary="The text of an amount with a unit, such as `1.25 kg`.",
    inputs=(ValueType.METRIC, ValueType.OBJECT),
    output=ValueType.TEXT,
    parameters=MetricToString,
    main="form",
    build=_metric_to_string,
    refusals={**REFUSALS, "wrong_type": "the value is not an object of `amount` and `unit`"},
    examples=(
        Example({}, {"amount": "1.2500", "unit": "KILOGRAM"}, "1.25 kg"),
        Example({"to": "g", "decimal": ","}, {"amount": "0.0125", "unit": "KILOGRAM"}, "12,5 g"),
        Example("{amount}{unit}", {"amount": 3, "unit": "m"}, "3METER"),
        Example({}, "3 m", refused="wrong_type"),
    ),
)

METRICS = (METRIC, CONVERT, METRIC_TO_STRING)
