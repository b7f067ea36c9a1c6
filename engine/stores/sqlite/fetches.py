"""Wanted fetches, in `events.db`: a delivery is answered once they are there, and nothing can restore them."""

from collections.abc import Sequence

import apsw

from pagefold.engine.stores.fetch_records import FetchCount, Fetches, NewFetch, WantedFetch
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction


class SQLiteFetches(Fetches):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def want(self, fetches: Sequence[NewFetch], at: str) -> None:
        def want(connection: apsw.Connection) -> None:
            for each in fetches:
                fetch(connection, "want_fetch", *each, at)

        await self._connections.events.run(in_transaction(want))

    async def due(self, source: str, at: str, beyond: str, limit: int) -> Sequence[WantedFetch]:
        rows = await self._connections.events_browser.fetch("due_fetches", source, at, beyond, limit)
        return [_wanted(row) for row in rows]

    async def done(self, wanted: WantedFetch, due: str) -> None:
        def done(connection: apsw.Connection) -> None:
            key = (wanted.source, wanted.rule, wanted.key)
            fetch(connection, "fetch_done", *key, wanted.asked)
            fetch(connection, "fetch_again", *key, due)

        await self._connections.events.run(in_transaction(done))

    async def failed(self, wanted: WantedFetch, error: str, tries: int, due: str) -> None:
        await self._connections.events.fetch("fetch_failed", wanted.source, wanted.rule, wanted.key, error, tries, due)

    async def oldest(self, limit: int, source: str | None = None) -> Sequence[WantedFetch]:
        rows = await self._connections.events_browser.fetch("oldest_fetches", source, limit)
        return [_wanted(row) for row in rows]

    async def counts(self) -> Sequence[FetchCount]:
        return [FetchCount(*row) for row in await self._connections.events_browser.fetch("count_fetches")]


def _wanted(row: Sequence[object]) -> WantedFetch:
    found = WantedFetch(*row)  # type: ignore[arg-type]  # the columns have these types
    return found._replace(confirmed=bool(found.confirmed))
