"""Webhooks that are signed with a private key: the sender publishes the public one, and there is no shared secret.

Saleor signs the body by a detached JWS (RFC 7797: RS256, `b64` false). Google's Pub/Sub sends an OpenID Connect token
in `Authorization`, which does not sign the body: it shows who sends. Both name the key by its `kid`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt.api_jws import PyJWS

from pagefold.engine.configuration.signature_config import SignatureConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.formats.json_bodies import Headers, header_of

ALGORITHM = "RS256"
AUTHORIZATION = "Authorization"
LEEWAY = timedelta(minutes=1)
"""How far the clocks of both sides may differ."""

CLAIMS = ("exp", "iat", "iss", "aud")

_BEARER = "bearer "
_jws = PyJWS(algorithms=[ALGORITHM])


class Keys(Protocol):
    """The public keys of a sender."""

    async def key(self, name: str) -> RSAPublicKey | None:
        """The key with a name; None if there is none. Raises `SourceFailed` if that cannot be known now."""


class JwsForm:
    """Requests with a detached JWS of the body in a header, or in several, of which one has to be valid."""

    def __init__(self, settings: SignatureConfig, keys: Keys) -> None:
        self.headers: Sequence[str] = settings.header_names
        self._keys = keys

    async def check(self, headers: Headers, body: bytes, _now: datetime) -> None:
        """See `SignatureForm`."""
        given = [(name, value) for name in self.headers if (value := header_of(headers, name))]
        for name, value in given[:-1]:
            if await self._is_valid(name, value, body):
                return
        for name, value in given[-1:]:
            await self._check(name, value, body)

    async def _is_valid(self, name: str, value: bytes, body: bytes) -> bool:
        try:
            await self._check(name, value, body)
        except Rejected:
            return False
        return True

    async def _check(self, name: str, value: bytes, body: bytes) -> None:
        key = await _key_of(name, value, self._keys)
        try:
            _jws.decode_complete(value, key, algorithms=[ALGORITHM], detached_payload=body)
        except jwt.PyJWTError as error:
            raise Rejected(name, f"is not a valid signature of the body: {error}") from None


class BearerForm:
    """Requests with a token in `Authorization` that the sender's issuer made for this receiver."""

    headers = (AUTHORIZATION,)

    def __init__(self, settings: SignatureConfig, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys

    async def check(self, headers: Headers, _body: bytes, now: datetime) -> None:
        """See `SignatureForm`."""
        text = (header_of(headers, AUTHORIZATION) or b"").decode("latin-1")
        if not text.lower().startswith(_BEARER):
            raise Rejected(AUTHORIZATION, "has no bearer token")
        token = text[len(_BEARER) :].strip().encode("latin-1")
        key = await _key_of(AUTHORIZATION, token, self._keys)
        claims = self._claims(token, key)
        _check_times(claims, now)
        if self._settings.email is not None:
            given = claims.get("email") if claims.get("email_verified") is True else None
            if given != self._settings.email:
                raise Rejected(AUTHORIZATION, "is a token of somebody else: `email` is another")

    def _claims(self, token: bytes, key: RSAPublicKey) -> dict[str, object]:
        try:
            claims: dict[str, object] = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options={"require": list(CLAIMS), "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError as error:
            raise Rejected(AUTHORIZATION, f"is not a valid token: {error}") from None
        return claims


def _check_times(claims: dict[str, object], now: datetime) -> None:
    """By the time of the request, which a test may choose; PyJWT takes the machine's."""
    moment, leeway = now.timestamp(), LEEWAY.total_seconds()
    expires, issued = claims["exp"], claims["iat"]
    if not isinstance(expires, int | float) or not isinstance(issued, int | float):
        raise Rejected(AUTHORIZATION, "is not a valid token: `exp` and `iat` are numbers of seconds")
    if expires + leeway <= moment:
        raise Rejected(AUTHORIZATION, "is a token that has expired")
    if issued - leeway > moment:
        raise Rejected(AUTHORIZATION, "is a token of the future")


async def _key_of(header: str, token: bytes, keys: Keys) -> RSAPublicKey:
    """The key that a token names. Raises `Rejected` for a token that is none, or names no key."""
    try:
        name = _jws.get_unverified_header(token).get("kid")
    except jwt.PyJWTError as error:
        raise Rejected(header, f"is not a signature: {error}") from None
    if not isinstance(name, str):
        raise Rejected(header, "does not name a key: it has no `kid`")
    key = await keys.key(name)
    if key is None:
        raise Rejected(header, f"is by a key that the sender does not have: {name!r:.60}")
    return key
