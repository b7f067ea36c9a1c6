"""Stream identifiers: `sku/channel/domain/source`, percent-encoded so that only the separators are slashes."""

import re
import unicodedata
from typing import NamedTuple

EVERY_CHANNEL = "*"
"""The channel of an event that is for every channel."""

MAX_SKU_CHARACTERS = 128


class Stream(NamedTuple):
    """One source's events about one domain of one SKU, for one channel or for `*`."""

    sku: str
    channel: str
    domain: str
    source: str


class NotAStreamError(ValueError):
    """A stream name in the log that is not one of domain events."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"{identifier!r} is not sku/channel/domain/source")


def encode_part(part: str) -> str:
    """Encodes only `%` and `/`: identifiers stay readable, and sort as the SKUs do."""
    if "%" in part or "/" in part:
        return part.replace("%", "%25").replace("/", "%2F")
    return part


def decode_part(part: str) -> str:
    """The inverse of `encode_part`."""
    if "%" in part:
        return part.replace("%2F", "/").replace("%25", "%")
    return part


def stream_id(stream: Stream) -> str:
    """The name of the stream in the log."""
    return "/".join(map(encode_part, stream))


def parse_stream_id(identifier: str) -> Stream:
    """The inverse of `stream_id`. Raises `NotAStreamError`."""
    parts = identifier.split("/")
    if len(parts) != len(Stream._fields):
        raise NotAStreamError(identifier)
    return Stream(*map(decode_part, parts))


def normalise_sku(sku: str) -> str:
    """The SKU in Unicode's composed form (NFC), in which it is stored, compared and looked up."""
    return sku if sku.isascii() else unicodedata.normalize("NFC", sku)


_INVISIBLE_RANGES = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2028\u2029\u2065\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\ufff0-\ufff8\U000e0000-\U000e0fff"
)
"""Characters that are invisible although their Unicode category does not say so.

Those with the property `Default_Ignorable_Code_Point`, and a few blank ones.
"""

_invisible = re.compile(f"[{_INVISIBLE_RANGES}]")
_CONTROLS, _INVISIBLE = frozenset({"Cc", "Cs"}), frozenset({"Cf"})
DIGITS = frozenset("0123456789")
_spreadsheet = re.compile(r"[0-9](?:[.,][0-9]+E[+-]|E\+)[0-9]{1,4}", re.ASCII | re.IGNORECASE)


def sku_error(sku: str) -> str | None:
    """Why a normalised SKU is invalid, or None."""
    if not sku:
        return "must not be empty"
    if len(sku) > MAX_SKU_CHARACTERS:
        return f"has {len(sku)} characters; at most {MAX_SKU_CHARACTERS} are allowed"
    if sku.isascii() and sku.isprintable() and sku[0] != " " and sku[-1] != " ":
        return None
    return _characters_error(sku)


_DIGITS_AND_SPACE = DIGITS | {" "}


def is_plain_sku(sku: str) -> bool:
    """Whether a SKU is valid for every source, and in the name of a stream as it is. Most are."""
    return (
        0 < len(sku) <= MAX_SKU_CHARACTERS
        and sku.isascii()
        and sku.isprintable()
        and sku[-1] != " "
        and "%" not in sku
        and "/" not in sku
        and (sku[0] not in _DIGITS_AND_SPACE or sku.isalnum())  # a spreadsheet's number has a sign
    )


def _characters_error(sku: str) -> str | None:
    if (unseen := _invisible_in(sku)) is not None:
        return f"must not contain the invisible character {_named(unseen)}"
    if sku != sku.strip():
        return "must not begin or end with space"
    control = _control_in(sku)
    return None if control is None else f"must not contain the control character U+{ord(control):04X}"


def is_storable_sku(sku: str) -> bool:
    """Whether a normalised SKU can be in the log, which may be older than today's rules."""
    return 0 < len(sku) <= MAX_SKU_CHARACTERS and ((sku.isascii() and sku.isprintable()) or _control_in(sku) is None)


def _control_in(sku: str) -> str | None:
    return next((each for each in sku if unicodedata.category(each) in _CONTROLS), None)


def _invisible_in(sku: str) -> str | None:
    """The first invisible character: with it, two SKUs that look alike would be two products."""
    if (found := _invisible.search(sku)) is not None:
        return found[0]
    return next((each for each in sku if unicodedata.category(each) in _INVISIBLE), None)


def _named(character: str) -> str:
    name = "BYTE ORDER MARK" if character == "\ufeff" else unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def is_spreadsheet_number(sku: str) -> bool:
    """Whether a SKU looks like a long number as a spreadsheet writes it: `9.55E+12`, `1,2E-05`.

    Its last digits are then lost, and several products have become one.
    """
    return _spreadsheet.fullmatch(sku) is not None
