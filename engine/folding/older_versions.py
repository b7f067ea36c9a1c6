"""Reads the older versions of a stream, for pages that keep one: newest first, in bounded batches, and not all."""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.domains.channel_view import UnknownSkus
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.past_log import HeadReader
from pagefold.projections import DecodedEvent
from pagefold.projections.kept_pages import MAX_OLDER_VERSIONS, VersionSearch

FIRST_BATCH = 4
"""Events of the first batch: mostly one of the last versions is complete."""

CHUNK_SKUS = 250
"""SKUs whose first batches are read together."""

MAX_STATE_BYTES = 8 * 1024
"""Streams with larger events are read one by one."""

MAX_BATCH = 50
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of a batch, as far as the largest event so far tells."""

MAX_LOOP_BYTES = 16 * 1024
"""Bytes of events that are folded on the event loop. More would block it."""

Decode: TypeAlias = Callable[[StoredEvent], DecodedEvent | str]
Learn: TypeAlias = Callable[[str, Collection[str]], Awaitable[None]]
"""Finds out about the SKUs that the fold of a SKU asks for."""


async def add_older_versions(
    log: HeadReader,
    decode: Decode,
    learn: Learn,
    searches: Mapping[str, VersionSearch],
    heads: Mapping[str, StoredEvent],
) -> dict[str, int]:
    """Adds the older versions that the searches of SKUs (encoded as in the log) need.

    Returns the newest position of these by SKU, 0 if there are none. `heads` has the streams of the SKUs, each with the
    event that was folded.
    """
    newest: dict[str, int] = {}
    skus = list(searches)
    for start in range(0, len(skus), CHUNK_SKUS):
        here = skus[start : start + CHUNK_SKUS]
        chunk = {sku: _SkuSearch(log, decode, partial(learn, sku), searches[sku], sku, heads) for sku in here}
        if len(chunk) > 1:
            events = [event for search in chunk.values() if (event := search.head) is not None]
            first = await log.older_events_of(events, FIRST_BATCH, MAX_STATE_BYTES)
            await compute_in_thread(partial(_add_first, chunk.values(), first))
        for sku, search in chunk.items():
            await search.finish()
            newest[sku] = search.newest
    return newest


def _add_first(searches: Iterable["_SkuSearch"], first: Mapping[str, Sequence[StoredEvent]]) -> None:
    for search in searches:
        search.add_first(first)


class _SkuSearch:
    """The search of one SKU. `newest` is the highest position that it has read, 0 if it has read none."""

    def __init__(
        self,
        log: HeadReader,
        decode: Decode,
        learn: Callable[[Collection[str]], Awaitable[None]],
        search: VersionSearch,
        sku: str,
        heads: Mapping[str, StoredEvent],
    ) -> None:
        self._log = log
        self._decode = decode
        self._learn = learn
        self._search = search
        self._sku = sku
        self._heads = heads
        self._streams: dict[str | None, _OlderVersions] = {}
        self._asking: tuple[Collection[str], Sequence[StoredEvent]] | None = None
        """SKUs that are not known yet, and the events that name them, which are to be added again."""

    @property
    def newest(self) -> int:
        return max([stream.newest for stream in self._streams.values()], default=0)

    @property
    def head(self) -> StoredEvent | None:
        """The event whose older versions are needed."""
        suffix = self._search.needs
        return None if suffix is None else self._heads[self._sku + suffix]

    def add_first(self, first: Mapping[str, Sequence[StoredEvent]]) -> None:
        """Adds the first batch of the stream that is needed, if it was read."""
        head = self.head
        if head is not None and (events := first.get(head.originator_id)) is not None:
            versions = self._stream(head).taken(events)
            if versions or not events:
                self._add(versions)

    async def finish(self) -> None:
        """Reads and adds what else is needed."""
        while (head := self.head) is not None:
            if self._asking is None:
                events: Sequence[StoredEvent] = await self._stream(head).read()
            else:
                names, events = self._asking
                await self._learn(names)
            if sum(len(event.state) for event in events) <= MAX_LOOP_BYTES:
                self._add(events)
            else:
                await compute_in_thread(partial(self._add, events))

    def _stream(self, head: StoredEvent) -> "_OlderVersions":
        """What was read for the suffix that is needed. Inherited, several have the same stream, each from its head."""
        return self._streams.setdefault(self._search.needs, _OlderVersions(self._log, head))

    def _add(self, events: Sequence[StoredEvent]) -> None:
        """Adds versions, without those that cannot be decoded."""
        versions = [found for event in events if isinstance(found := self._decode(event), DecodedEvent)]
        self._asking = None
        try:
            if versions or not events:
                self._search.add(versions)
        except UnknownSkus as unknown:
            self._asking = unknown.names, events


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
            if last := self.taken(events):
                return last
        return []

    def taken(self, events: Sequence[StoredEvent]) -> list[StoredEvent]:
        """The versions among the next events, which were read."""
        if not events:
            return []
        self.newest = max(self.newest, *[event.notification_id for event in events])
        self._left -= len(events)
        self._largest = max(self._largest, *[len(event.state) for event in events])
        self._batch = max(1, min(self._batch * 4, MAX_BATCH, MAX_BATCH_BYTES // self._largest))
        newer = [self._last, *events]
        self._last = events[-1]
        pairs = zip(events, newer, strict=False)
        return [event for event, before in pairs if event.originator_version != before.originator_version]

    async def _next_events(self) -> list[StoredEvent]:
        limit = min(self._batch, self._left)
        return await self._log.older_events(self._last, limit) if limit else []
