"""Lists: made of texts, joined, shortened, picked from."""

from typing import Annotated

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.builtin.texts import on_text
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.json_text import parse_json, parsed_structure
from pagefold.projections.transforms.paths import Reader, path_names
from pagefold.projections.transforms.texts import text_of
from pagefold.projections.transforms.transform import (
    WRONG_TYPE,
    Example,
    Expression,
    NoParameters,
    Site,
    Transform,
    ValueFunction,
    wrong_type,
)
from pagefold.projections.transforms.value_types import ValueType, is_blank, to_json

MAX_ITEMS = 10_000
REFUSALS = {"wrong_type": WRONG_TYPE, "too_many": "the list has more than 10,000 items"}


def items_of(value: object) -> list[object]:
    """The items of a list. Raises `InvalidValue` for anything else, and for more than 10,000."""
    if type(value) is not list:
        raise wrong_type(value, "a list")
    if len(value) > MAX_ITEMS:
        raise InvalidValue("too_many", value, f"has {len(value)} items; at most {MAX_ITEMS:,} are allowed")
    return value


def _as_list(value: object) -> list[object]:
    value = parsed_structure(value)
    return [each for each in items_of(value if type(value) is list else [value]) if not is_blank(each)]


LIST = Transform(
    name="list",
    summary=(
        "The list as it is; a text that is a JSON array is read as one, and any other value becomes a list of itself. "
        "Blank items are left out."
    ),
    inputs=(ValueType.ANYTHING,),
    output=ValueType.LIST,
    parameters=NoParameters,
    build=lambda _parameters, _site: _as_list,
    refusals={"too_many": REFUSALS["too_many"]},
    examples=(
        Example({}, ["a", "", None], ["a"]),
        Example({}, "a", ["a"]),
        Example({}, '["a", 1.50]', ["a", 1.5]),
    ),
)

OBJECT = Transform(
    name="object",
    summary="The object as it is; a text that is a JSON object is read as one.",
    inputs=(ValueType.OBJECT, ValueType.TEXT),
    output=ValueType.OBJECT,
    parameters=NoParameters,
    build=lambda _parameters, _site: _as_object,
    refusals={"wrong_type": WRONG_TYPE},
    examples=(
        Example({}, {"a": 1}, {"a": 1}),
        Example({}, '{"a": 1}', {"a": 1}),
        Example({}, [1], refused="wrong_type"),
    ),
)


def _as_object(value: object) -> object:
    value = parsed_structure(value)
    if type(value) is not dict:
        raise wrong_type(value, "an object")
    return value


JSON = Transform(
    name="json",
    summary="The value of a text that is JSON. Numbers keep their digits.",
    inputs=(ValueType.TEXT,),
    output=ValueType.ANYTHING,
    parameters=NoParameters,
    build=lambda _parameters, _site: on_text(parse_json),
    refusals={"wrong_type": WRONG_TYPE, "not_json_text": "the text is not JSON"},
    examples=(
        Example({}, '{"a": [1, 2.5]}', {"a": [1, 2.5]}),
        Example({}, "[1, 2", refused="not_json_text"),
        Example({}, "NaN", refused="not_json_text"),
    ),
)


class Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `split`."""

    separator: Annotated[str, msgspec.Meta(min_length=1, description="what is between the items")] = ","
    trim: Annotated[bool, msgspec.Meta(description="whether space around an item is removed")] = True
    blanks: Annotated[bool, msgspec.Meta(description="whether blank items stay, as empty texts")] = False


def _split(parameters: Split, _site: Site) -> ValueFunction:
    def split(text: str) -> object:
        if text.count(parameters.separator) >= MAX_ITEMS:
            raise InvalidValue("too_many", text, f"has more than {MAX_ITEMS:,} items")
        items = text.split(parameters.separator)
        if parameters.trim:
            items = [item.strip() for item in items]
        return items if parameters.blanks else [item for item in items if item and not item.isspace()]

    def split_filled(text: str) -> object:
        if text.count(parameters.separator) >= MAX_ITEMS:
            return split(text)  # which refuses it
        return [item for each in text.split(parameters.separator) if (item := each.strip())]

    return on_text(split_filled if parameters.trim and not parameters.blanks else split)


SPLIT = Transform(
    name="split",
    summary="A list of the parts of a text.",
    inputs=(ValueType.TEXT,),
    output=ValueType.LIST,
    parameters=Split,
    main="separator",
    build=_split,
    refusals=REFUSALS,
    examples=(
        Example({}, "led_tvs,sales", ["led_tvs", "sales"]),
        Example(",", "music, mp3 , ", ["music", "mp3"]),
        Example("|", "Cotton|Recycled wool", ["Cotton", "Recycled wool"]),
        Example({"trim": False, "blanks": True}, "a,, b", ["a", "", " b"]),
        Example({}, 5, refused="wrong_type"),
    ),
)


class Join(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `join`."""

    separator: Annotated[str, msgspec.Meta(description="what is put between the items")] = ", "


