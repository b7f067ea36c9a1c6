"""A web service that takes whatever is sent to it, and answers at once: where deliveries of a benchmark go.

python -m benchmarks.delivery_sink
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"

_length = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Received(NamedTuple):
    """A request: its headers, as they were sent, and its body."""

    headers: list[tuple[bytes, bytes]]
    body: bytes


class Sink:
    """The service. With `keep`, it keeps what it receives."""

    def __init__(self, *, keep: bool = False) -> None:
        self.received: list[Received] = []
        self._keep = keep

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listens for the length of the `async with`; gives its address."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                if self._keep:
                    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:-2]]
                    self.received.append(Received([(name, value) for name, _, value in lines], body))
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


async def serve() -> None:
    """Serves until it is killed."""
    async with Sink().listening() as address:
        print(f"listening on {address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())
