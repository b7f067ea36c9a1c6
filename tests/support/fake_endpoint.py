"""An HTTP server on this machine with the responses of a test, also invalid ones."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlsplit


class Asked(NamedTuple):
    """A request: its path, its query's parameters, its headers, its method, and its body."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    method: str = "GET"
    body: bytes = b""


class Reply(NamedTuple):
    """A response; `cut` closes the connection after that many bytes of the body."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    cut: int | None = None
    delay: float = 0.0


Answering: TypeAlias = Callable[[Asked], Reply]


class Server:
    """A server on this machine. `asked` has every request, `most` the maximum of concurrent ones."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering
        self._now = 0
        self.asked: list[Asked] = []
        self.at: list[float] = []
        self.most = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, with one request after another."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self._now += 1
                self.most = max(self.most, self._now)
                try:
                    goes_on = await self._answer(head.decode(), reader, writer)
                finally:
                    self._now -= 1
                if not goes_on:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *lines = head.strip().split("\r\n")
        method, target, _ = first.split(" ")
        parts = urlsplit(target)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.asked.append(Asked(parts.path, dict(parse_qsl(parts.query)), headers, method, body))
        self.at.append(time.monotonic())
        reply = self._answering(self.asked[-1])
        await asyncio.sleep(reply.delay)
        lines = [f"HTTP/1.1 {reply.status} Whatever", f"content-length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in reply.headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + reply.body[: reply.cut])
        await writer.drain()
        return reply.cut is None


@asynccontextmanager
async def serving(answering: Answering) -> AsyncIterator[Server]:
    """A server with these responses."""
    server = Server(answering)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listening.close()
