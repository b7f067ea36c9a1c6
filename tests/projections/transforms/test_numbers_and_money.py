"""Numbers, money and units: exact, whatever wrote them; compared with libraries that have tables of their own."""

import decimal
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import iso4217
import pint
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold.domains.amounts import DEFAULT_MINOR_DIGITS, MINOR_DIGITS, canonical_amount
from pagefold.projections.transforms import InvalidMapping, InvalidValue, RateTable
from pagefold.projections.transforms.units import UNITS, Unit, find_unit
from tests.support.transform_fixtures import KEY, compiler_for, made, refusal, transformed

CURRENCIES = sorted(currency.code for currency in iso4217.Currency if currency.exponent is not None)
NO_CURRENCY = 999
"""The number of the code that stands where no currency is meant."""

amounts = st.integers(min_value=0, max_value=10**12)

PINT_NAMES = {
    "SQUARE_KILOMETER": "km**2", "SQUARE_METER": "m**2", "SQUARE_DECIMETER": "dm**2", "SQUARE_CENTIMETER": "cm**2",
    "SQUARE_MILLIMETER": "mm**2", "SQUARE_INCH": "inch**2", "SQUARE_FOOT": "foot**2", "SQUARE_YARD": "yard**2",
    "ACRE": "international_acre", "CUBIC_METER": "m**3", "CUBIC_DECIMETER": "dm**3", "CUBIC_CENTIMETER": "cm**3",
    "CUBIC_MILLIMETER": "mm**3", "CUBIC_INCH": "inch**3", "CUBIC_FOOT": "foot**3", "OUNCE_FLUID": "fluid_ounce",
    "IMPERIAL_GALLON": "imperial_gallon", "IMPERIAL_PINT": "imperial_pint", "KILOHM": "kohm",
    "IMPERIAL_OUNCE_FLUID": "imperial_fluid_ounce",
    "CELSIUS": "degC", "FAHRENHEIT": "degF", "METER_PER_SECOND": "m/s", "KILOMETER_PER_HOUR": "km/hour",
    "MILE_PER_HOUR": "mile/hour", "KILOWATT_HOUR": "kW*hour", "WATT_HOUR": "W*hour", "AMPEREHOUR": "A*hour",
    "MILLIAMPEREHOUR": "mA*hour", "TON": "metric_ton", "FEET": "foot", "MEGAOHM": "Mohm",
    "CANDELA_PER_SQUARE_METER": "cd/m**2",
    "PER_MILLE": "permille", "PIECE": "count", "DOZEN": "dozen", "TERABYTE": "terabyte", "CALORIE": "calorie",
}  # fmt: skip
"""What pint calls units that have another name in the table."""


# --- numbers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        (".99", "0.99"),
        ("019.90", "19.9"),
        ("19.9000", "19.9"),
        ("+5", "5"),
        ("5.", "5"),
        ("-0.0", "0"),
        (" 12.0 ", "12"),
        (Decimal("19.90"), "19.9"),
        (5.1000000000000005, "5.1000000000000005"),
        (1000000000000000.0, "1000000000000000"),
        (0.1, "0.1"),
    ],
)
def test_numbers_are_read_digit_by_digit(written: object, exact: str) -> None:
    """As Oracle, ERPs and JSON write them; a float is what its shortest digits say, never more."""
    assert transformed("decimal", written) == exact


@pytest.mark.parametrize(
    "written",
    ["", "1e3", "1_000", "NaN", "inf", "١٢", "\uff11\uff12", "1,5", "0x1f", "1.2.3", "--1", "€5", "½", True, {}, "−5"],
)
def test_what_only_looks_like_a_number_is_refused(written: object) -> None:
    """Digits of other scripts, exponents of spreadsheets, separators that nobody declared, true and false."""
    spec = {"from": "x", "steps": [{"list": {}}, {"pick": 0}, {"decimal": {}}], "required": True}
    assert refusal(spec, {"x": [written]}).code in {"not_a_number", "blank"}


