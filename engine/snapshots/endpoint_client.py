"""The client of an endpoint: retries, rate limits and a maximum response size."""

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http import HTTPStatus
from ssl import SSLContext
from types import MappingProxyType, TracebackType
from typing import BinaryIO, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx2
import stamina
from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.endpoint_config import EndpointConfig, RequestConfig, inheriting
from pagefold.engine.errors import Failure, SourceFailed
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.runtime.clock import now
from pagefold.engine.snapshots.endpoint_authorization import authorization
from pagefold.engine.snapshots.endpoint_errors import errors_in
from pagefold.engine.snapshots.request_limiter import RequestLimiter

RETRY_SECONDS = 120.0
"""After so many seconds, there is no other request of one page."""

FIRST_WAIT_SECONDS, MAX_WAIT_SECONDS, JITTER = 1.0, 30.0, 1.0
"""Seconds between two attempts, if the server sends no `Retry-After`."""

MAX_RETRY_AFTER_SECONDS = 120.0
MAX_RESPONSE_BYTES = 32 * 1024 * 1024
"""Bytes of a page, decompressed."""

PAGE_TIMEOUTS = 10
"""A page may take this many times the configured timeout, which applies to each step of a request."""

DOWNLOAD_BYTES = 1024 * 1024
"""Bytes of a download that are written at a time."""

Result = TypeVar("Result")

_RETRYABLE = frozenset({408, 429, 500, 502, 503, 504})
_CLOSE_SECONDS = 2.0
_PASSING = Failure(passes=True)

for _library in ("httpx2", "httpcore2"):  # they log complete URLs and headers, which may have secrets
    if (_logger := logging.getLogger(_library)).level == logging.NOTSET:
        _logger.setLevel(logging.WARNING)


class PageRequest(NamedTuple):
    """A request: its address, method and body."""

    url: httpx2.URL
    method: Literal["GET", "POST"] = "GET"
    content: bytes | None = None
    content_type: str = "application/json"


class EndpointResponse(NamedTuple):
    """A response: its body, the next page from the `Link` header, and `X-Total-Count` or WordPress's `X-WP-Total`."""

    body: bytes
    next: str | None
    total: int | None


class Credentials(NamedTuple):
    """What authorizes requests: headers, also with secrets, what is done to each request, and members of bodies."""

    headers: Mapping[str, str]
    auth: httpx2.Auth | None = None
    members: Mapping[str, str] = MappingProxyType({})


NO_CREDENTIALS = Credentials({})


class _RetryableError(Exception):
    """An answer that a retry may change; `seconds` is the server's `Retry-After`, if any."""

    def __init__(self, problem: str, failure: Failure) -> None:
        super().__init__(problem)
        self.seconds = failure.seconds
        self.failure = failure


class Endpoint(NamedTuple):
    """An endpoint: its settings, what authorizes requests, and the limits that they share with others.

    `name` is its address without a query, which may have secrets: for people. `source` is whose it is.
    """

    name: str
    source: str
    settings: RequestConfig
    credentials: Credentials
    limiter: RequestLimiter
    children: "Mapping[str, Endpoint]"


def endpoint_at(
    config: Config, key: str, settings: EndpointConfig, limiter: RequestLimiter, parent: EndpointConfig | None = None
) -> Endpoint:
    """The endpoint that is configured at `key`; what it does not say of itself is its parent's.

    Raises `ConfigurationError` if the environment lacks its secrets.
    """
    if parent is not None:
        settings = inheriting(settings, parent)
    children = {
        name: _endpoint(config, f"{key}.children.{name}", inheriting(child, settings), limiter)
        for name, child in settings.children.items()
    }
    return _endpoint(config, key, settings, limiter)._replace(children=children)


def _endpoint(config: Config, key: str, settings: RequestConfig, limiter: RequestLimiter) -> Endpoint:
    parts = urlsplit(settings.url or "")
    name = f"{parts.scheme}://{parts.netloc}{parts.path}"
    source = max((each for each in config.sources if key.startswith(f"sources.{each}.")), key=len, default="")
    return Endpoint(name, source, settings, credentials(config, key, settings, os.environ), limiter, {})


