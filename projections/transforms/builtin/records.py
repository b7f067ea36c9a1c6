"""Lists of records, such as those that a contract joins: which of them count, and what they say together."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import reduce
from typing import Annotated, Literal, cast

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.builtin.dates import DATE, Date, date_function
from pagefold.projections.transforms.builtin.lists import REFUSALS, items_of
from pagefold.projections.transforms.builtin.numbers import REFUSALS as NUMBER_REFUSALS
from pagefold.projections.transforms.builtin.objects import PAIR_REFUSALS, put_pair
from pagefold.projections.transforms.decimals import CALCULATION, MAX_DIGITS, plain_text, read_decimal
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.tables import key_text
from pagefold.projections.transforms.transform import (
    Example,
    Expression,
    Site,
    Transform,
    WithRecord,
    check_parameters,
)
from pagefold.projections.transforms.value_types import ValueType, is_blank, timestamp_text

ITEM = "."


def _list_of(value: object) -> list[object]:
    """The items; a value that is not a list is one."""
    return items_of(value if type(value) is list else [value])


class Filter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `filter`."""

    where: Annotated[
        dict[str, list[str | int | float | bool]],
        msgspec.Meta(description="by path, the values that it may have, as in `only`"),
    ] = {}
    without: Annotated[
        dict[str, list[str | int | float | bool]], msgspec.Meta(description="by path, the values that it must not have")
    ] = {}
    filled: Annotated[list[str], msgspec.Meta(description="paths where it must have a value")] = []
    absent: Annotated[list[str], msgspec.Meta(description="paths where it must have none")] = []
    same: Annotated[
        dict[str, Expression],
        msgspec.Meta(description="by path, what reads the same text or number, such as `$.channel` of the record"),
    ] = {}


_Condition = Callable[[object], bool]


def _filter(parameters: Filter, site: Site) -> WithRecord:
    conditions = [*_with_values(parameters.where, "where", site, wanted=True)]
    conditions += _with_values(parameters.without, "without", site, wanted=False)
    for names, parameter, wanted in ((parameters.filled, "filled", False), (parameters.absent, "absent", True)):
        for path in names:
            conditions.append(_is_blank_at(site.within_items(path, parameter), wanted=wanted))
    for path, spec in parameters.same.items():
        conditions.append(_are_same(site.within_items(path, "same"), site.within_items(spec, f"same.{path}")))
    if not conditions:
        raise site.invalid("has no condition")
    return WithRecord(
        lambda value, record: [
            item for item in _list_of(value) if all(condition((item, record)) for condition in conditions)
        ]
    )


def _with_values(
    table: Mapping[str, list[str | int | float | bool]], parameter: str, site: Site, *, wanted: bool
) -> list[_Condition]:
    return [
        _is_among(site.within_items(path, parameter), AcceptedValues(values), wanted=wanted)
        for path, values in table.items()
    ]


def _is_among(read: Reader, accepted: AcceptedValues, *, wanted: bool) -> _Condition:
    return lambda pair: accepted.has(read(pair)) is wanted


def _is_blank_at(read: Reader, *, wanted: bool) -> _Condition:
    return lambda pair: is_blank(read(pair)) is wanted


def _are_same(one: Reader, other: Reader) -> _Condition:
    def same(pair: object) -> bool:
        first, second = key_text(one(pair)), key_text(other(pair))
        return first is not None and first == second

    return same


FILTER = Transform(
    name="filter",
    summary="The items of a list that meet every condition. Paths read the item, and `$.x` reads the record.",
    inputs=(ValueType.ANYTHING,),
    output=ValueType.LIST,
    parameters=Filter,
    main="where",
    build=_filter,
    refusals={"too_many": REFUSALS["too_many"]},
    examples=(
        Example(
            {"where": {"store": [0, 1]}}, [{"store": 0}, {"store": "1"}, {"store": 2}], [{"store": 0}, {"store": "1"}]
        ),
        Example(
            {"without": {"state": ["gone"]}, "filled": ["price"]},
            [{"state": "new", "price": 1}, {"state": "gone", "price": 2}, {"state": "new"}],
            [{"state": "new", "price": 1}],
        ),
        Example({"absent": ["channel.id"]}, [{"channel": {"id": "c"}}, {"a": 1}], [{"a": 1}]),
        Example({"same": {"shop": "$.shop"}}, [{"shop": 7}, {"shop": 8}], [{"shop": 7}], record={"shop": "7"}),
    ),
)


