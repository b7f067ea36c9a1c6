"""Tokens, in `events.db`: nothing can restore them."""

from pagefold.engine.stores.grants import Token, scope_text, scopes_in
from pagefold.engine.stores.sqlite.connections import EVENTS, SQL, Connections, Row
from pagefold.engine.stores.sqlite.driver_errors import DRIVER_ERRORS
from pagefold.engine.stores.sqlite.loop_connections import Execute
from pagefold.engine.stores.token_records import Tokens


def token_row(token: Token, digest: bytes) -> Row:
    """The parameters of the statement `add_token`."""
    return token.name, digest, token.label, scope_text(token.scopes), *token[3:]


def token_from(row: Row) -> Token:
    """The token in a row of `token_of` or `next_tokens`."""
    name, label, scopes, *rest = row
    return Token(name, label, scopes_in(scopes), *rest)


class SQLiteTokens(Tokens):
    """Tokens are read on the event loop: it takes a few microseconds."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._statement = SQL["token_of"]
        connections.events_on_loop.subscribe(self._read_with)

    def _read_with(self, execute: Execute) -> None:
        self._execute = execute

    async def add(self, token: Token, digest: bytes) -> None:
        await self._connections.events.fetch("add_token", *token_row(token, digest))

    async def find(self, digest: bytes) -> Token | None:
        def read() -> list[Row]:
            self._connections.events_on_loop.check_file()
            return self._execute(self._statement, (digest,)).fetchall()

        try:
            rows = read()
        except DRIVER_ERRORS as error:
            rows = self._connections.retry_read(error, EVENTS, read)
        return token_from(rows[0]) if rows else None

    async def list_tokens(self, after: Token | None = None, *, limit: int = 100) -> list[Token]:
        key = ("", "") if after is None else (after.created_at, after.name)
        return list(map(token_from, await self._connections.events_browser.fetch("next_tokens", *key, limit)))

    async def revoke(self, name: str, timestamp: str) -> bool:
        return bool(await self._connections.events.fetch("revoke_token", timestamp, name))
