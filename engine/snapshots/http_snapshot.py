"""Snapshots from an endpoint that returns its rows in pages of JSON."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from hashlib import sha256

import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.domains.values import NonNegative, Timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.snapshots.contract_rows import contract_rows
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.endpoint_client import endpoint_at
from pagefold.engine.snapshots.endpoint_pages import open_pages
from pagefold.engine.snapshots.json_rows import ContractJSON, Found, JSONRows, RowCounter
from pagefold.engine.snapshots.page_sequence import Page, PageSequence
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch


class ResponseCursor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where reading resumes: at a page, after `skip` of its rows, with `rows` before that in all.

    `page` is the cursor of the page, or its URL; None is the first. `total` is the first reported total.
    """

    page: str | None = None
    skip: NonNegative = 0
    rows: NonNegative = 0
    taken_at: Timestamp | None = None
    total: int | None = None


class HTTPSnapshot(ReadAhead):
    """An endpoint. Raises `ConfigurationError` if the environment lacks its token."""

    unit = "rows"

    def __init__(self, config: Config, source: str, group: TaskGroup, traffic: RequestLimiter) -> None:
        super().__init__(group)
        self._settings = config.sources[source].snapshot or SnapshotConfig()
        self._source = source
        self._endpoint = endpoint_at(config, f"sources.{source}.snapshot", self._settings, traffic)
        self.name = self._endpoint.name
        asked = (self._settings.url or "").encode()
        if self._settings.body is not None:
            asked += msgspec.json.encode(self._settings.body)
        self.identity = f"{self.name}:{sha256(asked).hexdigest()[:16]}"
        self.records = contract_rows(config, source, self.name, "streams")
        if self.records is None:
            self._rows: JSONRows | ContractJSON = JSONRows(config, source)
            self._fixed = self._rows.fixed
            self._coverage = Coverage.of_events(config, source, self._fixed)
        else:
            self._rows, self._fixed = ContractJSON(self.records), {}
            self._coverage = self.records.coverage
        self.resumable = self._settings.is_sorted and self._settings.export is None

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over all pages, or from one of them on."""
        place = ResponseCursor() if cursor is None else msgspec.convert(cursor, ResponseCursor)
        pages = open_pages(self._endpoint, place=place.page, rows=place.rows - place.skip, total=place.total)
        if self.records is not None:
            self.records.begin(place.taken_at)
        counter = RowCounter(self._source, place.rows, place.taken_at, self._fixed, self.records)
        reading = PageReading(pages, self._rows.read, place.skip, counter)
        reading.coverage = self._coverage
        return reading


class PageReading(SnapshotPass):
    """A pass over the pages in order. The first `skip` rows of the first were read before."""

    def __init__(self, pages: PageSequence, read: Callable[[bytes], Found], skip: int, counter: RowCounter) -> None:
        self._pages = pages
        self._read = read
        self._skip = skip
        self._counter = counter

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        return self._counter.rows

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every page; one with very many rows gives several batches."""
        async with aclosing(self._pages.pages()) as pages:
            async for page in pages:
                for start in range(self._skip, len(page.rows), BATCH_ROWS):
                    batch = await run_sync(self._batch, page, start)
                    if batch.rows or batch.identities:
                        yield batch
                self._skip = 0
                self._pages.rows = self._counter.rows
                if self._counter.over:
                    break
        self._conclude()

    def _conclude(self) -> None:
        """How the snapshot ended: by an end marker, or by what the pages say."""
        self.taken_at, self.end, self.surplus = self._counter.taken_at, self._pages.end, self._pages.surplus
        if self._counter.over or (self._pages.is_last and self._counter.marked):
            self.end = self._counter.end()
            if self.surplus is None or self._pages.is_sorted:
                self.surplus = self._counter.surplus

    def _batch(self, page: Page, start: int) -> Batch:
        """A batch of a page's rows. A pass resumed after the last row reads the end marker again."""
        rows: list[Row] = []
        skip = start
        for number, raw in enumerate(page.rows[start : start + BATCH_ROWS], start + 1):
            failure = page.failed.get(number - 1)
            found = self._read(bytes(raw)) if failure is None else Rejected("", failure)
            if (more := self._counter.take(found)) is not None:
                rows += more
                skip = number
        self.taken_at = taken_at = self._counter.taken_at
        total = self._pages.first_total
        if skip == len(page.rows) and page.next is not None:
            cursor = ResponseCursor(page.next, 0, self._counter.rows, taken_at, total)
        else:
            cursor = ResponseCursor(page.place, skip, self._counter.rows, taken_at, total)
        identities = self._counter.take_identities()
        return Batch(rows, msgspec.to_builtins(cursor), self._counter.rows, self._pages.total, identities)
