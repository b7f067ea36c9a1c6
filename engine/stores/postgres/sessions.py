"""Sessions of the dashboard: one table beside the tokens."""

from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.session_records import Session, Sessions


class PostgresSessions(Sessions):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, session: Session, *, keep: int) -> None:
        async with self._connections.writer.session() as connected, connected.transaction():
            await connected.execute("remove_expired_sessions", session.created_at)
            await connected.execute("add_session", *session)
            await connected.execute("remove_oldest_sessions", session.token_digest, keep)

    async def find(self, digest: bytes) -> Session | None:
        rows = await self._connections.readers.fetch("session_of", digest)
        return Session(*rows[0]) if rows else None

    async def remove(self, digest: bytes) -> None:
        await self._connections.writer.execute("remove_session", digest)
