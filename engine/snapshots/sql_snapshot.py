"""Snapshots by a query against the source's own PostgreSQL: one transaction, which sees one moment."""

import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
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
from pagefold.engine.snapshots.contract_rows import ContractRows, Record, contract_rows
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import Found, RowCounter
from pagefold.engine.snapshots.own_columns import BoundColumns, EventColumns
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End
from pagefold.projections.transforms.json_text import decode_exactly

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0

FETCH_ROWS = 1_000
"""Rows per fetch. A batch has several fetches, so that a batch of large rows can be shorter."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of payload in a batch; one fetch may exceed it."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ReadRecord: TypeAlias = Callable[[asyncpg.Record], Found]
"""The content of a row."""

_WITHOUT_LIMITS = """
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
"""
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_JSON_TYPES = ("json", "jsonb")
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
        self.records = contract_rows(config, source, self.name, None)
        self._columns = self.records or EventColumns(config, source, self.name)
        self.identity = f"{self.name}:{sha256(self._query.encode()).hexdigest()}"

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over the current rows. Raises `SourceFailed` for a cursor: a query cannot be resumed."""
        if cursor is not None:
            raise SourceFailed(self.name, "a query cannot be resumed; it starts over")
        if self.records is not None:
            self.records.begin(None)
        counter = RowCounter(self._source, records=self.records)
        return QueryReading(self.name, self._database, self._query, self._columns, counter)


class QueryReading(SnapshotPass):
    """A pass over the rows of a query, in a transaction of its own."""

    def __init__(
        self, name: str, database: str, query: str, columns: EventColumns | ContractRows, counter: RowCounter
    ) -> None:
        self._name = name
        self._database = database
        self._query = query
        self._columns = columns
        self._counter = counter

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
                read, self.coverage = self._bind(statement.get_attributes())
                cursor = await statement.cursor()
            more = True
            while more:
                rows: list[Row] = []
                size = 0
                while more and len(rows) < BATCH_ROWS and size < MAX_BATCH_BYTES:
                    with self._translated_errors():
                        records = await cursor.fetch(FETCH_ROWS)
                    more = len(records) == FETCH_ROWS
                    size += await run_sync(self._take, records, read, rows)
                identities = self._counter.take_identities()
                if rows or identities:
                    yield Batch(rows, None, self._counter.rows, None, identities)
        self.end = End(complete=True)

    def _bind(self, columns: Sequence[asyncpg.Attribute]) -> tuple[ReadRecord, Coverage]:
        """How rows with these columns are read, and what they cover. Raises `SourceFailed` if one is missing."""
        names = [each.name for each in columns]
        if isinstance(self._columns, ContractRows):
            self._columns.check_columns(names)
            structured = [each.name for each in columns if _is_structured(each)]
            return partial(_record, structured=structured), self._columns.coverage
        bound, coverage = self._columns.bind(names)
        return lambda record: _event(record, bound), coverage

    def _take(self, records: Sequence[asyncpg.Record], read: ReadRecord, rows: list[Row]) -> int:
        """Adds the records' events to `rows`; returns the bytes of their payloads."""
        made = [row for record in records for row in self._counter.take(read(record)) or ()]
        rows += made
        events = [row.event for row in made if isinstance(row.event, DomainEvent)]
        return sum([len(event.payload) for event in events if isinstance(event.payload, bytes)])

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
                for kind in _JSON_TYPES:
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


def _is_structured(column: asyncpg.Attribute) -> bool:
    """Whether the values of a column may be JSON, or have it inside."""
    kind = column.type
    return kind.kind != "scalar" or kind.schema != "pg_catalog" or kind.name in _JSON_TYPES


def _record(record: asyncpg.Record, structured: Sequence[str]) -> Record:
    value = dict(record.items())
    for name in structured:
        value[name] = _decoded(value[name])
    return Record(value, 0)


def _decoded(value: object) -> object:
    """A value of a column of JSON, decoded: numbers keep every digit."""
    if isinstance(value, list):
        return list(map(_decoded, value))
    return decode_exactly(bytes(value)) if isinstance(value, msgspec.Raw) else value


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
