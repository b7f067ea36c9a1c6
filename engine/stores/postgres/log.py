"""The log in the table `stored_events`."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from operator import itemgetter

import anyio

from engine.stores.listing import FIRST_STEP, following
from engine.stores.postgres.connections import Connections
from engine.stores.postgres.listening import Listener
from engine.stores.store import Correction, Entries, Lag, Log, NewEvent, Scanned, StoredEvent, Touched, event_of

TICK_SECONDS = 0.25
"""How often the log is looked at for what no notification told us."""

_number = itemgetter(6)


def event_columns(events: Sequence[NewEvent]) -> tuple[list[str], list[int], list[str], list[bytes]]:
    """What the function `append_events` wants."""
    return (
        [event.originator_id for event in events],
        [event.originator_version for event in events],
        [event.topic for event in events],
        [event.state for event in events],
    )


class PostgresLog(Log):
    """The function `append_events` sees to it that positions appear in order, whoever calls it."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._grown = asyncio.Event()
        self._listener = Listener(connections, self.announce)

    async def insert(self, events: Sequence[NewEvent]) -> list[int | None]:
        streams, versions, topics, states = event_columns(events)
        rows = await self._connections.writer.fetch("insert_event", streams, versions, topics, states)
        self.announce()
        positions = {(stream, version): position for position, stream, version in rows}
        return [positions.pop(key, None) for key in zip(streams, versions, strict=True)]

    async def correct(self, corrections: Sequence[Correction]) -> list[int | None]:
        streams, versions, topics, states = event_columns(corrections)
        revisions = [each.revision for each in corrections]
        rows = await self._connections.writer.fetch("correct_event", streams, versions, topics, states, revisions)
        self.announce()
        positions = {(stream, version, revision): position for position, stream, version, revision in rows}
        return [positions.pop(key, None) for key in zip(streams, versions, revisions, strict=True)]

    def announce(self) -> None:
        """Wakes those who wait for the log to grow."""
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def at(self, versions: Collection[tuple[str, int]]) -> list[StoredEvent]:
        return await self._read("events_at", [each[0] for each in versions], [each[1] for each in versions])

    async def end(self) -> int:
        return int((await self._connections.readers.fetch("log_end"))[0][0])

    async def touched(self, domain: str, after: int, limit: int) -> Touched:
        return Touched._make((await self._connections.readers.fetch("touched", domain, after, limit))[0])

    async def heads(self, streams: Sequence[str]) -> list[StoredEvent]:
        return await self._read("heads", streams) if streams else []

    async def before(self, event: StoredEvent, limit: int) -> list[StoredEvent]:
        return await self._read("older_events", event.originator_id, event.originator_version, event.revision, limit)

    async def history(self, prefix: str, after: tuple[str, int, int] | None = None) -> AsyncIterator[StoredEvent]:
        last, step = after or (prefix, -1, -1), FIRST_STEP
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        while True:
            page = await self._read("history", *last, beyond, step)
            for event in page:
                yield event
            if len(page) < step:
                return
            last = (page[-1].originator_id, page[-1].originator_version, page[-1].revision)
            step = following(step, sum([len(event.state) for event in page]))

    async def scan(self, tails: Collection[str], *, after: str, below: str, limit: int) -> Scanned:
        rows = await self._connections.readers.fetch("scan", list(tails), after, below, limit)
        rows.sort(key=_number)
        end = rows[-1][1] if rows and _number(rows[-1]) == limit else None
        return Scanned([event_of(row[:6]) for row in rows if row[0] is not None], end)

    async def entries(self, tails: Collection[str], *, after: str, below: str, limit: int, since: int) -> Entries:
        rows = await self._connections.readers.fetch("scan_entries", list(tails), after, below, limit, since)
        end = next((stream for _, stream in reversed(rows) if stream is not None), None)
        return Entries(sorted([entry for entry, _ in rows if entry is not None]), end)

    async def skus(self, after: str, limit: int) -> list[str]:
        rows = await self._connections.readers.fetch("stream_skus", after, limit)
        return [sku for (sku,) in rows]

    async def window(self, domain: str, after: int, upto: int) -> list[StoredEvent]:
        return await self._read("events_between", domain, after, upto)

    async def untouched(self, streams: Collection[str], since: int) -> set[str]:
        rows = await self._connections.readers.fetch("untouched", list(streams), since)
        return {stream for (stream,) in rows}

    async def lag(self, domain: str, after: int) -> Lag:
        return Lag._make((await self._connections.readers.fetch("lag", domain, after))[0])

    async def wait(self, after: int, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        self._listener.listen()
        while True:
            grown = self._grown
            if await self.end() > after or (left := deadline - time.monotonic()) <= 0:
                return
            with anyio.move_on_after(min(left, TICK_SECONDS)):
                await grown.wait()

    async def close(self) -> None:
        """Stops listening."""
        await self._listener.close()

    async def _read(self, statement: str, *bindings: object) -> list[StoredEvent]:
        return list(map(event_of, await self._connections.readers.fetch(statement, *bindings)))
