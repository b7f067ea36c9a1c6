"""Queries against PostgreSQL: one transaction, which sees one moment, and a cursor of the server."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import anyio
import asyncpg
import msgspec

from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.query_reading import CONNECT_SECONDS, NOT_A_SELECT, OpenQuery, QueryReading
from pagefold.projections.transforms.json_text import decode_exactly

CLOSE_SECONDS = 2.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_WITHOUT_LIMITS = """
SELECT set_config(name, '0', true)
FROM pg_settings
WHERE name IN ('statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout')
"""
_DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
_JSON_TYPES = ("json", "jsonb")


class PostgresQuery(QueryReading):
    """A pass over the rows of a query against PostgreSQL."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenQuery]:
        """Runs the query."""
        async with self._connected() as connection:
            with self._translated_errors():
                await connection.transaction(isolation="repeatable_read", readonly=True).start()
                await connection.execute(_WITHOUT_LIMITS)
                statement = await self._prepared(connection)
                cursor = await statement.cursor()

            async def fetch(number: int) -> Sequence[asyncpg.Record]:
                with self._translated_errors():
                    return await cursor.fetch(number)

            columns = statement.get_attributes()
            structured = [place for place, each in enumerate(columns) if _is_structured(each)]
            yield OpenQuery([each.name for each in columns], fetch, tuple, lambda row: _decoded_row(row, structured))

    async def _prepared(self, connection: Connection) -> "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]":
        statement = await connection.prepare(self._query)
        if not statement.get_attributes():
            raise SourceFailed(self._name, f"{NOT_A_SELECT}: it has no columns")
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
            raise SourceFailed(self._name, f"{NOT_A_SELECT}, according to the database: {error}") from error
        except (*_DRIVER_ERRORS, ValueError) as error:
            raise SourceFailed(self._name, f"{type(error).__name__}: {error}".rstrip(": ")) from error


async def _close(connection: Connection) -> None:
    try:
        await connection.close()
    except _DRIVER_ERRORS:
        connection.terminate()


def _is_structured(column: asyncpg.Attribute) -> bool:
    """Whether the values of a column may be JSON, or have it inside."""
    kind = column.type
    return kind.kind != "scalar" or kind.schema != "pg_catalog" or kind.name in _JSON_TYPES


def _decoded_row(record: asyncpg.Record, structured: Sequence[int]) -> Sequence[object]:
    values = list(record)
    for place in structured:
        values[place] = _decoded(values[place])
    return values


def _decoded(value: object) -> object:
    """A value of a column of JSON, decoded: numbers keep every digit."""
    if isinstance(value, list):
        return list(map(_decoded, value))
    return decode_exactly(bytes(value)) if isinstance(value, msgspec.Raw) else value


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())
