"""Transforms of texts: space, case, length, parts, markup."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.html_text import html_to_text
from pagefold.projections.transforms.texts import text_of
from pagefold.projections.transforms.transform import (
    WRONG_TYPE,
    Example,
    NoParameters,
    Site,
    Transform,
    ValueFunction,
    wrong_type,
)
from pagefold.projections.transforms.value_types import ValueType

REFUSALS = {"wrong_type": WRONG_TYPE}

_SPACES = "".join(character for character in map(chr, range(0x3001)) if character.isspace())

_space = re.compile(r"\s+")
_invisible = re.compile("[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\u200b\u2060\ufeff\u00ad]")


def on_text(function: Callable[[str], object]) -> ValueFunction:
    """A function of text. Anything else is refused."""

    def apply(value: object) -> object:
        if type(value) is str:
            return function(value)
        raise wrong_type(value, "text")

    return apply


TEXT = Transform(
    name="text",
    summary="The text of a number, of true and false, of a moment. Numbers keep their digits.",
    inputs=(ValueType.ANYTHING,),
    output=ValueType.TEXT,
    parameters=NoParameters,
    per_item=True,
    build=lambda _parameters, _site: text_of,
    refusals={
        "wrong_type": "a list or an object has no text",
        "not_json": "the value has no form in JSON",
        "no_offset": "the moment of a database has no offset",
        "out_of_range": "the number has more than 400 digits, or the moment is outside the years 1 to 9999",
    },
    examples=(
        Example({}, 12, "12"),
        Example({}, Decimal("19.90"), "19.90"),
        Example({}, value=True, result="true"),
        Example({}, ["S", 40], ["S", "40"]),
        Example({}, {"a": 1}, refused="wrong_type"),
    ),
)


class Trim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `trim`."""

    characters: Annotated[str, msgspec.Meta(description="what is removed besides space")] = ""


def _trim(parameters: Trim, _site: Site) -> ValueFunction:
    if not parameters.characters:
        return on_text(str.strip)
    removed = parameters.characters + _SPACES
    return on_text(lambda text: text.strip(removed))


TRIM = Transform(
    name="trim",
    summary="Removes space at both ends, and other characters if they are named.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Trim,
    main="characters",
    per_item=True,
    build=_trim,
    refusals=REFUSALS,
    examples=(
        Example({}, " CHAR(10)  ", "CHAR(10)"),
        Example("\"'", " 'Tee' ", "Tee"),
        Example({}, 5, refused="wrong_type"),
    ),
)


class Clean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `clean`."""

    lines: Annotated[bool, msgspec.Meta(description="whether line breaks stay")] = False


def _clean(parameters: Clean, _site: Site) -> ValueFunction:
    def clean(text: str) -> str:
        text = _invisible.sub("", unicodedata.normalize("NFC", text))
        if not parameters.lines:
            return _space.sub(" ", text).strip()
        return "\n".join(_space.sub(" ", line).strip() for line in text.splitlines()).strip()

    return on_text(clean)


CLEAN = Transform(
    name="clean",
    summary=(
        "Removes control and invisible characters, makes every run of space one space, and composes characters (NFC). "
        "Joiners and marks of direction, which scripts need, stay."
    ),
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Clean,
    per_item=True,
    build=_clean,
    refusals=REFUSALS,
    examples=(
        Example({}, " Tee \u200b\u00a0 blue\x00\n", "Tee blue"),
        Example({}, "Cafe\u0301", "Café"),
        Example({"lines": True}, "a  b\r\n c", "a b\nc"),
    ),
)


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `case`."""

    to: Annotated[Literal["lower", "upper", "first_upper"], msgspec.Meta(description="which case")]


def _case(parameters: Case, _site: Site) -> ValueFunction:
    functions: dict[str, Callable[[str], str]] = {
        "lower": str.lower,
        "upper": str.upper,
        "first_upper": lambda text: text[:1].upper() + text[1:],
    }
    return on_text(functions[parameters.to])


CASE = Transform(
    name="case",
    summary="Changes the case of letters, by Unicode, the same in every language: `i` becomes `I` in Turkish, too.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Case,
    main="to",
    per_item=True,
    build=_case,
    refusals=REFUSALS,
    examples=(
        Example("lower", "Color", "color"),
        Example("upper", "straße", "STRASSE"),
        Example("first_upper", "blue tee", "Blue tee"),
    ),
)


