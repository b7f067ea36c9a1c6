"""Objects: made member by member, item by item, or of names and values that the record has."""

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.builtin.lists import MAX_ITEMS, REFUSALS, items_of, member_reader
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.tables import key_text
from pagefold.projections.transforms.transform import (
    WRONG_TYPE,
    Example,
    Expression,
    Site,
    Transform,
    ValueFunction,
    WithRecord,
    wrong_type,
)
from pagefold.projections.transforms.value_types import ValueType, is_blank


def _members(readers: dict[str, Reader], record: object) -> dict[str, object]:
    made: dict[str, object] = {}
    for name, read in readers.items():
        value = read(record)
        if not is_blank(value):
            made[name] = value
    return made


class Build(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `build`."""

    members: Annotated[dict[str, Expression], msgspec.Meta(min_length=1, description="what reads each member")]


def _build(parameters: Build, site: Site) -> Reader:
    readers = {name: site.expression(spec, f"members.{name}") for name, spec in parameters.members.items()}
    return lambda record: _members(readers, record) or UNSET


BUILD = Transform(
    name="build",
    summary="An object of members that are read one by one. Blank ones are left out.",
    inputs=(),
    output=ValueType.OBJECT,
    parameters=Build,
    build=_build,
    refusals={},
    examples=(
        Example({"members": {"width": "w", "height": "h"}}, record={"w": 3, "h": ""}, result={"width": 3}),
        Example({"members": {"width": "w"}}, record={}, result=UNSET),
    ),
)


class Each(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `each`."""

    members: Annotated[
        dict[str, Expression], msgspec.Meta(description="what reads each member of an object that is made of the item")
    ] = {}
    value: Annotated[Expression | None, msgspec.Meta(description="or what makes a value of the item")] = None


def _each(parameters: Each, site: Site) -> WithRecord:
    if bool(parameters.members) == (parameters.value is not None):
        raise site.invalid("needs either `members` or `value`")
    if parameters.value is not None:
        read = site.within_items(parameters.value, "value")
        return WithRecord(lambda value, record: _made_of_items(read, value, record))
    readers = {name: site.within_items(spec, f"members.{name}") for name, spec in parameters.members.items()}
    return WithRecord(
        lambda value, record: _made_of_items(lambda pair: _members(readers, pair) or UNSET, value, record)
    )


def _made_of_items(read: Reader, value: object, record: object) -> list[object]:
    made = [read((item, record)) for item in items_of(value if type(value) is list else [value])]
    return [each for each in made if not is_blank(each)]


EACH = Transform(
    name="each",
    summary=(
        "Makes something of each item of a list: an object, or a value. Paths read the item, `.` is the item itself, "
        "and `$.x` reads the record. A value that is not a list is one item."
    ),
    inputs=(ValueType.ANYTHING,),
    output=ValueType.LIST,
    parameters=Each,
    main="members",
    build=_each,
    refusals={"too_many": REFUSALS["too_many"]},
    examples=(
        Example(
            {
                "members": {
                    "minQuantity": "minimumQuantity",
                    "amount": {"from": "cents", "money": {"currency": {"from": "$.currency"}, "unit": "minor"}},
                }
            },
            [{"minimumQuantity": 10, "cents": 9000}],
            [{"minQuantity": 10, "amount": "90.00"}],
            record={"currency": "EUR"},
        ),
        Example(
            {"members": {"url": ".", "role": {"constant": "gallery"}}}, ["a.jpg"], [{"url": "a.jpg", "role": "gallery"}]
        ),
        Example({"value": "label"}, [{"label": "x"}, {}], ["x"]),
    ),
)


class KeyValue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `key_value`."""

    pairs: Annotated[
        list[tuple[Expression, Expression]],
        msgspec.Meta(min_length=1, description="what reads each name, and what reads its value"),
    ]
    key_case: Annotated[Literal["lower", "upper"] | None, msgspec.Meta(description="the case that names get")] = None


def _cased(name: str, case: str | None) -> str:
    return name.lower() if case == "lower" else name.upper() if case == "upper" else name


def put_pair(made: dict[str, object], name: object, value: object, case: str | None) -> None:
    """Adds a pair unless a part of it is blank. Raises `InvalidValue` for a name that has another value already."""
    if is_blank(name) or is_blank(value):
        return
    text = key_text(name)
    if text is None:
        raise wrong_type(name, "a name: text, or an integer")
    text = _cased(text, case)
    if made.setdefault(text, value) != value:
        raise InvalidValue("two_values", text, "is named twice, with other values")


def _key_value(parameters: KeyValue, site: Site) -> Reader:
    pairs = [
        (site.expression(name, f"pairs[{index}][0]"), site.expression(value, f"pairs[{index}][1]"))
        for index, (name, value) in enumerate(parameters.pairs)
    ]

    def read(record: object) -> object:
        made: dict[str, object] = {}
        for name, value in pairs:
            put_pair(made, name(record), value(record), parameters.key_case)
        return made or UNSET

    return read


PAIR_REFUSALS = {
    "wrong_type": "a name is neither text nor an integer, or the value is not of the type that is read",
    "two_values": "one name has two values",
}

KEY_VALUE = Transform(
    name="key_value",
    summary="An object of names and values that both are in the record. Pairs with a blank part are left out.",
    inputs=(),
    output=ValueType.OBJECT,
    parameters=KeyValue,
    main="pairs",
    build=_key_value,
    refusals=PAIR_REFUSALS,
    examples=(
        Example(
            {"pairs": [["option1_name", "option1_value"], ["option2_name", "option2_value"]], "key_case": "lower"},
            record={"option1_name": "Color", "option1_value": "Matte Black", "option2_name": "", "option2_value": ""},
            result={"color": "Matte Black"},
        ),
        Example([["a", "b"], ["a", "c"]], record={"a": "x", "b": 1, "c": 2}, refused="two_values"),
    ),
)


class ParsePairs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `parse_pairs`."""

    separator: Annotated[str, msgspec.Meta(min_length=1, description="what is between two pairs of a text")] = ","
    equals: Annotated[str, msgspec.Meta(min_length=1, description="what is between a name and its value")] = "="
    name: Annotated[str, msgspec.Meta(description="of a list of objects: the member that has the name")] = "name"
    value: Annotated[str, msgspec.Meta(description="of a list of objects: the member that has the value")] = "value"
    key_case: Annotated[Literal["lower", "upper"] | None, msgspec.Meta(description="the case that names get")] = None


_name = re.compile(r"\s*[\w][\w .:-]{0,99}\s*")


def _pairs_of_text(text: str, parameters: ParsePairs) -> list[tuple[object, object]]:
    """The pairs of a text. A part without a name of its own belongs to the value before it."""
    if text.count(parameters.separator) >= MAX_ITEMS:
        raise InvalidValue("too_many", text, f"has more than {MAX_ITEMS:,} pairs")
    pairs: list[tuple[str, list[str]]] = []
    for part in text.split(parameters.separator):
        name, equals, value = part.partition(parameters.equals)
        if equals and _name.fullmatch(name):
            pairs.append((name.strip(), [value]))
        elif pairs:
            pairs[-1][1].append(part)
        elif not is_blank(part):
            raise InvalidValue("no_name", text, f"begins without a name and {parameters.equals!r}")
    return [(name, parameters.separator.join(values).strip()) for name, values in pairs]


def _pairs_of_list(items: list[object], parameters: ParsePairs) -> list[tuple[object, object]]:
    pairs: list[tuple[object, object]] = []
    for item in items:
        if type(item) is not dict:
            raise wrong_type(item, "an object of a name and a value")
        pairs.append((item.get(parameters.name), item.get(parameters.value)))
    return pairs


def _pairs_of(value: object, parameters: ParsePairs) -> list[tuple[object, object]]:
    if isinstance(value, str):
        return _pairs_of_text(value, parameters)
    return _pairs_of_list(items_of(value), parameters)


def _parse_pairs(parameters: ParsePairs, _site: Site) -> ValueFunction:
    def parse(value: object) -> object:
        pairs = _pairs_of(value, parameters)
        made: dict[str, object] = {}
        for name, each in pairs:
            put_pair(made, name, each, parameters.key_case)
        return made or UNSET

    return parse


PARSE_PAIRS = Transform(
    name="parse_pairs",
    summary="An object of the pairs of a text (`color=Black,care=Wash at 30, line dry`), or of a list of objects.",
    inputs=(ValueType.TEXT, ValueType.LIST),
    output=ValueType.OBJECT,
    parameters=ParsePairs,
    build=_parse_pairs,
    refusals={**REFUSALS, **PAIR_REFUSALS, "no_name": "the text begins without a name"},
    examples=(
        Example({}, "color=Black,care=Wash at 30, line dry", {"color": "Black", "care": "Wash at 30, line dry"}),
        Example(
            {"name": "attribute_code"},
            [{"attribute_code": "color", "value": "49"}, {"attribute_code": "note", "value": ""}],
            {"color": "49"},
        ),
        Example({}, "black", refused="no_name"),
        Example({}, 5, refused="wrong_type"),
    ),
)


class Member(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `member`."""

    path: Annotated[str, msgspec.Meta(min_length=1, description="the path of the value in the object")]


def _member(parameters: Member, site: Site) -> ValueFunction:
    read = member_reader(parameters.path, f"{site.key}.path")

    def member(value: object) -> object:
        if type(value) is not dict:
            raise wrong_type(value, "an object")
        return read(value)

    return member


MEMBER = Transform(
    name="member",
    summary="The value at a path of an object that an earlier step has made.",
    inputs=(ValueType.OBJECT,),
    output=ValueType.ANYTHING,
    parameters=Member,
    main="path",
    build=_member,
    refusals={"wrong_type": WRONG_TYPE},
    examples=(
        Example("size.width", {"size": {"width": 3}}, 3),
        Example("color", {"size": 3}, UNSET),
        Example("color", "red", refused="wrong_type"),
    ),
)

OBJECTS = (BUILD, EACH, KEY_VALUE, PARSE_PAIRS, MEMBER)
