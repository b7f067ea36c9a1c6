"""The sections in the table `sections`, as readers see them."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial

from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.page_cache import PageCache
from pagefold.engine.stores.page_listing import ListedPage, PageKeys, PageLayout, listed_pages, page_layouts
from pagefold.engine.stores.postgres.connections import Record
from pagefold.engine.stores.postgres.merged_reads import MergedReads
from pagefold.engine.stores.postgres.sized_reads import INLINE_BYTES, sections_within
from pagefold.engine.stores.section_rows import (
    count_all,
    encode_sections,
    sections_by_page,
    sections_by_sku,
)
from pagefold.engine.stores.step_sizes import UNBOUNDED
from pagefold.engine.stores.store import BatchReader, Made, Pages
from pagefold.projections.section_fold import SharedSections
from pagefold.projections.splicer import StoredSection

CHUNK_ROWS = 1_000


class PostgresPages(MergedReads, Pages):
    """Point reads use a connection of their own; concurrent ones share a query."""

    def sync_reader(self, make: Callable[[str, str, Sequence[StoredSection]], Made]) -> None:
        """None: every read is a query, and waits for the server."""

    def batch_reader(self, make: Callable[[str, str, Sequence[StoredSection]], Made]) -> BatchReader[Made]:
        cache = PageCache(make)

        async def read(skus: Sequence[str], channel: str, max_bytes: int | None) -> dict[str, Made]:
            keys = [(sku, channel) for sku in skus]
            found, version = await self._cached(cache, keys)
            missing = [sku for sku in skus if (sku, channel) not in found]
            rows = await self.sections_of(missing, channel, max_bytes=max_bytes)
            for sku in missing:
                found[sku, channel] = cache.add(version, (sku, channel), rows.get(sku, []))
            return {sku: found[sku, channel] for sku in skus}

        return read

    async def _cached(
        self, cache: PageCache[Made], keys: Sequence[tuple[str, str]]
    ) -> tuple[dict[tuple[str, str], Made], object]:
        """What is cached for some pages, as they are now, and the version of the store for `add`."""
        if not keys or cache.rests(len(keys)):
            return {}, None
        [(version,)] = await self._connections.readers.fetch("pages_version")
        if version is None:
            return {}, None
        cache.refresh(version)
        return cache.cached(keys)

    async def sections_of(
        self, skus: Sequence[str], channel: str, *, max_bytes: int | None = None
    ) -> Mapping[str, Sequence[StoredSection]]:
        return sections_by_sku(await self._rows_of(skus, max_bytes), channel, self._connections.name) if skus else {}

    async def sections_in(
        self, wanted: Mapping[str, Collection[str]], *, max_bytes: int | None = None
    ) -> Mapping[tuple[str, str], Sequence[StoredSection]]:
        if not wanted:
            return {}
        return sections_by_page(await self._rows_of(wanted, max_bytes), wanted, self._connections.name)

    async def _rows_of(self, skus: Collection[str], max_bytes: int | None) -> Sequence[Record]:
        """The rows of some SKUs. Raises `ReadTooLarge`."""
        fetch, wanted = self._connections.readers.fetch, list(skus)
        read, measure = partial(fetch, "sections_of_pages", wanted), partial(fetch, "page_sizes", wanted)
        return await sections_within(max_bytes, read, measure)

    async def page_skus(self, after: str, limit: int) -> list[str]:
        return [sku for (sku,) in await self._connections.readers.fetch("page_skus", after, limit)]

    async def list_pages(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        rows = await self._connections.readers.fetch("listed_pages", after, limit)
        return listed_pages(rows, channel)

    async def keys(self) -> AsyncIterator[tuple[str, str]]:
        keys = PageKeys()
        while rows := await self._connections.readers.fetch("page_keys", *keys.last, CHUNK_ROWS):
            for key in keys.add(rows):
                yield key
        for key in keys.rest():
            yield key

    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        rows = await self._connections.readers.fetch("section_skus", domain, after, limit)
        return [sku for (sku,) in rows]

    async def matches(self, domain: str, sections: Sequence[SharedSections], skus: Collection[str]) -> bool:
        stored = await self._connections.readers.fetch("domain_sections", domain, list(skus), INLINE_BYTES)
        rows = await compute_in_thread(lambda: encode_sections(sections))
        if None in [row[-1] for row in stored]:
            [(size,)] = await self._connections.readers.fetch("section_sizes", domain, list(skus))
            if size != sum([len(row.contents) for row in rows]):
                return False
            stored = await self._connections.readers.fetch("domain_sections", domain, list(skus), UNBOUNDED)
        return await compute_in_thread(lambda: list(map(tuple, stored)) == rows)

    async def count(self, domain: str) -> int:
        return count_all(await self._connections.readers.fetch("count_sections", domain))

    async def layouts(self, after: str, limit: int) -> Sequence[PageLayout]:
        groups = await self._connections.readers.fetch("page_layouts", after, limit)
        return await compute_in_thread(lambda: page_layouts(groups))

    async def publish_layout(
        self, domains: Sequence[str], identity: str, requires: Mapping[str, Collection[str]]
    ) -> None:
        wanted = {channel: (list(domains), identity, sorted(names)) for channel, names in requires.items()}
        rows = await self._connections.readers.fetch("layouts")
        published = {channel: (order, identity, names) for channel, order, identity, names in rows}
        if published == wanted:
            return
        async with self._connections.writer.session() as session, session.transaction():
            for channel in sorted(wanted):
                await session.execute("keep_layout", channel, *wanted[channel])
            await session.execute("drop_layouts", list(wanted))
