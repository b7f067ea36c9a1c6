"""Transforms of numbers. They compute with exact decimals, never with doubles."""

from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import Annotated, Any

import msgspec
from msgspec import UNSET

from pagefold.domains.values import MAX_INTEGER
from pagefold.projections.transforms.decimals import (
    CALCULATION,
    MAX_DIGITS,
    Rounding,
    plain_text,
    read_decimal,
    read_separated,
    rounded,
    separated_reader,
    truncated,
)
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.results import remembered
from pagefold.projections.transforms.transform import Example, Expression, Site, Transform, ValueFunction
from pagefold.projections.transforms.value_types import ValueType, is_blank, to_json_number

NUMERIC = (ValueType.TEXT, ValueType.NUMBER)
REFUSALS = {
    "not_a_number": "the value is not a number as it is meant to be written",
    "out_of_range": "the number has more than 40 digits before or after its point",
}
ROUNDING = "how halves are rounded: away from zero (`half_up`), to even, towards zero; or everything up or down"

MAX_PLAIN_DIGITS = 15
"""Digits alone, up to so many, are an integer below 2^53 whatever the separators."""

Separator = Annotated[str, msgspec.Meta(max_length=1)]


class Number(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of transforms that read numbers."""

    decimal: Annotated[Separator, msgspec.Meta(description="the decimal separator of text")] = "."
    group: Annotated[
        Separator,
        msgspec.Meta(description="the separator of thousands in text; a space is any space that does not break"),
    ] = ""


def number_reader(decimal: str, group: str, site: Site) -> Callable[[object], Decimal]:
    """Reads numbers, text with these separators. Numbers of JSON need none."""
    if (
        not decimal
        or decimal == group
        or (decimal + group).strip("+-") != decimal + group
        or (decimal + group).isalnum()
    ):
        raise site.invalid(f"{decimal!r} and {group!r} cannot be the separators of one number", "decimal")
    if (decimal, group) == (".", ""):
        return read_decimal
    pattern = separated_reader(decimal, group)
    return lambda value: read_separated(pattern, value) if type(value) is str else read_decimal(value)


def _number(parameters: Number, site: Site) -> ValueFunction:
    read = number_reader(parameters.decimal, parameters.group, site)
    return remembered(lambda value: to_json_number(read(value)))


NUMBER = Transform(
    name="number",
    summary="A JSON number. One without a fraction is an integer, so that `12.0` and `12` are the same.",
    inputs=NUMERIC,
    output=ValueType.NUMBER,
    parameters=Number,
    per_item=True,
    build=_number,
    refusals={**REFUSALS, "inexact": "the number is not exact as a double"},
    examples=(
        Example({}, "12.0", 12),
        Example({}, ".99", 0.99),
        Example({"decimal": ",", "group": "."}, "1.234,5", 1234.5),
        Example({"decimal": ",", "group": " "}, "1\u202f234,5", 1234.5),
        Example({}, "1,5", refused="not_a_number"),
        Example({}, value=True, refused="not_a_number"),
        Example({}, "9.55E+12", refused="not_a_number"),
        Example({}, "0.1000000000000000055", refused="inexact"),
    ),
)


def _integer(parameters: Number, site: Site) -> ValueFunction:
    read = number_reader(parameters.decimal, parameters.group, site)

    def convert(value: object) -> int:
        if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER:
            return value
        if type(value) is str and len(value) <= MAX_PLAIN_DIGITS and value.isascii() and value.isdigit():
            return int(value)
        number = read(value)
        if number != truncated(number):
            raise InvalidValue("not_an_integer", value, "has a fraction; `round` says how to round it")
        if number.copy_abs() > MAX_INTEGER:
            raise InvalidValue("out_of_range", value, "is beyond 2^53-1")
        return int(number)

    return convert


INTEGER = Transform(
    name="integer",
    summary="An integer. A fraction of zero is accepted, as `12.0` is written by systems that have only floats.",
    inputs=NUMERIC,
    output=ValueType.INTEGER,
    parameters=Number,
    per_item=True,
    build=_integer,
    refusals={
        "not_a_number": REFUSALS["not_a_number"],
        "out_of_range": "the number is beyond 2^53−1",
        "not_an_integer": "the number has a fraction",
    },
    examples=(
        Example({}, "12.0", 12),
        Example({}, Decimal(-3), -3),
        Example({"decimal": ",", "group": "."}, "1.200", 1200),
        Example({}, "1.5", refused="not_an_integer"),
        Example({}, "9007199254740992", refused="out_of_range"),
    ),
)


def _decimal(parameters: Number, site: Site) -> ValueFunction:
    read = number_reader(parameters.decimal, parameters.group, site)
    return remembered(lambda value: plain_text(read(value)))


DECIMAL = Transform(
    name="decimal",
    summary="An exact decimal number as text, without zeros that mean nothing.",
    inputs=NUMERIC,
    output=ValueType.DECIMAL,
    parameters=Number,
    per_item=True,
    build=_decimal,
    refusals=REFUSALS,
    examples=(
        Example({}, "019.900", "19.9"),
        Example({}, Decimal("0.10000000000000000001"), "0.10000000000000000001"),
        Example({"decimal": ","}, "-1,5", "-1.5"),
    ),
)


class Boolean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `boolean`."""

    true: Annotated[list[str], msgspec.Meta(description="more texts that are true, whatever their case")] = []
    false: Annotated[list[str], msgspec.Meta(description="more texts that are false")] = []


def _boolean(parameters: Boolean, site: Site) -> ValueFunction:
    words = dict.fromkeys(("true", "1"), True) | dict.fromkeys(("false", "0"), False)
    for name, value in (("true", True), ("false", False)):
        for word in getattr(parameters, name):
            if words.setdefault(word.strip().casefold(), value) is not value:
                raise site.invalid(f"{word!r:.40} is both true and false", name)
    numbers = {0: False, 1: True}

    def convert(value: object) -> bool:
        if type(value) is bool:
            return value
        found = words.get(value) if type(value) is str else None
        if found is None and type(value) is str:
            found = words.get(value.strip().casefold())
        if found is None and type(value) in {int, float, Decimal}:
            found = numbers.get(value)  # type: ignore[call-overload]  # equal numbers are one key
        if found is None:
            raise InvalidValue("not_a_boolean", value, "is neither true nor false")
        return found

    return convert


BOOLEAN = Transform(
    name="boolean",
    summary="True or false: `true` and `1`, `false` and `0`, in text whatever the case; other words if they are named.",
    inputs=(ValueType.TEXT, ValueType.NUMBER, ValueType.BOOLEAN),
    output=ValueType.BOOLEAN,
    parameters=Boolean,
    per_item=True,
    build=_boolean,
    refusals={"not_a_boolean": "the value is not one of those that are true or false"},
    examples=(
        Example({}, 1, result=True),
        Example({}, "FALSE", result=False),
        Example({"true": ["ja", "yes"], "false": ["nein"]}, "Ja", result=True),
        Example({}, "yes", refused="not_a_boolean"),
        Example({}, 2, refused="not_a_boolean"),
    ),
)


class Round(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `round`."""

    places: Annotated[int, msgspec.Meta(ge=0, le=20, description="how many decimals")]
    rounding: Annotated[Rounding, msgspec.Meta(description=ROUNDING)] = "half_up"


ROUND = Transform(
    name="round",
    summary="Rounds a number to exactly so many decimals.",
    inputs=NUMERIC,
    output=ValueType.DECIMAL,
    parameters=Round,
    main="places",
    per_item=True,
    build=lambda parameters, _site: (
        lambda value: _signless(rounded(read_decimal(value), parameters.places, parameters.rounding))
    ),
    refusals=REFUSALS,
    examples=(
        Example(2, Decimal("59.950000000000003"), "59.95"),
        Example(2, "2.675", "2.68"),
        Example({"places": 0, "rounding": "half_even"}, "2.5", "2"),
        Example(1, "-0.04", "0.0"),
        Example(3, 7, "7.000"),
    ),
)


def _signless(number: Decimal) -> str:
    """The digits of a number; zero has no sign."""
    return format(number.copy_abs() if number == 0 else number, "f")


class Operands(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of transforms that compute with several values."""

    values: Annotated[list[Expression], msgspec.Meta(min_length=1, max_length=100, description="the values")]


def _numbers(readers: list[Reader], record: object) -> list[Decimal]:
    """The numbers that are not blank."""
    return [read_decimal(value) for read in readers if not is_blank(value := read(record))]


def _result(combine: Callable[[list[Decimal]], Decimal], numbers: list[Decimal]) -> str:
    try:
        number = combine(numbers)
    except ArithmeticError:
        number = None
    if number is None or (abs(number.adjusted()) > MAX_DIGITS and number != 0):
        raise InvalidValue("out_of_range", numbers[0], f"gives a number of more than {MAX_DIGITS} digits")
    return plain_text(number)


def _over_values(combine: Callable[[list[Decimal]], Decimal], *, all_of: bool) -> Callable[[Operands, Site], Reader]:
    """Builds a computation. With `all_of`, a blank value makes the result blank; else it is left out."""

    def build(parameters: Operands, site: Site) -> Reader:
        readers = [site.expression(spec, f"values[{index}]") for index, spec in enumerate(parameters.values)]

        def compute(record: object) -> object:
            numbers = _numbers(readers, record)
            if not numbers or (all_of and len(numbers) < len(readers)):
                return UNSET
            return _result(combine, numbers)

        return compute

    return build


def _operation(name: str, summary: str, build: Any, examples: tuple[Example, ...]) -> Transform[Operands]:  # noqa: ANN401  # as in `Transform`
    return Transform(
        name=name,
        summary=summary,
        inputs=(),
        output=ValueType.DECIMAL,
        parameters=Operands,
        main="values",
        build=build,
        refusals=REFUSALS,
        examples=examples,
    )


def _sum(numbers: list[Decimal]) -> Decimal:
    return reduce(CALCULATION.add, numbers)


def _difference(numbers: list[Decimal]) -> Decimal:
    return reduce(CALCULATION.subtract, numbers)


def _product(numbers: list[Decimal]) -> Decimal:
    return reduce(CALCULATION.multiply, numbers)


LEAST = _operation(
    "least",
    "The least of several numbers. Blank ones are left out.",
    _over_values(min, all_of=False),
    (
        Example(["price", "sale"], record={"price": "40.000", "sale": "36.000"}, result="36"),
        Example(["price", "sale"], record={"price": 40}, result="40"),
    ),
)
GREATEST = _operation(
    "greatest",
    "The greatest of several numbers. Blank ones are left out.",
    _over_values(max, all_of=False),
    (Example(["a", "b"], record={"a": "9", "b": "10"}, result="10"),),
)
SUM = _operation(
    "sum",
    "The sum of several numbers. If one is blank, so is the sum.",
    _over_values(_sum, all_of=True),
    (
        Example(["a", "b"], record={"a": "0.1", "b": "0.2"}, result="0.3"),
        Example(["a", "b"], record={"a": "0.1"}, result=UNSET),
    ),
)
DIFFERENCE = _operation(
    "difference",
    "The first number without the others. If one is blank, so is the difference; `default` helps.",
    _over_values(_difference, all_of=True),
    (
        Example(["quantity", "allocated"], record={"quantity": 50, "allocated": 8}, result="42"),
        Example(["quantity", {"from": "allocated", "default": 0}], record={"quantity": 5}, result="5"),
    ),
)
PRODUCT = _operation(
    "product",
    "The product of several numbers, exactly. If one is blank, so is the product.",
    _over_values(_product, all_of=True),
    (Example(["a", {"constant": "1.19"}], record={"a": "10.05"}, result="11.9595"),),
)

NUMBERS = (NUMBER, INTEGER, DECIMAL, BOOLEAN, ROUND, LEAST, GREATEST, SUM, DIFFERENCE, PRODUCT)
