"""The sections in `pages.db`, as readers see them."""

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from time import monotonic

import apsw
import orjson

from pagefold.domains import DOMAINS
from pagefold.engine.errors import PagesUnfolded
from pagefold.engine.stores.page_cache import PageCache, Rows
from pagefold.engine.stores.page_listing import ListedPage, PageKeys, PageLayout, listed_pages, page_layouts
from pagefold.engine.stores.section_rows import (
    count_all,
    encode_sections,
    page_sections,
    sections_by_page,
    sections_by_sku,
)
from pagefold.engine.stores.size_batches import split_equal
from pagefold.engine.stores.sqlite.connections import (
    PAGES,
    SQL,
    Connections,
    Row,
    bounded,
    fetch,
    one,
    packed_of,
    packed_within,
    unpacked_sections,
)
from pagefold.engine.stores.sqlite.driver_errors import DRIVER_ERRORS, store_error
from pagefold.engine.stores.sqlite.loop_connections import Execute, LoopConnections
from pagefold.engine.stores.store import BatchReader, Made, Pages
from pagefold.projections.section_fold import SharedSections
from pagefold.projections.splicer import StoredSection

CHUNK_ROWS = 1_000

COMPARED_BYTES = 8 * 1024 * 1024
"""Bytes of sections that are compared at a time, unless a single SKU has more."""

ROW_OVERHEAD_BYTES = 4_096
"""How much larger than expected a value may be: it is not built in one step."""

CHANGES = "PRAGMA data_version"
"""A number that differs after another connection, of any process, has changed something."""


def _as_they_are(_sku: str, _channel: str, rows: Rows) -> Rows:
    return rows


class RecentReads(PageCache[Made]):
    """Reads pages, builds results from their rows, and caches them until the file changes.

    Checking for a change takes a quarter of the time of a read.
    """

    LOOK_SECONDS = 0.1
    """How long a file is read on that may have been replaced."""

    def __init__(self, reader: LoopConnections, make: Callable[[str, str, Rows], Made], store: str) -> None:
        super().__init__(make)
        self._reader = reader
        self._store = store
        self._look_at = 0.0
        self._statement = SQL["page_sections"]
        reader.subscribe(self._read_with)

    def _read_with(self, execute: Execute) -> None:
        """Switches to another connection, which counts changes in its own way."""
        self._execute = execute
        self._version = None
        self._forget()

    def read(self, key: tuple[str, str]) -> Made:
        """What is made of the rows of a page, as they are now. Raises `PagesUnfolded`."""
        if monotonic() >= self._look_at:
            self._check_file()
        if self._resting:
            self._resting -= 1
            return self._make(*key, self._sections(*key))
        self.refresh(self._execute(CHANGES).fetchall())  # before the read, which is then as new, or newer
        self._reads += 1
        if self._reads >= self.TRIAL:
            self._review()
        if (found := self._made.get(key)) is not None:
            self._hits += 1
            return found[1]
        rows = self._sections(*key)
        made = self._make(*key, rows)
        self._keep(key, rows, made)
        return made

    def recent(self, keys: Sequence[tuple[str, str]]) -> tuple[dict[tuple[str, str], Made], object]:
        """What is cached for some pages, as they are now, and the version of the file for `add`."""
        if monotonic() >= self._look_at:
            self._check_file()
        if self.rests(len(keys)):
            return {}, None
        self.refresh(self._execute(CHANGES).fetchall())
        return self.cached(keys)

    def _sections(self, sku: str, channel: str) -> Rows:
        return page_sections(self._execute(self._statement, (sku,)).fetchall(), channel, self._store)

    def _check_file(self) -> None:
        """Checks that the file is the one at its path, and that it has all pages."""
        self._reader.check_file()
        check_folded(self._reader.connection)
        self._look_at = monotonic() + self.LOOK_SECONDS


