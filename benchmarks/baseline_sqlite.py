"""The baseline of the SQLite store: apsw, called directly, with the store's connections and statements."""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import apsw
import orjson

from benchmarks.baseline import (
    DOMAINS,
    STREAMS_PER_READ,
    Baseline,
    Head,
    HeadChunk,
    chunk_of,
    next_window,
    reread,
    rows_of,
)
from pagefold.engine.consumers.log_tail import MIN_WINDOW
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.sqlite.connections import BROWSER_CACHE_KIB, EVENTS, PAGES, SQL, Row, connect
from pagefold.engine.stores.sqlite.reader_connections import connect_reader
from pagefold.engine.stores.sqlite.schema import prepare

BUSY_MILLISECONDS = 10_000

INSERT_EVENT = "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)"


class SQLiteBaseline(Baseline):
    """The two files of a store, each with one connection that writes; two that read the log, one that reads pages."""

    def __init__(self, folder: Path) -> None:
        prepare(folder, create=True)
        self._events = connect(folder / EVENTS, synchronous="FULL")
        self._pages = connect(folder / PAGES, synchronous="NORMAL")
        self._events_reader = connect_reader(folder / EVENTS, BUSY_MILLISECONDS)
        self._events_browser = connect_reader(folder / EVENTS, BUSY_MILLISECONDS, BROWSER_CACHE_KIB)
        self._pages_reader = connect_reader(folder / PAGES, BUSY_MILLISECONDS)

    async def append(self, events: Sequence[EncodedEvent]) -> None:
        """One durable transaction."""
        self._append(events)

    async def apply(self) -> None:
        """One domain at a time: there is one writer."""
        self._apply()

    async def append_and_apply(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        """Two threads, because the two files have two writers."""
        append_task = asyncio.create_task(asyncio.to_thread(self._append_all, batches))
        while not append_task.done():
            await asyncio.to_thread(self._apply)
        await append_task
        await asyncio.to_thread(self._apply)

    async def read(self, keys: Iterable[tuple[str, str]]) -> None:
        """One page at a time."""
        execute, statement = self._pages_reader.cursor().execute, SQL["page_sections"]
        for sku, _ in keys:
            execute(statement, (sku,)).fetchall()

    async def scan(self, suffixes: Sequence[str], after: str) -> HeadChunk:
        """One read."""
        window = {"tails": orjson.dumps(suffixes).decode(), "after": after, "below": "", "limit": STREAMS_PER_READ}
        rows, _ = one(self._events_browser.execute(SQL["scan"], window))
        return chunk_of(orjson.loads(rows))

    async def sections(self, domain: str, skus: Sequence[str]) -> list[Row]:
        """One read."""
        rows, _ = one(self._pages_reader.execute(SQL["domain_sections"], (domain, apsw.carray(tuple(skus)))))
        found: list[Row] = orjson.loads(rows)
        return found

    async def reread(self) -> int:
        """One domain at a time, as they are folded."""
        return sum([await reread(self, domain) for domain in DOMAINS])

    async def close(self) -> None:
        """Closes every connection."""
        for connection in (self._events_reader, self._events_browser, self._pages_reader, self._events, self._pages):
            connection.close()

    def _append_all(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        for batch in batches:
            self._append(batch)

    def _append(self, events: Sequence[EncodedEvent]) -> None:
        rows = [(event.originator_id, event.originator_version, event.topic, event.state) for event in events]
        self._events.execute("BEGIN IMMEDIATE")
        self._events.executemany(INSERT_EVENT, rows)
        self._events.execute("COMMIT")

    def _apply(self) -> None:
        for domain in DOMAINS:
            fetch(self._pages, "create_checkpoint", domain)
            after = fetch(self._pages, "checkpoint", domain)[0][1]
            window = MIN_WINDOW
            while (read := self._fold(domain, after, window))[0]:
                scanned, after = read
                window = next_window(window, scanned)

    def _fold(self, domain: str, after: int, limit: int) -> tuple[int, int]:
        """Folds one window in one transaction. Returns the number of scanned events and the last position."""
        window = {"domain": domain, "after": after, "limit": limit}
        end, scanned, events, found, _ = one(self._events_reader.execute(SQL["touched"], window))
        if not events:
            return scanned, end
        streams = orjson.loads(found)
        self._pages.execute("BEGIN IMMEDIATE")
        checkpoint = fetch(self._pages, "checkpoint", domain)[0]
        rows = rows_of(heads(self._events_reader, streams))
        self._pages.executemany(SQL["write_sections"], rows)
        fetch(self._pages, "advance", end, checkpoint[2] + events, 0, 0, "", None, None, domain)
        self._pages.execute("COMMIT")
        return scanned, end


def fetch(connection: apsw.Connection, name: str, *bindings: object) -> list[Row]:
    """All rows of a named statement."""
    return connection.execute(SQL[name], bindings).fetchall()


def heads(connection: apsw.Connection, streams: Sequence[str]) -> list[Head]:
    """The newest event of each stream. The statement returns all states concatenated, and their lengths."""
    rows, states = one(connection.execute(SQL["heads"], (apsw.carray(tuple(streams)),)))
    end = 0
    return [(*head, states[end : (end := end + size)]) for *head, size in orjson.loads(rows)]


def one(rows: Iterable[Row]) -> Row:
    """The only row."""
    (row,) = rows
    return row
