"""The pages of one request, one after another, until all rows were read."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import NamedTuple

import httpx2
import msgspec
from anyio.to_thread import run_sync

from pagefold.engine.errors import SourceFailed
from pagefold.engine.snapshots.endpoint_client import Endpoint, EndpointClient
from pagefold.engine.snapshots.endpoint_responses import ResponseParser, RowsResponse
from pagefold.engine.snapshots.json_paths import value_at
from pagefold.engine.snapshots.page_requests import PageRequests
from pagefold.engine.snapshots.snapshot import MAY_HAVE_MOVED, NO_PROOF, UNPROVEN, End

EMPTY_PAGES = 100
"""After this many consecutive pages without rows, reading stops."""


MAX_BYTES = 256 * 1024 * 1024
"""Bytes of rows that are held in memory: those of a table, or of one row's children."""


class Page(NamedTuple):
    """The rows of a page, undecoded. `place` and `next` name it and the next one; None is the first, or no page.

    `failed`: by the index of each row whose children could not be read, why. Nothing may be made of such a row.
    """

    place: str | None
    rows: list[msgspec.Raw]
    next: str | None
    failed: Mapping[int, str] = {}


class PageSequence:
    """One pass over pages, from the first, or from the page `place`, before which are `rows` rows.

    `rows` counts those that were read, `total` those that there are, as far as the endpoint says. A reader that finds
    rows that do not count sets `rows` again before it asks for the next page.

    After the last page, `end` says whether all rows were read. `is_last`: no page follows; else
    reading stopped because more pages made no sense.

    With an open `client` of the endpoint, or of another at the same origin, the pages are requested through it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        client: EndpointClient | None = None,
        *,
        place: str | None = None,
        rows: int = 0,
        total: int | None = None,
    ) -> None:
        self._settings = endpoint.settings
        self._client = client or EndpointClient(endpoint)
        self._is_own = client is None
        self._parser = ResponseParser(endpoint.name, endpoint.settings)
        self._requests = PageRequests(endpoint.settings, endpoint.credentials.members)
        self._place = place
        self._seen: set[str] = set()
        self._before: list[msgspec.Raw] = []
        self._empty = 0
        self._last_id: object = None
        self._repeated = 0
        self._has_moved = False
        self.rows = rows
        self.total = self.first_total = total
        self.is_last = False
        self.end = End(complete=False, reason="was not read to its end")

    @property
    def is_sorted(self) -> bool:
        """Whether rows stay on their page while others are added and removed."""
        return self._settings.is_sorted

    @property
    def surplus(self) -> int | None:
        """How many rows must be repetitions for it to be complete; None if that does not matter."""
        several = self._place is not None
        if several and not self.is_sorted:
            return 0
        return max(self.rows - self.total, 0) if self.is_last and self.total is not None else None

    async def pages(self) -> AsyncGenerator[Page, None]:
        """Every page. Raises `SourceFailed`."""
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(self._client) if self._is_own else self._client
            while True:
                request = self._requests.request(self._place, client.address)
                self._seen |= {self._place or "", str(request.url) if request.content is None else ""}
                answer = await run_sync(self._parser.read, await client.send(request))
                answer = self._without_overlap(self._without_repetition(answer))
                self._count(answer)
                following = self._next(answer, request.url)
                yield Page(self._place, answer.rows, following)
                if (end := self._end(answer, following)) is not None:
                    break
                self._place = following
        self.end = self._checked(end)

    def _count(self, page: RowsResponse) -> None:
        self.rows += len(page.rows)
        if page.total is not None:
            self.first_total = page.total if self.first_total is None else self.first_total
            self.total = page.total

    def _without_repetition(self, page: RowsResponse) -> RowsResponse:
        """The page, or one without rows in place of the repeated last page."""
        paging = self._settings.paging
        if paging is not None and paging.repeats_last and page.rows and page.rows == self._before:
            return page._replace(rows=[], next=None)
        return page

    def _without_overlap(self, page: RowsResponse) -> RowsResponse:
        """The page without its first row, if that is the last one of the page before; if not, rows have moved."""
        path = None if self._settings.paging is None else self._settings.paging.overlap
        if path is None:
            return page
        expected, self._repeated = self._last_id, 0
        self._last_id = value_at(page.rows[-1], path) if page.rows else None
        if expected is None:
            return page
        if not page.rows or value_at(page.rows[0], path) != expected:
            self._has_moved = True
            return page
        self._repeated = 1
        return page._replace(rows=page.rows[1:])

    def _next(self, page: RowsResponse, url: httpx2.URL) -> str | None:
        """The page after this one; None if it is the last."""
        paging = self._settings.paging
        if page.has_more is False or self._is_short(page):
            return None
        if paging is None or not paging.finds_pages:
            return self._following(page.next, url)
        if not page.rows or (self.total is not None and self.rows >= self.total):
            return None
        if paging.after is not None:
            return page.last
        overlap = 0 if paging.overlap is None else 1 - self._repeated
        step = len(page.rows) - overlap if paging.step == "rows" else paging.step
        return str(int(self._place or paging.start) + step)

    def _following(self, page: str | None, url: httpx2.URL) -> str | None:
        """The cursor of the next page, or its absolute address."""
        settings = self._settings
        if page is None or settings.cursor_parameter is not None or settings.cursor_member is not None:
            return page
        return str(self._client.address(page, url))

    def _is_short(self, page: RowsResponse) -> bool:
        size = None if self._settings.paging is None else self._settings.paging.size
        return size is not None and page.has_more is None and len(page.rows) + self._repeated < size

    def _end(self, page: RowsResponse, following: str | None) -> End | None:
        """How reading ended with this page; None if it continues."""
        self._empty = 0 if page.rows else self._empty + 1
        if following is None:
            self.is_last = True
            return self._last(page)
        if following in self._seen:
            return End(complete=False, reason="the cursor repeats: it leads to a page that was read before")
        paging = self._settings.paging
        if paging is not None and paging.finds_pages and page.rows == self._before:
            return End(
                complete=False, reason="a page has the rows of the page before it: the server ignores its number"
            )
        self._before = page.rows
        if self._empty >= EMPTY_PAGES:
            return End(complete=False, reason=f"{EMPTY_PAGES} consecutive pages were empty")
        return None

    def _last(self, page: RowsResponse) -> End:
        """What the last page proves."""
        paging = self._settings.paging
        if page.has_more:
            return End(complete=False, reason="its last page says that there are more rows, but leads to none")
        if self.total is not None:
            if self.total != self.rows:
                return End(complete=False, reason=f"its total is {self.total:,} rows; it has {self.rows:,}")
            return End(complete=True)
        if page.has_more is False or self._settings.link_ends or (paging is not None and paging.after is not None):
            return End(complete=True)
        if not self._is_short(page):
            return End(complete=False, reason=NO_PROOF)
        has_proof = self.is_sorted or (paging is not None and paging.overlap is not None)
        may_have_moved = paging is not None and paging.finds_pages and self._place is not None and not has_proof
        return End(complete=False, reason=MAY_HAVE_MOVED) if may_have_moved else End(complete=True)

    def _checked(self, end: End) -> End:
        """The end, unless rows may have moved between pages while they were read."""
        if self._has_moved:
            return End(complete=False, reason="rows moved between its pages while they were read")
        if self._place is None or self.is_sorted or not end.complete or self.first_total == self.total:
            return end
        reason = "its total changed while its pages were read, so rows may have moved between them"
        return End(complete=False, reason=reason)


async def all_rows(pages: PageSequence, name: str, what: str) -> list[msgspec.Raw]:
    """All rows, in memory. Raises `SourceFailed` if any may be missing, or if there are too many bytes of `what`."""
    found: list[msgspec.Raw] = []
    size = 0
    async for page in pages.pages():
        found += page.rows
        size += sum(len(bytes(row)) for row in page.rows)
        if size > MAX_BYTES:
            raise SourceFailed(name, f"{what} has more than {MAX_BYTES // 1024 // 1024} MiB")
    if not pages.end.complete and pages.end.reason not in UNPROVEN:
        raise SourceFailed(name, pages.end.reason)
    if pages.surplus is not None and len(found) - len(set(map(bytes, found))) > pages.surplus:
        raise SourceFailed(name, "a row came twice, so another may have moved between pages while they were read")
    return found
