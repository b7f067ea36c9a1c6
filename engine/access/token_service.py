"""The token office: tokens are made, listed, revoked and verified.

A token is a secret of 256 random bits that is shown once. The store has its SHA-256 alone, and finds it by that: no
secret is ever compared with another, so that no answer's timing tells anything of one. Its name is the beginning of the
same digest: whoever comes across a secret can tell which token to revoke, and whoever reads the name knows no secret.
"""

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import InvalidTokenRequest, UnknownToken
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.redaction import (
    DIGITS_IN_NAME,
    PREFIX,
    SECRET,
    Secret,
    digest_of,
    name_of,
    redact_secrets,
)
from pagefold.engine.stores.grants import SCOPES, Grant, Scope, Token
from pagefold.engine.stores.store import Store

SECRET_BYTES = 32
MAX_LABEL_CHARACTERS = 200
MAX_LIFETIME = timedelta(days=3_650)

MAX_LISTED = 500
"""Tokens of a page."""

TOKEN_CACHE_SECONDS = 5.0
"""How long a token that was found live is taken to be live. So a revocation counts everywhere after that, at most."""

MAX_CACHED_TOKENS = 4_096
"""How many tokens are remembered at once. Guesses are never among them."""

_name = re.compile(rf"tok_[0-9a-f]{{{DIGITS_IN_NAME}}}", re.ASCII)


class _CachedToken:
    """A token that was found live: taken as it is before `until`; the first who asks from `due` on looks it up anew."""

    __slots__ = ("due", "token", "until")

    def __init__(self, token: Token, asked: float) -> None:
        self.token = token
        self.due = asked + TOKEN_CACHE_SECONDS / 2
        self.until = asked + TOKEN_CACHE_SECONDS


class TokenService:
    """The tokens of one store. `now` and `ticks` are the clocks of expiry and of `TOKEN_CACHE_SECONDS`."""

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        now: Callable[[], str] = clock.now,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = store.tokens
        self._sources = tuple(config.sources)
        self._now = now
        self._ticks = ticks
        self._cached: OrderedDict[bytes, _CachedToken] = OrderedDict()

    async def create(
        self,
        scopes: Collection[Scope],
        source: str | None = None,
        expires_in: timedelta | None = None,
        label: str = "",
    ) -> tuple[Secret, Token]:
        """Makes a token, durably. This is the only time that its secret is told.

        With `ingest` it is bound to a source of the configuration, without to none. Raises `InvalidTokenRequest`, and
        `StoreUnavailable`, after which the store may have a token whose secret nobody knows: harmless, and listed.
        """
        allowed = frozenset(scopes)
        _check_scopes(allowed)
        self._check_source(allowed, source)
        _check_lifetime(expires_in)
        _check_label(label)
        secret = Secret(PREFIX + secrets.token_urlsafe(SECRET_BYTES))
        digest = digest_of(secret)
        created_at = self._now()
        token = Token(name_of(digest), label, allowed, source, created_at, _expiry(created_at, expires_in))
        await self._tokens.add(token, digest)
        return secret, token

    async def tokens(self, *, after: Token | None = None, limit: int = 100) -> list[Token]:
        """The next tokens behind one of them, at most `MAX_LISTED`, in the order in which they were made.

        Expired and revoked ones are among them.
        """
        return await self._tokens.list_tokens(after, limit=max(1, min(limit, MAX_LISTED)))

    async def any_made(self) -> bool:
        """Whether a token was ever made. One that has expired, or was revoked, must not let everybody in."""
        return bool(await self._tokens.list_tokens(limit=1))

    async def revoke(self, name: str) -> None:
        """Revokes a token, durably and for ever; within `TOKEN_CACHE_SECONDS` nobody is let in with it, in any process.

        One that is revoked already stays as it is. A secret does in place of its name. Raises `UnknownToken`.
        """
        name = redact_secrets(name)
        if _name.fullmatch(name) is None or not await self._tokens.revoke(name, self._now()):
            raise UnknownToken(redact_secrets(name))
        for digest in [digest for digest, trusted in self._cached.items() if trusted.token.name == name]:
            del self._cached[digest]

    async def verify(self, secret: str) -> Grant | None:
        """What whoever shows this secret may do. None for one that is unknown, expired or revoked, and any other text.

        A secret that was never given out costs one read by index, and is not remembered. An expiry counts at once, a
        revocation within `TOKEN_CACHE_SECONDS`. Raises `StoreUnavailable`.
        """
        if SECRET.fullmatch(secret) is None:
            return None
        token = await self._find(digest_of(secret))
        return None if token is None else self._granted(token)

    def cached_grant(self, secret: str) -> Grant | None:
        """What `verify` gives, if it need not be waited for: when the token was looked up a moment ago. Else None."""
        if SECRET.fullmatch(secret) is None:
            return None
        trusted = self._cached.get(digest_of(secret))
        return self._granted(trusted.token) if trusted is not None and self._ticks() < trusted.due else None

    def _granted(self, token: Token) -> Grant | None:
        if token.expires_at is not None and token.state(self._now()) != "live":
            return None
        return token.grant

    async def _find(self, digest: bytes) -> Token | None:
        """The token with this digest, unless it is revoked, as it was `TOKEN_CACHE_SECONDS` ago or later."""
        asked = self._ticks()
        trusted = self._cached.get(digest)
        if trusted is not None and asked < trusted.due:
            return trusted.token
        if trusted is not None and asked < trusted.until:
            trusted.due = trusted.until  # those who ask meanwhile need not wait for the store
        return self._remember(digest, await self._tokens.find(digest), asked)

    def _remember(self, digest: bytes, token: Token | None, asked: float) -> Token | None:
        """Trusts a token from before it was looked up, and forgets the one that was looked up the longest ago."""
        self._cached.pop(digest, None)
        if token is None or token.revoked_at is not None:
            return None
        self._cached[digest] = _CachedToken(token, asked)
        if len(self._cached) > MAX_CACHED_TOKENS:
            self._cached.popitem(last=False)
        return token

    def _check_source(self, scopes: frozenset[Scope], source: str | None) -> None:
        if "ingest" not in scopes:
            if source is not None:
                raise InvalidTokenRequest("source", "only a token with the scope ingest is bound to one")
        elif source not in self._sources:
            known = ", ".join(self._sources) or "none"
            problem = "a token with the scope ingest needs one" if source is None else f"{source!r} is none"
            raise InvalidTokenRequest("source", f"{problem}; there are {known}")


def _check_scopes(scopes: frozenset[str]) -> None:
    if not scopes or not scopes <= {*SCOPES}:
        wrong = ", ".join(map(repr, sorted(scopes.difference(SCOPES)))) or "none"
        raise InvalidTokenRequest("scope", f"{wrong} given; a token has one or more of {', '.join(SCOPES)}")


def _check_lifetime(expires_in: timedelta | None) -> None:
    if expires_in is not None and not timedelta() < expires_in <= MAX_LIFETIME:
        raise InvalidTokenRequest("expires", f"must be from now on, and within {MAX_LIFETIME.days:,} days")


def _check_label(label: str) -> None:
    if len(label) > MAX_LABEL_CHARACTERS or not label.isprintable():
        raise InvalidTokenRequest("label", f"use printable characters, at most {MAX_LABEL_CHARACTERS}")


def _expiry(created_at: str, expires_in: timedelta | None) -> str | None:
    return None if expires_in is None else format_timestamp(datetime.fromisoformat(created_at) + expires_in)
