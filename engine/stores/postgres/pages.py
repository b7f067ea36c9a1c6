"""The sections in the table `sections`, as readers see them."""

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from functools import partial

from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.stores.page_listing import ListedPage, listed_pages
from pagefold.engine.stores.postgres.merged_reads import MergedReads
from pagefold.engine.stores.postgres.sized_reads import INLINE_BYTES, sections_within
from pagefold.engine.stores.step_sizes import UNBOUNDED
from pagefold.engine.stores.store import Made, Pages
from pagefold.projections.section_fold import SharedSections
from pagefold.projections.splicer import StoredSection

CHUNK_KEYS = 1_000

VERSIONS = 3
"""The index of `versions` in a row of `sections_of_pages`."""


class PostgresPages(MergedReads, Pages):
    """Point reads use a connection of their own; concurrent ones share a query."""

    def sync_reader(self, make: Callable[[str, str, Sequence[StoredSection]], Made]) -> None:
        """None: every read is a query, and waits for the server."""

    async def sections_of(
        self, skus: Sequence[str], channel: str, *, max_bytes: int | None = None
    ) -> Mapping[str, Sequence[StoredSection]]:
        if not skus:
            return {}
        fetch, wanted = self._connections.readers.fetch, list(skus)
        read = partial(fetch, "sections_of_pages", wanted, [channel] * len(wanted))
        rows = await sections_within(max_bytes, read, partial(fetch, "page_sizes", wanted, channel), VERSIONS)
        pages: dict[str, list[StoredSection]] = {}
        for row in rows:
            pages.setdefault(row["sku"], []).append(row[:6])
        return pages

    async def list_pages(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        rows = await self._connections.readers.fetch("listed_pages", channel, after, limit)
        return listed_pages(map(tuple, rows))

    async def keys(self) -> AsyncIterator[tuple[str, str]]:
        last = ("", "")
        while True:
            page = await self._connections.readers.fetch("page_keys", *last, CHUNK_KEYS)
            for sku, channel in page:
                yield sku, channel
            if len(page) < CHUNK_KEYS:
                return
            last = (page[-1][0], page[-1][1])

    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        rows = await self._connections.readers.fetch("section_skus", domain, after, limit)
        return [sku for (sku,) in rows]

    async def matches(self, domain: str, sections: Sequence[SharedSections], skus: Collection[str]) -> bool:
        stored = await self._connections.readers.fetch("domain_sections", domain, list(skus), INLINE_BYTES)
        if None in [row[5] for row in stored]:
            [(size,)] = await self._connections.readers.fetch("section_sizes", domain, list(skus))
            if size != sum([each.size for each in sections]):
                return False
            stored = await self._connections.readers.fetch("domain_sections", domain, list(skus), UNBOUNDED)

        def are_same() -> bool:
            rows: list[object] = [row for each in sections for row in each.rows()]
            return stored == rows

        return await compute_in_thread(are_same)

    async def count(self, domain: str) -> int:
        [(sections,)] = await self._connections.readers.fetch("count_sections", domain)
        return int(sections)

    async def counts(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        rows = await self._connections.readers.fetch("section_counts")
        return {(channel, domain): (sections, ready) for channel, domain, sections, ready in rows}

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
