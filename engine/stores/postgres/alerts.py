"""Alerts: two tables next to the log."""

from collections.abc import Collection, Sequence

from pagefold.engine.stores.alert_records import AlertMessage, Alerts, StoredAlert
from pagefold.engine.stores.postgres.connections import Connections


class PostgresAlerts(Alerts):
    """Two tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def open(self) -> Sequence[StoredAlert]:
        return [StoredAlert(*row) for row in await self._connections.readers.fetch("open_alerts")]

    async def newest(self, limit: int) -> Sequence[StoredAlert]:
        return [StoredAlert(*row) for row in await self._connections.readers.fetch("newest_alerts", limit)]

    async def begin(self, key: tuple[str, str], at: str, reading: bytes, targets: Collection[str]) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            for (number,) in await session.fetch("begin_alert", *key, at, reading):
                await session.execute("queue_crossed", number, list(targets), reading, at)

    async def note_below(self, number: int, at: str | None) -> None:
        await self._connections.writer.execute("note_below", number, at)

    async def resolve(self, number: int, at: str, reading: bytes) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            if await session.fetch("resolve_alert", number, at):
                await session.execute("queue_resolved", number, at, reading)

    async def due(self, at: str, limit: int) -> Sequence[AlertMessage]:
        rows = await self._connections.readers.fetch("due_alert_messages", at, limit)
        return [AlertMessage(*row) for row in rows]

    async def sent(self, message: AlertMessage, at: str) -> None:
        await self._connections.writer.execute("alert_message_sent", *message[:3], at)

    async def failed(self, message: AlertMessage, error: str, due: str) -> None:
        await self._connections.writer.execute("alert_message_failed", *message[:3], error, due)

    async def forget(self, before: str) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            await session.execute("forget_alert_messages", before)
            await session.execute("forget_alerts", before)
