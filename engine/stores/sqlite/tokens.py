"""Tokens, in `events.db`: nothing can make them again."""

from engine.errors import StoreUnavailable
from engine.grants import Token, scope_text, scopes_in
from engine.stores.sqlite.connections import PASSING, SQL, Connections, Row
from engine.stores.store import Tokens


def token_row(token: Token, digest: bytes) -> Row:
    """What the statement `add_token` wants."""
    return token.name, digest, token.label, scope_text(token.scopes), *token[3:]


def token_from(row: Row) -> Token:
    """The token in a row of `token_of` or `next_tokens`."""
    name, label, scopes, *rest = row
    return Token(name, label, scopes_in(scopes), *rest)


class SQLiteTokens(Tokens):
    """A token is looked up on the event loop: that takes some microseconds."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statement = SQL["token_of"]
        self._execute = connections.events_on_loop.cursor().execute

    async def add(self, token: Token, digest: bytes) -> None:
        await self._connections.events.fetch("add_token", *token_row(token, digest))

    async def of(self, digest: bytes) -> Token | None:
        try:
            rows = self._execute(self._statement, (digest,)).fetchall()
        except PASSING as error:
            raise StoreUnavailable(self._connections.name, error) from error
        return token_from(rows[0]) if rows else None

    async def page(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        place = ("", "") if after is None else (after.created_at, after.name)
        return list(map(token_from, await self._connections.events_browser.fetch("next_tokens", *place, limit)))

    async def revoke(self, name: str, moment: str) -> bool:
        return bool(await self._connections.events.fetch("revoke_token", moment, name))
