"""Alerts, in `events.db`: nothing can restore them."""

from collections.abc import Collection, Sequence

import apsw
import orjson

from pagefold.engine.stores.alert_records import AlertMessage, Alerts, StoredAlert
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction


class SQLiteAlerts(Alerts):
    """Two tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def open(self) -> Sequence[StoredAlert]:
        return [StoredAlert(*row) for row in await self._connections.events_browser.fetch("open_alerts")]

    async def newest(self, limit: int) -> Sequence[StoredAlert]:
        return [StoredAlert(*row) for row in await self._connections.events_browser.fetch("newest_alerts", limit)]

    async def begin(self, key: tuple[str, str], at: str, reading: bytes, targets: Collection[str]) -> None:
        def begin(connection: apsw.Connection) -> None:
            for (number,) in fetch(connection, "begin_alert", *key, at, reading):
                fetch(connection, "queue_crossed", number, orjson.dumps([*targets]).decode(), reading, at)

        await self._connections.events.run(in_transaction(begin))

    async def note_below(self, number: int, at: str | None) -> None:
        await self._connections.events.fetch("note_below", number, at)

    async def resolve(self, number: int, at: str, reading: bytes) -> None:
        def resolve(connection: apsw.Connection) -> None:
            if fetch(connection, "resolve_alert", number, at):
                fetch(connection, "queue_resolved", number, at, reading)

        await self._connections.events.run(in_transaction(resolve))

    async def due(self, at: str, limit: int) -> Sequence[AlertMessage]:
        rows = await self._connections.events_browser.fetch("due_alert_messages", at, limit)
        return [AlertMessage(*row) for row in rows]

    async def sent(self, message: AlertMessage, at: str) -> None:
        await self._connections.events.fetch("alert_message_sent", *message[:3], at)

    async def failed(self, message: AlertMessage, error: str, due: str) -> None:
        await self._connections.events.fetch("alert_message_failed", *message[:3], error, due)

    async def forget(self, before: str) -> None:
        def forget(connection: apsw.Connection) -> None:
            fetch(connection, "forget_alert_messages", before)
            fetch(connection, "forget_alerts", before)

        await self._connections.events.run(in_transaction(forget))
