"""Snapshots from an endpoint that returns its rows in pages of JSON."""

import os
from collections.abc import AsyncGenerator, Callable
from hashlib import sha256
from urllib.parse import urlsplit

import httpx2
import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.domains.values import NonNegative, Timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.snapshots.contract_rows import contract_rows
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.endpoint_client import EndpointClient, credentials
from pagefold.engine.snapshots.endpoint_responses import ResponseParser, RowsResponse
from pagefold.engine.snapshots.json_rows import ContractJSON, Found, JSONRows, RowCounter
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, NO_PROOF, Batch, End

EMPTY_PAGES = 100
"""After this many consecutive pages without rows, reading stops."""


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
        self._traffic = traffic
        address = self._settings.url or ""
        parts = urlsplit(address)
        self.name = f"{parts.scheme}://{parts.netloc}{parts.path}"
        self.identity = f"{self.name}:{sha256(address.encode()).hexdigest()[:16]}"
        self._credentials = credentials(config, f"sources.{source}.snapshot", self._settings, os.environ)
        self.records = contract_rows(config, source, self.name, "streams")
        if self.records is None:
            self._rows: JSONRows | ContractJSON = JSONRows(config, source)
            self._fixed = self._rows.fixed
            self._coverage = Coverage.of_events(config, source, self._fixed)
        else:
            self._rows, self._fixed = ContractJSON(self.records), {}
            self._coverage = self.records.coverage
        self.resumable = self._settings.stable

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over all pages, or from one of them on."""
        place = ResponseCursor() if cursor is None else msgspec.convert(cursor, ResponseCursor)
        endpoint = EndpointClient(self.name, self._settings, self._credentials, self._traffic)
        if self.records is not None:
            self.records.begin(place.taken_at)
        counter = RowCounter(self._source, place.rows, place.taken_at, self._fixed, self.records)
        reading = PageReading(endpoint, ResponseParser(self.name, self._settings), self._rows.read, place, counter)
        reading.coverage = self._coverage
        return reading


class PageReading(SnapshotPass):
    """A pass over the pages in order."""

    def __init__(
        self,
        endpoint: EndpointClient,
        pages: ResponseParser,
        read: Callable[[bytes], Found],
        place: ResponseCursor,
        counter: RowCounter,
    ) -> None:
        self._endpoint = endpoint
        self._pages = pages
        self._read = read
        self._place = place
        self._counter = counter
        self._total = self._first_total = place.total
        self._seen: set[str] = set()
        self._rows_before: list[msgspec.Raw] = []
        self._empty = 0

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        return self._counter.rows

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every page; one with very many rows gives several batches."""
        place = self._place
        async with self._endpoint as endpoint:
            while True:
                url = self._pages.address(endpoint, place.page)
                self._seen |= {place.page or "", str(url)}
                page = await run_sync(self._pages.read, await endpoint.get(url))
                self._count(page.total)
                page = page._replace(next=self._next(endpoint, page, place, url))
                for start in range(place.skip, len(page.rows), BATCH_ROWS):
                    batch = await run_sync(self._batch, page, place, start)
                    if batch.rows or batch.identities:
                        yield batch
                if (end := self._end(page)) is not None:
                    break
                place = ResponseCursor(page.next)
        self.taken_at, self.end = self._counter.taken_at, end
        if place.page is not None and self._pages.may_shift:
            self._may_have_shifted(end)

    def _next(self, endpoint: EndpointClient, page: RowsResponse, place: ResponseCursor, url: httpx2.URL) -> str | None:
        """The page after this one; None if it is the last. Numbered pages end with the total, if that is known."""
        if not self._pages.are_numbered:
            return self._pages.following(endpoint, page.next, url)
        read = self._counter.rows - place.skip + len(page.rows)
        if self._total is not None and read >= self._total:
            return None
        return self._pages.numbered(place.page, len(page.rows))

    def _count(self, total: int | None) -> None:
        """Records the total of a page, if it has one."""
        if total is not None:
            self._first_total = total if self._first_total is None else self._first_total
            self._total = total

    def _batch(self, page: RowsResponse, place: ResponseCursor, start: int) -> Batch:
        """A batch of a page's rows. A pass resumed after the last row reads the end marker again."""
        rows: list[Row] = []
        skip = start
        for number, raw in enumerate(page.rows[start : start + BATCH_ROWS], start + 1):
            if (more := self._counter.take(self._read(bytes(raw)))) is not None:
                rows += more
                skip = number
        self.taken_at = taken_at = self._counter.taken_at
        if skip == len(page.rows) and page.next is not None:
            cursor = ResponseCursor(page.next, 0, self._counter.rows, taken_at, self._first_total)
        else:
            cursor = ResponseCursor(place.page, skip, self._counter.rows, taken_at, self._first_total)
        identities = self._counter.take_identities()
        return Batch(rows, msgspec.to_builtins(cursor), self._counter.rows, self._total, identities)

    def _end(self, page: RowsResponse) -> End | None:
        """How the snapshot ended with this page; None if it continues."""
        self._empty = 0 if page.rows else self._empty + 1
        if self._counter.over:
            return self._counter.end()
        if page.next is None:
            return self._last()
        if page.next in self._seen:
            return End(complete=False, reason="the cursor repeats: it leads to a page that was read before")
        if self._pages.are_numbered and page.rows == self._rows_before:
            return End(
                complete=False, reason="a page has the rows of the page before it: the server ignores its number"
            )
        self._rows_before = page.rows
        if self._empty >= EMPTY_PAGES:
            return End(complete=False, reason=f"{EMPTY_PAGES} consecutive pages were empty")
        return None

    def _last(self) -> End:
        rows = self._counter.rows
        if self._counter.marked:
            self.surplus = self._counter.surplus
            return self._counter.end()
        if self._total is None:
            return End(complete=False, reason=NO_PROOF)
        self.surplus = max(rows - self._total, 0)
        if self._total != rows:
            return End(complete=False, reason=f"its total is {self._total:,} rows; it has {rows:,}")
        return End(complete=True)

    def _may_have_shifted(self, end: End) -> None:
        """A row repeated on another page means that one was skipped; so does a changed total."""
        self.surplus = 0
        if end.complete and self._first_total != self._total:
            reason = "its total changed while its pages were read, so rows may have moved between them"
            self.end = End(complete=False, reason=reason)
