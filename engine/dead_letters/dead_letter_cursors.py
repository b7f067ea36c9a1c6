"""The ids of dead letters, and the cursors of their lists, as people and programs give them."""

from datetime import datetime

from pagefold.domains.values import format_timestamp
from pagefold.engine.errors import UnknownCursor, UnknownDeadLetter
from pagefold.engine.stores.dead_letter_records import KINDS, DeadLetterKey, Kind

MAX_NUMBER_DIGITS = 18
"""Digits of a number that every database takes as an integer."""

CURSOR_SEPARATOR = "_"
"""Separates the key reached and the last key in the cursor of a bulk decision."""


def parse_id(identifier: str) -> tuple[Kind, int]:
    """The kind and the number in an id such as `projection-12`. Raises `UnknownDeadLetter`."""
    name, _, number = identifier.partition("-")
    for kind in KINDS:
        if name == kind and number.isascii() and number.isdigit() and len(number) <= MAX_NUMBER_DIGITS:
            return kind, int(number)
    raise UnknownDeadLetter(identifier)


def cursor_of(place: DeadLetterKey) -> str:
    """The cursor of what comes after a dead letter."""
    return f"{place.recorded_at}.{place.kind}-{place.number}"


def place_of(cursor: str) -> DeadLetterKey:
    """The key in a cursor. Raises `UnknownCursor`."""
    moment, _, identifier = cursor.rpartition(".")
    try:
        recorded_at = format_timestamp(datetime.fromisoformat(moment))
        place = DeadLetterKey(recorded_at, *parse_id(identifier))
    except (ValueError, OverflowError, UnknownDeadLetter):
        raise UnknownCursor(cursor) from None
    if cursor_of(place) != cursor:
        raise UnknownCursor(cursor)
    return place


def span_cursor(reached: DeadLetterKey, end: DeadLetterKey) -> str:
    """The cursor of what comes after a dead letter, up to a last one."""
    return cursor_of(reached) + CURSOR_SEPARATOR + cursor_of(end)


def span_of(cursor: str) -> tuple[DeadLetterKey, DeadLetterKey]:
    """The key reached and the last key in a cursor. Raises `UnknownCursor`."""
    reached, between, end = cursor.partition(CURSOR_SEPARATOR)
    if not between:
        raise UnknownCursor(cursor)
    return place_of(reached), place_of(end)
