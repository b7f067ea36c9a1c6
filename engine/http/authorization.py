"""Authorization: bearer tokens, and what is allowed without one.

While there are no tokens, every caller on this machine may do everything, and the server listens nowhere else. Once
there is a token, only what `[http] reads` leaves open is allowed without one.
"""

from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any, Protocol

from pagefold.engine.configuration.http_config import HttpConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.http.problems import Problem
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.stores.grants import SCOPES, Grant, Scope

BEARER = b"bearer "
MAX_CREDENTIAL_BYTES = 512
"""Bytes of a credential. A longer one is never valid and is not looked up."""

EVERYTHING = Grant("anonymous", frozenset(SCOPES), None)
READS = Grant("anonymous", frozenset(["read"]), None)


class TokenVerifier(Protocol):
    """Verifies tokens by their secrets, as `TokenService` does."""

    def verify(self, secret: str) -> Coroutine[Any, Any, Grant | None]:
        """The token's grant, or None if it is unknown, expired or revoked. Raises `StoreUnavailable`."""

    def cached_grant(self, secret: str) -> Grant | None:
        """The cached grant; None if a lookup is needed."""


class Authenticator(Protocol):
    """Finds a caller's grant; `anonymous` is the grant without a token."""

    anonymous: Grant | None

    async def grant(self, authorization: bytes | None) -> Grant | None:
        """The grant of the caller with this `Authorization`; None if it is not valid."""

    def cached_grant(self, authorization: bytes) -> Grant | None:
        """The cached grant; None if a lookup is needed."""


class BearerAuthenticator:
    """An `Authenticator` by bearer token; `anonymous` is the grant without one."""

    def __init__(self, anonymous: Grant | None, tokens: TokenVerifier | None = None) -> None:
        self.anonymous = anonymous
        self._tokens = tokens

    async def grant(self, authorization: bytes | None) -> Grant | None:
        """The caller's grant. An invalid credential gives None, not `anonymous`. Raises `StoreUnavailable`."""
        if authorization is None:
            return self.anonymous
        secret = _secret(authorization)
        if secret is None or self._tokens is None:
            return None
        return self._tokens.cached_grant(secret) or await with_timeout(self._tokens.verify(secret))

    def cached_grant(self, authorization: bytes) -> Grant | None:
        """The caller's grant if it is cached; else None."""
        secret = _secret(authorization)
        return self._tokens.cached_grant(secret) if secret is not None and self._tokens is not None else None


def _secret(authorization: bytes) -> str | None:
    if authorization[: len(BEARER)].lower() != BEARER or len(authorization) > MAX_CREDENTIAL_BYTES:
        return None
    secret = authorization[len(BEARER) :].strip()
    return secret.decode() if secret.isascii() else None


async def authorize(
    authenticator: Authenticator, authorization: bytes | None, scope: Scope, *, private: bool = False
) -> Grant:
    """Returns the caller's grant if it has the scope. Raises `Problem`: 401 for an unknown caller, else 403.

    `private` routes need a token even where reads are open.
    """
    grant = await authenticator.grant(authorization)
    if grant is not None and scope in grant.scopes and not (private and grant is READS):
        return grant
    if authorization is None:
        raise _needed(scope)
    if grant is None:
        raise _unknown()
    raise _too_little(scope)


def check_source(grant: Grant, source: str) -> None:
    """Checks that a token bound to a source writes only for it. Raises `Problem`, 403."""
    if grant.source is not None and grant.source != source:
        detail = f"the token is for the source {grant.source}, not for {source}"
        raise Problem(403, detail)


def _needed(scope: Scope) -> Problem:
    challenge = (b"www-authenticate", b'Bearer realm="pagefold"')
    return Problem(401, f"this needs a token of the scope {scope}", headers=[challenge])


def _unknown() -> Problem:
    challenge = (b"www-authenticate", b'Bearer realm="pagefold", error="invalid_token"')
    return Problem(401, "the token is unknown, expired or revoked", headers=[challenge])


def _too_little(scope: Scope) -> Problem:
    value = f'Bearer realm="pagefold", error="insufficient_scope", scope="{scope}"'
    return Problem(403, f"the token does not have the scope {scope}", headers=[(b"www-authenticate", value.encode())])


def anonymous_grant(settings: HttpConfig, host: str, *, has_tokens: bool) -> Grant | None:
    """The grant without a token for callers that reach the server at `host`.

    Raises `ConfigurationError` if it would allow everything to other machines, or nothing at all.
    """
    if has_tokens:
        return READS if settings.reads == "open" else None
    if is_loopback(host):
        return EVERYTHING
    if settings.reads == "open":
        return READS
    problem = (
        f"there are no tokens, so the server listens on this machine only, not on {host}: `pagefold tokens create` "
        'makes one, and reads = "open" in [http] lets everybody read'
    )
    raise ConfigurationError("--host", problem)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens at this host."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
