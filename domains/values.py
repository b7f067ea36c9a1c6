"""Values that several domains share: currencies, moments, whole numbers, free-form JSON, and their rules."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeAlias

import msgspec

from pagefold.domains.domain import JSON, InvalidPayload

LARGEST_INTEGER = 2**53 - 1
"""The largest integer that every JSON reader keeps exact (RFC 8259, section 6)."""

DEEPEST_NESTING = 64
"""How many objects and arrays may stand inside each other, counted from the event itself."""

SafeInteger: TypeAlias = Annotated[int, msgspec.Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
NonNegative: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=LARGEST_INTEGER)]
Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]

_currency = re.compile(r"[A-Z]{3}", re.ASCII)
_known_currencies: set[str] = set()
"""Those that have been checked: of three letters, there are only so many."""


def check_currency(path: str, currency: str) -> None:
    """A currency is an ISO 4217 code in capitals."""
    if currency in _known_currencies:
        return
    if _currency.fullmatch(currency) is None:
        raise InvalidPayload(path, f"{currency!r:.50} is not a currency; write an ISO 4217 code such as 'EUR'")
    _known_currencies.add(currency)


def to_utc(path: str, moment: datetime | None) -> datetime | None:
    """The same moment in UTC, so that one moment has one spelling."""
    if moment is None:
        return None
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise InvalidPayload(path, f"{moment.isoformat()} is outside the years 1 to 9999 in UTC") from None


def check_json(path: str, value: object, depth: int) -> None:
    """Free-form JSON that every reader reads alike: finite numbers, exact integers, bounded nesting.

    `depth` is how many objects and arrays stand around the value. Raises `InvalidPayload` with the offender's path.
    """
    match value:
        case None | bool() | str():
            return
        case int():
            if abs(value) > LARGEST_INTEGER:
                raise InvalidPayload(path, "is beyond 2^53-1; write a larger integer as a string")
        case float():
            if not math.isfinite(value):
                raise InvalidPayload(path, f"{value} is not a JSON number")
        case dict() | list():
            _check_container(path, value, depth + 1)
        case _:
            raise InvalidPayload(path, f"a {type(value).__name__} is not JSON")


def _check_container(path: str, value: Mapping[str, JSON] | list[JSON], depth: int) -> None:
    if depth > DEEPEST_NESTING:
        raise InvalidPayload(f"{path[:40]}…", f"nested deeper than {DEEPEST_NESTING}")
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


def format_timestamp(moment: datetime) -> str:
    """Fixed-width UTC text with microseconds, which sorts as moments do.

    Raises `OverflowError` outside years 1 to 9999.
    """
    if moment.tzinfo is not UTC:
        moment = moment.astimezone(UTC)
    text = _encode(moment).decode()[1:-2]  # a sixth of the time that `isoformat` takes
    return f"{text}Z" if len(text) == _WITH_FRACTION else f"{text}.000000Z"


def earlier(moment: str, seconds: float) -> str:
    """A moment so many seconds before another, both as `format_timestamp` gives them; the first of all if need be."""
    try:
        return format_timestamp(datetime.fromisoformat(moment) - timedelta(seconds=seconds))
    except OverflowError:
        return format_timestamp(datetime.min.replace(tzinfo=UTC))
