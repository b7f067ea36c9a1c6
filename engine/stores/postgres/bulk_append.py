"""Appends many events by binary COPY, which takes half the work of `append_events`: client and server together.

COPY has no `ON CONFLICT`: a version that is taken fails it. The versions that are taken are then looked up, under the
lock of the log, and the other events copied. Looking them up first takes a fifth more time, so that is done only while
the last events had any.
"""

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg

from pagefold.engine.stores.epoch_fence import EpochsMoved
from pagefold.engine.stores.postgres.connections import Session

MIN_COPIED_EVENTS = 500
"""From this number of events on, they are copied. It takes four round trips more than a call of `append_events`."""

COLUMNS = ("originator_id", "originator_version", "revision", "topic", "state")

NewRow: TypeAlias = tuple[str, int, int, str, bytes]
"""An event to be appended: stream, version, revision, topic, state."""


class _NotAloneError(Exception):
    """Somebody has written to the table without the lock of the log."""


class BulkAppend:
    """Copies events into the log of one store."""

    def __init__(self) -> None:
        self._expects_taken = False

    async def append(
        self, session: Session, rows: Sequence[NewRow], fence: Sequence[object]
    ) -> list[int | None] | None:
        """Appends the events whose key is free, in one transaction, and returns the positions: None if it was taken.

        `fence` has the arguments of `lock_log`. Returns None, and has appended nothing, if another application writes
        to the table without the lock of the log: use `append_events`. Raises `EpochsMoved`.
        """
        try:
            if not self._expects_taken:
                try:
                    return await _copy(session, rows, fence)
                except asyncpg.UniqueViolationError:
                    self._expects_taken = True
            positions = await _copy(session, rows, fence, look_up=True)
        except (asyncpg.UniqueViolationError, _NotAloneError):
            return None
        self._expects_taken = None in positions
        return positions


async def _copy(
    session: Session, rows: Sequence[NewRow], fence: Sequence[object], *, look_up: bool = False
) -> list[int | None]:
    """Copies the events. Raises `UniqueViolationError` if a key is taken, unless these are to be looked up."""
    async with session.transaction():
        [(end,)] = await session.fetch("lock_log", *fence)
        if end is None:
            raise EpochsMoved
        taken = await _taken(session, rows) if look_up else frozenset[int]()
        free = [row for place, row in enumerate(rows) if place not in taken] if taken else rows
        if not free:
            return [None] * len(rows)
        await session.copy("stored_events", COLUMNS, free)
        [(first, last, _)] = await session.fetch("announce_copied", end)
        if last - first + 1 != len(free):
            raise _NotAloneError
    positions = iter(range(first, last + 1))
    return [None if place in taken else next(positions) for place in range(len(rows))] if taken else [*positions]


async def _taken(session: Session, rows: Sequence[NewRow]) -> set[int]:
    """The places, from 0, of the events whose key is in the log, or that of an earlier one of these."""
    first: dict[tuple[str, int, int], int] = {}
    repeated = {place for place, row in enumerate(rows) if first.setdefault(row[:3], place) != place}
    streams, versions, revisions, *_ = zip(*rows, strict=True)
    return repeated | {place - 1 for (place,) in await session.fetch("taken_versions", streams, versions, revisions)}
