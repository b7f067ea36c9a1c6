"""Tokens: one table next to the log."""

from pagefold.engine.stores.grants import Token, scope_text, scopes_in
from pagefold.engine.stores.postgres.connections import Connections, Record
from pagefold.engine.stores.token_records import Tokens


def token_row(token: Token, digest: bytes) -> tuple[object, ...]:
    """The parameters of the statement `add_token`."""
    return token.name, digest, token.label, scope_text(token.scopes), *token[3:]


def token_from(row: Record) -> Token:
    """The token in a row of `token_of` or `next_tokens`."""
    name, label, scopes, *rest = row
    return Token(name, label, scopes_in(scopes), *rest)


class PostgresTokens(Tokens):
    """Tokens are read over the readers' connections."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, token: Token, digest: bytes) -> None:
        await self._connections.writer.execute("add_token", *token_row(token, digest))

    async def find(self, digest: bytes) -> Token | None:
        rows = await self._connections.readers.fetch("token_of", digest)
        return token_from(rows[0]) if rows else None

    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        key = ("", "") if after is None else (after.created_at, after.name)
        return list(map(token_from, await self._connections.readers.fetch("next_tokens", *key, limit)))

    async def revoke(self, name: str, timestamp: str) -> bool:
        return bool(await self._connections.writer.fetch("revoke_token", timestamp, name))
