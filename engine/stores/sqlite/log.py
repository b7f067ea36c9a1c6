"""The log in `events.db`."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import accumulate, chain
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar

import apsw
import orjson

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
from pagefold.engine.stores.size_batches import batches
from pagefold.engine.stores.sqlite.connections import (
    EVENTS,
    SQL,
    Connections,
    Row,
    ThreadedConnection,
    bounded,
    cut,
    fetch,
    one,
    packed,
    packed_of,
    packed_within,
)
from pagefold.engine.stores.sqlite.driver_errors import DRIVER_ERRORS
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.sqlite.loop_connections import Execute
from pagefold.engine.stores.sqlite.reader_connections import Reader
from pagefold.engine.stores.step_sizes import StepReader, StepSize, StepTooLarge
from pagefold.engine.stores.store import Log

POLL_SECONDS, MAX_POLL_SECONDS = 0.02, 0.15
"""How often the log is polled for events of other processes, which cannot notify this one: less often while it is idle.

An idle process should cost next to nothing, and each poll wakes it.
"""

MAX_STATES_BYTES = 16 * 1024 * 1024
"""Bytes of states that are appended in one step, unless a single one is larger."""

MAX_STREAMS_ON_LOOP = 64
"""Streams of a read of the past that is done on the event loop, as those of one page are. A thread costs more."""

SPAN = b"%-10d%-10d"
NUMBERS = b"%-20d%-10d%b%b"
"""The numbers of an event that is appended, at their places in the statements: version, revision, topic, state.