class Truncate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `truncate`."""

    length: Annotated[int, msgspec.Meta(ge=1, le=1_000_000, description="the most characters, the end included")]
    end: Annotated[str, msgspec.Meta(description="what stands for what was cut")] = "…"


def _truncate(parameters: Truncate, site: Site) -> ValueFunction:
    if len(parameters.end) >= parameters.length:
        raise site.invalid("is as long as `length` allows a text to be", "end")
    room = parameters.length - len(parameters.end)

    def truncate(text: str) -> str:
        if len(text) <= parameters.length:
            return text
        return _cut(text, room).rstrip() + parameters.end

    return on_text(truncate)


def _cut(text: str, room: int) -> str:
    """The beginning of a text: to the end of a word where one ends in its last third, and never inside a character."""
    place = text.rfind(" ", room * 2 // 3, room + 1)
    if place > 0:
        return text[:place]
    while room > 0 and (unicodedata.combining(text[room]) or text[room] in _JOINING or text[room - 1] == "\u200d"):
        room -= 1
    return text[:room]


_JOINING = frozenset({"\u200d", "\ufe0e", "\ufe0f", *map(chr, range(0x1F3FB, 0x1F400))})
"""What belongs to the character before it: joiners, variants, colors of skin."""

TRUNCATE = Transform(
    name="truncate",
    summary="Cuts a text that is too long, at the end of a word if one is near.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Truncate,
    main="length",
    per_item=True,
    build=_truncate,
    refusals=REFUSALS,
    examples=(
        Example(12, "Blue cotton tee", "Blue cotton…"),
        Example({"length": 5, "end": ""}, "abcdefgh", "abcde"),
        Example(20, "short", "short"),
    ),
)


class Replace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `replace`."""

    texts: Annotated[dict[str, str], msgspec.Meta(min_length=1, description="each text, and what takes its place")]


def _replace(parameters: Replace, site: Site) -> ValueFunction:
    if "" in parameters.texts:
        raise site.invalid("cannot replace an empty text", "texts")
    longest_first = sorted(parameters.texts, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return on_text(lambda text: pattern.sub(lambda found: parameters.texts[found[0]], text))


REPLACE = Transform(
    name="replace",
    summary="Replaces texts by others, in one pass: what was put in is not replaced again.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Replace,
    main="texts",
    per_item=True,
    build=_replace,
    refusals=REFUSALS,
    examples=(
        Example({"texts": {"&": " and "}}, "salt&pepper", "salt and pepper"),
        Example({"texts": {"a": "b", "b": "a"}}, "ab", "ba"),
    ),
)


class Affix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `affix`."""

    prefix: Annotated[str, msgspec.Meta(description="what is put before the text")] = ""
    suffix: Annotated[str, msgspec.Meta(description="what is put after it")] = ""
    unless: Annotated[list[str], msgspec.Meta(description="a text that begins with one of these stays as it is")] = []


def _affix(parameters: Affix, site: Site) -> ValueFunction:
    if not parameters.prefix and not parameters.suffix:
        raise site.invalid("has neither `prefix` nor `suffix`")
    unless = tuple(parameters.unless)
    return on_text(lambda text: text if text.startswith(unless) else f"{parameters.prefix}{text}{parameters.suffix}")


AFFIX = Transform(
    name="affix",
    summary="Puts text before or after a text, such as the address before the path of a picture.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Affix,
    main="prefix",
    per_item=True,
    build=_affix,
    refusals=REFUSALS,
    examples=(
        Example("https://img.example/media", "/m/a.jpg", "https://img.example/media/m/a.jpg"),
        Example({"prefix": "https://a/", "unless": ["http"]}, "http://b/x.jpg", "http://b/x.jpg"),
        Example({"suffix": " ml"}, "250", "250 ml"),
    ),
)


class HtmlToText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameter of `html_to_text`."""

    lines: Annotated[bool, msgspec.Meta(description="whether each block has a line of its own")] = False


def _html_to_text(parameters: HtmlToText, _site: Site) -> ValueFunction:
    return on_text(lambda html: html_to_text(html, lines=parameters.lines) or UNSET)


HTML_TO_TEXT = Transform(
    name="html_to_text",
    summary=(
        "The text of HTML: without tags, comments, scripts and styles, with character references decoded once. The "
        "result is plain text, and safe as HTML only if it is escaped again."
    ),
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=HtmlToText,
    per_item=True,
    build=_html_to_text,
    refusals=REFUSALS,
    examples=(
        Example({}, "<p>Blau &amp; <b>grau</b></p><p>weich</p>", "Blau & grau weich"),
        Example({"lines": True}, "<ul><li>a<li>b</ul>", "- a\n- b"),
        Example({}, "5 < 6 &lt;b&gt;", "5 < 6 <b>"),
        Example({}, "<script>alert(1)</script><br>", UNSET),
    ),
)

TEXTS = (TEXT, TRIM, CLEAN, CASE, TRUNCATE, REPLACE, AFFIX, HTML_TO_TEXT)