class OfItems(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of transforms that read one value of each item."""

    value: Annotated[Expression, msgspec.Meta(description="what reads the value of an item; without it, the item")] = (
        ITEM
    )


def _total(parameters: OfItems, site: Site) -> WithRecord:
    read = site.within_items(parameters.value, "value")

    def total(value: object, record: object) -> object:
        values = [read((item, record)) for item in _list_of(value)]
        numbers = [read_decimal(each) for each in values if not is_blank(each)]
        if not numbers:
            return UNSET
        try:
            number = reduce(CALCULATION.add, numbers)
        except ArithmeticError:
            number = None
        if number is None or (abs(number.adjusted()) > MAX_DIGITS and number != 0):
            raise InvalidValue("out_of_range", numbers[0], f"gives a number of more than {MAX_DIGITS} digits")
        return plain_text(number)

    return WithRecord(total)


TOTAL = Transform(
    name="total",
    summary="The sum of a number of each item of a list, exactly. Blank ones are left out; of none, there is no sum.",
    inputs=(ValueType.ANYTHING,),
    output=ValueType.DECIMAL,
    parameters=OfItems,
    main="value",
    build=_total,
    refusals={**NUMBER_REFUSALS, "too_many": REFUSALS["too_many"]},
    examples=(
        Example("quantity", [{"quantity": 12.5}, {"quantity": "3"}, {}], "15.5"),
        Example({}, [1, 2, None], "3"),
        Example("quantity", [{}], UNSET),
        Example("quantity", [{"quantity": "many"}], refused="not_a_number"),
    ),
)


def _newest(choose: Callable[[list[datetime]], datetime]) -> Callable[[OfItems, Site], WithRecord]:
    def build(parameters: OfItems, site: Site) -> WithRecord:
        read = site.within_items(parameters.value, "value")
        given = dict(site.conversions.get(ValueType.TIMESTAMP, {}))
        convert = date_function(cast("Date", check_parameters(DATE, given, site)), site)

        def newest(value: object, record: object) -> object:
            values = [read((item, record)) for item in _list_of(value)]
            texts = [convert(each) for each in values if not is_blank(each)]
            moments = [datetime.fromisoformat(text) for text in texts if isinstance(text, str)]
            return timestamp_text(choose(moments)) if moments else UNSET

        return WithRecord(newest)

    return build


def _moments(
    name: Literal["newest", "oldest"], choose: Callable[[list[datetime]], datetime], result: str
) -> Transform[OfItems]:
    return Transform(
        name=name,
        summary=f"The {name} of the moments that the items of a list have. Blank ones are left out.",
        inputs=(ValueType.ANYTHING,),
        output=ValueType.TIMESTAMP,
        parameters=OfItems,
        main="value",
        build=_newest(choose),
        refusals={**DATE.refusals, "too_many": REFUSALS["too_many"]},
        examples=(
            Example(
                "at", [{"at": "2026-03-01T10:00:00+01:00"}, {"at": "2026-03-01T09:30:00.500Z"}, {"at": ""}], result
            ),
            Example("at", [{}], UNSET),
            Example("at", [{"at": "yesterday"}], refused="not_a_moment"),
        ),
    )


NEWEST = _moments("newest", max, "2026-03-01T09:30:00.500000Z")
OLDEST = _moments("oldest", min, "2026-03-01T09:00:00Z")


class Keyed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `keyed`."""

    key: Annotated[Expression, msgspec.Meta(description="what reads the name that an item has in the object")]
    value: Annotated[Expression, msgspec.Meta(description="what reads its value; without it, the item")] = ITEM


def _keyed(parameters: Keyed, site: Site) -> WithRecord:
    key, read = site.within_items(parameters.key, "key"), site.within_items(parameters.value, "value")

    def keyed(value: object, record: object) -> object:
        made: dict[str, object] = {}
        for item in _list_of(value):
            put_pair(made, key((item, record)), read((item, record)), None)
        return made or UNSET

    return WithRecord(keyed)


KEYED = Transform(
    name="keyed",
    summary="An object of the items of a list: a name and a value of each. Items with a blank one are left out.",
    inputs=(ValueType.ANYTHING,),
    output=ValueType.OBJECT,
    parameters=Keyed,
    main="key",
    build=_keyed,
    refusals={"too_many": REFUSALS["too_many"], **PAIR_REFUSALS},
    examples=(
        Example(
            {"key": "locale", "value": "title"},
            [{"locale": "en", "title": "Kettle"}, {"locale": "de", "title": "Kessel"}, {"locale": "fr"}],
            {"en": "Kettle", "de": "Kessel"},
        ),
        Example(
            {"key": "group", "value": "price"},
            [{"group": 1, "price": 2}, {"group": 1, "price": 3}],
            refused="two_values",
        ),
    ),
)

RECORDS = (FILTER, TOTAL, NEWEST, OLDEST, KEYED)
