"""A pass over the rows of a query, whatever the database."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, NamedTuple, TypeAlias

from anyio.to_thread import run_sync

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.snapshots.contract_rows import ContractRows, Record
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import Found, RowCounter
from pagefold.engine.snapshots.own_columns import BoundColumns, EventColumns
from pagefold.engine.snapshots.read_ahead import SnapshotPass
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End

CONNECT_SECONDS = 10.0

FETCH_ROWS = 1_000
"""Rows per fetch. A batch has several fetches, so that a batch of large rows can be shorter."""

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of payload in a batch; one fetch may exceed it."""

NOT_A_SELECT = "the query is not one SELECT"

Values: TypeAlias = Sequence[object]
"""The values of a row, in the order of the columns."""

ReadValues: TypeAlias = Callable[[Values], Found]
"""The content of a row."""


class OpenQuery(NamedTuple):
    """A query that runs. `fetch` gives up to so many rows, fewer only at the end, in the form of the driver.

    `values` gives the values of one; for a contract, those of JSON columns are `decoded`.
    """

    names: Sequence[str]
    fetch: Callable[[int], Awaitable[Sequence[Any]]]
    values: Callable[[Any], Values]
    decoded: Callable[[Any], Values]


class QueryReading(SnapshotPass):
    """A pass over the rows of a query, in a transaction of its own. Subclasses know a database."""

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

    @abstractmethod
    def opened(self) -> AbstractAsyncContextManager[OpenQuery]:
        """Runs the query for the length of an `async with`. Raises `SourceFailed`, and so does `fetch`."""

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every row, as of the first fetch."""
        async with self.opened() as query:
            read, self.coverage = self._bind(query)
            more = True
            while more:
                rows: list[Row] = []
                size = 0
                while more and len(rows) < BATCH_ROWS and size < MAX_BATCH_BYTES:
                    records = await query.fetch(FETCH_ROWS)
                    more = len(records) == FETCH_ROWS
                    size += await run_sync(self._take, records, read, rows)
                identities = self._counter.take_identities()
                if rows or identities:
                    yield Batch(rows, None, self._counter.rows, None, identities)
        self.end = End(complete=True)

    def _bind(self, query: OpenQuery) -> tuple[Callable[[Any], Found], Coverage]:
        """How rows with these columns are read, and what they cover. Raises `SourceFailed` if one is missing."""
        if isinstance(self._columns, ContractRows):
            self._columns.check_columns(query.names)
            names = query.names
            return lambda row: Record(dict(zip(names, query.decoded(row), strict=True)), 0), self._columns.coverage
        bound, coverage = self._columns.bind(query.names)
        return lambda row: _event(query.values(row), bound), coverage

    def _take(self, records: Sequence[Any], read: Callable[[Any], Found], rows: list[Row]) -> int:
        """Adds the records' events to `rows`; returns the bytes of their payloads."""
        made = [row for record in records for row in self._counter.take(read(record)) or ()]
        rows += made
        events = [row.event for row in made if isinstance(row.event, DomainEvent)]
        return sum([len(event.payload) for event in events if isinstance(event.payload, bytes)])


def _event(values: Values, bound: BoundColumns) -> DomainEvent | Rejected:
    try:
        return bound.event(tuple(values))
    except Rejected as refused:
        return refused.with_traceback(None)
