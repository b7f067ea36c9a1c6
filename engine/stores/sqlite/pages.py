"""The sections in `pages.db`, as readers see them."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from operator import itemgetter

import apsw

from engine.errors import StoreUnavailable
from engine.stores.sqlite.connections import PASSING, SQL, Connections, blob, packed_of
from engine.stores.store import ListedPage, Pages, listed
from projections.pages import StoredSection

PAGE = 1_000

_domain = itemgetter(0)


class SQLitePages(Pages):
    """Point reads happen on the event loop: they take some microseconds."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statement = SQL["page_sections"]
        self._execute = connections.pages_on_loop.cursor().execute

    async def sections(self, sku: str, channel: str) -> Sequence[StoredSection]:
        try:
            return self._execute(self._statement, (sku, channel)).fetchall()
        except PASSING as error:
            raise StoreUnavailable(self._connections.name, error) from error

    async def sections_of(self, skus: Sequence[str], channel: str) -> Mapping[str, Sequence[StoredSection]]:
        def read(connection: apsw.Connection) -> dict[str, list[StoredSection]]:
            pages: dict[str, list[StoredSection]] = {}
            for domain, enabled, ready, versions, body, occurred_at, sku in sorted(
                packed_of(connection, "sections_of_pages", skus, channel), key=_domain
            ):
                shown = None if body is None else blob(body)
                pages.setdefault(sku, []).append((domain, enabled, ready, blob(versions), shown, occurred_at))
            return pages

        return await self._connections.pages_reader.run(read) if skus else {}

    async def listing(self, channel: str, after: str, limit: int) -> list[ListedPage]:
        bindings = {"channel": channel, "after": after, "limit": limit}

        def read(connection: apsw.Connection) -> list[ListedPage]:
            return listed(connection.execute(SQL["listed_pages"], bindings))

        return await self._connections.pages_reader.run(read)

    async def keys(self) -> AsyncIterator[tuple[str, str]]:
        last = ("", "")
        while True:
            page = await self._connections.pages_reader.fetch("page_keys", *last, PAGE)
            for sku, channel in page:
                yield sku, channel
            if len(page) < PAGE:
                return
            last = (page[-1][0], page[-1][1])

    async def skus(self, domain: str, after: str, limit: int) -> list[str]:
        rows = await self._connections.pages_reader.fetch("section_skus", domain, after, limit)
        return [sku for (sku,) in rows]

    async def counts(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        rows = await self._connections.pages_reader.fetch("section_counts")
        return {(channel, domain): (sections, ready) for channel, domain, sections, ready in rows}

    async def publish_layout(
        self, domains: Sequence[str], identity: str, requires: Mapping[str, Collection[str]]
    ) -> None:
        """SQLite serves no pages by itself."""
