"""Reads the older versions of a stream, for pages that keep one: newest first, in bounded batches, and not all."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader
from pagefold.projections import DecodedEvent
from pagefold.projections.kept_pages import MAX_OLDER_VERSIONS, VersionSearch

FIRST_BATCH = 4
"""Events of the first batch: mostly one of the last versions is complete."""

MAX_BATCH = 50
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of a batch, as far as the largest event so far tells."""

MAX_LOOP_BYTES = 16 * 1024
"""Bytes of events that are folded on the event loop. More would block it."""

Decode: TypeAlias = Callable[[StoredEvent], DecodedEvent | str]


async def add_older_versions(
    log: HeadReader, decode: Decode, search: VersionSearch, sku: str, heads: Mapping[str, StoredEvent]
) -> int:
    """Adds the older versions that a search needs, and returns the newest position of these, 0 if there are none.

    `heads` has the streams of the SKU (encoded as in the log), each with the event that was folded.
    """
    newest = 0
    while (suffix := search.needs) is not None:
        stream = _OlderVersions(log, heads[sku + suffix])
        while search.needs == suffix:
            events = await stream.read()
            if sum(len(event.state) for event in events) <= MAX_LOOP_BYTES:
                _add(search, events, decode)
            else:
                await compute_in_thread(partial(_add, search, events, decode))
        newest = max(newest, stream.newest)
    return newest


def _add(search: VersionSearch, events: Sequence[StoredEvent], decode: Decode) -> None:
    """Adds versions, without those that cannot be decoded."""
    versions = [found for event in events if isinstance(found := decode(event), DecodedEvent)]
    if versions or not events:
        search.add(versions)


class _OlderVersions:
    """The versions of a stream before one of its events. Of each version, the last revision.

    `newest` is the highest position that was read, 0 if none was.
    """

    def __init__(self, log: HeadReader, event: StoredEvent) -> None:
        self._log = log
        self._last = event
        self._left = MAX_OLDER_VERSIONS
        self._batch = FIRST_BATCH
        self._largest = 1
        self.newest = 0

    async def read(self) -> list[StoredEvent]:
        """The next versions. Empty if there are no more to look at."""
        while events := await self._next_events():
            newer = [self._last, *events]
            self._last = events[-1]
            pairs = zip(events, newer, strict=False)
            if last := [event for event, before in pairs if event.originator_version != before.originator_version]:
                return last
        return []

    async def _next_events(self) -> list[StoredEvent]:
        limit = min(self._batch, self._left)
        events = await self._log.older_events(self._last, limit) if limit else []
        if events:
            self.newest = max(self.newest, *[event.notification_id for event in events])
            self._left -= len(events)
            self._largest = max(self._largest, *[len(event.state) for event in events])
            self._batch = max(1, min(limit * 4, MAX_BATCH, MAX_BATCH_BYTES // self._largest))
        return events
