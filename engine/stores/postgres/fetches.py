"""Wanted fetches: a table next to the log."""

from collections.abc import Sequence

from pagefold.engine.stores.fetch_records import FetchCount, Fetches, NewFetch, WantedFetch
from pagefold.engine.stores.postgres.connections import Connections


class PostgresFetches(Fetches):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def want(self, fetches: Sequence[NewFetch], at: str) -> None:
        in_order = sorted(fetches, key=lambda each: (each.source, each.rule, each.key))  # else two could deadlock
        async with self._connections.writer.session() as session, session.transaction():
            for each in in_order:
                await session.execute("want_fetch", *each, at)

    async def due(self, source: str, at: str, beyond: str, limit: int) -> Sequence[WantedFetch]:
        rows = await self._connections.readers.fetch("due_fetches", source, at, beyond, limit)
        return [WantedFetch(*row) for row in rows]

    async def done(self, wanted: WantedFetch, due: str) -> None:
        key = (wanted.source, wanted.rule, wanted.key)
        async with self._connections.writer.session() as session, session.transaction():
            await session.execute("fetch_done", *key, wanted.asked)
            await session.execute("fetch_again", *key, due)

    async def failed(self, wanted: WantedFetch, error: str, tries: int, due: str) -> None:
        key = (wanted.source, wanted.rule, wanted.key)
        await self._connections.writer.execute("fetch_failed", *key, error, tries, due)

    async def oldest(self, limit: int, source: str | None = None) -> Sequence[WantedFetch]:
        return [WantedFetch(*row) for row in await self._connections.readers.fetch("oldest_fetches", source, limit)]

    async def counts(self) -> Sequence[FetchCount]:
        return [FetchCount(*row) for row in await self._connections.readers.fetch("count_fetches")]