class EndpointClient:
    """Requests pages from a server, for the length of an `async with`. Errors show the endpoint's name, not addresses.

    Only the endpoint's own origin gets what authorizes requests.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._name, self._source = endpoint.name, endpoint.source
        self._settings = settings = endpoint.settings
        self._credentials = endpoint.credentials
        self._limiter = endpoint.limiter
        self._home = origin_of(httpx2.URL(settings.url or ""))
        self._origins = {self._home, *(origin_of(httpx2.URL(origin)) for origin in settings.origins)}
        self._client = httpx2.AsyncClient(
            headers={"accept": "application/json", "user-agent": "pagefold"},
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            verify=_certificates(),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._client.aclose()

    def address(self, text: str, base: httpx2.URL) -> httpx2.URL:
        """Resolves an address, which may be relative. Raises `SourceFailed` if its host is not allowed."""
        try:
            url = base.join(text)
        except httpx2.InvalidURL as error:
            raise SourceFailed(self._name, f"the address of the next page is not valid: {error}") from None
        if url.scheme not in {"http", "https"} or not url.host:
            raise SourceFailed(self._name, f"the address of the next page has the scheme {url.scheme!r}")
        if url.userinfo:
            raise SourceFailed(self._name, "the address of the next page has a user in it")
        if origin_of(url) not in self._origins:
            problem = f"the next page is at {origin_of(url)}, which is not an allowed host; add it to hosts"
            raise SourceFailed(self._name, problem)
        return url

    async def send(self, request: PageRequest) -> EndpointResponse:
        """Requests a page. Raises `SourceFailed`: permanent errors at once, others after retries."""
        return await self._retried(lambda: self._attempt(request))

    async def download(self, request: PageRequest, file: BinaryIO) -> None:
        """Writes a response of any size into a file, which begins anew with each attempt. Raises as `send` does."""
        await self._retried(lambda: self._attempt_download(request, file))

    async def _retried(self, attempt_once: Callable[[], Awaitable[Result]]) -> Result:
        try:
            async for attempt in stamina.retry_context(
                on=_wait_before_retry,
                attempts=self._settings.attempts,
                timeout=RETRY_SECONDS,
                wait_initial=FIRST_WAIT_SECONDS,
                wait_max=MAX_WAIT_SECONDS,
                wait_jitter=JITTER,
            ):
                with attempt:
                    return await attempt_once()
        except _RetryableError as error:
            tried = "" if self._settings.attempts == 1 else ", after all retries"
            raise SourceFailed(self._name, f"{error}{tried}", error.failure) from error
        except TimeoutError as error:
            raise SourceFailed(self._name, "a page took too long", _PASSING) from error
        except httpx2.DecodingError as error:
            raise SourceFailed(self._name, f"the response's compression is damaged: {error}") from error
        except httpx2.HTTPError as error:
            problem = f"the response is incomplete: {type(error).__name__}: {error}"
            raise SourceFailed(self._name, problem.rstrip(": "), _PASSING) from error
        raise AssertionError  # stamina returns from the attempt, or raises

    async def _attempt(self, request: PageRequest) -> EndpointResponse:
        settings, origin = self._settings, origin_of(request.url)
        async with self._limiter.request(
            origin, concurrency=settings.concurrency, per_second=settings.requests_per_second
        ):
            with anyio.fail_after(settings.timeout_seconds * PAGE_TIMEOUTS):
                async with self._stream(request, origin) as response:
                    self._check(response)
                    body = (await self._body(response)).removeprefix(BYTE_ORDER_MARK)
        if settings.errors and (found := await run_sync(errors_in, body, settings.error_paths)) is not None:
            problem = f"its response has errors: {found}"
            raise _RetryableError(problem, _PASSING)
        return EndpointResponse(body, _next_link(response), _total(response.headers))

    async def _attempt_download(self, request: PageRequest, file: BinaryIO) -> None:
        settings, origin = self._settings, origin_of(request.url)
        await run_sync(_empty, file)
        async with (
            self._limiter.request(origin, concurrency=settings.concurrency, per_second=settings.requests_per_second),
            self._stream(request, origin) as response,
        ):
            self._check(response)
            async for piece in response.aiter_bytes(DOWNLOAD_BYTES):
                await run_sync(file.write, piece)

    def _stream(self, request: PageRequest, origin: str) -> AbstractAsyncContextManager[httpx2.Response]:
        """The request, on its way. Only the endpoint's own origin gets what authorizes it."""
        own = self._credentials if origin == self._home else NO_CREDENTIALS
        headers = httpx2.Headers({} if request.content is None else {"content-type": request.content_type})
        headers.update(own.headers)
        return self._client.stream(request.method, request.url, content=request.content, headers=headers, auth=own.auth)

    def _check(self, response: httpx2.Response) -> None:
        if response.is_success:
            return
        status = response.status_code
        problem = f"it answers {_status(status)}"
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            self._limiter.counters.add_throttled(self._source)
        if status in _RETRYABLE:
            seconds = _retry_after(response.headers.get("retry-after"))
            raise _RetryableError(problem, Failure(status, passes=True, seconds=seconds))
        if response.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            variable = self._settings.token_variable
            problem += f"; check the token in {variable}" if variable else "; it may need a token"
        elif response.has_redirect_location:
            problem += f"; configure the address it redirects to: {_redirect_target(response)}"
        raise SourceFailed(self._name, problem, Failure(response.status_code))

    async def _body(self, response: httpx2.Response) -> bytes:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > MAX_RESPONSE_BYTES:
                problem = f"a page has more than {MAX_RESPONSE_BYTES // 1024 // 1024} MiB; request fewer rows per page"
                raise SourceFailed(self._name, problem)
        return bytes(body)


