"""Stream identifiers: `sku/channel/domain/source`, percent-encoded so that only the separators are slashes."""

import re
import unicodedata
from typing import NamedTuple

EVERY_CHANNEL = "*"
"""The channel of a statement that is meant for every channel."""

LONGEST_SKU = 128


class Stream(NamedTuple):
    """One source's statements about one domain of one SKU, for one channel or for every channel."""

    sku: str
    channel: str
    domain: str
    source: str


class NotAStreamError(ValueError):
    """A name in the log that is not one of a stream of domain events."""

    def __init__(self, identifier: str) -> None:
        super().__init__(f"{identifier!r} is not sku/channel/domain/source")


def encode_part(part: str) -> str:
    """Only `%` and `/` are encoded: identifiers stay readable, and sort as the SKUs do."""
    if "%" in part or "/" in part:
        return part.replace("%", "%25").replace("/", "%2F")
    return part


def decode_part(part: str) -> str:
    """The inverse of `encode_part`."""
    if "%" in part:
        return part.replace("%2F", "/").replace("%25", "%")
    return part


def stream_id(stream: Stream) -> str:
    """The stream as it is named in the log."""
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


_UNSEEN = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2028\u2029\u2065\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\ufff0-\ufff8\U000e0000-\U000e0fff"
)
"""What nobody sees and is of no category that says so: fillers, selectors of variants, ends of lines.

The property `Default_Ignorable_Code_Point` of Unicode, and what is blank beside it.
"""

_unseen = re.compile(f"[{_UNSEEN}]")
_CONTROLS, _INVISIBLE = frozenset({"Cc", "Cs"}), frozenset({"Cf"})
DIGITS = frozenset("0123456789")
_spreadsheet = re.compile(r"[0-9](?:[.,][0-9]+E[+-]|E\+)[0-9]{1,4}", re.ASCII | re.IGNORECASE)


def sku_error(sku: str) -> str | None:
    """Why a normalised SKU is refused, or None when it is fine."""
    if not sku:
        return "must not be empty"
    if len(sku) > LONGEST_SKU:
        return f"has {len(sku)} characters; at most {LONGEST_SKU} are allowed"
    if sku.isascii() and sku.isprintable() and sku[0] != " " and sku[-1] != " ":
        return None
    return _fault_of_characters(sku)


def _fault_of_characters(sku: str) -> str | None:
    if (unseen := _unseen_in(sku)) is not None:
        return f"must not contain the invisible character {_named(unseen)}"
    if sku != sku.strip():
        return "must not begin or end with space"
    control = _control_in(sku)
    return None if control is None else f"must not contain the control character U+{ord(control):04X}"


def is_storable_sku(sku: str) -> bool:
    """Whether a normalised SKU can be in the log, which may be older than the rules of today."""
    return 0 < len(sku) <= LONGEST_SKU and ((sku.isascii() and sku.isprintable()) or _control_in(sku) is None)


def _control_in(sku: str) -> str | None:
    return next((each for each in sku if unicodedata.category(each) in _CONTROLS), None)


def _unseen_in(sku: str) -> str | None:
    """The first character that nobody sees: two SKUs that look alike would be two products."""
    if (found := _unseen.search(sku)) is not None:
        return found[0]
    return next((each for each in sku if unicodedata.category(each) in _INVISIBLE), None)


def _named(character: str) -> str:
    name = "BYTE ORDER MARK" if character == "\ufeff" else unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def is_spreadsheet_number(sku: str) -> bool:
    """Whether an SKU looks like a number as a spreadsheet writes it when it is long: `9.55E+12`, `1,2E-05`.

    Then its last digits are lost, and several products have become one.
    """
    return _spreadsheet.fullmatch(sku) is not None