@pytest.mark.parametrize(
    ("decimal_mark", "group", "written", "exact"),
    [
        (",", ".", "1.234.567,8", "1234567.8"),
        (",", ".", "1234567,8", "1234567.8"),
        (",", "", "0,5", "0.5"),
        (",", " ", "1\u00a0234,5", "1234.5"),
        (".", ",", "1,234.5", "1234.5"),
        (".", "'", "1'234.50", "1234.5"),
    ],
)
def test_separators_are_declared(decimal_mark: str, group: str, written: str, exact: str) -> None:
    """Groups have three digits, or there are none: `1.5` is never fifteen."""
    parameters = {"decimal": decimal_mark, "group": group}
    assert transformed("decimal", written, parameters) == exact
    assert transformed("decimal", Decimal("1.5"), parameters) == "1.5"
    if group:
        assert refusal({"from": "x", "decimal": parameters}, {"x": f"1{group}5"}).code == "not_a_number"


@pytest.fixture
def narrow_context() -> Iterator[None]:
    """A program that has set the precision of decimals to two digits."""
    with decimal.localcontext() as context:
        context.prec, context.rounding = 2, decimal.ROUND_UP
        yield


@pytest.mark.usefixtures("narrow_context")
@pytest.mark.parametrize(
    ("spec", "value", "result"),
    [
        ({"money": {"currency": "EUR", "unit": "minor"}}, "123456789", "1234567.89"),
        ({"money": {"currency": "EUR", "round": True}}, "123456.785", "123456.79"),
        ({"convert": {"unit": "lb", "to": "kg"}}, "123456", "55998.69963072"),
        ({"convert": {"unit": "kg", "to": "lb"}}, "1", "2.20462262184878"),
        ({"round": 3}, "1234.56789", "1234.568"),
        ({"number": {}}, "123456.75", 123456.75),
        ({"date": "epoch_microseconds"}, 1767225600123456, "2026-01-01T00:00:00.123456Z"),
        ({"steps": [{"list": {}}, {"pick": 0}, "decimal"]}, "98765432109876", "98765432109876"),
    ],
)
def test_results_do_not_depend_on_the_decimal_context(spec: dict[str, object], value: object, result: object) -> None:
    """The precision that another part of the program has set changes no digit."""
    assert made({"from": "x", **spec}, {"x": value}) == result


@given(
    st.lists(
        st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-1000, max_value=1000),
        min_size=2,
        max_size=4,
    )
)
def test_computations_are_those_of_fractions(numbers: list[Decimal]) -> None:
    """Sums, differences and products lose nothing."""
    record = {f"v{index}": str(number) for index, number in enumerate(numbers)}
    exact = [Fraction(number) for number in numbers]
    product = Fraction(1)
    for each in exact:
        product *= each
    results = {
        "sum": sum(exact),
        "difference": exact[0] - sum(exact[1:]),
        "product": product,
        "least": min(exact),
        "greatest": max(exact),
    }
    for name, expected in results.items():
        assert Fraction(str(made({name: [*record]}, record))) == expected


def test_a_product_that_is_too_large_is_refused() -> None:
    """In place of infinity, or of a number that lost its digits."""
    record = {"a": "9" * 40, "b": "0." + "9" * 40}
    assert refusal({"product": ["a", "a", "a", "a"]}, record).code == "out_of_range"
    assert refusal({"product": ["b", "b", "b", "b", "a"]}, record).code == "out_of_range"


# --- money ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [each.code for each in iso4217.Currency if each.number != NO_CURRENCY])
def test_the_domain_knows_the_same_minor_units(code: str) -> None:
    """The table of the pricing domain is that of ISO 4217, but for the code that means no currency."""
    assert MINOR_DIGITS.get(code, DEFAULT_MINOR_DIGITS) == (iso4217.Currency(code).exponent or 0)


@given(amounts, st.sampled_from(CURRENCIES))
def test_minor_units_are_scaled_by_the_currency(amount: int, currency: str) -> None:
    """1990 cents are 19.90; of yen 1990, of Kuwaiti dinars 1.990: exactly, as integer and as text."""
    digits = iso4217.Currency(currency).exponent or 0
    expected = canonical_amount(currency, "", format(Decimal(amount).scaleb(-digits), "f"))
    for value in (amount, str(amount), Decimal(amount), f"{amount}.0"):
        assert transformed("money", value, {"currency": currency, "unit": "minor"}) == expected


@given(st.decimals(min_value=0, max_value=10**9, places=6), st.sampled_from(CURRENCIES))
def test_an_amount_is_the_one_of_the_domain(amount: Decimal, currency: str) -> None:
    """What a contract makes, the event's own validation leaves as it is."""
    result = transformed("money", amount, currency)
    assert result == canonical_amount(currency, "", str(result))
    assert Decimal(str(result)) == amount


