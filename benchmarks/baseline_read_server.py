"""Baseline servers for page reads over HTTP: a raw ASGI application on uvicorn.

python -m benchmarks.baseline_read_server URL page     # reads one row with the finished page
python -m benchmarks.baseline_read_server URL rows     # reads the rows of the page's sections and splices them
python -m benchmarks.baseline_read_server URL memory   # takes the finished page from a dictionary

All of them answer with the same body, type and length as Pagefold, but without entity tags, conditions, cache headers,
scopes, limits, or missing pages. The table of finished pages holds only those that are requested.
"""

import asyncio
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import apsw
import asyncpg
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from benchmarks.workload import config
from pagefold.domains import DOMAINS
from pagefold.engine.http.headers import JSON
from pagefold.engine.http.listening_socket import BACKLOG, address_of, listen
from pagefold.engine.http.page_reads import Application
from pagefold.engine.runtime.event_loop import tune_gc
from pagefold.engine.stores.postgres.connections import SQL as POSTGRES
from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.postgres.merged_reads import PageRows
from pagefold.engine.stores.section_rows import page_sections
from pagefold.engine.stores.sqlite.connections import PAGES, Row, connect
from pagefold.engine.stores.sqlite.connections import SQL as SQLITE
from pagefold.engine.stores.sqlite.reader_connections import connect_reader
from pagefold.projections import Splicer

TABLE = (
    "CREATE TABLE IF NOT EXISTS finished (channel text, sku text, page {bytes} NOT NULL, PRIMARY KEY (channel, sku))"
)
FOUND = "SELECT page FROM finished WHERE channel = {} AND sku = {}"
ALL = "SELECT channel, sku, page FROM finished"
READERS = 8
"""Connections to PostgreSQL. On two cores, more are not faster."""

BUSY_MILLISECONDS = 10_000

Key: TypeAlias = tuple[str, str]
"""(channel, SKU), as in a path."""

Read: TypeAlias = Callable[[str, str], Awaitable[bytes]]


class FinishedPages(ABC):
    """The table of finished pages, and the section rows that they are spliced from."""

    def __init__(self, url: str) -> None:
        self._url = url
        shop = config(url)
        self._splice = Splicer(DOMAINS, shop.resolved_channels).splice

    @abstractmethod
    async def keep(self, pages: Mapping[Key, bytes]) -> None:
        """Creates and fills the table."""

    @abstractmethod
    async def all(self) -> dict[Key, bytes]:
        """All finished pages."""

    @abstractmethod
    async def page(self) -> Read:
        """Reads finished pages from the table."""

    @abstractmethod
    async def rows(self) -> Read:
        """Reads the sections of a page and splices them."""

    async def memory(self) -> Read:
        """Takes finished pages from memory."""
        pages = await self.all()

        async def read(channel: str, sku: str) -> bytes:
            return pages[channel, sku]

        return read


class SQLiteFinishedPages(FinishedPages):
    """A file in the store's folder."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._folder = Path(url.removeprefix("sqlite:///"))

    async def keep(self, pages: Mapping[Key, bytes]) -> None:
        """One transaction."""
        connection = connect(self._folder / "finished.db", synchronous="NORMAL")
        connection.execute(TABLE.format(bytes="blob"))
        with connection:
            connection.executemany(
                "INSERT OR REPLACE INTO finished VALUES (?, ?, ?)", [(*key, page) for key, page in pages.items()]
            )
        connection.close()

    async def all(self) -> dict[Key, bytes]:
        """As they stand."""
        return {(channel, sku): page for channel, sku, page in self._connection("finished.db").execute(ALL)}

    async def page(self) -> Read:
        """Reads on the event loop, which takes some microseconds."""
        execute, statement = self._connection("finished.db").cursor().execute, FOUND.format("?", "?")

        async def read(channel: str, sku: str) -> bytes:
            found: list[Row] = execute(statement, (channel, sku)).fetchall()
            page: bytes = found[0][0]
            return page

        return read

    async def rows(self) -> Read:
        """Likewise."""
        execute, statement = self._connection(PAGES).cursor().execute, SQLITE["page_sections"]

        async def read(channel: str, sku: str) -> bytes:
            rows = page_sections(execute(statement, (sku,)).fetchall(), channel, "the store")
            page = self._splice(sku, channel, rows, disabled=False)
            assert page is not None
            return page

        return read

    def _connection(self, file: str) -> apsw.Connection:
        return connect_reader(self._folder / file, BUSY_MILLISECONDS)


class PostgresFinishedPages(FinishedPages):
    """A table in the store's database."""

    async def keep(self, pages: Mapping[Key, bytes]) -> None:
        """One transaction."""
        connection = await self._connect()
        await connection.execute(TABLE.format(bytes="bytea"))
        await connection.execute("TRUNCATE finished")
        await connection.executemany(
            "INSERT INTO finished VALUES ($1, $2, $3)", [(*key, page) for key, page in pages.items()]
        )
        await connection.execute("VACUUM ANALYZE finished")
        await connection.close()

    async def all(self) -> dict[Key, bytes]:
        """As they stand."""
        connection = await self._connect()
        rows = await connection.fetch(ALL)
        await connection.close()
        return {(channel, sku): page for channel, sku, page in rows}

    async def page(self) -> Read:
        """Reads on the first free connection."""
        statements = await self._prepared(FOUND.format("$1", "$2"))

        async def read(channel: str, sku: str) -> bytes:
            statement = await statements.get()
            page: bytes = await statement.fetchval(channel, sku)
            statements.put_nowait(statement)
            return page

        return read

    async def rows(self) -> Read:
        """Likewise."""
        statements = await self._prepared(POSTGRES["page_sections"])

        async def read(channel: str, sku: str) -> bytes:
            statement = await statements.get()
            rows: PageRows = await statement.fetch(sku)
            page = self._splice(sku, channel, page_sections(rows, channel, "the store"), disabled=False)
            statements.put_nowait(statement)
            assert page is not None
            return page

        return read

    async def _prepared(
        self, query: str
    ) -> "asyncio.LifoQueue[asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]]":
        statements: asyncio.LifoQueue[asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]] = asyncio.LifoQueue()
        for _ in range(READERS):
            statements.put_nowait(await (await self._connect()).prepare(query))
        return statements

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        return (await Connections(config(self._url)).session()).connection


def finished_pages(url: str) -> FinishedPages:
    """The finished pages of a store."""
    return SQLiteFinishedPages(url) if url.startswith("sqlite:") else PostgresFinishedPages(url)


async def serve(url: str, kind: str) -> None:
    """Serves until it is killed."""
    pages = finished_pages(url)
    read = await {"page": pages.page, "rows": pages.rows, "memory": pages.memory}[kind]()

    async def application(scope: Scope, _receive: Receive, send: Send) -> None:
        _, _, _, channel, sku = scope["raw_path"].split(b"/")
        body = await read(channel.decode(), sku.decode())
        headers = [JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    await run(application)


async def run(application: Application) -> None:
    """Serves an application with Pagefold's settings, except for limits."""
    listener = listen("127.0.0.1", 0)
    settings = uvicorn.Config(
        application,
        http="httptools",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
    )
    print(f"listening on {address_of(listener)}", flush=True)
    await uvicorn.Server(settings).serve([listener])


if __name__ == "__main__":
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(*sys.argv[1:]))
