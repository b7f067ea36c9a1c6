"""Texts by locale, and values by scope: from objects, lists, and names of columns."""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Annotated

import msgspec
from msgspec import UNSET

from pagefold.domains.locales import canonical_locale, with_general_forms
from pagefold.projections.transforms.builtin.lists import items_of, member_reader
from pagefold.projections.transforms.builtin.lookups import UNMAPPED, Report, reporter
from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.json_text import parsed_structure
from pagefold.projections.transforms.paths import Reader, column_of, named_members
from pagefold.projections.transforms.texts import text_of
from pagefold.projections.transforms.transform import (
    WRONG_TYPE,
    Example,
    Expression,
    Level,
    Site,
    Transform,
    ValueFunction,
    wrong_type,
)
from pagefold.projections.transforms.value_types import ValueType, is_blank

PLACEHOLDER = "{locale}"
REFUSALS = {
    "wrong_type": WRONG_TYPE,
    "two_texts": "one locale is written in two ways, with two texts",
    "unmapped": "a name is not a locale, or not one of `locales`, and `unmapped` is `fail`",
    "too_many": "the list has more than 10,000 items",
    "out_of_range": "a number has more than 400 digits",
}

_simple_tag = re.compile(r"[a-z]{2,3}(?:-[A-Z][a-z]{3})?(?:-(?:[A-Z]{2}|[0-9]{3}))?", re.ASCII).fullmatch
"""Language, script, region. In names of columns nothing else is taken for a locale: `de_DE-print` is another scope."""

Tagger = Callable[[str], str | None]
"""The canonical tag of a name; None if it is not one that is asked for."""


def _tags(names: list[str], site: Site, parameter: str) -> frozenset[str]:
    tags = [canonical_locale(name) for name in names]
    if None in tags:
        raise site.invalid(f"{names[tags.index(None)]!r:.40} is not a locale", parameter)
    return frozenset(str(tag) for tag in tags)


def _tagger(locales: list[str] | None, site: Site, *, in_names: bool) -> Tagger:
    """Recognises locales: all, or those that are named. In names of columns, variants only if they are named."""
    wanted = None if locales is None else _tags(locales, site, "locales")

    @lru_cache(maxsize=2_000)
    def tag_of(name: str) -> str | None:
        tag = canonical_locale(name)
        if tag is None or (wanted is not None and tag not in wanted):
            return None
        return tag if wanted is not None or not in_names or _simple_tag(tag) else None

    return tag_of


def _gathered(pairs: Iterable[tuple[str, object]], tag_of: Tagger, report: Report) -> object:
    """The texts that are not blank, by tag; UNSET if there are none. Raises `InvalidValue`."""
    made: dict[str, object] = {}
    for name, value in pairs:
        if is_blank(value):
            continue
        tag = tag_of(name)
        if tag is None:
            report(name)
            continue
        text = _text_or_texts(value)
        if made.setdefault(tag, text) != text:
            raise InvalidValue("two_texts", text, f"is a second text of the locale {tag}")
    return made or UNSET


def _text_or_texts(value: object) -> object:
    """The text of a value, or the texts of a list. Raises `InvalidValue`."""
    if type(value) is list:
        return [text_of(item) for item in items_of(value) if not is_blank(item)]
    return text_of(value)


class Localized(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"as_": "as"}):
    """The parameters of `localized`."""

    as_: Annotated[str | None, msgspec.Meta(description="the locale of a plain text")] = None
    locale: Annotated[str, msgspec.Meta(description="of a list of objects: the member that has the locale")] = "locale"
    value: Annotated[str, msgspec.Meta(description="of a list of objects: the path of the text in each")] = "data"
    scope: Annotated[
        str | None,
        msgspec.Meta(
            description="of a list of objects: the scope to take; an object without scope stands in where it lacks one"
        ),
    ] = None
    scope_member: Annotated[str, msgspec.Meta(description="the member that has the scope")] = "scope"
    locales: Annotated[
        list[str] | None, msgspec.Meta(description="the locales that are asked for; without it, every one")
    ] = None
    unmapped: Annotated[Level | None, msgspec.Meta(description=UNMAPPED)] = None


def _localized(parameters: Localized, site: Site) -> ValueFunction:
    alone = None if parameters.as_ is None else next(iter(_tags([parameters.as_], site, "as")))
    tag_of = _tagger(parameters.locales, site, in_names=False)
    report = reporter(parameters.unmapped, "locale", "the locales", site)
    read = member_reader(parameters.value, f"{site.key}.value")

    def gather(value: object) -> object:
        value = parsed_structure(value) if alone is None else value
        if type(value) is dict:
            return _gathered(value.items(), tag_of, report)
        if type(value) is list:
            return _gathered(_of_scope(value, parameters, read), tag_of, report)
        if alone is None:
            raise wrong_type(value, "an object or a list of texts; `as` says which locale a plain text has")
        return {alone: text_of(value)}

    return gather