@pytest.mark.parametrize(
    ("value", "parameters", "result"),
    [
        (Decimal("59.950000000000003"), {"currency": "EUR", "round": True}, "59.95"),
        (29.949999999999999, {"currency": "EUR", "round": True}, "29.95"),
        (5.1000000000000005, {"currency": "EUR", "round": True}, "5.10"),
        ("0.125", {"currency": "EUR", "round": True}, "0.13"),
        ("0.125", {"currency": "EUR", "round": True, "rounding": "half_even"}, "0.12"),
        ("990.4", {"currency": "HUF"}, "990.40"),
        ("990.5", {"currency": "JPY", "round": True}, "991"),
        (1249050, {"currency": "EUR", "unit": "minor", "digits": 4}, "124.905"),
        ("1.00", {"currency": "XAU"}, "1"),
    ],
)
def test_amounts_of_other_systems(value: object, parameters: object, result: str) -> None:
    """Floats of Magento and Odoo are rounded only if the contract says so; Babel's forint would have no decimals."""
    assert transformed("money", value, parameters) == result


@pytest.mark.parametrize(
    ("value", "spec", "code"),
    [
        (5.1000000000000005, {"money": "EUR"}, "out_of_range"),
        ("1990.5", {"money": {"currency": "EUR", "unit": "minor"}}, "not_an_integer"),
        ("5", {"money": {"currency": {"from": "none"}}}, "unknown_currency"),
        ("5", {"money": {"currency": {"constant": "XAU"}, "unit": "minor"}}, "unknown_digits"),
        ("5", {"money": {"currency": {"constant": "HRK"}, "unit": "minor"}}, "unknown_currency"),
        ("5", {"money": {"currency": "EUR", "unit": "minor", "digits": {"constant": 2.5}}}, "unknown_digits"),
    ],
)
def test_money_that_cannot_be_sure_is_refused(value: object, spec: dict[str, object], code: str) -> None:
    """A wrong guess of the digits would be wrong by ten or a hundred."""
    assert refusal({"from": "x", **spec}, {"x": value}).code == code


def test_a_former_currency_needs_its_digits() -> None:
    """The kuna has left ISO 4217; a contract that says its digits can still read old prices."""
    parameters = {"currency": {"from": "cur"}, "unit": "minor", "digits": 2}
    assert made({"from": "x", "money": parameters}, {"x": 1990, "cur": "HRK"}) == "19.90"


@given(
    st.decimals(min_value=0, max_value=10**6, places=2),
    st.decimals(min_value="0.0001", max_value=1000, places=4),
    st.integers(0, 400),
)
def test_a_conversion_keeps_the_original(amount: Decimal, rate: Decimal, age: int) -> None:
    """The amount by the rate of that day, rounded once; the original amount, the rate and its day beside it."""
    day = date(2026, 1, 1) + timedelta(days=age)
    rates = RateTable(
        "ecb", [("USD", "EUR", "2026-01-01", str(rate)), ("USD", "EUR", (day + timedelta(days=1)).isoformat(), "9")]
    )
    spec = {"from": "x", "currency": {"to": "EUR", "currency": "USD", "rates": "ecb", "day": "d"}}
    result = compiler_for(rates={"ecb": rates}).mapping(spec, KEY).read({"x": amount, "d": day.isoformat()})
    assert isinstance(result, dict)
    assert result["original"] == {"amount": f"{amount:.2f}", "currency": "USD"}
    assert (result["rate"], result["rateDay"]) == (f"{rate.normalize():f}", "2026-01-01")
    assert abs(Fraction(result["amount"]) - Fraction(amount) * Fraction(rate)) <= Fraction("0.005")


