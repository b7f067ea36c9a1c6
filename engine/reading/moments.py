"""Moments of the log: a position, or a time, whose position is found by bisection.

An event is recorded when it is received, and gets its position when it is committed. So times nearly ascend with
positions, not exactly: two events may be out of order by as long as an append waits, and by as much as the clocks of
two machines differ.
"""

import re
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains import DOMAINS
from pagefold.domains.values import Timestamp, format_timestamp, seconds_before
from pagefold.engine.applied.applied_log import TOPIC as CONFIGURATION
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.log_records import MAX_POSITION
from pagefold.engine.stores.store import Store

At: TypeAlias = int | datetime
"""A position, or a time with a zone."""

SETTLE_SECONDS = 60.0
"""How long after a time events may still be committed that were recorded before it."""

DATED_TOPICS = (*(domain.name for domain in DOMAINS), CONFIGURATION)
"""Topics whose events say when they were recorded: all that pages depend on."""

_position = re.compile(r"[0-9]{1,19}", re.ASCII)
_zone = r"(?:[Zz]|[+-]\d\d:?\d\d)"
_minutes = re.compile(rf"(\d{{4}}-\d\d-\d\d[Tt ]\d\d:\d\d)({_zone})", re.ASCII)
_without_zone = re.compile(rf"\d{{4}}-\d\d-\d\d(?!.*{_zone}$)", re.ASCII)


class Moment(NamedTuple):
    """The events up to a position. `settled`: at every later time, the same moment has the same events."""

    position: int
    settled: bool


class _Dated(msgspec.Struct, rename="camel"):
    recorded_at: str


_dated = msgspec.json.Decoder(_Dated)


class _DatedEvent(NamedTuple):
    """An event's position, and when it was recorded, as fixed-width UTC text."""

    position: int
    recorded_at: str


def parse_at(text: str) -> At:
    """A position or a time, as people write them. Raises `ValueError`, which says what is allowed."""
    if _position.fullmatch(text) is not None:
        if (position := int(text)) <= MAX_POSITION:
            return position
        reason = f"{text} is beyond every position"
        raise ValueError(reason)
    with suppress(msgspec.ValidationError):
        return parse_time(text)
    hint = ""
    if re.search(r"\d \d\d:\d\d$", text):
        hint = "; in a URL, + is written %2B"
    elif _without_zone.match(text):
        hint = "; a time needs its zone"
    reason = f"{text!r:.60} is no position and no time such as 2026-01-31T12:00:00Z{hint}"
    raise ValueError(reason)


def parse_time(text: str) -> datetime:
    """A time of RFC 3339, in UTC; seconds may be left out. Raises `ValueError`, of which `ValidationError` is one."""
    return _utc(msgspec.convert(_minutes.sub(r"\1:00\2", text), Timestamp))


def _utc(at: datetime) -> datetime:
    """A time in UTC. Raises `ValueError` without a zone, or outside the years 1 to 9999."""
    if at.tzinfo is None:
        reason = f"{at.isoformat()} has no zone"
        raise ValueError(reason)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        reason = f"{at.isoformat()} is no time: it is outside the years 1 to 9999 in UTC"
        raise ValueError(reason) from None


class MomentFinder:
    """Finds moments of one store's log."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, at: At, end: int) -> Moment:
        """The moment of a position or a time in a log that ends at `end`. What is later is its end.

        Raises `ValueError` for a time without a zone or outside the years 1 to 9999.
        """
        if isinstance(at, int):
            return Moment(min(at, end), at <= end)
        time = format_timestamp(_utc(at))
        return Moment(await self._position(time, end), time < seconds_before(now(), SETTLE_SECONDS))

    async def _position(self, time: str, end: int) -> int:
        """The last position before an event that was recorded after a time; the event before it was not.

        Takes a read for each bit of `end`. It halves the same positions however long the log is, so that a later call
        finds the same position, also where times do not ascend.
        """
        low, bit = 0, 1 << end.bit_length()
        before: int | None = None  # the event at or after `low`, recorded until then
        after: _DatedEvent | None = None  # the first one after `low` that was not, as far as it is known
        while bit := bit >> 1:
            place = low + bit
            if before is not None and place <= before:
                low = place
            elif place <= end:
                found = await self._dated(place, end)
                if found is not None and found.recorded_at <= time:
                    low, before = place, found.position
                elif found is not None:
                    after = found
        return end if after is None else after.position - 1

    async def _dated(self, position: int, end: int) -> _DatedEvent | None:
        """The first event at or after a position that says when it was recorded. An application's own may not."""
        while found := await self._store.records.notifications(position, end, DATED_TOPICS, 1):
            [event] = found
            with suppress(msgspec.MsgspecError):
                return _DatedEvent(event.notification_id, _dated.decode(event.state).recorded_at)
            position = event.notification_id + 1
        return None
