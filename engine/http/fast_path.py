"""Page reads answered within the protocol callback: no task, no scope, no ASGI messages.

The usual storefront request takes this path: an existing page, from a store that reads without waiting, for a caller
that may read it (reads are open, or the token's grant is cached). Everything else, including requests with a body and
errors, is left to the application. Both give the same responses.
"""

import time
from typing import NamedTuple

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pagefold.engine.http.cache_control import matches
from pagefold.engine.http.complete_response import text_of
from pagefold.engine.http.headers import JSON, SECURITY, Header
from pagefold.engine.http.page_reads import PREFIX, TEMPLATE, segments_of
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.reading.page_tags import etag_of

METHODS = {b"GET": "GET", b"HEAD": "HEAD"}
OTHER_THAN_READ_HEADERS = frozenset([b"content-length", b"transfer-encoding", b"expect"])
"""Headers of requests that have a body or expect more than a response. An offer to upgrade is ignored."""
SECURE = text_of(SECURITY)


class PreparedPage(NamedTuple):
    """A page, ready to be sent. `head` and `unchanged` lack the headers that differ by request."""

    etag: bytes
    head: bytes
    body: bytes
    unchanged: bytes


def prepare_page(_sku: str, _channel: str, page: bytes) -> PreparedPage:
    """What is known of a response as soon as the page is."""
    etag = etag_of(page)
    found = text_of([JSON, (b"content-length", b"%d" % len(page)), (b"etag", etag)])
    unchanged = text_of([(b"etag", etag)])
    return PreparedPage(etag, STATUS_LINE[200] + found, page, STATUS_LINE[304] + unchanged)


class FastPageReads:
    """Answers page reads directly, and counts them."""

    def __init__(self, service: ServerContext) -> None:
        self._service = service
        self._read = service.shop.pages.sync_reader(prepare_page)
        self._cache_control = service.caching.header
        self._traffic = service.traffic

    def answer(self, method: bytes, url: bytes, headers: list[Header]) -> tuple[bytes, bytes] | None:
        """The head, without common headers and the blank line, and the body; None if it is not answered here."""
        read, name = self._read, METHODS.get(method)
        if read is None or name is None or not url.startswith(PREFIX):
            return None
        started = time.perf_counter()
        if (key := _key(url)) is None or (asked := _read_headers(headers)) is None or not self._admits(asked):
            return None
        channel, sku = key
        try:
            found = read(sku, channel)
        except Exception:  # noqa: BLE001  # the application reports it, if it fails there too
            return None
        if found is None:
            return None
        cached = b"cache-control: %b\r\n%b" % (self._cache_control(channel, found.body)[1], SECURE)
        traffic = self._traffic
        traffic.note_read(started)
        status, head, body = 200, found.head, found.body
        if asked.condition is not None and matches(asked.condition, found.etag):
            traffic.not_modified += 1
            status, head, body = 304, found.unchanged, b""
        traffic.note(name, TEMPLATE, status, len(body), started if traffic.logs_next() else None)
        return head + cached, b"" if name == "HEAD" else body

    def _admits(self, asked: "ReadHeaders") -> bool:
        service = self._service
        if asked.host is not None and not service.is_called(asked.host):
            return False
        if service.reads_open:
            return True
        grant = None if asked.authorization is None else service.access.cached_grant(asked.authorization)
        return grant is not None and "read" in grant.scopes


class ReadHeaders(NamedTuple):
    """The headers that matter for a page read: host, entity tags and credential."""

    host: bytes | None
    condition: bytes | None
    authorization: bytes | None


def _read_headers(headers: list[Header]) -> ReadHeaders | None:
    """The headers; None if the request is more than a page read."""
    host = condition = authorization = None
    for header, value in headers:
        if header in OTHER_THAN_READ_HEADERS:
            return None
        if header == b"host":
            if host is not None:
                return None
            host = value
        elif header == b"if-none-match":
            condition = value if condition is None else condition + b"," + value
        elif header == b"authorization":
            if authorization is not None:
                return None
            authorization = value
    return ReadHeaders(host, condition, authorization)


def _key(url: bytes) -> tuple[str, str] | None:
    """The channel and the SKU in a URL; None if it needs closer parsing."""
    if b"%" in url or b"?" in url or b"#" in url or not url.isascii() or (found := segments_of(url)) is None:
        return None
    return found[0].decode(), found[1].decode()
