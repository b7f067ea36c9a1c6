"""The log in the table `stored_events`."""

from collections.abc import AsyncIterator, Collection, Sequence
from operator import itemgetter

from pagefold.engine.runtime.wake_signal import WakeSignal
from pagefold.engine.stores.epoch_fence import EpochsMoved, Fence
from pagefold.engine.stores.log_records import (
    MAX_POSITION,
    CorrectionEvent,
    HeadContents,
    Lag,
    LoggedEvent,
    NewEvent,
    ScannedHeads,
    StoredEvent,
    TouchedStreams,
    by_stream,
    event_of,
)
from pagefold.engine.stores.page_listing import INITIAL_STEP, next_step
from pagefold.engine.stores.postgres.bulk_append import MIN_COPIED_EVENTS, BulkAppend, NewRow
from pagefold.engine.stores.postgres.connections import Connections, Record
from pagefold.engine.stores.postgres.log_proof import proving
from pagefold.engine.stores.postgres.merged_heads import MergedHeads
from pagefold.engine.stores.postgres.notification_listener import NotificationListener
from pagefold.engine.stores.postgres.sized_reads import INLINE_BYTES, check_size, inline_bytes
from pagefold.engine.stores.step_sizes import UNBOUNDED, StepReader, StepSize, StepTooLarge
from pagefold.engine.stores.store import Log

POLL_SECONDS = 0.25
"""How often the log is polled, for events without a notification."""

MAX_MERGED_STREAMS = 100
"""Streams of a read of the past that is merged with others, as those of one page are."""

_state, _number = itemgetter(5), itemgetter(6)


