"""Values that are looked up in a table: labels of codes, texts by locale, the way to the root of a tree."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import UNSET

from pagefold.domains.locales import canonical_locale, with_general_forms
from pagefold.projections.transforms.builtin.lists import items_of
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue, excerpt
from pagefold.projections.transforms.tables import LookupTable, key_text, text_table
from pagefold.projections.transforms.transform import (
    WRONG_TYPE,
    Example,
    Level,
    Site,
    Transform,
    ValueFunction,
    wrong_type,
)
from pagefold.projections.transforms.value_types import ValueType, is_blank

MAX_ANCESTORS = 64

UNMAPPED = (
    "what becomes of a value that is not there: it is left out, with `warn` reported, or is an error. By default as "
    "the contract says, else `warn`"
)

Report = Callable[[object], object]
"""Reports a value that is not there, or refuses it. Gives UNSET."""


def reporter(unmapped: Level | None, kind: str, where: str, site: Site, usual: Level = "warn") -> Report:
    """What becomes of values that are not mapped: what the transform says, else the contract, else what is usual."""
    signal, key = site.signal, site.key
    level = unmapped or site.unmapped.get(kind) or usual

    def skip(_value: object) -> object:
        return UNSET

    def warn(value: object) -> object:
        signal(kind, key, value[:200] if type(value) is str else excerpt(value))
        return UNSET

    def fail(value: object) -> object:
        raise InvalidValue("unmapped", value, f"is not in {where}")

    return {"skip": skip, "warn": warn, "fail": fail}[level]


class Lookup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `lookup`."""

    table: Annotated[str | None, msgspec.Meta(description="the name of a table of the contract")] = None
    values: Annotated[
        dict[str, object], msgspec.Meta(description="or a small table, right here: each value, and what it becomes")
    ] = {}
    locale: Annotated[
        str | None, msgspec.Meta(description="of a table with texts by locale: which one, with its more general forms")
    ] = None
    ignore_case: Annotated[bool, msgspec.Meta(description="whether case does not matter in `values`")] = False
    unmapped: Annotated[Level | None, msgspec.Meta(description=UNMAPPED)] = None
    keep: Annotated[bool, msgspec.Meta(description="whether a value that is not there stays as it is")] = False


def _table_of(parameters: "Lookup | Translate", site: Site) -> LookupTable:
    if (parameters.table is None) == (not parameters.values):
        raise site.invalid("needs either `table` or `values`")
    if parameters.table is not None:
        return site.table(parameters.table, "table")
    try:
        return text_table("values", parameters.values, ignore_case=parameters.ignore_case)
    except InvalidMapping as error:
        raise site.invalid(error.problem, "values") from None


def _places(table: LookupTable, locale: str | None, site: Site) -> list[int]:
    """Where a row has the texts of a locale and its more general forms. Raises `InvalidMapping`."""
    if locale is None:
        if table.locales:
            raise site.invalid(f"the table {table.name!r} has texts by locale: use `translate`, or give `locale`")
        return []
    tag = canonical_locale(locale)
    if tag is None:
        raise site.invalid(f"{locale!r:.40} is not a locale", "locale")
    tags = [canonical_locale(each) for each in table.locales]
    places = [tags.index(each) for each in with_general_forms(tag) if each in tags]
    if not places:
        raise site.invalid(f"the table {table.name!r} has no texts in {tag}", "locale")
    return places


def _lookup(parameters: Lookup, site: Site) -> ValueFunction:
    table = _table_of(parameters, site)
    places = _places(table, parameters.locale, site)
    unmapped = parameters.unmapped or ("warn" if parameters.keep else None)
    report = reporter(unmapped, "lookup", f"the table {table.name!r}", site)
    find, keep, exact = table.find, parameters.keep, table.exact

    def lookup(value: object) -> object:
        found = exact.get(value, UNSET) if type(value) is str else UNSET
        if found is UNSET:
            found = find(value)
        if places and type(found) is tuple:
            found = next((found[place] for place in places if not is_blank(found[place])), UNSET)
        if found is UNSET or found is None:
            report(value)
            return value if keep else UNSET
        return found

    return lookup


LOOKUP = Transform(
    name="lookup",
    summary="What a table says of a value. Space around the value does not matter, and integers are found as text.",
    inputs=(ValueType.TEXT, ValueType.NUMBER, ValueType.BOOLEAN),
    output=ValueType.ANYTHING,
    parameters=Lookup,
    main="table",
    per_item=True,
    build=_lookup,
    refusals={
        "unmapped": "the value is not in the table, and `unmapped` is `fail`",
    },
    examples=(
        Example({"values": {"m": "men", "w": "women"}}, " m ", "men"),
        Example("color", 49, "Black", tables={"color": {"49": "Black"}}),
        Example("color", ["49", "50"], ["Black"], tables={"color": {"49": "Black"}}),
        Example({"table": "color", "keep": True}, "50", "50", tables={"color": {"49": "Black"}}),
        Example({"table": "color", "locale": "fr-CA"}, "pink", "Rose", tables={"color": {"pink": {"fr": "Rose"}}}),
        Example({"values": {"a": 1}, "unmapped": "fail"}, "b", refused="unmapped"),
    ),
)


