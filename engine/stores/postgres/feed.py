"""What followers of the pages read: checkpoints, notes and the log."""

from collections.abc import Sequence

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
from pagefold.engine.stores.postgres.connections import Connections, Session


class PostgresFeed(FeedRecords):
    """Reads with the connections of all readers."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def state(self, domains: Sequence[str]) -> FoldedState:
        rows = {row[0]: row for row in await self._connections.readers.fetch("folded_state")}
        noted = {domain: NotedPlace(row[2], row[3]) for domain, row in rows.items() if row[2] is not None}
        return FoldedState(min([rows[domain][1] if domain in rows else 0 for domain in domains]), noted)

    async def noted(self, domain: str, number: int, limit: int) -> list[IndirectChange]:
        rows = await self._connections.readers.fetch("indirect_changes", domain, number, limit)
        return [IndirectChange(*row) for row in rows]

    async def window(self, domains: Sequence[str], after: int, upto: int, limit: int) -> LogWindow:
        rows = await self._connections.readers.fetch("log_window", list(domains), after, upto, limit)
        [(streams, events, end)] = rows
        return LogWindow(streams, end if events == limit else upto)

    async def log_end(self, position: int) -> LogEnd:
        [(log_id, end, mark, mark_at)] = await self._connections.readers.fetch("log_end_proof", position)
        return LogEnd(str(log_id), end, mark, mark_at)


async def note_changes(session: Session, domain: str, skus: Sequence[str]) -> None:
    """Notes indirect changes, inside the transaction that makes them."""
    if skus:
        await session.execute("note_changes", domain, new_mark(), list(skus))
        await session.execute("forget_changes", domain, MAX_NOTED_SKUS)
