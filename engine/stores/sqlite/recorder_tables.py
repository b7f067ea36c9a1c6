"""The log as the `eventsourcing` library sees it, in `events.db`."""

from collections.abc import Sequence

import apsw

from pagefold.engine.errors import AlreadyRecorded
from pagefold.engine.stores.log_proof import proved_position
from pagefold.engine.stores.log_records import NewEvent, StoredEvent
from pagefold.engine.stores.recorder_records import Records, RecordTable
from pagefold.engine.stores.sqlite.connections import SQL, Connections, fetch
from pagefold.engine.stores.sqlite.log import SQLiteLog
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof, mark_at

_SELECT = {
    ("stored_events", False): "select_events",
    ("stored_events", True): "select_events_newest_first",
    ("stored_snapshots", False): "select_snapshots",
    ("stored_snapshots", True): "select_snapshots_newest_first",
}


class SQLiteRecords(Records):
    """Writes over the connection of the log, one transaction at a time."""

    def __init__(self, connections: Connections, proof: SQLiteProof, log: SQLiteLog) -> None:
        self._connections = connections
        self._proof = proof
        self._log = log

    async def insert(
        self, table: RecordTable, events: Sequence[NewEvent], tracking: tuple[str, int] | None
    ) -> list[int]:
        rows = [(event.originator_id, event.originator_version, event.topic, event.state) for event in events]
        statement = SQL["record_event" if table == "stored_events" else "record_snapshot"]

        def insert(connection: apsw.Connection) -> list[int]:
            try:
                positions = [position for (position,) in connection.executemany(statement, rows)]
            except apsw.ConstraintError as error:
                raise AlreadyRecorded(str(error)) from error
            if tracking is not None and not fetch(connection, "track", *tracking, mark_at(connection, tracking[1])):
                raise AlreadyRecorded(tracking[0])
            return positions

        positions = await self._connections.events.run(lambda connection: self._proof.append(connection, insert))
        self._log.notify()
        return positions

    async def select(
        self, table: RecordTable, originator_id: str, *, after: int, upto: int, descending: bool, limit: int
    ) -> list[StoredEvent]:
        return await self._read(_SELECT[table, descending], originator_id, after, upto, limit)

    async def notifications(self, start: int, stop: int, topics: Sequence[str], limit: int) -> list[StoredEvent]:
        if not topics:
            return await self._read("notifications", start, stop, limit)
        return await self._read("notifications_of_topics", start, stop, apsw.carray(tuple(topics)), limit)

    async def tracked(self, application: str) -> int | None:
        rows = await self._connections.events_browser.fetch("tracked", application)
        return None if not rows else await proved_position(self._proof, application, *rows[0])

    async def _read(self, statement: str, *bindings: object) -> list[StoredEvent]:
        rows = await self._connections.events_browser.fetch(statement, *bindings)
        return list(map(StoredEvent._make, rows))
