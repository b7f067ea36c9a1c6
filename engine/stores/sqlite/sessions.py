"""Sessions of the dashboard, in `events.db`, beside the tokens."""

import apsw

from pagefold.engine.stores.session_records import Session, Sessions
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction


class SQLiteSessions(Sessions):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, session: Session, *, keep: int) -> None:
        def add(connection: apsw.Connection) -> None:
            fetch(connection, "remove_expired_sessions", session.created_at)
            fetch(connection, "add_session", *session)
            fetch(connection, "remove_oldest_sessions", session.token_digest, keep)

        await self._connections.events.run(in_transaction(add))

    async def find(self, digest: bytes) -> Session | None:
        rows = await self._connections.events_browser.fetch("session_of", digest)
        return Session(*rows[0]) if rows else None

    async def remove(self, digest: bytes) -> None:
        await self._connections.events.fetch("remove_session", digest)
