"""Codes and patterns: GTINs, and parts of texts by regular expressions."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import UNSET

from pagefold.projections.transforms.errors import InvalidValue
from pagefold.projections.transforms.gtins import gtin_problem
from pagefold.projections.transforms.tables import key_text
from pagefold.projections.transforms.transform import WRONG_TYPE, Example, Site, Transform, ValueFunction, wrong_type
from pagefold.projections.transforms.value_types import ValueType

if TYPE_CHECKING:
    from pagefold.projections.transforms.patterns import Pattern

_reference = re.compile(r"\\(?:([0-9]{1,3})|g<(\w+)>|.|$)", re.ASCII | re.DOTALL)
"""What a backslash begins in a replacement."""


class Gtin(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `gtin`."""

    digits: Annotated[
        Literal[13, 14] | None,
        msgspec.Meta(
            description="fills with zeros on the left to so many digits; a longer one is shortened if they are zeros"
        ),
    ] = None
    lost_zeros: Annotated[
        bool,
        msgspec.Meta(
            description="whether zeros on the left may be missing, as where a spreadsheet made a number of it"
        ),
    ] = False


def _gtin(parameters: Gtin, _site: Site) -> ValueFunction:
    digits = parameters.digits

    def convert(value: object) -> str:
        text = key_text(value)
        if text is None or type(value) is bool:
            raise wrong_type(value, "a text or an integer")
        text = text.replace(" ", "").replace("-", "")
        if parameters.lost_zeros and text.isascii() and text.isdecimal():
            text = text.zfill(8 if len(text) <= 8 else max(12, len(text)))  # noqa: PLR2004  # lengths of GTINs
        problem = gtin_problem(text)
        if problem is not None:
            raise InvalidValue("not_a_gtin", value, problem)
        return text if digits is None else _of_length(text, digits, value)

    return convert


def _of_length(text: str, digits: int, value: object) -> str:
    if text[:-digits].strip("0"):
        raise InvalidValue(
            "too_many_digits", value, f"is a GTIN-{len(text)}, and cannot be written with {digits} digits"
        )
    return text[-digits:].zfill(digits)


GTIN = Transform(
    name="gtin",
    summary="A GTIN (EAN, UPC) of 8, 12, 13 or 14 digits with a correct check digit. Spaces and hyphens are left out.",
    inputs=(ValueType.TEXT, ValueType.NUMBER),
    output=ValueType.TEXT,
    parameters=Gtin,
    main="digits",
    per_item=True,
    build=_gtin,
    refusals={
        "wrong_type": WRONG_TYPE,
        "not_a_gtin": "the value has other characters, another length, or another check digit",
        "too_many_digits": "the GTIN cannot be shortened to so many digits",
    },
    examples=(
        Example({}, "4006381333931", "4006381333931"),
        Example({}, 4006381333931, "4006381333931"),
        Example({"digits": 14}, "036000-291452", "00036000291452"),
        Example({"lost_zeros": True}, 36000291452, "036000291452"),
        Example({}, "4006381333932", refused="not_a_gtin"),
        Example({}, "٤٠٠٦٣٨١٣٣٣٩٣١", refused="not_a_gtin"),
        Example({"digits": 13}, "14006381333938", refused="too_many_digits"),
    ),
)


class Regex(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of `regex`."""

    pattern: Annotated[
        str, msgspec.Meta(min_length=1, description="the pattern (RE2: no look-around, no back-references)")
    ]
    group: Annotated[
        int | str | None,
        msgspec.Meta(description="the group whose text is the result; without it the first one, or the whole match"),
    ] = None
    replace: Annotated[
        str | None, msgspec.Meta(description=r"what takes the place of every match, with groups as `\1`")
    ] = None
    missing: Annotated[
        Literal["skip", "keep", "refuse"], msgspec.Meta(description="what becomes of a text that does not match")
    ] = "skip"


def _regex(parameters: Regex, site: Site) -> ValueFunction:
    from pagefold.projections.transforms.patterns import compile_pattern, remembered_match  # noqa: PLC0415  # its package is an extra

    pattern = compile_pattern(parameters.pattern, f"{site.key}.pattern")
    if parameters.replace is not None:
        if parameters.group is not None:
            raise site.invalid("has no effect beside `replace`", "group")
        apply = remembered_match(_substitution(pattern, parameters.replace, site))
    else:
        group = parameters.group if parameters.group is not None else min(1, pattern.groups)
        if group not in {*range(pattern.groups + 1), *pattern.groupindex}:
            raise site.invalid(f"the pattern has no group {group!r:.40}", "group")
        apply = remembered_match(lambda text: _found(pattern.search(text), group))
    return _with_missing(apply, parameters)


def _found(match: object, group: int | str) -> object:
    """The text of a group; UNSET if there is no match, or if the group took no part."""
    found = None if match is None else match.group(group)  # type: ignore[attr-defined]  # it is a match
    return UNSET if found is None else found


def _substitution(pattern: "Pattern", replacement: str, site: Site) -> Callable[[str], object]:
    for found in _reference.finditer(replacement):
        name = found[1] or found[2]
        known = name is not None and (int(name) <= pattern.groups if name.isdecimal() else name in pattern.groupindex)
        if not known and found[0] != "\\\\":
            raise site.invalid(f"{found[0]!r} is not a group of the pattern; write \\\\ for a backslash", "replace")
    return lambda text: pattern.sub(replacement, text)


def _with_missing(apply: Callable[[str], object], parameters: Regex) -> ValueFunction:
    missing = parameters.missing

    def convert(value: object) -> object:
        if type(value) is not str:
            raise wrong_type(value, "text")
        result = apply(value)
        if result is not UNSET or missing == "skip":
            return result
        if missing == "refuse":
            raise InvalidValue("no_match", value, f"does not match {parameters.pattern}")
        return value

    return convert


REGEX = Transform(
    name="regex",
    summary="A part of a text by a regular expression, or the text with every match replaced. In linear time.",
    inputs=(ValueType.TEXT,),
    output=ValueType.TEXT,
    parameters=Regex,
    main="pattern",
    per_item=True,
    build=_regex,
    refusals={
        "wrong_type": WRONG_TYPE,
        "no_match": "the text does not match, or cannot be encoded",
    },
    examples=(
        Example("([0-9]+)$", "gid://shopify/ProductVariant/4711", "4711"),
        Example({"pattern": "(?P<n>[0-9]+) ?cm", "group": "n"}, "about 12 cm", "12"),
        Example({"pattern": "[^0-9]", "replace": ""}, "+49 (30) 1234", "49301234"),
        Example("[0-9]+", "none", UNSET),
        Example({"pattern": "[0-9]+", "missing": "refuse"}, "none", refused="no_match"),
        Example(
            {"pattern": "(a+)+$", "missing": "keep"},
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
        ),
    ),
)

CODES = (GTIN, REGEX)