class Translate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `translate`."""

    table: Annotated[str | None, msgspec.Meta(description="the name of a table with texts by locale")] = None
    values: Annotated[
        dict[str, dict[str, str]], msgspec.Meta(description="or a small table, right here: each value, and its texts")
    ] = {}
    ignore_case: Annotated[bool, msgspec.Meta(description="whether case does not matter in `values`")] = False
    unmapped: Annotated[Level | None, msgspec.Meta(description=UNMAPPED)] = None
    keep: Annotated[
        bool, msgspec.Meta(description="whether the value itself stands where the table has no text in a locale")
    ] = False
    separator: Annotated[str, msgspec.Meta(description="what joins the texts of a list")] = ", "
    as_list: Annotated[bool, msgspec.Meta(description="whether the texts of a list stay a list, by locale")] = False


def _translate(parameters: Translate, site: Site) -> ValueFunction:
    table = _table_of(parameters, site)
    tags = [canonical_locale(each) for each in table.locales]
    if not tags or None in tags:
        raise site.invalid(f"the table {table.name!r} has no texts by locale, or a locale that is none")
    if len(set(tags)) < len(tags):
        raise site.invalid(f"the table {table.name!r} has one locale twice")
    report = reporter(parameters.unmapped, "lookup", f"the table {table.name!r}", site)
    nothing = (None,) * len(tags)

    def texts(value: object) -> tuple[object, ...]:
        found = table.find(value)
        if type(found) is tuple:
            return found
        report(value)
        return nothing

    def translate(value: object) -> object:
        codes = items_of(value) if type(value) is list else [value]
        rows = [(code, texts(code)) for code in codes if not is_blank(code)]
        made: dict[str, object] = {}
        for place, tag in enumerate(tags):
            words = list(filter(None, [_word(code, row[place], keep=parameters.keep) for code, row in rows]))
            if words:
                made[str(tag)] = words if parameters.as_list else parameters.separator.join(words)
        return made or UNSET

    return translate


def _word(code: object, text: object, *, keep: bool) -> str:
    if type(text) is str and not is_blank(text):
        return text
    return (key_text(code) or "") if keep else ""


_COLORS = {"color": {"pink": {"fr": "Rose", "de": ""}, "blue": {"de": "Blau", "fr": "Bleu"}}}

TRANSLATE = Transform(
    name="translate",
    summary="The texts of a code by locale, from a table. The texts of several codes are joined, or a list.",
    inputs=(ValueType.TEXT, ValueType.NUMBER, ValueType.BOOLEAN, ValueType.LIST),
    output=ValueType.LOCALIZED,
    parameters=Translate,
    main="table",
    build=_translate,
    refusals={
        "unmapped": "the value is not in the table, and `unmapped` is `fail`",
        "wrong_type": WRONG_TYPE,
        "too_many": "the list has more than 10,000 items",
    },
    examples=(
        Example("color", "blue", {"fr": "Bleu", "de": "Blau"}, tables=_COLORS),
        Example({"table": "color", "keep": True}, "pink", {"fr": "Rose", "de": "pink"}, tables=_COLORS),
        Example("color", ["pink", "blue"], {"fr": "Rose, Bleu", "de": "Blau"}, tables=_COLORS),
        Example(
            {"table": "color", "as_list": True},
            ["pink", "blue"],
            {"fr": ["Rose", "Bleu"], "de": ["Blau"]},
            tables=_COLORS,
        ),
        Example("color", "red", UNSET, tables=_COLORS),
        Example({"table": "color", "unmapped": "fail"}, "red", refused="unmapped", tables=_COLORS),
    ),
)


class Ancestors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `ancestors`."""

    table: Annotated[str, msgspec.Meta(description="the name of a table that has each code's parent")]
    root: Annotated[
        str | None, msgspec.Meta(description="the code that the way must begin with; else it is left out")
    ] = None
    unmapped: Annotated[Level | None, msgspec.Meta(description=UNMAPPED)] = None


def _ancestors(parameters: Ancestors, site: Site) -> ValueFunction:
    table = site.table(parameters.table, "table")
    report = reporter(parameters.unmapped, "lookup", f"the table {table.name!r}", site)

    def way(value: object) -> object:
        code = key_text(value)
        if code is None:
            raise wrong_type(value, "a code: text, or an integer")
        if table.find(code) is UNSET:
            return report(value)
        found = _way_to(table, code, value)
        return found if parameters.root in {None, found[0]} else UNSET

    return way


def _way_to(table: LookupTable, code: str, value: object) -> list[str]:
    """The codes from the root to this one. A parent that is blank, or that the table lacks, ends the way."""
    way, seen = [code], {code}
    while True:
        parent = table.find(way[-1])
        if is_blank(parent):
            return way[::-1]
        parent_code = key_text(parent) or ""
        if parent_code in seen:
            raise InvalidValue(
                "circle", value, f"is below itself in the table {table.name!r}: {' -> '.join(way[:5])} …"
            )
        if len(way) >= MAX_ANCESTORS:
            raise InvalidValue("circle", value, f"has more than {MAX_ANCESTORS} codes above it")
        way.append(parent_code)
        seen.add(parent_code)


_TREE: dict[str, dict[str, object]] = {
    "tree": {"master": "", "tvs": "master", "led_tvs": "tvs", "print": "", "print_tv": "print", "a": "b", "b": "a"}
}

ANCESTORS = Transform(
    name="ancestors",
    summary="The way from the root of a tree to a code, such as the categories above a category.",
    inputs=(ValueType.TEXT, ValueType.NUMBER),
    output=ValueType.LIST,
    parameters=Ancestors,
    main="table",
    per_item=True,
    build=_ancestors,
    refusals={
        "unmapped": "the code is not in the table, and `unmapped` is `fail`",
        "circle": "the code is below itself, or has more than 64 codes above it",
        "wrong_type": WRONG_TYPE,
    },
    examples=(
        Example("tree", "led_tvs", ["master", "tvs", "led_tvs"], tables=_TREE),
        Example(
            {"table": "tree", "root": "master"}, ["led_tvs", "print_tv"], [["master", "tvs", "led_tvs"]], tables=_TREE
        ),
        Example("tree", "a", refused="circle", tables=_TREE),
    ),
)

LOOKUPS = (LOOKUP, TRANSLATE, ANCESTORS)
