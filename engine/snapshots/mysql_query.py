"""Queries against MySQL and MariaDB: one transaction, which sees one moment, and rows as the server sends them.

The server prepares the query, so that it is one statement. It reads on as fast as rows are taken: nothing is buffered.
"""

import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

import aiomysql
import msgspec
from pymysql.constants import ER, FIELD_TYPE
from pymysql.converters import conversions, convert_date, convert_datetime
from pymysql.err import MySQLError

from pagefold.engine.configuration.addresses import MySQLAddress
from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.query_reading import CONNECT_SECONDS, NOT_A_SELECT, OpenQuery, QueryReading
from pagefold.projections.transforms.json_text import decode_exactly

IDLE_SECONDS = 24 * 60 * 60
"""How long the server waits for rows to be taken."""

_SETUP = (
    f"SET SESSION time_zone = '+00:00', net_write_timeout = {IDLE_SECONDS}, wait_timeout = {IDLE_SECONDS}",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
)
_WITHOUT_LIMIT = {True: "SET SESSION max_statement_time = 0", False: "SET SESSION max_execution_time = 0"}
"""By whether the server is MariaDB."""

_ZERO = "0000-00-00"
_READ_ONLY_TRANSACTION, _NOT_PREPARED = 1792, 1295
_NO_SELECT_ERRORS = (ER.PARSE_ERROR, _READ_ONLY_TRANSACTION, _NOT_PREPARED)
"""Error codes of servers: the driver does not name all of them."""

_DRIVER_ERRORS = (MySQLError, OSError, TimeoutError, RuntimeError, EOFError)

Convert: TypeAlias = Callable[[Any], object]


class MySQLQuery(QueryReading):
    """A pass over the rows of a query against MySQL or MariaDB."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[OpenQuery]:
        """Runs the query."""
        async with self._connected() as connection:
            with self._translated_errors():
                cursor = await self._executed(connection)

            async def fetch(number: int) -> Sequence[Any]:
                with self._translated_errors():
                    rows: Sequence[Any] = await cursor.fetchmany(number)
                    return rows

            columns = [(name, kind) for name, kind, *_ in cursor.description]
            structured = [place for place, (_, kind) in enumerate(columns) if kind == FIELD_TYPE.JSON]
            yield OpenQuery([name for name, _ in columns], fetch, tuple, lambda row: _decoded_row(row, structured))

    async def _executed(self, connection: Any) -> Any:  # noqa: ANN401  # the driver has no types
        """A cursor over the rows, unbuffered."""
        cursor = await connection.cursor(aiomysql.SSCursor)
        for statement in (_WITHOUT_LIMIT["MariaDB" in connection.get_server_info()], *_SETUP):
            await cursor.execute(statement)
        await cursor.execute("SET @pagefold_query = %s", (self._query,))
        await cursor.execute("PREPARE pagefold_query FROM @pagefold_query")
        await cursor.execute("EXECUTE pagefold_query")
        if not cursor.description:
            raise SourceFailed(self._name, f"{NOT_A_SELECT}: it has no columns")
        return cursor

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        address = MySQLAddress.parse(self._database)
        with self._translated_errors():
            connection = await aiomysql.connect(
                **address.connection,
                charset="utf8mb4",
                conv=_CONVERSIONS,
                ssl=_tls_context(address),
                connect_timeout=CONNECT_SECONDS,
                program_name="pagefold rebuild",
            )
        try:
            yield connection
        finally:
            connection.close()  # at once: a farewell would wait for the rest of the rows

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raises the driver's errors as `SourceFailed`."""
        try:
            yield
        except MySQLError as error:
            code, text = error.args[0], str(error.args[-1])
            if code in _NO_SELECT_ERRORS:
                raise SourceFailed(self._name, f"{NOT_A_SELECT}, according to the database: {text}") from error
            cause = "" if error.__cause__ is None else f": {error.__cause__}"
            raise SourceFailed(self._name, f"{type(error).__name__}: {text}{cause}") from error
        except (*_DRIVER_ERRORS, ValueError) as error:
            raise SourceFailed(self._name, f"{type(error).__name__}: {error}".rstrip(": ")) from error


def _tls_context(address: MySQLAddress) -> ssl.SSLContext | None:
    if address.tls == "off":
        return None
    context = ssl.create_default_context(cafile=address.ca_file)
    if address.tls == "unverified":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _decoded_row(row: Sequence[object], structured: Sequence[int]) -> Sequence[object]:
    values = list(row)
    for place in structured:
        value = values[place]
        values[place] = decode_exactly(bytes(value)) if isinstance(value, msgspec.Raw) else value
    return values


def _date(text: str) -> date | str | None:
    """A date; None for zeros, which MySQL has where there is none, and the text of a day that does not exist."""
    found: date | str | None = None if text.startswith(_ZERO) else convert_date(text)
    return found


def _moment(text: str) -> datetime | str | None:
    found: datetime | str | None = None if text.startswith(_ZERO) else convert_datetime(text)
    return found


def _utc_moment(text: str) -> datetime | str | None:
    """A TIMESTAMP, which has a zone: that of the session, which is UTC."""
    found = _moment(text)
    return found.replace(tzinfo=UTC) if isinstance(found, datetime) else found


_CONVERSIONS: Mapping[object, Convert] = {
    **conversions,
    FIELD_TYPE.DATE: _date,
    FIELD_TYPE.DATETIME: _moment,
    FIELD_TYPE.TIMESTAMP: _utc_moment,
    FIELD_TYPE.TIME: str,
    FIELD_TYPE.BIT: int.from_bytes,
    FIELD_TYPE.JSON: lambda text: msgspec.Raw(text.encode()),
}
