"""The audit, in `events.db`: nothing can restore it."""

from collections.abc import Sequence

from pagefold.engine.stores.audit_records import EVERY, AuditEnd, AuditEntry, AuditFilter, AuditRecords, NewAuditEntry
from pagefold.engine.stores.sqlite.connections import Connections


class SQLiteAudit(AuditRecords):
    """One table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def begin(self, entry: NewAuditEntry) -> int:
        return int((await self._connections.events.fetch("begin_audit_entry", *entry))[0][0])

    async def end(self, number: int, end: AuditEnd) -> None:
        await self._connections.events.fetch("end_audit_entry", number, *end)

    async def newest(
        self, selection: AuditFilter = EVERY, *, below: int | None = None, limit: int = 100
    ) -> Sequence[AuditEntry]:
        rows = await self._connections.events_browser.fetch("newest_audit_entries", *selection, below, limit)
        return [AuditEntry(*row) for row in rows]

    async def oldest(self) -> str | None:
        rows = await self._connections.events_browser.fetch("oldest_audit_entry")
        return rows[0][0] if rows else None

    async def forget(self, before: str, limit: int) -> int:
        return len(await self._connections.events.fetch("forget_audit_entries", before, limit))
