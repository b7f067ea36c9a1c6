"""Requests to one target over HTTP: to pinned addresses, without redirects, within a time, with bounded responses."""

import logging
import socket
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from ssl import SSLContext, SSLError
from types import TracebackType
from typing import NamedTuple, Self

import anyio
import httpx2

from pagefold.engine.configuration.target_config import AddressConfig, TargetConfig
from pagefold.engine.delivery.limit_headers import limits_of
from pagefold.engine.delivery.outside import Outside, secret
from pagefold.engine.delivery.pinned_addresses import AddressRefusedError, PinnedAddresses
from pagefold.engine.delivery.target_kind import NO_LIMITS, Limits

MAX_RESPONSE_BYTES = 8 * 1024 * 1024
"""Bytes of a response that are read. A larger one is the target's fault."""

MAX_TEXT_BYTES = 4_096
"""Bytes of a response that may be shown to people."""

MIN_SECRET = 4
"""Characters of a secret that is hidden. A shorter one would hide half of a text, and protects nothing."""

MIN_CREDENTIAL = 8
"""Those of a part of one. A shorter part may be a word that occurs in documents, which are compared with ours."""

CLOSE_SECONDS = 2.0

_PORTS = {"http": 80, "https": 443}

for _library in ("httpx2", "httpcore2"):  # they log complete URLs and headers, which may have secrets
    if (_logger := logging.getLogger(_library)).level == logging.NOTSET:
        _logger.setLevel(logging.WARNING)


class Response(NamedTuple):
    """A complete response. `text` is the start of its body, for messages: without the secrets that were sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    text: str
    limits: Limits


class NoResponse(NamedTuple):
    """No complete response has arrived. `text` says why, without secrets; `sent` whether the request may have."""

    text: str
    sent: bool = True
    limits: Limits = NO_LIMITS


class HttpSender:
    """Sends requests to a target, for the length of an `async with`.

    `key` is that of its table, for errors. `secrets` are headers beside those that every address may have.
    """

    def __init__(
        self,
        key: str,
        config: AddressConfig,
        target: TargetConfig,
        outside: Outside,
        secrets: Mapping[str, str] | None = None,
    ) -> None:
        self._url = httpx2.URL(config.url)
        self._timeout = target.timeout_seconds
        port = self._url.port or _PORTS[self._url.scheme]
        self._addresses = outside.addresses or PinnedAddresses(self._url.host, port, config.networks)
        hidden_headers = authorization_headers(key, config, outside.environment) | dict(secrets or {})
        self._secrets = [each for value in hidden_headers.values() for each in _secrets_in(value)]
        self._headers = {"user-agent": "pagefold", "host": self._url.netloc.decode("ascii"), **hidden_headers}
        limits = httpx2.Limits(max_connections=target.concurrency, max_keepalive_connections=target.concurrency)
        self._client = httpx2.AsyncClient(
            timeout=target.timeout_seconds,
            limits=limits,
            follow_redirects=False,
            verify=_certificates(),
            trust_env=False,  # a proxy would resolve the name again
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._client.aclose()

    async def send(
        self, method: str, path: str = "", *, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Response | NoResponse:
        """Sends one request to the target's address, with `path` added to it, and reads the whole response."""
        try:
            with anyio.fail_after(self._timeout):
                return await self._sent(method, path, content, headers or {})
        except TimeoutError:
            return NoResponse(f"no complete answer within {self._timeout:g} s")
        except AddressRefusedError as error:
            return NoResponse(str(error), sent=False)
        except httpx2.HTTPError as error:
            self._addresses.forget()
            return NoResponse(
                hidden(_shown(error).encode(), self._secrets).decode(),
                sent=not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout),
            )

    async def _sent(
        self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Response | NoResponse:
        *others, last = await self._addresses.current()
        for address in others:
            with suppress(httpx2.ConnectError, httpx2.ConnectTimeout):  # nothing was sent: the next one may listen
                return await self._sent_to(address, method, path, content, headers)
        return await self._sent_to(last, method, path, content, headers)

    async def _sent_to(
        self, address: str, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Response | NoResponse:
        """The name stays in the header and in the check of the certificate; the connection goes to the address."""
        base = self._url
        url = base.copy_with(host=address, raw_path=_joined(base.raw_path, path))
        request = self._client.build_request(
            method,
            url,
            content=content,
            headers={**self._headers, **headers},
            extensions={"sni_hostname": base.host},
        )
        response = await self._client.send(request, stream=True)
        try:
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_RESPONSE_BYTES:
                    return NoResponse(f"its answer has more than {MAX_RESPONSE_BYTES // 1024 // 1024} MiB")
        finally:
            self._client.cookies.clear()  # what a target sets would come back to it, more and more
            await response.aclose()
        whole = hidden(bytes(body), self._secrets)
        text = whole[:MAX_TEXT_BYTES].decode("utf-8", "replace")
        limits = limits_of(response.status_code, response.headers, datetime.now(UTC))
        return Response(response.status_code, response.headers, whole, text, limits)


def _joined(base: bytes, path: str) -> bytes:
    """A path below the address's own. A query of the address stays at the end."""
    if not path:
        return base
    own, question, query = base.partition(b"?")
    return own.rstrip(b"/") + b"/" + path.lstrip("/").encode("ascii") + question + query


def authorization_headers(name: str, config: AddressConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """The headers with secrets. Raises `ConfigurationError`, which never shows one."""
    found = {
        header: secret(f"{name}.header_variables.{header}", variable, environment)
        for header, variable in config.header_variables.items()
    }
    if config.token_variable is not None:
        token = secret(f"{name}.token_variable", config.token_variable, environment)
        found["authorization"] = f"Bearer {token}"
    return found


def _certificates() -> SSLContext:
    return httpx2.create_ssl_context()


def _shown(error: httpx2.HTTPError) -> str:
    """Why there was no response, in words. The library's texts are those of the system, without addresses."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, SSLError):
            return f"TLS: {cause.reason or cause}"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused"
        if isinstance(cause, ConnectionResetError | BrokenPipeError):
            return "connection reset"
        if isinstance(cause, socket.gaierror):
            return "the name cannot be resolved"
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _secrets_in(value: str) -> Iterator[bytes]:
    """What is not to be shown of a header: all of it, and what follows a scheme such as `Basic`."""
    _, *credentials = value.split(" ")
    if len(value) >= MIN_SECRET:
        yield value.encode()
    yield from (each.encode() for each in credentials if len(each) >= MIN_CREDENTIAL)


def hidden(said: bytes, secrets: Collection[bytes]) -> bytes:
    """What a target has said, without secrets: it may quote what it was sent."""
    for each in secrets:
        said = said.replace(each, b"***")
    return said