def event_columns(events: Sequence[NewEvent]) -> tuple[list[str], list[int], list[str], list[bytes]]:
    """The parameters of the function `append_events`."""
    return (
        [event.originator_id for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )


def _arguments(fence: Fence | None) -> tuple[int | None, list[str], list[int]]:
    """A fence as arguments of `append_events` and `lock_log`."""
    return (None, [], []) if fence is None else (fence.generation, [*fence.ceilings], [*fence.ceilings.values()])


class PostgresLog(Log):
    """The function `append_events`, or `lock_log` for many events, ensures that positions appear in order."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._bulk = BulkAppend()
        self._grown = WakeSignal()
        self._heads_stride, self._entries_stride = StepSize(), StepSize()
        self._listener = NotificationListener(connections, self.notify)
        self._past = MergedHeads(connections, lambda streams, as_of: self._heads(streams, UNBOUNDED, as_of))

    async def insert(self, events: Sequence[NewEvent], fence: Fence | None = None) -> list[int | None]:
        if len(events) >= MIN_COPIED_EVENTS:
            rows = [(each.originator_id, each.originator_version, 0, each.topic, each.state) for each in events]
            if (copied := await self._copy(rows, fence)) is not None:
                return copied
        columns = event_columns(events)
        appended = await self._append("insert_event", columns, fence)
        positions = {(stream, version): position for position, stream, version in appended}
        return [positions.pop(key, None) for key in zip(*columns[:2], strict=True)]

    async def correct(self, corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        if len(corrections) >= MIN_COPIED_EVENTS:
            rows = [
                (each.originator_id, each.originator_version, each.revision, each.topic, each.state)
                for each in corrections
            ]
            if (copied := await self._copy(rows, fence)) is not None:
                return copied
        columns = event_columns(corrections)
        revisions = [each.revision for each in corrections]
        appended = await self._append("correct_event", (*columns, revisions), fence)
        positions = {(stream, version, revision): position for position, stream, version, revision in appended}
        return [positions.pop(key, None) for key in zip(*columns[:2], revisions, strict=True)]

    async def _append(self, statement: str, columns: Sequence[object], fence: Fence | None) -> list[Record]:
        async with self._connections.writer.session() as session, proving(session):
            rows = await session.fetch(statement, *columns, *_arguments(fence))
        if rows and rows[0][0] is None:  # raised by `append_events` if the fence does not hold
            raise EpochsMoved
        self.notify()
        return rows

    async def _copy(self, rows: Sequence[NewRow], fence: Fence | None) -> list[int | None] | None:
        async with self._connections.writer.session() as session, proving(session):
            positions = await self._bulk.append(session, rows, _arguments(fence))
        self.notify()
        return positions

    async def generation(self) -> int:
        return int((await self._connections.readers.fetch("generation"))[0][0])

    async def newest_versions(self, streams: Collection[str]) -> dict[str, int]:
        rows = await self._connections.readers.fetch("newest_versions", list(streams)) if streams else []
        return {row[0]: row[1] for row in rows}

    def notify(self) -> None:
        """Wakes those who wait for the log to grow."""
        self._grown.set()

    async def events_at(self, versions: Collection[tuple[str, int]]) -> list[StoredEvent]:
        return await self._read("events_at", [each[0] for each in versions], [each[1] for each in versions])

    async def end(self) -> int:
        return int((await self._connections.readers.fetch("log_end"))[0][0])

    async def touched(self, domain: str, after: int, limit: int) -> TouchedStreams:
        return TouchedStreams._make((await self._connections.readers.fetch("touched", domain, after, limit))[0])

    async def heads(
        self, streams: Sequence[str], *, max_bytes: int | None = None, as_of: int | None = None
    ) -> list[StoredEvent]:
        if not streams:
            return []
        if max_bytes is None:
            if as_of is not None and len(streams) <= MAX_MERGED_STREAMS:
                return await self._past.heads(streams, as_of)
            return await self._heads(streams, UNBOUNDED, as_of)
        heads = await self._heads(streams, inline_bytes(len(streams), max_bytes), as_of)
        size, large = sum([len(head[5] or b"") for head in heads]), _without_state(heads)
        if large:
            size += sum((await self._head_sizes(large, as_of)).values())
        check_size(size, max_bytes)
        if not large:
            return heads
        return [head for head in heads if _state(head) is not None] + await self.heads(large, as_of=as_of)

    async def _heads(self, streams: Sequence[str], inline: int, as_of: int | None) -> list[StoredEvent]:
        if as_of is None:
            return await self._read("heads", streams, inline)
        return await self._read("heads_as_of", streams, inline, as_of)

    async def streams_of(self, skus: Sequence[str]) -> list[str]:
        return [name for (name,) in await self._connections.readers.fetch("streams_of_skus", skus)] if skus else []

    async def older_events(self, event: StoredEvent, limit: int, *, as_of: int | None = None) -> list[StoredEvent]:
        key = (event.originator_id, event.originator_version, event.revision)
        return await self._read("older_events", *key, MAX_POSITION if as_of is None else as_of, limit)

    async def older_events_of(
        self, events: Sequence[StoredEvent], limit: int, max_state: int, *, as_of: int | None = None
    ) -> dict[str, list[StoredEvent]]:
        columns = [list(column) for column in zip(*[event[1:4] for event in events], strict=True)]
        upto = MAX_POSITION if as_of is None else as_of
        return by_stream(
            events, await self._read("older_events_of", *columns, upto, limit, max_state) if events else []
        )

    async def history(self, prefix: str, after: tuple[str, int, int] | None = None) -> AsyncIterator[StoredEvent]:
        last, step = after or (prefix, -1, -1), INITIAL_STEP
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        while True:
            page = await self._read("history", *last, beyond, step)
            for event in page:
                yield event
            if len(page) < step:
                return
            last = (page[-1].originator_id, page[-1].originator_version, page[-1].revision)
            step = next_step(step, sum([len(event.state) for event in page]))

    async def scan(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int
    ) -> ScannedHeads:
        step: StepReader[StoredEvent] = StepReader(self._heads_stride, after, limit, max_bytes)
        over = False
        while not over:
            try:
                over = step.read(*await self._heads_within(step, list(suffixes), below))
            except StepTooLarge as refused:
                over = step.refuse(refused)
        return ScannedHeads(step.found, step.end)

    async def _heads_within(
        self, step: StepReader[StoredEvent], suffixes: Sequence[str], below: str
    ) -> tuple[list[StoredEvent], str | None, int]:
        """The heads of one read of a step. Raises `StepTooLarge`."""
        bindings = (suffixes, step.end, below, step.streams, INLINE_BYTES)
        rows = await self._connections.readers.fetch("scan", *bindings)
        rows.sort(key=_number)
        heads = [event_of(row[:6]) for row in rows if row[0] is not None]
        end = rows[-1][1] if rows and _number(rows[-1]) == step.streams else None
        size = sum([len(row[5]) for row in rows if row[5] is not None])
        if large := _without_state(heads):
            size += sum((await self._head_sizes(large)).values())
        if size > step.max_bytes:
            raise StepTooLarge(size)
        complete = {head.originator_id: head for head in await self.heads(large)}
        return [complete.get(head.originator_id, head) for head in heads] if large else heads, end, size

    async def head_contents(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int, since: int
    ) -> HeadContents:
        step: StepReader[bytes] = StepReader(self._entries_stride, after, limit, max_bytes)
        over = False
        while not over:
            try:
                over = step.read(*await self._head_contents(step, list(suffixes), below, since))
            except StepTooLarge as refused:
                over = step.refuse(refused)
        return HeadContents(sorted(step.found), step.end)

    async def _head_contents(
        self, step: StepReader[bytes], suffixes: Sequence[str], below: str, since: int
    ) -> tuple[list[bytes], str | None, int]:
        """The contents of one read of a step. Raises `StepTooLarge`."""
        bindings = (suffixes, step.end, below, step.streams, since)
        rows = await self._connections.readers.fetch("scan_entries", *bindings, INLINE_BYTES)
        if large := [stream for _, stream, number in rows if number is not None]:
            size = sum((await self._head_sizes(large)).values())
            if size > step.max_bytes:
                raise StepTooLarge(size)
            rows = await self._connections.readers.fetch("scan_entries", *bindings, UNBOUNDED)
        end = next((stream for _, stream, _ in reversed(rows) if stream is not None), None)
        entries = [entry for entry, *_ in rows if entry is not None]
        size = sum(map(len, entries))
        if size > step.max_bytes:
            raise StepTooLarge(size)
        return entries, end, size

    async def skus(self, after: str, limit: int) -> list[str]:
        rows = await self._connections.readers.fetch("stream_skus", after, limit)
        return [sku for (sku,) in rows]

    async def window(self, domain: str, after: int, upto: int) -> list[StoredEvent]:
        return await self._read("events_between", domain, after, upto)

    async def untouched(self, streams: Collection[str], since: int) -> set[str]:
        rows = await self._connections.readers.fetch("untouched", list(streams), since)
        return {stream for (stream,) in rows}

    async def lag(self, domain: str, after: int, *, limit: int | None = None) -> Lag:
        return Lag._make((await self._connections.readers.fetch("lag", domain, after, limit))[0])

    async def next_events(self, after: int, limit: int) -> list[LoggedEvent]:
        return list(map(LoggedEvent._make, await self._connections.readers.fetch("next_events", after, limit)))

    @property
    def hints(self) -> int:
        return self._grown.count

    async def wait_for_hint(self, seen: int, seconds: float) -> None:
        self._listener.listen()
        await self._grown.wait(min(seconds, POLL_SECONDS), seen)

    async def close(self) -> None:
        """Stops listening."""
        await self._past.close()
        await self._listener.close()

    async def _head_sizes(self, streams: Sequence[str], as_of: int | None = None) -> dict[str, int]:
        read = ("head_sizes", streams) if as_of is None else ("head_sizes_as_of", streams, as_of)
        return dict(map(tuple, await self._connections.readers.fetch(*read)))

    async def _read(self, statement: str, *bindings: object) -> list[StoredEvent]:
        return list(map(event_of, await self._connections.readers.fetch(statement, *bindings)))


def _without_state(heads: Sequence[StoredEvent]) -> list[str]:
    """The streams of heads whose state was left out."""
    return [head[1] for head in heads if _state(head) is None]
