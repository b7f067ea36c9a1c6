"""Values that several domains share: currencies, timestamps, integers, free-form JSON, and their rules."""

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec

from pagefold.domains.domain import JSON, InvalidPayload

MAX_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

MAX_NESTING = 64
"""How deep objects and arrays may be nested, counted from the event itself."""

SafeInteger: TypeAlias = Annotated[int, msgspec.Meta(ge=-MAX_INTEGER, le=MAX_INTEGER)]
NonNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]

_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_known_currencies: set[str] = set()
"""Currencies that passed the check. Bounded, since codes have three letters."""


def check_currency(path: str, currency: str) -> None:
    """Checks that a currency is an ISO 4217 code in capitals."""
    if currency in _known_currencies:
        return
    if _currency.fullmatch(currency) is None:
        raise InvalidPayload(path, f"{currency!r:.50} is not a currency; write an ISO 4217 code such as 'EUR'")
    _known_currencies.add(currency)


def to_utc(path: str, timestamp: datetime | None) -> datetime | None:
    """The timestamp in UTC, so that equal times have equal text."""
    if timestamp is None:
        return None
    try:
        return timestamp.astimezone(UTC)
    except OverflowError:
        raise InvalidPayload(path, f"{timestamp.isoformat()} is outside the years 1 to 9999 in UTC") from None


def check_json(path: str, value: object, depth: int) -> None:
    """Checks free-form JSON: finite numbers, exact integers, bounded nesting.

    `depth` is how many objects and arrays contain the value. Raises `InvalidPayload` with the path of what is wrong.
    """
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > MAX_INTEGER:
                raise InvalidPayload(path, "is beyond 2^53-1; write a larger integer as a string")
        case float():
            if not math.isfinite(value):
                raise InvalidPayload(path, f"{value} is not a JSON number")
        case dict() | list():
            _check_container(path, value, depth + 1)
        case _:
            raise InvalidPayload(path, f"a {type(value).__name__} is not JSON")


def _check_container(path: str, value: Mapping[str, JSON] | list[JSON], depth: int) -> None:
    if depth > MAX_NESTING:
        raise InvalidPayload(f"{path[:40]}…", f"nested deeper than {MAX_NESTING}")
    if isinstance(value, list):
        for index, item in enumerate(value):
            check_json(f"{path}[{index}]", item, depth)
        return
    for key, item in value.items():
        if not isinstance(key, str):
            raise InvalidPayload(path, f"the key {key!r} is not a string")
        check_json(f"{path}.{key}", item, depth)


_encode = msgspec.json.Encoder().encode
_WITH_FRACTION = len("0001-01-01T00:00:00.000000")


def format_timestamp(timestamp: datetime) -> str:
    """Fixed-width UTC text with microseconds. It sorts by time.

    Raises `OverflowError` outside years 1 to 9999.
    """
    if timestamp.tzinfo is not UTC:
        timestamp = timestamp.astimezone(UTC)
    text = _encode(timestamp).decode()[1:-2]  # takes a sixth of the time of `isoformat`
    return f"{text}Z" if len(text) == _WITH_FRACTION else f"{text}.000000Z"


def format_timestamps(timestamps: Sequence[datetime]) -> list[bytes]:
    """Formats timestamps in UTC, each as `format_timestamp` does."""
    texts = _encode(timestamps)[2:-2].split(b'","') if timestamps else []
    return [text if len(text) > _WITH_FRACTION else b"%b.000000Z" % text[:-1] for text in texts]


def seconds_before(timestamp: str, seconds: float) -> str:
    """The timestamp `seconds` before another, both as `format_timestamp` writes them; the minimum if out of range."""
    try:
        return format_timestamp(datetime.fromisoformat(timestamp) - timedelta(seconds=seconds))
    except OverflowError:
        return format_timestamp(datetime.min.replace(tzinfo=UTC))
