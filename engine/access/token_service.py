"""The token service: creates, lists, revokes and verifies tokens.

A token is a secret of 256 random bits that is shown once. The store keeps only its SHA-256, and looks it up by that:
secrets are never compared with each other, so that timing reveals nothing. A token's name is the start of the same
digest: with a secret, one knows which token to revoke; with a name, one does not know the secret.
"""

import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from pagefold.domains.values import format_timestamp
from pagefold.engine.audit.audit_log import AuditLog
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
from pagefold.projections.releases import release_of

SECRET_BYTES = 32
MAX_LABEL_CHARACTERS = 200
MAX_LIFETIME = timedelta(days=3_650)

MAX_LISTED = 500
"""Tokens in one list."""

TOKEN_CACHE_SECONDS = 5.0
"""How long a token is cached. A revocation counts everywhere after at most that."""

MAX_CACHED_TOKENS = 4_096
"""How many tokens are cached. Guesses are never cached."""

_name = re.compile(rf"tok_[0-9a-f]{{{DIGITS_IN_NAME}}}", re.ASCII)


class _CachedToken:
    """A live token: valid before `until`; from `due` on, the first request looks it up again."""

    __slots__ = ("due", "token", "until")

    def __init__(self, token: Token, asked_at: float) -> None:
        self.token = token
        self.due = asked_at + TOKEN_CACHE_SECONDS / 2
        self.until = asked_at + TOKEN_CACHE_SECONDS


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
        self._audit = AuditLog(store.audit)
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
        """Creates a token, durably. Its secret is returned only here.

        With the scope `ingest` it is bound to a configured source or a release (`release/NAME`), otherwise to none.
        Raises `InvalidTokenRequest`, and `StoreUnavailable`, after which the store may have a token whose secret was
        never shown: harmless, and listed.
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
        async with self._audit.action("tokens create", token.name) as action:
            action.details |= {"scopes": sorted(allowed), "source": source, "label": label}
            await self._tokens.add(token, digest)
        return secret, token

    async def tokens(self, *, after: Token | None = None, limit: int = 100) -> list[Token]:
        """The next tokens after one of them, at most `MAX_LISTED`, in the order of creation.

        Expired and revoked ones are included.
        """
        return await self._tokens.list_tokens(after, limit=max(1, min(limit, MAX_LISTED)))

    async def any_made(self) -> bool:
        """Whether a token was ever created. Expired and revoked ones count: they must not open access to everybody."""
        return bool(await self._tokens.list_tokens(limit=1))

    async def revoke(self, name: str) -> None:
        """Revokes a token, durably and forever; within `TOKEN_CACHE_SECONDS`, every process rejects it.

        A no-op if it is revoked already. Its secret is accepted instead of its name. Raises `UnknownToken`.
        """
        name = redact_secrets(name)
        if _name.fullmatch(name) is None:
            raise UnknownToken(redact_secrets(name))
        async with self._audit.action("tokens revoke", name):
            if not await self._tokens.revoke(name, self._now()):
                raise UnknownToken(name)
        for digest in [digest for digest, trusted in self._cached.items() if trusted.token.name == name]:
            del self._cached[digest]

    async def verify(self, secret: str) -> Grant | None:
        """The grant of a secret. None if it is unknown, expired or revoked, or not a secret at all.

        An unknown secret costs one read by index, and is not cached. Expiry counts at once, a revocation within
        `TOKEN_CACHE_SECONDS`. Raises `StoreUnavailable`.
        """
        if SECRET.fullmatch(secret) is None:
            return None
        token = await self._find(digest_of(secret))
        return None if token is None else self._granted(token)

    async def live_token(self, digest: bytes) -> Token | None:
        """The token whose secret has this digest; None if it is unknown, expired or revoked. Cached as in `verify`."""
        token = await self._find(digest)
        return None if token is None or self._granted(token) is None else token

    def cached_grant(self, secret: str) -> Grant | None:
        """The result of `verify`, if the token is cached. Otherwise None."""
        if SECRET.fullmatch(secret) is None:
            return None
        trusted = self._cached.get(digest_of(secret))
        return self._granted(trusted.token) if trusted is not None and self._ticks() < trusted.due else None

    def _granted(self, token: Token) -> Grant | None:
        if token.expires_at is not None and token.state(self._now()) != "live":
            return None
        return token.grant

    async def _find(self, digest: bytes) -> Token | None:
        """The token with this digest, unless it is revoked, at most `TOKEN_CACHE_SECONDS` old."""
        asked_at = self._ticks()
        trusted = self._cached.get(digest)
        if trusted is not None and asked_at < trusted.due:
            return trusted.token
        if trusted is not None and asked_at < trusted.until:
            trusted.due = trusted.until  # concurrent requests need not wait for the store
        return self._remember(digest, await self._tokens.find(digest), asked_at)

    def _remember(self, digest: bytes, token: Token | None, asked_at: float) -> Token | None:
        """Caches a token from before it was looked up, and evicts the oldest one."""
        self._cached.pop(digest, None)
        if token is None or token.revoked_at is not None:
            return None
        self._cached[digest] = _CachedToken(token, asked_at)
        if len(self._cached) > MAX_CACHED_TOKENS:
            self._cached.popitem(last=False)
        return token

    def _check_source(self, scopes: frozenset[Scope], source: str | None) -> None:
        if "ingest" not in scopes:
            if source is not None:
                raise InvalidTokenRequest("source", "only a token with the scope ingest has a source")
        elif source not in self._sources and (source is None or release_of(source) is None):
            known = ", ".join(self._sources) or "none"
            problem = "the scope ingest needs a source" if source is None else f"unknown source {source!r}"
            raise InvalidTokenRequest("source", f"{problem}; the sources are {known}")


def _check_scopes(scopes: frozenset[str]) -> None:
    if not scopes or not scopes <= {*SCOPES}:
        wrong = ", ".join(map(repr, sorted(scopes.difference(SCOPES)))) or "none"
        raise InvalidTokenRequest("scope", f"{wrong} given; a token has one or more of {', '.join(SCOPES)}")


def _check_lifetime(expires_in: timedelta | None) -> None:
    if expires_in is not None and not timedelta() < expires_in <= MAX_LIFETIME:
        raise InvalidTokenRequest("expires", f"must be in the future, at most {MAX_LIFETIME.days:,} days ahead")


def _check_label(label: str) -> None:
    if len(label) > MAX_LABEL_CHARACTERS or not label.isprintable():
        raise InvalidTokenRequest("label", f"use printable characters, at most {MAX_LABEL_CHARACTERS}")


def _expiry(created_at: str, expires_in: timedelta | None) -> str | None:
    return None if expires_in is None else format_timestamp(datetime.fromisoformat(created_at) + expires_in)
