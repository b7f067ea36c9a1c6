"""A small server of `/metrics` for workers that have no other: `pagefold work --metrics-port`.

It answers `GET /metrics` and `GET /healthz`, one request a connection, and nothing else.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from pagefold.engine.errors import AddressUnavailable, StoreError
from pagefold.engine.http.listening_socket import address_of, listen
from pagefold.engine.http.metrics import CONTENT_TYPE, exposition
from pagefold.engine.http.process_counters import counters_of
from pagefold.engine.http.process_links import WORKER
from pagefold.engine.http.request_log import RequestLog
from pagefold.engine.reading.readiness import results_of
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.shop import Shop

MAX_HEAD_BYTES = 8 * 1024
HEAD_SECONDS = 5.0
MAX_CONNECTIONS = 16

log = Logger(__name__)


@asynccontextmanager
async def serving_metrics(shop: Shop, host: str, port: int) -> AsyncIterator[str]:
    """Serves the metrics of a worker during the block; yields the address. Raises `AddressUnavailable`."""
    try:
        listener = listen(host, port)
    except AddressUnavailable as error:
        raise AddressUnavailable(host, port, error.problem, "--metrics-host and --metrics-port") from None
    async with await asyncio.start_server(MetricsServer(shop).serve, sock=listener, limit=MAX_HEAD_BYTES):
        yield address_of(listener)


class MetricsServer:
    """Answers requests for the metrics of one worker."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._traffic = RequestLog(0)
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers one request. A connection more than there may be is closed."""
        self._connections += 1
        try:
            if self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(HEAD_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                status, body, kind = await self._answer(head.partition(b"\r\n")[0].split(b" "))
                await _send(writer, status, body, kind)
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass  # the client has gone
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, request: list[bytes]) -> tuple[HTTPStatus, bytes, str]:
        method, path = (request[0], request[1].partition(b"?")[0]) if len(request) > 1 else (b"", b"")
        if path not in {b"/metrics", b"/healthz"}:
            return HTTPStatus.NOT_FOUND, b"/metrics and /healthz are here\n", "text/plain"
        if method != b"GET":
            return HTTPStatus.METHOD_NOT_ALLOWED, b"GET is allowed here\n", "text/plain"
        if path == b"/healthz":
            return HTTPStatus.OK, b'{"status":"ok"}', "application/json"
        try:
            own = counters_of(WORKER, self._traffic, self._shop)
            return HTTPStatus.OK, await exposition(self._shop, [own], await results_of(self._shop)), CONTENT_TYPE
        except StoreError as error:
            log.warning("metrics cannot be read", error=str(error))
            return HTTPStatus.SERVICE_UNAVAILABLE, b"the store does not answer\n", "text/plain"


async def _send(writer: asyncio.StreamWriter, status: HTTPStatus, body: bytes, kind: str) -> None:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", f"content-type: {kind}", f"content-length: {len(body)}"]
    writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + body)
    async with asyncio.timeout(HEAD_SECONDS):
        await writer.drain()
