"""The loop that everybody would write: read the document, compare versions, write it, one transaction an event.

It keeps one document per SKU, with the newest payload of each of its streams. It validates nothing, folds nothing for
channels, and keeps no history.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import apsw
import orjson

from benchmarks.workload import config
from pagefold import DomainEvent
from pagefold.engine.stores.postgres.connections import Connection, Connections
from pagefold.engine.stores.sqlite.connections import connect

if TYPE_CHECKING:
    from asyncpg import Record
    from asyncpg.prepared_stmt import PreparedStatement

FILE = "documents.db"

Document: TypeAlias = dict[str, Any]
"""By stream (`channel/domain/source`): the `version` and the `payload` of its newest event."""


def changed(document: Document, event: DomainEvent) -> bool:
    """Puts an event into a document, unless it is older than what the document has."""
    stream = f"{event.channel}/{event.type}/{event.source}"
    known = document.get(stream)
    if known is not None and known["version"] >= event.source_version:
        return False
    payload = orjson.loads(event.payload) if isinstance(event.payload, bytes) else event.payload
    document[stream] = {"version": event.source_version, "payload": payload}
    return True


def versions_in(document: Document, channel: str) -> dict[str, int]:
    """By `domain/source`: the version of the event for a channel, else of the one for every channel."""
    versions: dict[str, int] = {}
    for where in ("*", channel):
        for stream, event in document.items():
            of, _, source = stream.partition("/")
            if of == where:
                versions[source] = event["version"]
    return versions


class NaiveLoop(ABC):
    """One store of documents."""

    @abstractmethod
    async def put(self, event: DomainEvent) -> None:
        """One durable transaction."""

    @abstractmethod
    async def documents(self) -> dict[str, Document]:
        """Every document, by SKU."""

    @abstractmethod
    async def close(self) -> None:
        """Closes its connection."""


class SQLiteLoop(NaiveLoop):
    """A file of its own, on the event loop, as durable as the log."""

    def __init__(self, folder: Path) -> None:
        self._connection = connect(folder / FILE, synchronous="FULL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS documents (sku TEXT PRIMARY KEY, document BLOB NOT NULL)")

    async def put(self, event: DomainEvent) -> None:
        """One durable transaction."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        found: bytes | None = execute("SELECT document FROM documents WHERE sku = ?", (event.sku,)).get
        document: Document = {} if found is None else orjson.loads(found)
        if changed(document, event):
            statement = (
                "INSERT INTO documents VALUES (?, ?) ON CONFLICT (sku) DO UPDATE SET document = excluded.document"
            )
            execute(statement, (event.sku, orjson.dumps(document)))
        execute("COMMIT")

    async def documents(self) -> dict[str, Document]:
        """Every document, by SKU."""
        rows: apsw.Cursor = self._connection.execute("SELECT sku, document FROM documents")
        return {sku: orjson.loads(document) for sku, document in rows}

    async def close(self) -> None:
        """Closes its connection."""
        self._connection.close()


class PostgresLoop(NaiveLoop):
    """A table of its own, over one connection, with prepared statements."""

    def __init__(
        self, connection: Connection, read: "PreparedStatement[Record]", write: "PreparedStatement[Record]"
    ) -> None:
        self._connection = connection
        self._read = read
        self._write = write

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connects, with the settings that the store's connections have."""
        connection = (await Connections(config(url)).session()).connection
        await connection.execute("CREATE TABLE IF NOT EXISTS documents (sku text PRIMARY KEY, document bytea NOT NULL)")
        read = await connection.prepare("SELECT document FROM documents WHERE sku = $1 FOR UPDATE")
        write = await connection.prepare(
            "INSERT INTO documents VALUES ($1, $2) ON CONFLICT (sku) DO UPDATE SET document = excluded.document"
        )
        return cls(connection, read, write)

    async def put(self, event: DomainEvent) -> None:
        """One durable transaction."""
        await self._connection.execute("BEGIN")
        found: bytes | None = await self._read.fetchval(event.sku)
        document: Document = {} if found is None else orjson.loads(found)
        if changed(document, event):
            await self._write.fetch(event.sku, orjson.dumps(document))
        await self._connection.execute("COMMIT")

    async def documents(self) -> dict[str, Document]:
        """Every document, by SKU."""
        rows = await self._connection.fetch("SELECT sku, document FROM documents")
        return {sku: orjson.loads(document) for sku, document in rows}

    async def close(self) -> None:
        """Closes its connection."""
        await self._connection.close()
