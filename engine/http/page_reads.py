"""`GET /v1/pages/{channel}/{sku}`: the storefront's page read, answered before the router.

What is known beforehand is prepared. Rare cases (no page, a token, an escape in the path) have their own functions, so
that the usual response is one read, one splice, one hash and two messages.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias
from urllib.parse import unquote_to_bytes

from starlette.types import Receive, Scope, Send

from pagefold.engine.errors import StoreDamaged
from pagefold.engine.http.authorization import authorize
from pagefold.engine.http.cache_control import matches
from pagefold.engine.http.complete_response import send_complete
from pagefold.engine.http.headers import JSON, SECURITY, Header
from pagefold.engine.http.past_reads import past_page, requested_moment
from pagefold.engine.http.problems import (
    Problem,
    given_twice,
    misdirected,
    no_channel,
    no_page,
    not_allowed,
    problem_of,
    sent,
)
from pagefold.engine.http.request_log import UNKNOWN
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.reading.page_reader import was_live
from pagefold.engine.reading.page_tags import etag_of

PREFIX = b"/v1/pages/"
TEMPLATE = "/v1/pages/{channel}/{sku}"
METHODS = frozenset(["GET", "HEAD"])

Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def segments_of(path: bytes) -> tuple[bytes, bytes] | None:
    """The channel and the SKU in a path of this route, still encoded; None for any other path."""
    if not path.startswith(PREFIX):
        return None
    channel, slash, sku = path[len(PREFIX) :].partition(b"/")
    return (channel, sku) if slash and sku and b"/" not in sku else None


def decoded(segment: bytes) -> str:
    """Decodes a segment of a path, encoded slashes included. Raises `Problem` if it is not UTF-8."""
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise Problem(400, "the path is not UTF-8") from None


class PageReads:
    """Answers page reads, and passes everything else to the application."""

    def __init__(self, service: ServerContext, application: Application) -> None:
        self._service = service
        self._application = application
        self._get_json = service.shop.pages.get_json
        self._cache_control = service.caching.header
        self._traffic = service.traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] == "http" and not self._service.answers_to(scope["headers"]):
            await self._refuse_host(scope, send)
            return
        if scope["type"] != "http" or (found := segments_of(scope["raw_path"])) is None:
            await self._application(scope, receive, send)
            return
        traffic = self._traffic
        started = time.perf_counter() if traffic.logs_next() else None
        method: str = scope["method"]
        try:
            status, headers, body = await self._answer(method, found, scope["headers"], scope["query_string"])
        except Exception as error:  # noqa: BLE001  # every error is answered
            if isinstance(error, StoreDamaged):
                self._service.shop.faults.failed("read", error)
            status, headers, body = sent(problem_of(error))
        await send_complete(scope, send, status, headers, body)
        traffic.note(method if method in METHODS else UNKNOWN, TEMPLATE, status, len(body), started)

    async def _refuse_host(self, scope: Scope, send: Send) -> None:
        status, headers, body = sent(misdirected())
        await send_complete(scope, send, status, headers, body)
        self._traffic.note(UNKNOWN, UNKNOWN, status, len(body), None)

    async def _answer(
        self, method: str, found: tuple[bytes, bytes], headers: list[Header], query: bytes
    ) -> tuple[int, list[Header], bytes]:
        begun = time.perf_counter()
        condition = authorization = None
        for name, value in headers:
            if name == b"if-none-match":
                condition = value if condition is None else condition + b"," + value
            elif name == b"authorization":
                if authorization is not None:
                    raise given_twice(name)
                authorization = value
        if method not in METHODS:
            raise not_allowed(method, "GET, HEAD")
        if not self._service.reads_open:
            await authorize(self._service.access, authorization, "read")
        channel, sku = decoded(found[0]), decoded(found[1])
        more: Sequence[Header]
        if query and (at := requested_moment(query)) is not None:
            body, more = await past_page(self._service, sku, channel, at)
        else:
            current = await self._get_json(sku, channel)
            if current is None:
                raise await self._missing(sku, channel)
            body, more = current, (self._cache_control(channel, current),)
        self._traffic.note_read(begun)
        etag = etag_of(body)
        if condition is not None and matches(condition, etag):
            self._traffic.not_modified += 1
            return 304, [(b"etag", etag), *more, *SECURITY], b""
        length = b"%d" % len(body)
        return 200, [JSON, (b"content-length", length), (b"etag", etag), *more, *SECURITY], body

    async def _missing(self, sku: str, channel: str) -> Problem:
        """The problem for a missing page: 410 if it is disabled and was live, else 404."""
        shop = self._service.shop
        if channel not in shop.applied.config.channels:
            return no_channel()
        is_disabled = await shop.pages.get_json(sku, channel, disabled=True) is not None
        if is_disabled and await was_live(shop.store.log, shop.applied.config, sku, channel):
            return Problem(410, "the product is no longer offered in this channel")
        return no_page()