Topic and state are spans among all of them.
"""

NewRow: TypeAlias = tuple[str, int, int, str]
"""An event to be appended, without its state: stream, version, revision, topic."""

Item = TypeVar("Item")

_stream, _number = itemgetter(1), itemgetter(6)


def unpacked(rows: Sequence[Row], states: bytes) -> list[StoredEvent]:
    """Events from packed rows, which may have more columns than an event."""
    if not rows:
        return []
    positions, streams, versions, revisions, topics, sizes, *_ = zip(*rows, strict=True)
    return list(map(event_of, zip(positions, streams, versions, revisions, topics, cut(states, sizes), strict=True)))


def append_packed(
    connection: apsw.Connection, name: str, rows: Sequence[NewRow], states: Sequence[bytes]
) -> list[int | None]:
    """Appends, inside a transaction, the events whose key is free, and returns the positions: None if it was taken."""
    [(before,)] = fetch(connection, "log_end")
    changes = connection.total_changes()
    for start, stop in batches(list(map(len, states)), max_bytes=MAX_STATES_BYTES):
        connection.execute(SQL[name], _packed(rows[start:stop], states[start:stop]))
    if connection.total_changes() - changes == len(rows):  # then positions are consecutive
        last = connection.last_insert_rowid()
        return list(range(last - len(rows) + 1, last + 1))
    wanted = orjson.dumps([row[:2] for row in rows]).decode()
    appended = {event[1:4]: event[0] for event in fetch(connection, "events_at", wanted) if event[0] > before}
    return [appended.pop(row[:3], None) for row in rows]


def check_fence(connection: apsw.Connection, fence: Fence) -> None:
    """Raises `EpochsMoved` if the fence does not hold. Inside a write transaction."""
    [(generation,)] = fetch(connection, "generation")
    if generation != fence.generation:
        raise EpochsMoved
    newest = newest_versions(connection, fence.ceilings)
    if any(version >= fence.ceilings[stream] for stream, version in newest.items()):
        raise EpochsMoved


def newest_versions(connection: apsw.Connection, streams: Collection[str]) -> dict[str, int]:
    """The highest version of each stream that exists."""
    return dict(fetch(connection, "newest_versions", apsw.carray(tuple(streams)))) if streams else {}


def _walked(read: Callable[[StepReader[Item]], bool], step: StepReader[Item]) -> StepReader[Item]:
    """Runs a step to its end."""
    over = False
    while not over:
        try:
            over = read(step)
        except StepTooLarge as refused:
            over = step.refuse(refused)
    return step


@contextmanager
def _refusing() -> Iterator[None]:
    """Raises `StepTooLarge` if a value inside the block is too large."""
    try:
        yield
    except apsw.TooBigError as error:
        raise StepTooLarge from error


def _packed(rows: Sequence[NewRow], states: Sequence[bytes]) -> dict[str, Any]:
    """The bindings of a statement that appends.

    Each row has a stream in the array, and numbers in fixed width: SQLite finds them by the row's place, in half the
    time that it takes to read them from JSON.
    """
    streams, versions, revisions, topics = zip(*rows, strict=True)
    names = {topic: topic.encode() for topic in set(topics)}
    sizes = list(map(len, states))
    topic_spans = dict(zip(names, _spans(list(map(len, names.values()))), strict=True))
    numbers = zip(versions, revisions, map(topic_spans.__getitem__, topics), _spans(sizes), strict=True)
    return {
        "streams": apsw.carray(streams),
        "numbers": NUMBERS * len(rows) % tuple(chain.from_iterable(numbers)),
        "topics": b"".join(names.values()),
        "states": b"".join(states),
    }


def _spans(sizes: Sequence[int]) -> Iterator[bytes]:
    """Where each of some concatenated values begins, from 1, and its bytes, in fixed width."""
    return map(SPAN.__mod__, zip(accumulate(sizes, initial=1), sizes, strict=False))


class SQLiteLog(Log):
    """One writer at a time assigns positions inside its transaction, so they appear in order."""

    def __init__(self, connections: Connections, proof: SQLiteProof) -> None:
        self._connections = connections
        self._proof = proof
        self._grown = WakeSignal()
        self._pause, self._seen_end = POLL_SECONDS, 0
        self._heads_stride, self._entries_stride = StepSize(), StepSize()
        connections.events_on_loop.subscribe(self._read_with)

    def _read_with(self, execute: Execute) -> None:
        self._execute = execute

    async def insert(self, events: Sequence[NewEvent], fence: Fence | None = None) -> list[int | None]:
        def rows() -> list[NewRow]:
            return [(event.originator_id, event.originator_version, 0, event.topic) for event in events]

        return await self._append("insert_event", rows, events, fence)

    async def correct(self, corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        def rows() -> list[NewRow]:
            return [(each.originator_id, each.originator_version, each.revision, each.topic) for each in corrections]

        return await self._append("correct_event", rows, corrections, fence)

    async def _append(
        self,
        name: str,
        rows: Callable[[], list[NewRow]],
        events: Sequence[NewEvent | CorrectionEvent],
        fence: Fence | None,
    ) -> list[int | None]:
        """Does everything in the thread, so that many events do not block the event loop."""

        def append(connection: apsw.Connection) -> list[int | None]:
            new, states = rows(), [event.state for event in events]

            def write(writer: apsw.Connection) -> list[int | None]:
                if fence is not None:
                    check_fence(writer, fence)
                return append_packed(writer, name, new, states)

            return self._proof.append(connection, write)

        positions = await self._connections.events.run(append)
        self.notify()
        return positions

    async def generation(self) -> int:
        [(generation,)] = await self._connections.events_browser.fetch("generation")
        return int(generation)

    async def newest_versions(self, streams: Collection[str]) -> dict[str, int]:
        return await self._connections.events_browser.run(lambda connection: newest_versions(connection, streams))

    def notify(self) -> None:
        """Wakes those who wait for the log to grow."""
        self._grown.set()

    async def events_at(self, versions: Collection[tuple[str, int]]) -> list[StoredEvent]:
        return await self._read(self._connections.events_browser, "events_at", orjson.dumps(list(versions)).decode())

    async def end(self) -> int:
        return self._seen(self._on_loop(lambda: int(self._execute(SQL["log_end"]).get)))

    def _seen(self, end: int) -> int:
        if end != self._seen_end:
            self._seen_end, self._pause = end, POLL_SECONDS
        return end

    async def touched(self, domain: str, after: int, limit: int) -> TouchedStreams:
        def read(connection: apsw.Connection) -> TouchedStreams:
            window = {"domain": domain, "after": after, "limit": limit}
            end, scanned, events, streams, size = one(connection.execute(SQL["touched"], window))
            return TouchedStreams(sorted(orjson.loads(streams)), events, scanned, end, size)

        return await self._connections.events_reader.run(read)

    async def heads(
        self, streams: Sequence[str], *, max_bytes: int | None = None, as_of: int | None = None
    ) -> list[StoredEvent]:
        if not streams:
            return []
        heads, sizes, bindings = "heads", "head_sizes", []
        if as_of is not None:
            if len(streams) <= MAX_STREAMS_ON_LOOP and max_bytes is None:
                with suppress(apsw.TooBigError):
                    return self._on_loop(lambda: self._past_heads(streams, as_of))
            heads, sizes, bindings = "heads_as_of", "head_sizes_as_of", [as_of]

        def read(connection: apsw.Connection) -> list[StoredEvent]:
            if max_bytes is not None:
                wanted = [*bindings, apsw.carray(tuple(streams))]
                return unpacked(*packed_within(connection, heads, sizes, wanted, max_bytes))
            return [event for rows in packed_of(connection, heads, streams, *bindings) for event in unpacked(*rows)]

        reader = self._connections.events_reader if as_of is None else self._connections.events_browser
        return await reader.run(read)

    def _past_heads(self, streams: Sequence[str], as_of: int) -> list[StoredEvent]:
        rows, states = one(self._execute(SQL["heads_as_of"], (as_of, apsw.carray(tuple(streams)))))
        return unpacked(orjson.loads(rows), states or b"")

    async def streams_of(self, skus: Sequence[str]) -> list[str]:
        if not skus:
            return []

        def read(connection: apsw.Connection) -> list[str]:
            names: list[str] = orjson.loads(connection.execute(SQL["streams_of_skus"], (apsw.carray(tuple(skus)),)).get)
            return names

        return await self._connections.events_reader.run(read)

    async def older_events(self, event: StoredEvent, limit: int, *, as_of: int | None = None) -> list[StoredEvent]:
        key = (event.originator_id, event.originator_version, event.revision)
        upto = MAX_POSITION if as_of is None else as_of
        return await self._read(self._connections.events_reader, "older_events", *key, upto, limit)

    async def older_events_of(
        self, events: Sequence[StoredEvent], limit: int, max_state: int, *, as_of: int | None = None
    ) -> dict[str, list[StoredEvent]]:
        bindings = {
            "events": orjson.dumps([event[1:4] for event in events]).decode(),
            "as_of": MAX_POSITION if as_of is None else as_of,
            "limit": limit,
            "max_state": max_state,
        }

        def read(connection: apsw.Connection) -> dict[str, list[StoredEvent]]:
            return by_stream(events, map(event_of, connection.execute(SQL["older_events_of"], bindings)))

        return await self._connections.events_reader.run(read)

    async def history(self, prefix: str, after: tuple[str, int, int] | None = None) -> AsyncIterator[StoredEvent]:
        last, step = after or (prefix, -1, -1), INITIAL_STEP
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        while True:
            page = await self._read(self._connections.events_browser, "history", *last, beyond, step)
            for event in page:
                yield event
            if len(page) < step:
                return
            last = (page[-1].originator_id, page[-1].originator_version, page[-1].revision)
            step = next_step(step, sum([len(event.state) for event in page]))

    async def scan(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int
    ) -> ScannedHeads:
        bindings = {"tails": orjson.dumps(list(suffixes)).decode(), "below": below}

        def read(connection: apsw.Connection, step: StepReader[StoredEvent]) -> bool:
            window = {**bindings, "after": step.end, "limit": step.streams}
            with _refusing(), bounded(connection, step.max_bytes):
                rows, states = packed(connection, "scan", window)
            end = next((row[1] for row in reversed(rows) if _number(row) == step.streams), None)
            return step.read(unpacked([row for row in rows if row[0] is not None], states), end, len(states))

        def scan(connection: apsw.Connection) -> ScannedHeads:
            step = _walked(partial(read, connection), StepReader(self._heads_stride, after, limit, max_bytes))
            return ScannedHeads(sorted(step.found, key=_stream), step.end)

        return await self._connections.events_browser.run(scan)

    async def head_contents(
        self, suffixes: Collection[str], *, after: str, below: str, limit: int, max_bytes: int, since: int
    ) -> HeadContents:
        bindings = {"tails": orjson.dumps(list(suffixes)).decode(), "below": below, "since": since}

        def read(connection: apsw.Connection, step: StepReader[bytes]) -> bool:
            window = {**bindings, "after": step.end, "limit": step.streams, "payload": b'"payload":'}
            with _refusing(), bounded(connection, step.max_bytes):
                number, end, joined = one(connection.execute(SQL["scan_entries"], window))
            entries = joined.split(b"\x1e") if joined else []
            if number != len(entries):  # an application's stream name may have any character
                if step.streams > 1:
                    raise StepTooLarge
                entries = [joined]
            return step.read(entries, end, len(joined or b""))

        def walk(connection: apsw.Connection) -> HeadContents:
            step = _walked(partial(read, connection), StepReader(self._entries_stride, after, limit, max_bytes))
            return HeadContents(sorted(step.found), step.end)

        return await self._connections.events_browser.run(walk)

    async def skus(self, after: str, limit: int) -> list[str]:
        bindings = {"after": after, "limit": limit}

        def read(connection: apsw.Connection) -> list[str]:
            return [sku for (sku,) in connection.execute(SQL["stream_skus"], bindings)]

        return await self._connections.events_browser.run(read)

    async def window(self, domain: str, after: int, upto: int) -> list[StoredEvent]:
        return await self._read(self._connections.events_browser, "events_between", after, upto, domain)

    async def untouched(self, streams: Collection[str], since: int) -> set[str]:
        if not streams:
            return set()
        rows = await self._connections.events_browser.fetch("untouched", apsw.carray(tuple(streams)), since)
        return {stream for (stream,) in rows}

    async def lag(self, domain: str, after: int, *, limit: int | None = None) -> Lag:
        window = {"domain": domain, "after": after, "limit": -1 if limit is None else limit}

        def read(connection: apsw.Connection) -> Lag:
            return Lag._make(one(connection.execute(SQL["lag"], window)))

        return await self._connections.events_browser.run(read)

    async def next_events(self, after: int, limit: int) -> list[LoggedEvent]:
        found = self._on_loop(lambda: list(map(LoggedEvent._make, self._execute(SQL["next_events"], (after, limit)))))
        if found:
            self._seen(found[-1].position)
        return found

    @property
    def hints(self) -> int:
        return self._grown.count

    async def wait_for_hint(self, seen: int, seconds: float) -> None:
        pause, self._pause = self._pause, min(2 * self._pause, MAX_POLL_SECONDS)
        await self._grown.wait(min(seconds, pause), seen)

    def _on_loop(self, read: Callable[[], Item]) -> Item:
        """Reads on the event loop."""

        def read_current() -> Item:
            self._connections.events_on_loop.check_file()
            return read()

        try:
            return read_current()
        except DRIVER_ERRORS as error:
            return self._connections.retry_read(error, EVENTS, read_current)

    async def _read(
        self, connection: ThreadedConnection[Reader], statement: str, *bindings: object
    ) -> list[StoredEvent]:
        def read(connection: apsw.Connection) -> list[StoredEvent]:
            return list(map(event_of, fetch(connection, statement, *bindings)))

        return await connection.run(read)
