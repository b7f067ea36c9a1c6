"""The ledger of fields: one table next to the log."""

from collections.abc import Collection
from operator import attrgetter

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
from pagefold.engine.stores.postgres.connections import Connections

_key = attrgetter("family", "field")


class PostgresFieldLedger(FieldLedger):
    """Rows are written in the order of their keys, so that two processes never wait for each other."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, sightings: Sightings) -> None:
        source, contract, at, families, fields, alert_type = sightings
        family_columns = list(zip(*sorted(families), strict=True)) or [(), ()]
        field_columns = list(zip(*sorted(fields, key=_key), strict=True))
        async with self._connections.writer.session() as session, session.transaction():
            await session.execute("count_records", source, contract, at, *family_columns)
            if field_columns:
                await session.execute("note_fields", source, contract, at, alert_type, *field_columns)

    async def mark_absent(self, absence: Absence) -> int:
        source, contract, at, since, unmapped, rare = absence
        if since is None:
            limits = (MIN_ABSENT_RECORDS, ABSENT_GAPS, rare)
            return await self._connections.writer.execute("mark_overdue", source, contract, at, unmapped, *limits)
        await self._connections.writer.execute("end_value_alerts", source, contract, at, since)
        return await self._connections.writer.execute("mark_missing", source, contract, at, unmapped, since, rare)

    async def known_since(self, source: str, contract: str) -> tuple[str, int] | None:
        [(since, fields)] = await self._connections.readers.fetch("known_since", source, contract)
        return None if since is None else (since, fields)

    async def entries(
        self, selection: FieldFilter = EVERY_FIELD, *, after: FieldKey = FIRST_FIELD, limit: int = 1_000
    ) -> list[FieldEntry]:
        rows = await self._connections.readers.fetch("field_entries", *selection, *after, limit)
        return [FieldEntry(*row) for row in rows]

    async def alert_counts(self) -> list[tuple[str, Alert, int]]:
        return [
            (source, alert, number) for source, alert, number in await self._connections.readers.fetch("alert_counts")
        ]

    async def acknowledge(self, selection: FieldFilter, alerts: Collection[Alert]) -> int:
        return await self._connections.writer.execute("end_alerts", *selection[:3], list(alerts))
