"""The server's limits for clients that send too much, too slowly, or nothing at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.errors import AddressUnavailable
from pagefold.engine.http.listening_socket import address_of, listen
from tests.support.command_line import on_sqlite
from tests.support.http_clients import is_free, served, service_of
from tests.support.processes import eventually
from tests.support.small_shop import Document, catalog, configured, say

GET = b"GET /v1/pages/web-de/TSHIRT-M HTTP/1.1\r\nhost: localhost\r\n"
POST = b"POST /v1/pages:batchGet HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
INGEST = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
HEALTH = b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
BEGUN = b"content-length: 100\r\n\r\n{"


class Line:
    """A connection on which raw bytes are sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @property
    def socket(self) -> Any:  # noqa: ANN401  # asyncio's own, in place of the system's
        """Its socket."""
        return self._writer.get_extra_info("socket")

    async def send(self, text: bytes) -> None:
        """Sends what the server takes: it may close the connection before the end."""
        with suppress(ConnectionError):
            self._writer.write(text)
            await self._writer.drain()

    async def everything(self) -> bytes:
        """Everything that the server sends until it closes the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(), 10)
        except ConnectionError:
            return b""

    async def answer(self) -> bytes:
        """The head of the next answer."""
        return await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 10)

    async def exactly(self, number: int) -> bytes:
        """The next bytes, exactly that many."""
        return await asyncio.wait_for(self._reader.readexactly(number), 10)

    async def end(self) -> None:
        """Ends the sending side, and still receives."""
        with suppress(ConnectionError):
            self._writer.write_eof()

    async def close(self) -> None:
        """Closes the connection, once."""
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Place:
    """A server that listens."""

    def __init__(self, host: str, port: int) -> None:
        self._at = (host, port)
        self._lines: list[Line] = []

    async def line(self) -> Line:
        """A new connection."""
        self._lines.append(Line(*await asyncio.open_connection(*self._at)))
        return self._lines[-1]

    async def close(self) -> None:
        """Closes every connection."""
        for line in self._lines:
            await line.close()

    async def says(self, text: bytes) -> bytes:
        """Everything that it answers to that."""
        line = await self.line()
        await line.send(text)
        answer = await line.everything()
        await line.close()
        return answer

    async def reads(self) -> bool:
        """Whether another client is served a page."""
        return (await self.says(GET + b"connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


@asynccontextmanager
async def limited(store_url: str, **limits: object) -> AsyncIterator[Place]:
    """A server with these limits, and a page."""
    settings: Document = limits
    async with pagefold.open(configured(store_url, http=settings)) as shop:
        await say(shop, catalog("a"))
        async with served(service_of(shop, reads_open=True)) as (host, port):
            place = Place(host, port)
            try:
                yield place
            finally:
                await place.close()


def status(answer: bytes) -> int:
    """The status of a response; 0 if there was none."""
    return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GET + b"x: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (GET + b"x: " + b"a" * 20_000, 431),
        (GET + b"x" * 20_000, 431),
        (GET + b"x: y\r\n" * 101 + b"\r\n", 431),
        (GET + b"x: y\r\n" * 90 + b"connection: close\r\n\r\n", 200),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"hello\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (POST + b"content-length: x\r\n\r\n", 400),
        (POST + b"content-length: 2000000\r\n\r\n", 413),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (POST + b"content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n", 400),
    ],
)
@on_sqlite
async def test_oversized_or_invalid_requests_are_refused(store_url: str, text: bytes, expected: int) -> None:
    """The error has the same form as any other, and the connection is closed."""
    async with limited(store_url) as server:
        answer = await server.says(text)
        assert status(answer) == expected
        if expected != 200:
            assert b"application/problem+json" in answer
            assert b"\r\nconnection: close\r\n" in answer.lower()
        assert await server.reads()


@on_sqlite
@pytest.mark.parametrize("beginning", [GET, b"G", POST + BEGUN, INGEST + BEGUN, b""])
async def test_an_incomplete_request_times_out(store_url: str, beginning: bytes) -> None:
    """A head or body that is not complete in time ends with 408; a connection without a byte is closed."""
    async with limited(store_url, receive_seconds=0.3) as server:
        assert status(await server.says(beginning)) == (408 if beginning else 0)
        assert await server.reads()


@on_sqlite
async def test_a_trickling_request_times_out(store_url: str) -> None:
    """A byte now and then does not extend a request's time."""
    async with limited(store_url, receive_seconds=0.3) as server:
        line = await server.line()
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:

                async def trickle() -> None:
                    while True:
                        await line.send(b"G")
                        await anyio.sleep(0.02)

                group.start_soon(trickle)
                await line.everything()
                group.cancel_scope.cancel()


