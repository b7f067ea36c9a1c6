"""Where the sample shop in motion delivers to: a marketplace of its own, now and then in trouble, and files.

The marketplace asks for less for a while, then does not answer for a while, and refuses one product for good.
"""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import orjson

QUIET_SECONDS, THROTTLING_SECONDS, DOWN_SECONDS = 45.0, 15.0, 15.0
"""How long the marketplace takes everything, asks for less, and is down; over and over."""

THROTTLED_EVERY = 2
"""While it asks for less, it answers one in this many requests with 429."""

TARGETS = """
[targets.marketplace]                            # a web service of this demo
channels = ["marketplace-de"]
rate = 8.0
concurrency = 2
batch = 25
tries = 3
[targets.marketplace.http]
url = {url}
batches = true
networks = ["127.0.0.0/8"]
[targets.warehouse.files]
folder = {folder}
lines = 5_000
seconds = 15.0
keep = 5
"""


def targets_text(url: str, folder: Path) -> str:
    """The tables of the targets."""
    return TARGETS.format(url=json.dumps(url), folder=json.dumps(str(folder)))


class Marketplace:
    """A web service that takes batches of changes. `refused` is the product that it never takes."""

    def __init__(self, refused: str, clock: Callable[[], float] = monotonic) -> None:
        self._refused = refused
        self._clock = clock
        self._began = clock()
        self._requests = itertools.count()
        self._connections: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Serves at a free port of this machine, and yields the address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/pages"
        finally:
            server.close()
            for each in self._connections:
                each.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = head.partition("\ncontent-length:")[2].partition("\r\n")[0]
                status, headers, body = self._answer(await reader.readexactly(int(length or 0)))
                lines = [f"HTTP/1.1 {status} ", f"content-length: {len(body)}", "content-type: application/json"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    def _answer(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of an answer."""
        at = (self._clock() - self._began) % (QUIET_SECONDS + THROTTLING_SECONDS + DOWN_SECONDS)
        if at >= QUIET_SECONDS + THROTTLING_SECONDS:
            return 503, {}, b'{"error": "maintenance"}'
        if at >= QUIET_SECONDS and next(self._requests) % THROTTLED_EVERY == 0:
            return 429, {"retry-after": "1"}, b'{"error": "too many requests"}'
        return 207, {}, orjson.dumps({"results": [self._result(each) for each in orjson.loads(body)["data"]]})

    def _result(self, change: Mapping[str, Any]) -> dict[str, object]:
        if change["sku"] == self._refused and change["page"] is not None:
            return {"status": 422, "error": "its category is not sold here"}
        return {"status": 200}