def credentials(config: Config, key: str, endpoint: RequestConfig, environment: Mapping[str, str]) -> Credentials:
    """How requests to the endpoint at `key` are authorized. Raises `ConfigurationError`, which never shows a secret."""
    found = dict(endpoint.headers)
    if endpoint.token_variable is not None:
        token = _secret(config, f"{key}.token_variable", endpoint.token_variable, environment)
        if " " in token:
            raise config.error(f"{key}.token_variable", f"{endpoint.token_variable} is not a token: it has a space")
        found["authorization"] = f"Bearer {token}"
    for name, variable in endpoint.header_variables.items():
        found[name] = _secret(config, f"{key}.header_variables.{name}", variable, environment)
    members = {
        place: _variable(config, f"{key}.body_variables.{place}", variable, environment)
        for place, variable in endpoint.body_variables.items()
    }
    given, auth = endpoint.authorization, None
    if given is not None:
        auth = authorization(config, given, f"{key}.authorization", environment)
    return Credentials(found, auth, members)


def _variable(config: Config, key: str, variable: str, environment: Mapping[str, str]) -> str:
    value = environment.get(variable, "").strip()
    if not value:
        raise config.error(key, f"the environment variable {variable} is not set or empty")
    return value


def _secret(config: Config, key: str, variable: str, environment: Mapping[str, str]) -> str:
    value = _variable(config, key, variable, environment)
    if not (value.isascii() and value.isprintable()):
        raise config.error(key, f"{variable} has characters that a header cannot contain")
    return value


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def origin_of(url: httpx2.URL) -> str:
    """Scheme, host and port of a URL."""
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"


@cache
def _certificates() -> SSLContext:
    """The certificates that are trusted, loaded once: that takes 60 ms, and a fetch is one client."""
    return httpx2.create_ssl_context()


def _wait_before_retry(error: Exception) -> bool | float:
    """Whether to try again, or after how many seconds."""
    if isinstance(error, _RetryableError):
        return True if error.seconds is None else error.seconds
    if isinstance(error, httpx2.LocalProtocolError | httpx2.UnsupportedProtocol):
        return False
    return isinstance(error, httpx2.TransportError | TimeoutError)


def _retry_after(header: str | None) -> float | None:
    """The seconds to wait, from a number or a date; None if it is neither."""
    if header is None:
        return None
    try:
        seconds = float(header) if header.isascii() and header.isdecimal() else _until(header)
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def _until(header: str) -> float:
    moment = parsedate_to_datetime(header)
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.fromisoformat(now())).total_seconds()


def _next_link(response: httpx2.Response) -> str | None:
    """The URL of the next page (RFC 8288); a link may have several relations."""
    for relation, link in response.links.items():
        if "next" in (relation or "").lower().split():
            return link.get("url")
    return None


def _total(headers: httpx2.Headers) -> int | None:
    total = (headers.get("x-total-count") or headers.get("x-wp-total") or "").strip()
    return int(total) if total.isascii() and total.isdecimal() and len(total) < 16 else None  # noqa: PLR2004  # digits


def _status(code: int) -> str:
    try:
        return f"{code} {HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


def _redirect_target(response: httpx2.Response) -> str:
    """The target of a redirect, without its query, which may be secret."""
    try:
        url = response.url.join(response.headers["location"])
    except httpx2.InvalidURL:
        return "an address that is not valid"
    return f"{origin_of(url)}{url.path}"
