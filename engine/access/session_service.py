"""Sessions of the dashboard: a browser signs in with a token, and has a cookie from then on.

A session may do what its token may at that time: a revocation, an expiry and the scopes count at each request. The
cookie is a secret of 256 random bits, of which the store has only the SHA-256.
"""

import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

from pagefold.domains.values import format_timestamp
from pagefold.engine.access.token_service import TokenService
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.redaction import SECRET, digest_of
from pagefold.engine.stores.grants import Token
from pagefold.engine.stores.session_records import Session
from pagefold.engine.stores.store import Store

SESSION_HOURS = 8
"""After that, a browser has to sign in again."""

MAX_SESSIONS = 50
"""Sessions of one token at a time. Another one ends the oldest."""

SECRET_BYTES = 32
SECRET_LENGTH = 43
"""Characters of a cookie's secret."""


def new_secret() -> str:
    """A secret for a cookie."""
    return secrets.token_urlsafe(SECRET_BYTES)


class SessionService:
    """The sessions of one store. `now` is the clock of their expiry."""

    def __init__(self, store: Store, tokens: TokenService, *, now: Callable[[], str] = clock.now) -> None:
        self._sessions = store.sessions
        self._stored_tokens = store.tokens
        self._tokens = tokens
        self._now = now

    async def begin(self, token_secret: str) -> tuple[str, Token] | None:
        """Begins a session with a token's secret, and returns the cookie's secret; None if the token is not valid.

        Each session has a secret of its own, never one that a browser has sent.
        """
        if SECRET.fullmatch(token_secret) is None:
            return None
        token_digest = digest_of(token_secret)
        token = await self._tokens.live_token(token_digest)
        if token is None:
            return None
        secret, begun = new_secret(), self._now()
        end = format_timestamp(datetime.fromisoformat(begun) + timedelta(hours=SESSION_HOURS))
        session = Session(digest_of(secret), token_digest, begun, min(end, token.expires_at or end))
        await self._sessions.add(session, keep=MAX_SESSIONS)
        return secret, token

    async def token_of(self, secret: str) -> Token | None:
        """The token of a session; None if there is none, it has ended, or its token is no longer valid."""
        if len(secret) != SECRET_LENGTH:
            return None
        session = await self._sessions.find(digest_of(secret))
        if session is None or session.expires_at <= self._now():
            return None
        return await self._tokens.live_token(session.token_digest)

    async def end(self, secret: str) -> None:
        """Ends a session, durably. A no-op if there is none."""
        await self._sessions.remove(digest_of(secret))

    async def known_token(self, token_secret: str) -> Token | None:
        """The token of a secret, also if it is expired or revoked: its holder may know why it is refused."""
        if SECRET.fullmatch(token_secret) is None:
            return None
        return await self._stored_tokens.find(digest_of(token_secret))