def _of_scope(items: list[object], parameters: Localized, read: Reader) -> list[tuple[str, object]]:
    """Names of locales and texts: of the scope first, and of none where it has no text."""
    found: dict[str, object] = {}
    general: dict[str, object] = {}
    for item in items_of(items):
        if type(item) is not dict:
            raise wrong_type(item, "an object that has a locale")
        name, scope, value = item.get(parameters.locale), item.get(parameters.scope_member), read(item)
        if type(name) is not str or is_blank(value):
            continue
        into = found if parameters.scope is None or scope == parameters.scope else general if scope is None else None
        if into is not None and into.setdefault(name, value) != value:
            raise InvalidValue("two_texts", value, f"is a second text of the locale {name[:40]}")
    return [*{**general, **found}.items()]


LOCALIZED = Transform(
    name="localized",
    summary=(
        "A text by locale: of an object of locales (or a text that is one in JSON), of a list of objects that have a "
        "locale, or of a plain text. Blank texts are left out. Locales are BCP 47, whatever their case and separator."
    ),
    inputs=(ValueType.TEXT, ValueType.OBJECT, ValueType.LIST),
    output=ValueType.LOCALIZED,
    parameters=Localized,
    main="as_",
    build=_localized,
    refusals=REFUSALS,
    examples=(
        Example({}, {"en_US": "Blue tee", "de-de": "Hemd", "fr": ""}, {"en-US": "Blue tee", "de-DE": "Hemd"}),
        Example("de", "Hemd", {"de": "Hemd"}),
        Example({}, {"de": ["Kopieren", "Faxen", ""]}, {"de": ["Kopieren", "Faxen"]}),
        Example(
            {"scope": "web"},
            [
                {"locale": "de_DE", "scope": "web", "data": "Weich"},
                {"locale": "de_DE", "scope": "print", "data": "Matt"},
                {"locale": "en_GB", "scope": None, "data": "Soft"},
            ],
            {"en-GB": "Soft", "de-DE": "Weich"},
        ),
        Example({"locales": ["de"]}, {"de": "Hemd", "default": "Tee"}, {"de": "Hemd"}),
        Example({}, {"de_DE": "Hemd", "de-DE": "Shirt"}, refused="two_texts"),
        Example({"unmapped": "fail"}, {"german": "Hemd"}, refused="unmapped"),
        Example({}, "Hemd", refused="wrong_type"),
    ),
)


