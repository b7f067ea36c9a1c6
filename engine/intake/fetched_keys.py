"""Public keys of senders, fetched from their addresses when they are needed.

A key that is not known is looked for once more, since senders replace their keys; but not at every request, since
anyone may name a key that does not exist. Meanwhile the sender is asked to repeat its request: a signature by a key
that cannot be had is neither valid nor wrong.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import TypeAlias
from urllib.parse import urlsplit

import anyio
import httpx2
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import load_pem_x509_certificate

from pagefold.engine.errors import SourceFailed

FETCH_SECONDS = 10.0
"""How long after one request for keys there is no other."""

REFRESH_SECONDS = 3_600.0
"""After this time keys are fetched again, although all that are asked for are known: one may have been withdrawn."""

STALE_SECONDS = 86_400.0
"""How long keys count that cannot be fetched again."""

TIMEOUT_SECONDS = 5.0
MAX_BYTES = 256 * 1024
MIN_KEY_BITS = 2_048

MAX_CERTIFICATES = 8

Parse: TypeAlias = Callable[[str, bytes], Mapping[str, RSAPublicKey]]
"""Finds the keys in the document at an address, by name. Raises `SourceFailed`."""


class _KeySet(msgspec.Struct):
    keys: list[dict[str, object]]


async def fetch(url: str) -> bytes:
    """The body at an address. Raises `SourceFailed`, without the query, which may have a token."""
    name = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}{urlsplit(url).path}"
    try:
        with anyio.fail_after(TIMEOUT_SECONDS):
            async with new_client() as client, client.stream("GET", url) as response:
                if response.status_code != HTTPStatus.OK:
                    raise SourceFailed(name, f"it answers {response.status_code}")
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BYTES:
                        raise SourceFailed(name, f"it has more than {MAX_BYTES // 1024} KiB")
                return bytes(body)
    except (httpx2.HTTPError, httpx2.InvalidURL, TimeoutError) as error:
        raise SourceFailed(name, f"cannot be fetched: {type(error).__name__}") from error


def new_client() -> httpx2.AsyncClient:
    """A client for one request. It follows no redirects: keys are where the configuration says."""
    return httpx2.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, headers={"user-agent": "pagefold"})


class FetchedKeys:
    """The keys in one document, by name."""

    def __init__(self, url: str, parse: Parse) -> None:
        self._url = url
        self._parse = parse
        self._lock = anyio.Lock()
        self._keys: Mapping[str, RSAPublicKey] = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._failure: SourceFailed | None = None

    async def key(self, name: str) -> RSAPublicKey | None:
        """The key with a name; None if the document has none. Raises `SourceFailed` if that cannot be known now."""
        if (found := self._known(name, REFRESH_SECONDS)) is not None:
            return found
        async with self._lock:  # of many requests at a time, one fetches
            if (found := self._known(name, REFRESH_SECONDS)) is not None:
                return found
            is_new = anyio.current_time() - self._asked_at >= FETCH_SECONDS
            if is_new:
                await self._fetch()
            if (found := self._known(name, STALE_SECONDS)) is not None:
                return found
            if self._failure is not None:
                raise self._failure
            if is_new:
                return None
            raise SourceFailed(self._url, f"has no key {name!r:.60} yet; it was fetched a moment ago")

    def _known(self, name: str, seconds: float) -> RSAPublicKey | None:
        return self._keys.get(name) if anyio.current_time() - self._fetched_at < seconds else None

    async def _fetch(self) -> None:
        self._asked_at = anyio.current_time()
        try:
            self._keys, self._failure = self._parse(self._url, await fetch(self._url)), None
            self._fetched_at = self._asked_at
        except SourceFailed as failure:
            self._failure = failure


class FetchedCertificates:
    """The keys in certificates, by the address of each. The caller says which addresses may be asked."""

    def __init__(self) -> None:
        self._known: dict[str, FetchedKeys] = {}
        self._asked_at = float("-inf")

    async def key(self, name: str) -> RSAPublicKey | None:
        """The key of the certificate at an address. Raises `SourceFailed` if it cannot be had now."""
        keys = self._known.get(name)
        if keys is not None:
            return await keys.key(name)
        if anyio.current_time() - self._asked_at < FETCH_SECONDS:
            raise SourceFailed(name, "is another certificate than the last one, which was fetched a moment ago")
        self._asked_at = anyio.current_time()
        keys = FetchedKeys(name, certificate_key)
        found = await keys.key(name)
        self._known = dict([*self._known.items()][1 - MAX_CERTIFICATES :]) | {name: keys}
        return found


def key_set(url: str, body: bytes) -> Mapping[str, RSAPublicKey]:
    """The RSA keys for signatures in a JSON Web Key Set, by `kid`. Raises `SourceFailed` if there are none."""
    try:
        listed = msgspec.json.decode(body, type=_KeySet).keys
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise SourceFailed(url, "is not a JSON Web Key Set") from None
    keys = {kid: key for each in listed if isinstance(kid := each.get("kid"), str) and (key := _rsa_key(each))}
    if not keys:
        raise SourceFailed(url, f"has no RSA key for signatures, of {MIN_KEY_BITS} bits or more, that has a `kid`")
    return keys


def _rsa_key(written: Mapping[str, object]) -> RSAPublicKey | None:
    if written.get("use", "sig") != "sig" or written.get("alg", "RS256") != "RS256":
        return None
    with suppress(jwt.PyJWTError, ValueError, TypeError):
        key = jwt.PyJWK(dict(written), algorithm="RS256").key
        return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS else None
    return None


def certificate_key(url: str, body: bytes) -> Mapping[str, RSAPublicKey]:
    """The RSA key of a certificate, by its address. Raises `SourceFailed`."""
    try:
        key = load_pem_x509_certificate(body).public_key()
    except ValueError:
        raise SourceFailed(url, "is not a certificate") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise SourceFailed(url, f"is not the certificate of an RSA key of {MIN_KEY_BITS} bits or more")
    return {url: key}
