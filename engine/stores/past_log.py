"""The log as it was at a position: the part of it that decides pages, with the events up to there."""

from collections.abc import Sequence
from typing import Protocol

from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log


class HeadReader(Protocol):
    """The part of a log that decides pages: as it is now, or as it was."""

    async def heads(self, streams: Sequence[str], *, max_bytes: int | None = None) -> list[StoredEvent]:
        """As `Log.heads`."""

    async def streams_of(self, skus: Sequence[str]) -> list[str]:
        """As `Log.streams_of`. Some may not have an event yet."""

    async def older_events(self, event: StoredEvent, limit: int) -> list[StoredEvent]:
        """As `Log.older_events`."""

    async def older_events_of(
        self, events: Sequence[StoredEvent], limit: int, max_state: int
    ) -> dict[str, list[StoredEvent]]:
        """As `Log.older_events_of`."""


class PastLog:
    """The log as it was at a position."""

    def __init__(self, log: Log, position: int) -> None:
        self._log = log
        self.position = position

    async def heads(self, streams: Sequence[str], *, max_bytes: int | None = None) -> list[StoredEvent]:
        """The heads among the events up to the position, as `Log.heads`."""
        return await self._log.heads(streams, max_bytes=max_bytes, as_of=self.position)

    async def streams_of(self, skus: Sequence[str]) -> list[str]:
        """As `Log.streams_of`. Some may not have an event up to the position."""
        return await self._log.streams_of(skus)

    async def older_events(self, event: StoredEvent, limit: int) -> list[StoredEvent]:
        """As `Log.older_events`, among the events up to the position."""
        return await self._log.older_events(event, limit, as_of=self.position)

    async def older_events_of(
        self, events: Sequence[StoredEvent], limit: int, max_state: int
    ) -> dict[str, list[StoredEvent]]:
        """As `Log.older_events_of`, among the events up to the position."""
        return await self._log.older_events_of(events, limit, max_state, as_of=self.position)


async def heads_as_of(
    log: Log, heads: Sequence[StoredEvent], position: int, max_bytes: int | None
) -> Sequence[StoredEvent]:
    """The heads up to a position of the streams that have these heads now, or at a later position, in no order.

    Only those that came later are read. Raises `ReadTooLarge` if what is read has more than `max_bytes`.
    """
    streams = [head.originator_id for head in heads if head.notification_id > position]
    if not streams:
        return heads
    unchanged = [head for head in heads if head.notification_id <= position]
    return unchanged + await log.heads(streams, max_bytes=max_bytes, as_of=position)
