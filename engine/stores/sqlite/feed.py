"""What followers of the pages read: checkpoints and notes in `pages.db`, the log in `events.db`."""

from collections.abc import Sequence

import apsw
import orjson

from pagefold.engine.stores.feed_records import (
    MAX_NOTED_SKUS,
    FeedRecords,
    FoldedState,
    IndirectChange,
    LogEnd,
    LogWindow,
    NotedPlace,
    new_mark,
)
from pagefold.engine.stores.sqlite.connections import SQL, Connections, fetch, one
from pagefold.engine.stores.sqlite.log_proof import mark_at
from pagefold.engine.stores.sqlite.pages import check_folded


class SQLiteFeed(FeedRecords):
    """Reads in both files, next to those of the consumers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def state(self, domains: Sequence[str]) -> FoldedState:
        def read(connection: apsw.Connection) -> FoldedState:
            check_folded(connection)
            rows = {domain: rest for domain, *rest in fetch(connection, "folded_state")}
            noted = {domain: NotedPlace(*place) for domain, (_, *place) in rows.items() if place[0] is not None}
            return FoldedState(min([rows[domain][0] if domain in rows else 0 for domain in domains]), noted)

        return await self._connections.pages_reader.run(read)

    async def noted(self, domain: str, number: int, limit: int) -> list[IndirectChange]:
        rows = await self._connections.pages_reader.fetch("indirect_changes", domain, number, limit)
        return [IndirectChange(at, mark, orjson.loads(skus)) for at, mark, skus in rows]

    async def window(self, domains: Sequence[str], after: int, upto: int, limit: int) -> LogWindow:
        bindings = {"domains": apsw.carray(tuple(domains)), "after": after, "upto": upto, "limit": limit}

        def read(connection: apsw.Connection) -> LogWindow:
            streams, events, end = one(connection.execute(SQL["log_window"], bindings))
            return LogWindow(orjson.loads(streams), end if events == limit else upto)

        return await self._connections.events_browser.run(read)

    async def log_end(self, position: int) -> LogEnd:
        def read(connection: apsw.Connection) -> LogEnd:
            log_id: str = connection.execute(SQL["log_id"]).get
            end: int = connection.execute(SQL["log_end"]).get
            return LogEnd(log_id, end, mark_at(connection, end), mark_at(connection, position))

        return await self._connections.events_browser.run(read)


def note_changes(connection: apsw.Connection, domain: str, skus: Sequence[str]) -> None:
    """Notes indirect changes, inside the transaction that makes them."""
    if skus:
        note = {"domain": domain, "count": len(skus), "mark": new_mark(), "skus": orjson.dumps(skus).decode()}
        connection.execute(SQL["note_changes"], note)
        connection.execute(SQL["forget_changes"], {"domain": domain, "kept": MAX_NOTED_SKUS})
