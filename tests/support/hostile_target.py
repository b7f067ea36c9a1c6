"""A web service that pages are delivered to, and that misbehaves as a test says. It remembers what it has applied."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeAlias

import orjson

Misbehaviour: TypeAlias = Callable[[], "Behaviour"]


class Behaviour(NamedTuple):
    """What the service does with a request.

    `applies`: it takes what is in it, whatever it answers. `status`: the answer, 0 for a connection that is reset in
    the middle of one. `delay`: before the answer. `headers`: of the answer.
    """

    applies: bool = True
    status: int = 200
    delay: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()


GOOD = Behaviour()


class Arrival(NamedTuple):
    """A page that has arrived: when, its position, its document or None, and the idempotency key of its request."""

    at: float
    position: int
    page: object
    key: str


class HostileTarget:
    """The service. `held` is what it holds; `arrived` everything that was applied, by page, in order.

    `refuses`: pages for which it answers the whole request with 422. `requests` are the moments of all requests,
    `others` those that are about no page: first line, body, idempotency key.
    """

    def __init__(self, behave: Misbehaviour) -> None:
        self.behave = behave
        self.refuses: Callable[[object], bool] = lambda _: False
        self.held: dict[tuple[str, str], object] = {}
        self.arrived: dict[tuple[str, str], list[Arrival]] = {}
        self.requests: list[float] = []
        self.others: list[tuple[str, bytes, str]] = []
        self.statuses: list[int] = []
        self.most = self.now = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._port = 0

    async def up(self) -> None:
        """Listens, at the same address as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
            self._port = self._server.sockets[0].getsockname()[1]
            self.url = f"http://127.0.0.1:{self._port}/hooks"

    async def down(self) -> None:
        """Refuses connections, and ends those that there are."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for each in self._connections:
                each.transport.abort()

    def empty(self) -> None:
        """Loses everything that it holds."""
        self.held.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.now += 1
                self.most = max(self.most, self.now)
                try:
                    goes_on = await self._answer(first, headers, body, writer)
                finally:
                    self.now -= 1
                if not goes_on:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, first: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        self.requests.append(time.monotonic())
        behaviour = self.behave()
        if b'"data"' not in body:
            self.others.append((first, body, headers["idempotency-key"]))
            body = b'{"data":[]}'
        if any(self.refuses(each["page"]) for each in _changes(body)):
            behaviour = Behaviour(applies=False, status=422)
        self.statuses.append(behaviour.status)
        if behaviour.applies:
            self._apply(headers, body)
        await asyncio.sleep(behaviour.delay)
        if behaviour.status == 0:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of")
            await writer.drain()
            writer.transport.abort()
            return False
        lines = [f"HTTP/1.1 {behaviour.status} Whatever", "content-length: 2"]
        lines += [f"{name}: {value}" for name, value in behaviour.headers]
        writer.write("\r\n".join([*lines, "", "{}"]).encode())
        await writer.drain()
        return True

    def _apply(self, headers: dict[str, str], body: bytes) -> None:
        for each in _changes(body):
            key = (each["sku"], each["channel"])
            arrival = Arrival(time.monotonic(), each["position"], each["page"], headers["idempotency-key"])
            self.arrived.setdefault(key, []).append(arrival)
            if each["page"] is None:
                self.held.pop(key, None)
            else:
                self.held[key] = each["page"]


def _changes(body: bytes) -> list[dict[str, Any]]:
    data = orjson.loads(body)["data"]
    return data if isinstance(data, list) else [data]


@asynccontextmanager
async def hostile_target(behave: Misbehaviour = lambda: GOOD) -> AsyncIterator[HostileTarget]:
    """A service that is up."""
    target = HostileTarget(behave)
    await target.up()
    try:
        yield target
    finally:
        await target.down()


def chance(dice: random.Random, *behaviours: tuple[float, Behaviour]) -> Misbehaviour:
    """One of some behaviours, each with its probability; otherwise a good one."""

    def behave() -> Behaviour:
        left = dice.random()
        for probability, behaviour in behaviours:
            if (left := left - probability) < 0:
                return behaviour
        return GOOD

    return behave