def _join(parameters: Join, _site: Site) -> ValueFunction:
    def join(value: object) -> object:
        return parameters.separator.join(text_of(item) for item in items_of(value) if not is_blank(item)) or UNSET

    return join


JOIN = Transform(
    name="join",
    summary="The items of a list as one text. Blank ones are left out.",
    inputs=(ValueType.LIST,),
    output=ValueType.TEXT,
    parameters=Join,
    main="separator",
    build=_join,
    refusals={
        **REFUSALS,
        "out_of_range": "a number has more than 400 digits",
    },
    examples=(
        Example({}, ["Cotton", "", "wool"], "Cotton, wool"),
        Example("/", ["a", 1], "a/1"),
        Example({}, [], UNSET),
        Example({}, [["a"]], refused="wrong_type"),
    ),
)


class MultiToCsv(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `multi_to_csv`."""

    separator: Annotated[str, msgspec.Meta(min_length=1, max_length=1, description="what is put between the items")] = (
        ","
    )


def _multi_to_csv(parameters: MultiToCsv, site: Site) -> ValueFunction:
    separator = parameters.separator
    if separator in '"\r\n':
        raise site.invalid("cannot separate items", "separator")
    special = (separator, '"', "\r", "\n")

    def quoted(text: str) -> str:
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(each in text for each in special) else text

    def write(value: object) -> object:
        return separator.join(quoted(text_of(item)) for item in items_of(value) if not is_blank(item)) or UNSET

    return write


MULTI_TO_CSV = Transform(
    name="multi_to_csv",
    summary="The items of a list as one row of CSV (RFC 4180): items with the separator or quotes are quoted.",
    inputs=(ValueType.LIST,),
    output=ValueType.TEXT,
    parameters=MultiToCsv,
    main="separator",
    build=_multi_to_csv,
    refusals=JOIN.refusals,
    examples=(
        Example({}, ["red", "light, blue"], 'red,"light, blue"'),
        Example(";", ['5" disc', 1], '"5"" disc";1'),
    ),
)


class Unique(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `unique`."""

    by: Annotated[str, msgspec.Meta(description="the member that must differ, where the items are objects")] = ""


def _unique(parameters: Unique, _site: Site) -> ValueFunction:
    def unique(value: object) -> object:
        seen: set[bytes] = set()
        kept: list[object] = []
        for item in items_of(value):
            key = item.get(parameters.by) if parameters.by and type(item) is dict else item
            encoded = msgspec.json.encode(to_json(key), order="deterministic")
            if encoded not in seen:
                seen.add(encoded)
                kept.append(item)
        return kept

    return unique


UNIQUE = Transform(
    name="unique",
    summary="The first of equal items each.",
    inputs=(ValueType.LIST,),
    output=ValueType.LIST,
    parameters=Unique,
    main="by",
    build=_unique,
    refusals=REFUSALS,
    examples=(
        Example({}, ["a", "b", "a", 1, True, 1], ["a", "b", 1, True]),
        Example(
            "url",
            [{"url": "a", "role": "main"}, {"url": "a"}, {"url": "b"}],
            [{"url": "a", "role": "main"}, {"url": "b"}],
        ),
    ),
)


class Limit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `limit`."""

    items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS, description="how many items stay")]


LIMIT = Transform(
    name="limit",
    summary="The first items of a list.",
    inputs=(ValueType.LIST,),
    output=ValueType.LIST,
    parameters=Limit,
    main="items",
    build=lambda parameters, _site: lambda value: items_of(value)[: parameters.items],
    refusals=REFUSALS,
    examples=(Example(2, ["a", "b", "c"], ["a", "b"]),),
)


class Enumerate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `enumerate`."""

    member: Annotated[str, msgspec.Meta(min_length=1, description="the member that gets the number")] = "position"
    first: Annotated[int, msgspec.Meta(ge=0, le=1_000, description="the first number")] = 0


def _enumerate(parameters: Enumerate, _site: Site) -> ValueFunction:
    def numbered(value: object) -> object:
        made: list[object] = []
        for number, item in enumerate(items_of(value), parameters.first):
            if type(item) is not dict:
                raise wrong_type(item, "an object, as the items must be")
            made.append({**item, parameters.member: number})
        return made

    return numbered


ENUMERATE = Transform(
    name="enumerate",
    summary="Numbers the objects of a list, such as pictures by their position.",
    inputs=(ValueType.LIST,),
    output=ValueType.LIST,
    parameters=Enumerate,
    main="member",
    build=_enumerate,
    refusals=REFUSALS,
    examples=(
        Example({}, [{"url": "a"}, {"url": "b"}], [{"url": "a", "position": 0}, {"url": "b", "position": 1}]),
        Example({}, ["a"], refused="wrong_type"),
    ),
)


class Pick(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `pick`."""

    where: Annotated[
        dict[str, str | int | bool | None],
        msgspec.Meta(description="what the members of the item must be; null is absent, too"),
    ] = {}
    index: Annotated[
        int, msgspec.Meta(ge=-1_000, le=1_000, description="which of those: 0 is the first, -1 the last")
    ] = 0
    value: Annotated[str, msgspec.Meta(description="the path of the value in the item; without it, the item")] = ""
    absent: Annotated[
        list[str], msgspec.Meta(description="members that must be absent or null, as TOML has no null")
    ] = []


def member_reader(path: str, key: str) -> Reader:
    """Reads a path in an object; the object itself if the path is empty."""
    names = path_names(path, key) if path else ()

    def read(item: object) -> object:
        for name in names:
            item = item.get(name, UNSET) if type(item) is dict else UNSET
        return item

    return read


def _pick(parameters: Pick, site: Site) -> ValueFunction:
    wanted = {(name, type(value), value) for name, value in parameters.where.items()}
    read = member_reader(parameters.value, f"{site.key}.value")

    def fits(item: object) -> bool:
        if type(item) is not dict:
            return not wanted and not parameters.absent
        return all(_is(item.get(name), kind, value) for name, kind, value in wanted) and all(
            item.get(name) is None for name in parameters.absent
        )

    def pick(value: object) -> object:
        found = [item for item in items_of(value) if fits(item)]
        place = parameters.index if parameters.index >= 0 else len(found) + parameters.index
        return read(found[place]) if 0 <= place < len(found) else UNSET

    return pick


def _is(value: object, kind: type, wanted: object) -> bool:
    return type(value) is kind and value == wanted


PICK = Transform(
    name="pick",
    summary="One item of a list: by its place, or by what its members are.",
    inputs=(ValueType.LIST,),
    output=ValueType.ANYTHING,
    parameters=Pick,
    main="index",
    build=_pick,
    refusals=REFUSALS,
    examples=(
        Example(0, ["a", "b"], "a"),
        Example(-1, ["a", "b"], "b"),
        Example(
            {"where": {"scope": "web"}, "value": "data"},
            [{"scope": "print", "data": "x"}, {"scope": "web", "data": "y"}],
            "y",
        ),
        Example({"absent": ["scope"], "value": "data.amount"}, [{"scope": None, "data": {"amount": "1"}}], "1"),
        Example(5, ["a"], UNSET),
        Example(0, "a", refused="wrong_type"),
    ),
)


class Concat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `concat`."""

    values: Annotated[
        list[Expression], msgspec.Meta(min_length=1, description="lists, or values that are an item each")
    ]


def _concat(parameters: Concat, site: Site) -> Reader:
    readers = [site.expression(spec, f"values[{index}]") for index, spec in enumerate(parameters.values)]

    def concatenated(record: object) -> object:
        made: list[object] = []
        for read in readers:
            value = read(record)
            made += [value] if type(value) is not list else value
        return [item for item in items_of(made) if not is_blank(item)]

    return concatenated


CONCAT = Transform(
    name="concat",
    summary="One list of several. A value that is not a list is an item; blank ones are left out.",
    inputs=(),
    output=ValueType.LIST,
    parameters=Concat,
    main="values",
    build=_concat,
    refusals={"too_many": REFUSALS["too_many"]},
    examples=(Example(["main", "more"], record={"main": "a.jpg", "more": ["b.jpg", ""]}, result=["a.jpg", "b.jpg"]),),
)

LISTS = (LIST, OBJECT, JSON, SPLIT, JOIN, MULTI_TO_CSV, UNIQUE, LIMIT, ENUMERATE, PICK, CONCAT)