class SQLitePages(Pages):
    """Point reads run on the event loop: they take a few microseconds."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._read = RecentReads(connections.pages_on_loop, _as_they_are, connections.name).read

    async def sections(self, sku: str, channel: str) -> Rows:
        try:
            return self._read((sku, channel))
        except DRIVER_ERRORS as error:
            return self._connections.retry_read(error, PAGES, lambda: self._read((sku, channel)))

    def sync_reader(self, make: Callable[[str, str, Rows], Made]) -> Callable[[str, str], Made]:
        recent = RecentReads(self._connections.pages_on_loop, make, self._connections.name)

        def read(sku: str, channel: str) -> Made:
            try:
                return recent.read((sku, channel))
            except DRIVER_ERRORS as error:
                raise store_error(self._connections.name, error, PAGES) from error

        return read

    def batch_reader(self, make: Callable[[str, str, Rows], Made]) -> BatchReader[Made]:
        recent = RecentReads(self._connections.pages_on_loop, make, self._connections.name)

        async def read(skus: Sequence[str], channel: str, max_bytes: int | None) -> dict[str, Made]:
            keys = [(sku, channel) for sku in skus]
            try:
                found, version = recent.recent(keys)
            except DRIVER_ERRORS:
                found, version = {}, None
            missing = [sku for sku, _ in keys if (sku, channel) not in found]
            rows = await self.sections_of(missing, channel, max_bytes=max_bytes)
            for sku in missing:
                found[sku, channel] = recent.add(version, (sku, channel), rows.get(sku, []))
            return {sku: found[sku, channel] for sku in skus}

        return read

    async def sections_of(
        self, skus: Sequence[str], channel: str, *, max_bytes: int | None = None
    ) -> Mapping[str, Sequence[StoredSection]]:
        def read(connection: apsw.Connection) -> dict[str, Rows]:
            return sections_by_sku(_rows_of(connection, skus, max_bytes), channel, self._connections.name)

        return await self._connections.pages_reader.run(read) if skus else {}

    async def sections_in(
        self, wanted: Mapping[str, Collection[str]], *, max_bytes: int | None = None
    ) -> Mapping[tuple[str, str], Sequence[StoredSection]]:
        def read(connection: apsw.Connection) -> dict[tuple[str, str], Rows]:
            return sections_by_page(_rows_of(connection, list(wanted), max_bytes), wanted, self._connections.name)

        return await self._connections.pages_reader.run(read) if wanted else {}

    async def page_skus(self, after: str, limit: int) -> list[str]:
        def read(connection: apsw.Connection) -> list[str]:
            check_folded(connection)
            return [sku for (sku,) in fetch(connection, "page_skus", after, limit)]

        return await self._connections.pages_reader.run(read)

    async def list_pages(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        def read(connection: apsw.Connection) -> list[ListedPage]:
            check_folded(connection)
            return listed_pages(connection.execute(SQL["listed_pages"], (after, limit)), channel)

        return await self._connections.pages_reader.run(read)

    async def keys(self) -> AsyncIterator[tuple[str, str]]:
        keys = PageKeys()
        while rows := await self._connections.pages_reader.fetch("page_keys", *keys.last, CHUNK_ROWS):
            for key in keys.add(rows):
                yield key
        for key in keys.rest():
            yield key

    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        rows = await self._connections.pages_reader.fetch("section_skus", domain, after, limit)
        return [sku for (sku,) in rows]

    async def matches(self, domain: str, sections: Sequence[SharedSections], skus: Collection[str]) -> bool:
        if not skus:
            return not sections
        return await self._connections.pages_reader.run(lambda reader: _holds(reader, domain, sections, list(skus)))

    async def count(self, domain: str) -> int:
        return count_all(await self._connections.pages_reader.fetch("count_sections", domain))

    async def layouts(self, after: str, limit: int) -> Sequence[PageLayout]:
        def read(connection: apsw.Connection) -> list[PageLayout]:
            groups = fetch(connection, "page_layouts", after, limit)
            return page_layouts((orjson.loads(rows), number, last) for rows, number, last in groups)

        return await self._connections.pages_reader.run(read)

    async def publish_layout(
        self, domains: Sequence[str], identity: str, requires: Mapping[str, Collection[str]]
    ) -> None:
        """A no-op: SQLite serves no pages itself."""


def _rows_of(connection: apsw.Connection, skus: Sequence[str], max_bytes: int | None) -> Iterator[Row]:
    """The rows of some SKUs. Raises `ReadTooLarge`."""
    check_folded(connection)
    if max_bytes is None:
        reads = packed_of(connection, "sections_of_pages", skus)
    else:
        bindings = (apsw.carray(tuple(skus)),)
        reads = iter([packed_within(connection, "sections_of_pages", "page_sizes", bindings, max_bytes)])
    return chain.from_iterable(unpacked_sections(*packed) for packed in reads)


def check_folded(connection: apsw.Connection) -> None:
    """Raises `PagesUnfolded` if pages were lost and are not all folded again: a missing one may exist."""
    if connection.execute(SQL["unfolded"], (len(DOMAINS),)).get:
        raise PagesUnfolded


def _holds(connection: apsw.Connection, domain: str, sections: Sequence[SharedSections], skus: Sequence[str]) -> bool:
    """Compares large content in parts: it is in memory several times."""
    rows = encode_sections(sections)
    blobs = [row.contents for row in rows]
    size = sum(map(len, blobs))
    if size > COMPARED_BYTES and len(skus) > 1:
        del rows, blobs
        parts = [set(part) for part in split_equal(skus, size // COMPARED_BYTES + 1)]
        shares = [[each for each in sections if each.sku in part] for part in parts]
        return sum(map(len, shares)) == len(sections) and all(
            _holds(connection, domain, share, list(part)) for share, part in zip(shares, parts, strict=True)
        )
    sized = [(*row[:-1], len(row.contents)) for row in rows]
    expected: Row = orjson.dumps(sized).decode(), b"".join(blobs) if rows else None
    try:
        with bounded(connection, max(len(expected[0]), size) + ROW_OVERHEAD_BYTES):
            found = one(connection.execute(SQL["domain_sections"], (domain, apsw.carray(tuple(skus)))))
    except apsw.TooBigError:
        return False
    return bool(found == expected)
