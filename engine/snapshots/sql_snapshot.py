"""Snapshots by a query against the source's own PostgreSQL: one transaction, which sees one moment."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from hashlib import sha256
from typing import TypeAlias

import anyio
import asyncpg
import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.addresses import POSTGRES_SCHEMES, postgres_url_error, scheme_of
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.errors import Rejected, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.mapping.column_mapping import BoundColumns
from pagefold.engine.snapshots.flat_json import Binding
from pagefold.engine.snapshots.json_rows import RowCounter
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End, Row

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0

FETCH_ROWS = 1_000
"""Rows per fetch. A batch has several fetches, so that a batch of large rows can be shorter."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of payload in a batch; one fetch may exceed it."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_WITHOUT_LIMITS = """
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
"""
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_NOT_A_SELECT = "the query is not one SELECT"


class SQLSnapshot(ReadAhead):
    """The rows of a query. Raises `ConfigurationError` if the environment has no URL of the database."""

    unit = "rows"

    def __init__(self, config: Config, source: str, group: TaskGroup) -> None:
        super().__init__(group)
        settings = config.sources[source].snapshot or SnapshotConfig()
        self._source = source
        self._database = database_url(config, source, os.environ)
        self._query = settings.query or ""
        self.name = redacted(self._database)
        self._binding = Binding(config, source, self.name)
        self.identity = f"{self.name}:{sha256(self._query.encode()).hexdigest()}"

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over the current rows. Raises `SourceFailed` for a cursor: a query cannot be resumed."""
        if cursor is not None:
            raise SourceFailed(self.name, "a query cannot be resumed; it starts over")
        return QueryReading(self.name, self._database, self._query, self._binding, self._source)


class QueryReading(SnapshotPass):
    """A pass over the rows of a query, in a transaction of its own."""

    def __init__(self, name: str, database: str, query: str, binding: Binding, source: str) -> None:
        self._name = name
        self._database = database
        self._query = query
        self._binding = binding
        self._counter = RowCounter(source)

    @property
    def rows(self) -> int:
        """The rows read so far."""
        return self._counter.rows

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every row, as of the first fetch."""
        async with self._connected() as connection:
            with self._translated_errors():
                await connection.transaction(isolation="repeatable_read", readonly=True).start()
                await connection.execute(_WITHOUT_LIMITS)
                statement = await self._prepared(connection)
                bound, self.coverage = self._binding.of([each.name for each in statement.get_attributes()])
                cursor = await statement.cursor()
            more = True
            while more:
                rows: list[Row] = []
                size = 0
                while more and len(rows) < BATCH_ROWS and size < MAX_BATCH_BYTES:
                    with self._translated_errors():
                        records = await cursor.fetch(FETCH_ROWS)
                    more = len(records) == FETCH_ROWS
                    size += await run_sync(self._take, records, bound, rows)
                if rows:
                    yield Batch(rows, None, self._counter.rows, None)
        self.end = End(complete=True)

    def _take(self, records: Sequence[asyncpg.Record], bound: BoundColumns, rows: list[Row]) -> int:
        """Adds the records' events to `rows`; returns the bytes of their payloads."""
        size = 0
        for record in records:
            event = _event(record, bound)
            if isinstance(event, DomainEvent) and isinstance(event.payload, bytes):
                size += len(event.payload)
            if (row := self._counter.row(event)) is not None:
                rows.append(row)
        return size

    async def _prepared(self, connection: Connection) -> "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]":
        statement = await connection.prepare(self._query)
        if not statement.get_attributes():
            raise SourceFailed(self._name, f"{_NOT_A_SELECT}: it has no columns")
        if statement.get_parameters():
            raise SourceFailed(self._name, "the query has parameters such as $1, and nothing gives them values")
        return statement

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        with self._translated_errors():
            connection = await asyncpg.connect(
                self._database,
                timeout=CONNECT_SECONDS,
                statement_cache_size=0,  # poolers between us and the server may not keep prepared statements
                server_settings={"application_name": "pagefold rebuild"},
            )
        try:
            with self._translated_errors():
                for kind in ("json", "jsonb"):
                    await connection.set_type_codec(kind, schema="pg_catalog", encoder=str, decoder=_raw)
            yield connection
        finally:
            with anyio.move_on_after(CLOSE_SECONDS, shield=True) as closing:
                await _close(connection)
            if closing.cancelled_caught:
                connection.terminate()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raises the driver's errors as `SourceFailed`."""
        try:
            yield
        except (asyncpg.PostgresSyntaxError, asyncpg.ReadOnlySQLTransactionError) as error:
            raise SourceFailed(self._name, f"{_NOT_A_SELECT}, according to the database: {error}") from error
        except (*_DRIVER_ERRORS, ValueError) as error:
            raise SourceFailed(self._name, f"{type(error).__name__}: {error}".rstrip(": ")) from error


async def _close(connection: Connection) -> None:
    try:
        await connection.close()
    except _DRIVER_ERRORS:
        connection.terminate()


def _event(record: asyncpg.Record, bound: BoundColumns) -> DomainEvent | Rejected:
    try:
        return bound.event(tuple(record))
    except Rejected as refused:
        return refused.with_traceback(None)


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


def database_url(config: Config, source: str, environment: Mapping[str, str]) -> str:
    """The URL of a source's database, from the file or the environment; "" if it needs none.

    Raises `ConfigurationError`, which never shows it.
    """
    settings = config.sources[source].snapshot or SnapshotConfig()
    variable = settings.database_variable
    if settings.database is not None or variable is None:
        return settings.database or ""
    key = f"sources.{source}.snapshot.database_variable"
    url = environment.get(variable, "").strip()
    if not url:
        raise config.error(key, f"the environment variable {variable} is not set or empty")
    if scheme_of(url) not in POSTGRES_SCHEMES:
        raise config.error(key, f"{variable} is not a URL such as postgresql://…")
    if (fault := postgres_url_error(url)) is not None:
        raise config.error(key, f"the URL in {variable} {fault}")
    return url
