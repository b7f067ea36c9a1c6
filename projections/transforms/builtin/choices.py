"""Where a value comes from: as it is, a constant, the first that is there, by a condition, by a name."""

from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.decimals import read_decimal
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.transform import Example, Expression, NoParameters, Site, Transform
from pagefold.projections.transforms.value_types import ValueType, is_blank, to_json

DIRECT = Transform(
    name="direct",
    summary="The value as it is. A path without a transform does the same.",
    inputs=(ValueType.ANYTHING,),
    output=ValueType.ANYTHING,
    parameters=NoParameters,
    build=lambda _parameters, _site: lambda value: value,
    refusals={},
    examples=(
        Example({}, "Tee", "Tee"),
        Example({}, Decimal("12.0"), 12),
        Example({}, {"a": [Decimal("19.90")]}, {"a": [19.9]}),
    ),
)


class Constant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `constant`."""

    value: Annotated[object, msgspec.Meta(description="the value")]


def _constant(parameters: Constant, site: Site) -> Reader:
    if is_blank(parameters.value):
        raise site.invalid("is blank", "value")
    try:
        to_json(parameters.value)
    except InvalidValue as error:
        raise site.invalid(str(error), "value") from None
    if type(parameters.value) in {list, dict}:
        return lambda _record: to_json(parameters.value)  # a copy: nobody may change the contract's own
    value = to_json(parameters.value)
    return lambda _record: value


CONSTANT = Transform(
    name="constant",
    summary="One value for every record.",
    inputs=(),
    output=ValueType.ANYTHING,
    parameters=Constant,
    main="value",
    build=_constant,
    refusals={},
    examples=(
        Example("EUR", record={}, result="EUR"),
        Example({"value": ["new"]}, record={"x": 1}, result=["new"]),
    ),
)


class FirstOf(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `first_of`."""

    values: Annotated[list[Expression], msgspec.Meta(min_length=1, description="what to try, in this order")]


def _first_of(parameters: FirstOf, site: Site) -> Reader:
    with site.alternatives():
        readers = [site.expression(spec, f"values[{index}]") for index, spec in enumerate(parameters.values)]

    def read(record: object) -> object:
        for reader in readers:
            value = reader(record)
            if not is_blank(value):
                return value
        return UNSET

    return read


FIRST_OF = Transform(
    name="first_of",
    summary="The first of several values that is not blank.",
    inputs=(),
    output=ValueType.ANYTHING,
    parameters=FirstOf,
    main="values",
    build=_first_of,
    refusals={},
    examples=(
        Example(["title", "name"], record={"title": " ", "name": "Tee"}, result="Tee"),
        Example(["a", {"from": "b", "default": 0}], record={}, result=0),
    ),
)