@on_sqlite
async def test_an_early_answer_is_the_only_one(store_url: str) -> None:
    """A body that continues after its answer, and never ends, is closed without another response."""
    async with limited(store_url, receive_seconds=0.3) as server:
        answer = await server.says(POST.replace(b"application/json", b"text/plain") + b"content-length: 100\r\n\r\n{")
        assert status(answer) == 415
        assert answer.count(b"HTTP/1.1 ") == 1


@on_sqlite
async def test_an_idle_connection_is_closed(store_url: str) -> None:
    """After a response, a connection waits for the next request for a while; each request restarts that time."""
    async with limited(store_url, idle_seconds=2.0, receive_seconds=10.0) as server:
        line = await server.line()
        for _ in range(3):
            await line.send(HEALTH)
            assert status(await line.answer()) == 200
            await anyio.sleep(0.8)
        with anyio.fail_after(20):
            assert await line.everything() == b""


@on_sqlite
async def test_connections_per_address_are_limited(store_url: str) -> None:
    """One more is refused and closed; when one is closed, another is accepted."""
    async with limited(store_url, connections_per_address=5) as server:
        lines = [await server.line() for _ in range(5)]
        for line in lines:
            await line.send(HEALTH)
            await line.answer()
        refused = await (await server.line()).everything()
        assert status(refused) == 503
        assert b"retry-after: 1" in refused
        await lines[0].close()
        await eventually(server.reads, "another connection is accepted")


@on_sqlite
async def test_many_idle_connections_disturb_no_reader(store_url: str) -> None:
    """Hundreds of silent connections disturb no reader, and are closed after their time."""
    async with limited(store_url, receive_seconds=1.0) as server:
        lines = [await server.line() for _ in range(400)]
        assert await server.reads()
        assert {await line.everything() for line in lines} == {b""}


@on_sqlite
async def test_requests_in_one_piece_are_answered_in_order(store_url: str) -> None:
    """Pipelined requests are answered in order, and each on time."""
    async with limited(store_url, receive_seconds=0.5) as server:
        answers = await server.says((HEALTH) * 20 + GET + b"connection: close\r\n\r\n")
        assert answers.count(b"HTTP/1.1 200 OK") == 21


@on_sqlite
async def test_a_client_that_disconnects_is_no_error(store_url: str) -> None:
    """Half a body and a closed connection: the server continues, and counts it."""
    async with pagefold.open(configured(store_url)) as shop:
        service = service_of(shop)
        async with served(service) as (host, port):
            line = await Place(host, port).line()
            await line.send(POST + b"content-length: 100\r\n\r\n{")
            await anyio.sleep(0.1)
            await line.close()
            await eventually(lambda: service.traffic.gone == 1, "it is counted", 5)
        assert not [key for key in service.traffic.requests if key[2] >= 500]


@on_sqlite
async def test_requests_under_way_are_finished_at_the_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server ends, requests under way are answered, and no connection is accepted."""
    await say(shop, catalog("a"))
    asked, go = anyio.Event(), anyio.Event()
    get_json = shop.pages.get_json

    async def slowly(sku: str, channel: str) -> bytes | None:
        asked.set()
        await go.wait()
        return await get_json(sku, channel)

    monkeypatch.setattr(shop.pages, "get_json", slowly)
    async with anyio.create_task_group() as group:
        async with served(service_of(shop, reads_open=True)) as (host, port):
            line = await Place(host, port).line()
            await line.send(GET.replace(b"-M", b"%2DM") + b"\r\n")  # an escape is not answered on the fast path
            await asked.wait()

            async def let_go() -> None:
                await eventually(lambda: is_free(port), "no connection is accepted", 5)
                go.set()

            group.start_soon(let_go)
        assert status(await line.everything()) == 200
        await line.close()


def test_an_address_in_use_is_an_error() -> None:
    """The error names the address, and says what to do."""
    first = listen("127.0.0.1", 0)
    try:
        with pytest.raises(AddressUnavailable, match="--port"):
            listen("127.0.0.1", first.getsockname()[1])
        with pytest.raises(AddressUnavailable):
            listen("no.such.host.invalid", 0)
    finally:
        first.close()
    second = listen("::1", 0)
    assert address_of(second).startswith("http://[::1]:")
    second.close()
