"""Who may do what: bearer tokens, and what may be done without one.

Without any token, everything may be done by anybody on this machine, and the server listens nowhere else. As soon as
there is one, only what `[http] reads` leaves open may be done without.
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
LONGEST_SECRET = 512
"""Bytes of a credential: what is longer is none of ours, and is not even looked up."""

EVERYTHING = Grant("anonymous", frozenset(SCOPES), None)
READS = Grant("anonymous", frozenset(["read"]), None)


class TokenVerifier(Protocol):
    """Knows tokens by their secrets: the token office."""

    def verify(self, secret: str) -> Coroutine[Any, Any, Grant | None]:
        """What the token grants, or None when there is none, or none any more. Raises `StoreUnavailable`."""

    def cached_grant(self, secret: str) -> Grant | None:
        """The same where nobody has to be asked; None where somebody has to be."""


class Authenticator(Protocol):
    """Tells what a caller may do; `anonymous` is what may be done without a token."""

    anonymous: Grant | None

    async def grant(self, authorization: bytes | None) -> Grant | None:
        """What the caller with this `Authorization` may do; None for one who is nobody that we know."""

    def cached_grant(self, authorization: bytes) -> Grant | None:
        """The same where nobody has to be asked; None where somebody has to be."""


class BearerAuthenticator:
    """An `Authenticator` by bearer token; `anonymous` is what may be done without."""

    def __init__(self, anonymous: Grant | None, tokens: TokenVerifier | None = None) -> None:
        self.anonymous = anonymous
        self._tokens = tokens

    async def grant(self, authorization: bytes | None) -> Grant | None:
        """What the caller may do. A credential that is wrong is worth less than none. Raises `StoreUnavailable`."""
        if authorization is None:
            return self.anonymous
        secret = _secret(authorization)
        if secret is None or self._tokens is None:
            return None
        return self._tokens.cached_grant(secret) or await with_timeout(self._tokens.verify(secret))

    def cached_grant(self, authorization: bytes) -> Grant | None:
        """What the caller may do, if that need not be looked up; else None."""
        secret = _secret(authorization)
        return self._tokens.cached_grant(secret) if secret is not None and self._tokens is not None else None


def _secret(authorization: bytes) -> str | None:
    if authorization[: len(BEARER)].lower() != BEARER or len(authorization) > LONGEST_SECRET:
        return None
    secret = authorization[len(BEARER) :].strip()
    return secret.decode() if secret.isascii() else None


async def authorize(
    authenticator: Authenticator, authorization: bytes | None, scope: Scope, *, private: bool = False
) -> Grant:
    """The grant of a caller who may do this. Raises `Problem`, 401 for nobody that we know, 403 for others.

    What is `private` is not among the reads that may be left open to everybody.
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
    """A token that is bound to a source writes for no other. Raises `Problem`, 403."""
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
    return Problem(403, f"the token has not the scope {scope}", headers=[(b"www-authenticate", value.encode())])


def anonymous_grant(settings: HttpConfig, host: str, *, has_tokens: bool) -> Grant | None:
    """What may be done without a token by whoever reaches the server at `host`.

    Raises `ConfigurationError` where that would be everything, or nothing could be done at all.
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
    """Whether only this machine reaches a server that listens there."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