class LocaleColumns(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `locale_columns`."""

    pattern: Annotated[
        str | None, msgspec.Meta(description="the name of the columns, with `{locale}`: `description-{locale}-web`")
    ] = None
    texts: Annotated[dict[str, Expression], msgspec.Meta(description="or what reads the text of each locale")] = {}
    locales: Annotated[
        list[str] | None, msgspec.Meta(description="the locales that are asked for; without it, every one")
    ] = None
    unmapped: Annotated[Level | None, msgspec.Meta(description=UNMAPPED.replace("`warn`", "`skip`"))] = None


def _locale_columns(parameters: LocaleColumns, site: Site) -> Reader:
    if (parameters.pattern is None) == (not parameters.texts):
        raise site.invalid("needs either `pattern` or `texts`")
    tag_of = _tagger(parameters.locales, site, in_names=parameters.pattern is not None)
    report = reporter(parameters.unmapped, "locale", "the locales", site, "skip")
    if parameters.pattern is not None:
        return _by_pattern(parameters.pattern, tag_of, report, site)
    if len(_tags([*parameters.texts], site, "texts")) < len(parameters.texts):
        raise site.invalid("has one locale twice", "texts")
    readers = {tag_of(name): site.expression(spec, f"texts.{name}") for name, spec in parameters.texts.items()}
    if None in readers:
        raise site.invalid("has a locale that is not one of `locales`", "texts")
    return _by_name({str(tag): read for tag, read in readers.items()})


def _by_name(readers: dict[str, Reader]) -> Reader:
    """Reads the text of each locale; mostly one name in the record, without a call."""
    columns = [(tag, column_of(read), read) for tag, read in readers.items()]

    def read(record: object) -> object:
        made: dict[str, object] = {}
        for tag, column, reader in columns:
            value = reader(record) if column is None or type(record) is not dict else record.get(column, UNSET)
            if type(value) is str:
                if value and not value.isspace():
                    made[tag] = value
            elif not is_blank(value):
                made[tag] = text_of(value)
        return made or UNSET

    return read


def _by_pattern(pattern: str, tag_of: Tagger, report: Report, site: Site) -> Reader:
    if pattern.count(PLACEHOLDER) != 1:
        raise site.invalid(f"expected one {PLACEHOLDER} in {pattern!r:.60}", "pattern")
    members, name = site.members(pattern, "pattern")
    if PLACEHOLDER not in name:
        raise site.invalid(f"{PLACEHOLDER} must be in the last name of {pattern!r:.60}", "pattern")
    before, after = name.split(PLACEHOLDER)

    @lru_cache(maxsize=10_000)
    def part_of(column: str) -> str | None:
        if len(column) > len(before) + len(after) and column.startswith(before) and column.endswith(after):
            return column[len(before) : len(column) - len(after)]
        return None

    def read(record: object) -> object:
        found = named_members(members(record)).items()
        return _gathered([(part, value) for column, value in found if (part := part_of(column))], tag_of, report)

    return read


LOCALE_COLUMNS = Transform(
    name="locale_columns",
    summary=(
        "A text by locale from several columns: by a pattern of their names, or named one by one. In a pattern, a "
        "locale is a language, a script and a region: `de_DE-print` is none, unless `locales` has it."
    ),
    inputs=(),
    output=ValueType.LOCALIZED,
    parameters=LocaleColumns,
    main="pattern",
    build=_locale_columns,
    refusals=REFUSALS,
    examples=(
        Example(
            "name-{locale}",
            record={"name-de_DE": "Hemd", "name-en_US": "", "name-fr_FR-print": "x"},
            result={"de-DE": "Hemd"},
        ),
        Example(
            {"texts": {"fr": "name_fr", "en": "name_en"}},
            record={"name_fr": "", "name_en": "Mints"},
            result={"en": "Mints"},
        ),
        Example("name-{locale}", record={"name": "Hemd"}, result=UNSET),
    ),
)


class InLocale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `in_locale`."""

    locale: Annotated[str, msgspec.Meta(description="the locale; its more general forms are tried after it")]
    fallbacks: Annotated[list[str], msgspec.Meta(description="the locales that are tried then")] = []


def _in_locale(parameters: InLocale, site: Site) -> ValueFunction:
    _tags([parameters.locale, *parameters.fallbacks], site, "locale")
    chain = [
        tag
        for name in (parameters.locale, *parameters.fallbacks)
        for tag in with_general_forms(canonical_locale(name) or name)
    ]

    def choose(value: object) -> object:
        if type(value) is not dict:
            raise wrong_type(value, "a text by locale")
        found = next((value[tag] for tag in chain if not is_blank(value.get(tag))), UNSET)
        return found if found is UNSET else text_of(found)

    return choose


IN_LOCALE = Transform(
    name="in_locale",
    summary="The text of one locale, or of the first of its fallbacks that has one.",
    inputs=(ValueType.LOCALIZED, ValueType.OBJECT),
    output=ValueType.TEXT,
    parameters=InLocale,
    main="locale",
    build=_in_locale,
    refusals={name: REFUSALS[name] for name in ("wrong_type", "out_of_range")},
    examples=(
        Example("de-AT", {"de": "Hemd", "en": "Shirt"}, "Hemd"),
        Example({"locale": "fr", "fallbacks": ["en"]}, {"fr": " ", "en": "Mints"}, "Mints"),
        Example("it", {"de": "Hemd"}, UNSET),
    ),
)


class Scoped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `scoped`."""

    scope: Annotated[str, msgspec.Meta(description="the scope, as the source names it")]
    scope_member: Annotated[str, msgspec.Meta(description="of a list of objects: the member that has the scope")] = (
        "scope"
    )
    value: Annotated[str, msgspec.Meta(description="of a list of objects: the path of the value in each")] = "data"
    general: Annotated[
        bool, msgspec.Meta(description="whether a value without scope stands in where there is none")
    ] = True


def _scoped(parameters: Scoped, site: Site) -> ValueFunction:
    read = member_reader(parameters.value, f"{site.key}.value")

    def choose(value: object) -> object:
        if type(value) is dict:
            return value.get(parameters.scope, UNSET)
        general: object = UNSET
        for item in items_of(value):
            if type(item) is not dict:
                raise wrong_type(item, "an object that has a scope")
            scope, own = item.get(parameters.scope_member), read(item)
            if scope == parameters.scope and not is_blank(own):
                return own
            if scope is None and parameters.general and general is UNSET and not is_blank(own):
                general = own
        return general

    return choose


SCOPED = Transform(
    name="scoped",
    summary="The value of one scope, a channel of the source: of a list of objects that have one, or of an object.",
    inputs=(ValueType.OBJECT, ValueType.LIST),
    output=ValueType.ANYTHING,
    parameters=Scoped,
    main="scope",
    build=_scoped,
    refusals={
        "wrong_type": WRONG_TYPE,
        "too_many": "the list has more than 10,000 items",
    },
    examples=(
        Example("web", [{"scope": None, "data": 1}, {"scope": "web", "data": 2}], 2),
        Example("web", [{"scope": "print", "data": 1}, {"scope": None, "data": 3}], 3),
        Example("web", {"web": "a", "print": "b"}, "a"),
        Example("web", "a", refused="wrong_type"),
    ),
)

LOCALES = (LOCALIZED, LOCALE_COLUMNS, IN_LOCALE, SCOPED)
