"""Stream identifiers: `sku/channel/domain/source`, percent-encoded so that only the separators are slashes."""

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


def fault_of_sku(sku: str) -> str | None:
    """Why a normalised SKU is refused, or None when it is fine."""
    if not sku:
        return "must not be empty"
    if len(sku) > LONGEST_SKU:
        return f"has {len(sku)} characters; at most {LONGEST_SKU} are allowed"
    if sku.isascii() and sku.isprintable() and sku[0] != " " and sku[-1] != " ":
        return None
    if sku != sku.strip():
        return "must not begin or end with space"
    for character in sku:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            return f"must not contain the control character U+{ord(character):04X}"
    return None
