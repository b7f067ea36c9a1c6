"""The baseline of the PostgreSQL store: prepared statements on asyncpg connections with the store's settings.

One connection appends; each domain folds on its own connection, concurrently, as consumers do.
"""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

from benchmarks.baseline import (
    DOMAINS,
    STREAMS_PER_READ,
    Baseline,
    HeadChunk,
    chunk_of,
    next_window,
    reread,
    rows_of,
)
from benchmarks.workload import config
from pagefold.engine.consumers.log_tail import MIN_WINDOW
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.postgres.connections import SQL, Connection, Connections
from pagefold.engine.stores.postgres.merged_reads import LARGE_BYTES
from pagefold.engine.stores.postgres.sized_reads import INLINE_BYTES

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.prepared_stmt import PreparedStatement

EVENT_COLUMNS = ("originator_id", "originator_version", "topic", "state")

STATEMENTS = (
    "create_checkpoint",
    "checkpoint",
    "touched",
    "heads",
    "write_sections",
    "advance",
    "scan",
    "domain_sections",
)


class Folder:
    """One connection that folds one domain."""

    def __init__(self, domain: str, connection: Connection, prepared: "dict[str, PreparedStatement[Record]]") -> None:
        self._domain = domain
        self._connection = connection
        self._prepared = prepared

    @classmethod
    async def open(cls, domain: str, connection: Connection) -> Self:
        """Prepares every statement."""
        prepared = {name: await connection.prepare(SQL[name]) for name in STATEMENTS}
        await connection.execute(
            "SELECT"
        )  # after a bare prepare, the transaction and its locks stay open until the next statement
        return cls(domain, connection, prepared)

    async def apply(self) -> None:
        """Folds to the end of the log."""
        await self._fetch("create_checkpoint", self._domain)
        after = (await self._fetch("checkpoint", self._domain))[0][1]
        window = MIN_WINDOW
        while (read := await self._fold(after, window))[0]:
            scanned, after = read
            window = next_window(window, scanned)

    async def reread(self) -> int:
        """Reads every head, and every section of their SKUs."""
        return await reread(self, self._domain)

    async def scan(self, suffixes: Sequence[str], after: str) -> HeadChunk:
        """One query."""
        return chunk_of(await self._fetch("scan", suffixes, after, "", STREAMS_PER_READ, INLINE_BYTES))

    async def sections(self, domain: str, skus: Sequence[str]) -> "list[Record]":
        """One query."""
        return await self._fetch("domain_sections", domain, skus, INLINE_BYTES)

    async def _fold(self, after: int, limit: int) -> tuple[int, int]:
        """Folds one window in one transaction. Returns the number of scanned events and the last position."""
        streams, events, scanned, end, _ = (await self._fetch("touched", self._domain, after, limit))[0]
        if not events:
            return scanned, end
        await self._connection.execute("BEGIN")
        checkpoint = (await self._fetch("checkpoint", self._domain))[0]
        rows = rows_of(await self._fetch("heads", streams, INLINE_BYTES))
        await self._fetch("write_sections", *zip(*rows, strict=True))
        await self._fetch("advance", end, checkpoint[2] + events, 0, 0, "", self._domain)
        await self._connection.execute("COMMIT")
        return scanned, end

    async def _fetch(self, name: str, *bindings: object) -> "list[Record]":
        return await self._prepared[name].fetch(*bindings)

    async def close(self) -> None:
        """Closes its connection."""
        await self._connection.close()


class PostgresBaseline(Baseline):
    """One connection that appends, one that reads pages, and one per domain."""

    def __init__(self, writer: Connection, reader: Connection, folders: Sequence[Folder]) -> None:
        self._writer = writer
        self._reader = reader
        self._folders = folders
        self._reads: dict[str, PreparedStatement[Record]] = {}

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connects with the store's settings."""
        connections = Connections(config(url))
        found = [(await connections.session()).connection for _ in range(2 + len(DOMAINS))]
        return cls(found[0], found[1], [await Folder.open(*pair) for pair in zip(DOMAINS, found[2:], strict=True)])

    async def append(self, events: Sequence[EncodedEvent]) -> None:
        """One durable transaction: a binary COPY."""
        records = [(event.originator_id, event.originator_version, event.topic, event.state) for event in events]
        await self._writer.copy_records_to_table("stored_events", columns=EVENT_COLUMNS, records=records)

    async def apply(self) -> None:
        """All domains concurrently."""
        await asyncio.gather(*[folder.apply() for folder in self._folders])

    async def append_and_apply(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        """One connection appends, the others fold."""
        append_task = asyncio.create_task(self._append_all(batches))
        while not append_task.done():
            await self.apply()
        await append_task
        await self.apply()

    async def read(self, keys: Iterable[tuple[str, str]]) -> None:
        """One page at a time."""
        statement = await self._prepared("page_sections")
        for sku, _ in keys:
            await statement.fetch(sku)

    async def read_together(self, keys: Sequence[tuple[str, str]], readers: int) -> None:
        """Reads as many pages per query as there are readers."""
        statement = await self._prepared("sections_of_pages")
        for start in range(0, len(keys), readers):
            await statement.fetch([sku for sku, _ in keys[start : start + readers]], LARGE_BYTES)

    async def scan(self, suffixes: Sequence[str], after: str) -> HeadChunk:
        """One query."""
        return await self._folders[0].scan(suffixes, after)

    async def reread(self) -> int:
        """All domains concurrently, as they are folded."""
        return sum(await asyncio.gather(*[folder.reread() for folder in self._folders]))

    async def close(self) -> None:
        """Closes every connection."""
        await self._writer.close()
        await self._reader.close()
        for folder in self._folders:
            await folder.close()

    async def _prepared(self, name: str) -> "PreparedStatement[Record]":
        if name not in self._reads:
            self._reads[name] = await self._reader.prepare(SQL[name])
        return self._reads[name]

    async def _append_all(self, batches: Sequence[Sequence[EncodedEvent]]) -> None:
        for batch in batches:
            await self.append(batch)