def test_an_amount_in_its_own_currency_is_not_converted() -> None:
    """Without a rate for it in any table."""
    spec = {"from": "x", "currency": {"to": "EUR", "currency": "EUR", "rates": "ecb", "day": "d", "result": "amount"}}
    assert made(spec, {"x": "5", "d": "2026-01-01"}, rates={"ecb": RateTable("ecb", [])}) == "5.00"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (("USD", "EUR", "1.1.2026", "1"), "rates.ecb: '1.1.2026' is not a day; write it as 2026-01-31"),
        (("USD", "EUR", "2026-01-01", "0"), "rates.ecb: USD/EUR of 2026-01-01: the rate 0 is not positive"),
        (("USD", "EUR", "2026-01-01", "1,1"), "rates.ecb: USD/EUR of 2026-01-01: '1,1' is not a number"),
        (("USD", "EUR", "2026-01-02", "2"), "rates.ecb: USD/EUR of 2026-01-02 has two rates"),
    ],
)
def test_a_wrong_table_of_rates_is_refused(row: tuple[str, str, str, str], problem: str) -> None:
    """The error has the pair and the day."""
    with pytest.raises(InvalidMapping) as caught:
        RateTable("ecb", [("USD", "EUR", "2026-01-02", "1"), row])
    assert str(caught.value).startswith(problem)


# --- units ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def oracle() -> Any:  # noqa: ANN401  # pint's types need more than it says
    """Pint's registry, with exact numbers, and the units that it lacks."""
    registry: Any = pint.UnitRegistry(non_int_type=Fraction, autoconvert_offset_to_baseunit=True)
    registry.define("dozen = 12 * count")
    registry.define("international_acre = 4840 * yard ** 2")
    return registry


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_units_are_those_of_pint(unit: Unit, oracle: Any) -> None:  # noqa: ANN401  # likewise
    """Each unit in each other one of its kind, to thirteen digits: pint has some factors as doubles."""
    for other in (each for each in UNITS.values() if each.kind == unit.kind):
        for amount in (1, 7):
            names = [PINT_NAMES.get(each.name, each.name.lower()) for each in (unit, other)]
            expected = oracle.Quantity(Fraction(amount), names[0]).to(names[1])
            exact = (Fraction(amount) * unit.factor + unit.offset - other.offset) / other.factor
            assert abs(exact - Fraction(expected.magnitude)) <= abs(exact) / 10**13


@given(st.decimals(min_value=-(10**6), max_value=10**6, places=3), st.data())
def test_a_unit_and_back_is_the_same(amount: Decimal, data: st.DataObject) -> None:
    """Rounded to the digits that the amount had."""
    unit = data.draw(st.sampled_from(list(UNITS.values())))
    other = data.draw(st.sampled_from([each for each in UNITS.values() if each.kind == unit.kind]))
    there = {"from": "x", "metric": {"unit": unit.name, "to": other.name}}
    back = {"from": "x", "metric": {"to": unit.name, "places": 3}}
    try:
        metric = made(there, {"x": amount})
        result = made(back, {"x": metric})
    except InvalidValue as error:
        assert error.code == "out_of_range"  # noqa: PT017  # a million terabytes in bits
    else:
        assert isinstance(result, dict)
        if abs(unit.factor / other.factor) < 10**6:
            assert abs(Decimal(result["amount"]) - amount) <= Decimal("0.001") + abs(amount) / 10**9


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kg", "KILOGRAM"), ("KG", "KILOGRAM"), ("Kilogram", "KILOGRAM"), ("KILOGRAM", "KILOGRAM"), (" g ", "GRAM"),
        ("mW", "MILLIWATT"), ("MW", "MEGAWATT"), ("mw", None), ("B", "BYTE"), ("b", "BIT"), ("fl oz", "OUNCE_FLUID"),
        ("Square Meter", "SQUARE_METER"), ("m2", "SQUARE_METER"), ("m²", "SQUARE_METER"), ('"', "INCH"), ("", None),
        ("furlong", None),
    ],
)  # fmt: skip
def test_units_have_names_and_symbols(text: str, name: str | None) -> None:
    """Case matters only where nothing else tells two units apart."""
    unit = find_unit(text)
    assert (unit and unit.name) == name


def test_a_metric_of_two_columns() -> None:
    """As Akeneo's CSV has it; without an amount there is none, and without a unit it is refused."""
    spec = {"from": "weight", "metric": {"unit": {"from": "weight-unit"}}}
    assert made(spec, {"weight": "250", "weight-unit": "GRAM"}) == {"amount": "250", "unit": "GRAM"}
    assert made(spec, {"weight": "", "weight-unit": "GRAM"}) is UNSET
    assert refusal(spec, {"weight": "250", "weight-unit": ""}).code == "unknown_unit"
