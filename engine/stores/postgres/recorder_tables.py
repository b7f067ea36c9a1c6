"""The log as the `eventsourcing` library sees it."""

from collections.abc import Sequence

import asyncpg

from pagefold.engine.errors import AlreadyRecorded
from pagefold.engine.stores.log_proof import proved_position
from pagefold.engine.stores.log_records import NewEvent, StoredEvent
from pagefold.engine.stores.postgres.connections import Connections, Session
from pagefold.engine.stores.postgres.log import PostgresLog, event_columns
from pagefold.engine.stores.postgres.log_proof import PostgresProof, proving
from pagefold.engine.stores.recorder_records import Records, RecordTable

_SELECT = {
    ("stored_events", False): "select_events",
    ("stored_events", True): "select_events_newest_first",
    ("stored_snapshots", False): "select_snapshots",
    ("stored_snapshots", True): "select_snapshots_newest_first",
}


class PostgresRecords(Records):
    """Writes over the connection of the log, one transaction at a time."""

    def __init__(self, connections: Connections, proof: PostgresProof, log: PostgresLog) -> None:
        self._connections = connections
        self._proof = proof
        self._log = log

    async def insert(
        self, table: RecordTable, events: Sequence[NewEvent], tracking: tuple[str, int] | None
    ) -> list[int]:
        async with self._connections.writer.session() as session, proving(session), session.transaction():
            positions = await _record(session, table, events)
            if tracking is not None and not await session.fetch("track", *tracking):
                problem = f"position {tracking[1]} of {tracking[0]}, or one beyond it"
                raise AlreadyRecorded(problem)
        self._log.notify()
        return positions

    async def select(
        self, table: RecordTable, originator_id: str, *, after: int, upto: int, descending: bool, limit: int
    ) -> list[StoredEvent]:
        return await self._read(_SELECT[table, descending], originator_id, after, upto, limit)

    async def notifications(self, start: int, stop: int, topics: Sequence[str], limit: int) -> list[StoredEvent]:
        if not topics:
            return await self._read("notifications", start, stop, limit)
        return await self._read("notifications_of_topics", start, stop, topics, limit)

    async def tracked(self, application: str) -> int | None:
        rows = await self._connections.readers.fetch("tracked", application)
        return None if not rows else await proved_position(self._proof, application, *rows[0])

    async def _read(self, statement: str, *bindings: object) -> list[StoredEvent]:
        return list(map(StoredEvent._make, await self._connections.readers.fetch(statement, *bindings)))


async def _record(session: Session, table: RecordTable, events: Sequence[NewEvent]) -> list[int]:
    if not events:
        return []
    if table == "stored_snapshots":
        try:
            await session.execute("record_snapshot", *event_columns(events))
        except asyncpg.UniqueViolationError as error:
            raise AlreadyRecorded(str(error)) from error
        return []
    rows = await session.fetch("record_event", *event_columns(events))
    if len(rows) < len(events):
        problem = f"{len(events) - len(rows)} of these {len(events)} versions"
        raise AlreadyRecorded(problem)
    return [position for (position,) in rows]