class When(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `when`."""

    value: Annotated[Expression, msgspec.Meta(description="what is looked at")]
    then: Annotated[Expression, msgspec.Meta(description="the result if every condition holds")]
    otherwise: Annotated[Expression | None, msgspec.Meta(description="the result if not; else it is blank")] = None
    one_of: Annotated[list[str | int | bool] | None, msgspec.Meta(description="it is one of these")] = None
    filled: Annotated[bool | None, msgspec.Meta(description="it is not blank; with false: it is blank")] = None
    other_than: Annotated[
        Expression | None, msgspec.Meta(description="it is not blank, and not the same text or number as this one")
    ] = None
    above: Annotated[Expression | int | None, msgspec.Meta(description="it is a number above this one")] = None
    at_least: Annotated[Expression | int | None, msgspec.Meta(description="it is this number or above")] = None
    below: Annotated[Expression | int | None, msgspec.Meta(description="it is a number below this one")] = None
    at_most: Annotated[Expression | int | None, msgspec.Meta(description="it is this number or below")] = None


_COMPARISONS: dict[str, Callable[[Decimal, Decimal], bool]] = {
    "above": lambda one, other: one > other,
    "at_least": lambda one, other: one >= other,
    "below": lambda one, other: one < other,
    "at_most": lambda one, other: one <= other,
}

Condition = Callable[[object, object], bool]
"""Whether a value of a record meets a condition."""


def _conditions(parameters: When, site: Site) -> list[Condition]:
    found: list[Condition] = []
    if parameters.filled is not None:
        filled = parameters.filled
        found.append(lambda value, _record: is_blank(value) is not filled)
    if parameters.one_of is not None:
        accepted = AcceptedValues(parameters.one_of)
        found.append(lambda value, _record: accepted.has(value))
    if parameters.other_than is not None:
        found.append(_differing(site.expression(parameters.other_than, "other_than")))
    for name, holds in _COMPARISONS.items():
        limit = getattr(parameters, name)
        if limit is not None:
            found.append(_compared(holds, _limit(limit, name, site)))
    if not found:
        raise site.invalid("has no condition")
    return found


def _limit(limit: Expression | int, name: str, site: Site) -> Reader:
    return (lambda _record: limit) if isinstance(limit, int) else site.expression(limit, name)


def _differing(read: Reader) -> Condition:
    def condition(value: object, record: object) -> bool:
        return not is_blank(value) and _written(value) != _written(read(record))

    return condition


def _written(value: object) -> object:
    """A text without space around it, and a number as text, so that `7` and `"7"` are the same."""
    return str(value).strip() if isinstance(value, str | int | Decimal) and not isinstance(value, bool) else value


def _compared(holds: Callable[[Decimal, Decimal], bool], limit: Reader) -> Condition:
    def condition(value: object, record: object) -> bool:
        other = limit(record)
        return not is_blank(value) and not is_blank(other) and holds(read_decimal(value), read_decimal(other))

    return condition


def _when(parameters: When, site: Site) -> Reader:
    conditions = _conditions(parameters, site)
    booleans = any(isinstance(value, bool) for value in parameters.one_of or ())
    read = site.expression(parameters.value, "value", as_written=booleans)
    then = site.expression(parameters.then, "then")
    otherwise = None if parameters.otherwise is None else site.expression(parameters.otherwise, "otherwise")

    def result(record: object) -> object:
        value = read(record)
        if all(condition(value, record) for condition in conditions):
            return then(record)
        return UNSET if otherwise is None else otherwise(record)

    return result


WHEN = Transform(
    name="when",
    summary="One value or another, by conditions that must all hold. Numbers are compared exactly; a blank one never.",
    inputs=(),
    output=ValueType.ANYTHING,
    parameters=When,
    build=_when,
    refusals={
        "not_a_number": "a value that is compared as a number is not one",
        "out_of_range": "a number has more than 40 digits before or after its point",
    },
    examples=(
        Example(
            {"value": "price", "above": "sale", "then": "price"},
            record={"price": "40.000", "sale": "36"},
            result="40.000",
        ),
        Example(
            {"value": "price", "above": "sale", "then": "price"}, record={"price": "9", "sale": "10"}, result=UNSET
        ),
        Example(
            {"value": "status", "one_of": [2], "then": {"constant": False}, "otherwise": {"constant": True}},
            record={"status": 2},
            result=False,
        ),
        Example({"value": "a", "above": 0, "then": "a"}, record={"a": "many"}, refused="not_a_number"),
        Example(
            {"value": "sku", "other_than": "parent", "then": "sku"}, record={"sku": "A-1", "parent": "A"}, result="A-1"
        ),
        Example(
            {"value": "sku", "other_than": "parent", "then": "sku"}, record={"sku": "A", "parent": "A"}, result=UNSET
        ),
    ),
)


class Use(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `use`."""

    name: Annotated[str, msgspec.Meta(description="the name of a definition of the contract")]


USE = Transform(
    name="use",
    summary="An expression that the contract defines under a name. Definitions may use each other, not in a circle.",
    inputs=(),
    output=ValueType.ANYTHING,
    parameters=Use,
    main="name",
    build=lambda parameters, site: site.definition(parameters.name, "name"),
    refusals={},
    examples=(),
)

CHOICES = (DIRECT, CONSTANT, FIRST_OF, WHEN, USE)
