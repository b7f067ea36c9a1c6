"""Snapshots from an endpoint that returns its rows in pages of JSON."""

import os
from collections.abc import AsyncGenerator, Callable
from hashlib import sha256
from urllib.parse import urlsplit

import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.domains.values import NonNegative, Timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.snapshots.coverage import NOTHING_FIXED, Coverage
from pagefold.engine.snapshots.endpoint_client import EndpointClient, bearer_token
from pagefold.engine.snapshots.endpoint_responses import ResponseParser, RowsResponse
from pagefold.engine.snapshots.flat_json import FlatJSON, columns_of
from pagefold.engine.snapshots.json_rows import Found, JSONRows, RowCounter
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End, Row

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
        self._token = bearer_token(config, source, os.environ)
        columns = columns_of(config, source)
        self._rows = FlatJSON(columns, self.name) if columns.by_target else JSONRows(config, source)
        self._coverage = Coverage.of(config, source, self._rows.fixed)
        self.resumable = self._settings.stable

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over all pages, or from one of them on."""
        place = ResponseCursor() if cursor is None else msgspec.convert(cursor, ResponseCursor)
        endpoint = EndpointClient(self.name, self._settings, self._token, self._traffic)
        fixed = self._rows.fixed if isinstance(self._rows, JSONRows) else NOTHING_FIXED
        counter = RowCounter(self._source, place.rows, place.taken_at, fixed)
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
                page = page._replace(next=self._pages.following(endpoint, page.next, url))
                self._count(page.total)
                for start in range(place.skip, len(page.rows), BATCH_ROWS):
                    batch = await run_sync(self._batch, page, place, start)
                    if batch.rows:
                        yield batch
                if (end := self._end(page)) is not None:
                    break
                place = ResponseCursor(page.next)
        self.taken_at, self.end = self._counter.taken_at, end
        if place.page is not None and self._pages.may_shift:
            self._may_have_shifted(end)

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
            if (row := self._counter.row(self._read(bytes(raw)))) is not None:
                rows.append(row)
                skip = number
        self.taken_at = taken_at = self._counter.taken_at
        if skip == len(page.rows) and page.next is not None:
            cursor = ResponseCursor(page.next, 0, self._counter.rows, taken_at, self._first_total)
        else:
            cursor = ResponseCursor(place.page, skip, self._counter.rows, taken_at, self._first_total)
        return Batch(rows, msgspec.to_builtins(cursor), self._counter.rows, self._total)

    def _end(self, page: RowsResponse) -> End | None:
        """How the snapshot ended with this page; None if it continues."""
        self._empty = 0 if page.rows else self._empty + 1
        if self._counter.over:
            return self._counter.end()
        if page.next is None:
            return self._last()
        if page.next in self._seen:
            return End(complete=False, reason="the cursor repeats: it leads to a page that was read before")
        if self._empty >= EMPTY_PAGES:
            return End(complete=False, reason=f"{EMPTY_PAGES} consecutive pages were empty")
        return None

    def _last(self) -> End:
        rows = self._counter.rows
        if self._counter.marked:
            self.surplus = self._counter.surplus
            return self._counter.end()
        if self._total is None:
            return End(complete=False, reason="has neither an end marker nor a total")
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
