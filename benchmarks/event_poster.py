"""Posts prepared requests with events over persistent connections.

A connection sends the next request when the previous one is answered. A request that is refused with 429 is repeated
after the response's `Retry-After`.
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pagefold import DomainEvent

HEAD = (
    b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d\r\n\r\n"
)
TAKEN, TOO_MUCH = 202, 429

_status = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_length = re.compile(rb"\r\ncontent-length: (\d+)")
_pause = re.compile(rb"\r\nretry-after: (\d+)")


def request_of(events: Sequence[DomainEvent]) -> bytes:
    """A request with these events, one per line."""
    body = b"\n".join([_line(event) for event in events])
    return HEAD % len(body) + body


def _line(event: DomainEvent) -> bytes:
    assert isinstance(event.payload, bytes)
    written = {
        "type": event.type,
        "sku": event.sku,
        "channel": event.channel,
        "source": event.source,
        "sourceVersion": event.source_version,
        "occurredAt": event.occurred_at,
        "payload": msgspec.Raw(event.payload),
    }
    return msgspec.json.encode(written)


class Poster(asyncio.Protocol):
    """One connection. `answers` counts responses by status.

    `seconds` is the minimum time between requests, `late` the delay of the first. `ended` is done when there are no
    more requests, or after `end`; it has an exception if one occurred.
    """

    def __init__(self, requests: Iterator[bytes], answers: Counter[int], seconds: float, late: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._requests = requests
        self._answers = answers
        self._seconds = seconds
        self._transport: Any = None  # of uvloop or of asyncio: they have no type in common
        self._waiting: asyncio.TimerHandle | None = None
        self._request = self._received = b""
        self._due = self._loop.time() + late - seconds
        self._ending = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = transport
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends with an error: the server closed the connection."""
        self._end(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Handles the response when it is complete."""
        self._received += data
        head, _, body = self._received.partition(b"\r\n\r\n")
        status, length = _status.match(head), _length.search(head)
        if status is None or length is None or len(body) < int(length[1]):
            return
        answer, self._received = int(status[1]), b""
        self._answers[answer] += 1
        if self._ending:
            self._end()
        elif answer == TAKEN:
            self._next()
        elif answer == TOO_MUCH and (pause := _pause.search(head)) is not None:
            self._waiting = self._loop.call_later(int(pause[1]), self._send)
        else:
            self._end(AssertionError(head, body))

    def end(self) -> None:
        """Ends after the pending response."""
        self._ending = True
        if self._waiting is not None:
            self._waiting.cancel()
            self._end()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._end()
            return
        now = self._loop.time()
        self._request, self._due = request, max(self._due + self._seconds, now)
        if self._due > now:
            self._waiting = self._loop.call_at(self._due, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._waiting = None
        self._transport.write(self._request)

    def _end(self, error: Exception | None = None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        self._transport.close()


async def post(server: str, requests: Sequence[bytes], connections: int) -> None:
    """Posts all requests. Each must be accepted."""
    answers: Counter[int] = Counter()
    posters = await _connected(server, iter(requests), answers, connections, 0)
    await asyncio.gather(*[poster.ended for poster in posters])
    assert answers == {TAKEN: len(requests)}, answers


@asynccontextmanager
async def posting(
    server: str, requests: Iterator[bytes], connections: int, seconds: float = 0
) -> AsyncIterator[Counter[int]]:
    """Posts for the length of an `async with`; yields the count of responses by status."""
    answers: Counter[int] = Counter()
    posters = await _connected(server, requests, answers, connections, seconds)
    try:
        yield answers
    finally:
        for poster in posters:
            poster.end()
        await asyncio.gather(*[poster.ended for poster in posters])


async def _connected(
    server: str, requests: Iterator[bytes], answers: Counter[int], connections: int, seconds: float
) -> list[Poster]:
    address, loop = urlsplit(server), asyncio.get_running_loop()
    assert address.hostname is not None
    assert address.port is not None
    host, port = address.hostname, address.port
    posters = [
        partial(Poster, requests, answers, seconds, seconds * number / connections) for number in range(connections)
    ]
    return [(await loop.create_connection(poster, host, port))[1] for poster in posters]
