"""The ledger of fields, in `events.db`: nothing can restore it."""

from collections.abc import Collection

import apsw

from pagefold.engine.stores.field_ledger import (
    ABSENT_GAPS,
    EVERY_FIELD,
    FIRST_FIELD,
    MIN_ABSENT_RECORDS,
    Absence,
    Alert,
    FieldEntry,
    FieldFilter,
    FieldKey,
    FieldLedger,
    Sightings,
)
from pagefold.engine.stores.sqlite.connections import SQL, Connections, Row, in_transaction


class SQLiteFieldLedger(FieldLedger):
    """One table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, sightings: Sightings) -> None:
        shared = {"source": sightings.source, "contract": sightings.contract, "at": sightings.at}
        alerts = {"alert_type": sightings.alert_type}
        families = [{**shared, "family": family, "records": records} for family, records in sightings.families]
        fields = [{**shared, **alerts, **each._asdict()} for each in sightings.fields]

        def add(connection: apsw.Connection) -> None:
            connection.executemany(SQL["count_records"], families)
            connection.executemany(SQL["note_fields"], fields)

        await self._connections.events.run(in_transaction(add))

    async def mark_absent(self, absence: Absence) -> int:
        given = {**absence._asdict(), "least": MIN_ABSENT_RECORDS, "gaps": ABSENT_GAPS}

        def mark(connection: apsw.Connection) -> int:
            if absence.since is None:
                return len(connection.execute(SQL["mark_overdue"], given).fetchall())
            connection.execute(SQL["end_value_alerts"], given)
            return len(connection.execute(SQL["mark_missing"], given).fetchall())

        return await self._connections.events.run(in_transaction(mark))

    async def known_since(self, source: str, contract: str) -> tuple[str, int] | None:
        [(since, fields)] = await self._connections.events_browser.fetch("known_since", source, contract)
        return None if since is None else (since, fields)

    async def entries(
        self, selection: FieldFilter = EVERY_FIELD, *, after: FieldKey = FIRST_FIELD, limit: int = 1_000
    ) -> list[FieldEntry]:
        key = {f"after_{name}": value for name, value in after._asdict().items()}
        given = {**selection._asdict(), **key, "limit": limit}
        rows: list[Row] = await self._connections.events_browser.run(
            lambda connection: connection.execute(SQL["field_entries"], given).fetchall()
        )
        return [FieldEntry(*row)._replace(mapped=bool(row[10])) for row in rows]

    async def alert_counts(self) -> list[tuple[str, Alert, int]]:
        return [
            (source, alert, number)
            for source, alert, number in await self._connections.events_browser.fetch("alert_counts")
        ]

    async def acknowledge(self, selection: FieldFilter, alerts: Collection[Alert]) -> int:
        given = {**selection._asdict(), "alerts": apsw.carray(tuple(alerts))}
        statement = SQL["end_alerts"]
        return len(
            await self._connections.events.run(lambda connection: connection.execute(statement, given).fetchall())
        )
