"""Connections passed between processes: here, two servers in one process share a port as two processes do."""

import os
import re
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx2
import pytest
from anyio import to_thread
from anyio.abc import SocketStream

from pagefold import Shop
from pagefold.engine.http import handover
from pagefold.engine.http.handover import is_for_readers, is_for_worker
from pagefold.engine.http.listening_socket import listen
from pagefold.engine.http.process_links import WORKER, ProcessLinks, SocketPair
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.routing import Route
from pagefold.engine.http.server import serving
from pagefold.engine.http.server_context import ServerContext
from tests.support.command_line import event, ndjson
from tests.support.http_clients import service_of
from tests.support.processes import eventually
from tests.support.small_shop import SKU, catalog, configured, say

READER = WORKER + 1
PAGE, EVENTS = "/v1/pages/{channel}/{sku}", "/v1/events"
READ = f"GET /v1/pages/web-de/{SKU} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


def post(body: bytes, *headers: bytes) -> bytes:
    """A request with events."""
    lines = [b"POST /v1/events HTTP/1.1", b"host: localhost", b"content-type: application/x-ndjson", *headers]
    return b"\r\n".join([*lines, b"content-length: %d" % len(body), b"", body])


# --- routing ----------------------------------------------------------------------------------


def named(route: Route) -> bytes:
    """An address of a route."""
    return re.sub(r"\{\w+\}", "a%2Fb", route.path).encode()


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_each_route_has_its_process(route: Route) -> None:
    """Reads go to readers; writes and operators' routes to the worker; routes for anybody stay where they are."""
    method, url = route.method.encode(), named(route)
    expected = {"read": (True, False), "ingest": (False, True), "operate": (False, True)}
    alone = (False, False) if method == b"GET" else (False, True)  # a webhook has a signature and no scope
    for asked in (url, url + b"?limit=1"):
        found = is_for_readers(ROUTES)(method, asked), is_for_worker(ROUTES)(method, asked)
        assert found == (alone if route.scope is None else expected[route.scope])
    if method == b"GET":
        assert is_for_worker(ROUTES)(b"HEAD", url) == is_for_worker(ROUTES)(b"GET", url)


@pytest.mark.parametrize(
    ("method", "url"),
    [(b"GET", b"/"), (b"POST", b"/v1/event"), (b"POST", b"/v1/events/x"), (b"BREW", b"/v1/events"), (b"GET", b"")],
)
def test_an_unknown_route_stays_where_it_is(method: bytes, url: bytes) -> None:
    """The process that got the request answers it."""
    assert not is_for_readers(ROUTES)(method, url)
    assert not is_for_worker(ROUTES)(method, url)


# --- connections ----------------------------------------------------------------------------------


class Scene(NamedTuple):
    """Two servers on one port, and the requests that each answered."""

    worker: ServerContext
    reader: ServerContext
    peers: ProcessLinks
    port: int

    def asked(self) -> dict[str, tuple[int, int]]:
        """The number of requests that the worker and the reader have answered, by route."""
        found: dict[str, list[int]] = {}
        for index, service in enumerate((self.worker, self.reader)):
            for (_, route, _), number in service.traffic.requests.items():
                found.setdefault(route, [0, 0])[index] += number
        return {route: (worker, reader) for route, (worker, reader) in found.items()}


@contextmanager
def peers() -> Iterator[ProcessLinks]:
    """Process links that are closed at the end."""
    found = ProcessLinks.open(READER)
    yield found
    found.close()


@asynccontextmanager
async def scene_of(shop: Shop, **http: Any) -> AsyncIterator[Scene]:  # noqa: ANN401  # settings
    """Two servers of a shop that has one page."""
    await say(shop, catalog("a"))
    shop.config = configured(shop.config.store.url, http=http)
    worker = service_of(shop, reads_open=True)
    reader = service_of(shop, reads_open=True, worker=READER)
    listener = listen("127.0.0.1", 0)
    with peers() as ways:
        async with serving(worker, None, ways), serving(reader, listener, ways):
            yield Scene(worker, reader, ways, listener.getsockname()[1])


class Line:
    """A connection on which raw bytes are sent and received."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._left = b""

    async def send(self, *pieces: bytes) -> None:
        """Sends each of them alone."""
        for piece in pieces:
            await self._stream.send(piece)
            if len(pieces) > 1:
                await anyio.sleep(0.002)

    async def answer(self) -> tuple[int, bytes]:
        """The status and the body of the next answer."""
        with anyio.fail_after(20):
            while (
                found := re.match(rb"(?s)HTTP/1\.1 (\d+) .*?\r\ncontent-length: (\d+)\r\n.*?\r\n\r\n", self._left)
            ) is None:
                self._left += await self._stream.receive()
            end = found.end() + int(found[2])
            while len(self._left) < end:
                self._left += await self._stream.receive()
        body, self._left = self._left[found.end() : end], self._left[end:]
        return int(found[1]), body

    async def asked(self, *pieces: bytes) -> int:
        """The status of the response to some bytes."""
        await self.send(*pieces)
        return (await self.answer())[0]


@asynccontextmanager
async def line_to(scene: Scene) -> AsyncIterator[Line]:
    """A new connection."""
    async with await anyio.connect_tcp("127.0.0.1", scene.port) as stream:
        yield Line(stream)


async def test_each_request_goes_to_its_process(shop: Shop) -> None:
    """One connection is passed on and back; a route for anybody is answered where it is."""
    async with scene_of(shop) as scene:
        async with line_to(scene) as line:
            for number in range(3):
                assert await line.asked(READ) == 200
                assert await line.asked(HEALTH) == 200
                assert await line.asked(post(ndjson([event(version=number)]))) == 202
                assert await line.asked(HEALTH) == 200
        assert scene.asked() == {PAGE: (0, 3), EVENTS: (3, 0), "/healthz": (3, 3)}


@pytest.mark.parametrize("size", [1, 7, 1_000])
async def test_a_request_may_come_in_pieces(shop: Shop, size: int) -> None:
    """It is passed on once its head is complete, with what has arrived of its body; the rest follows."""
    async with scene_of(shop) as scene:
        request = post(ndjson([event(f"S{number}") for number in range(3)]))
        async with line_to(scene) as line:
            assert await line.asked(*[request[start : start + size] for start in range(0, len(request), size)]) == 202
            assert await line.asked(READ[:-1], READ[-1:]) == 200
        assert scene.asked() == {PAGE: (0, 1), EVENTS: (1, 0)}


async def test_a_large_body_arrives_completely(shop: Shop) -> None:
    """However much of it is read before it is passed on."""
    async with scene_of(shop) as scene:
        events = [event(f"S{number}") for number in range(4_000)]
        async with line_to(scene) as line:
            await line.send(post(ndjson(events)))
            status, body = await line.answer()
        assert (status, body.count(b'"appended"')) == (202, len(events))
        assert scene.asked() == {EVENTS: (1, 0)}


async def test_expect_100_continue_is_answered(shop: Shop) -> None:
    """`Expect: 100-continue` is passed on with the head."""
    async with scene_of(shop) as scene:
        body = ndjson([event()])
        async with line_to(scene) as line:
            await line.send(post(body, b"expect: 100-continue").removesuffix(body))
            with anyio.fail_after(10):
                assert await line._stream.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await line.asked(body) == 202
        assert scene.asked() == {EVENTS: (1, 0)}


@pytest.mark.parametrize("cut", [0, 1, 60])
async def test_requests_in_one_piece_are_answered_in_order(shop: Shop, cut: int) -> None:
    """The start of the second is unknown: the connection stays, and all that arrives before its answer is sent."""
    async with scene_of(shop) as scene:
        two = READ + post(ndjson([event()]))
        sent = [two[:cut], two[cut:]] if cut else [two]
        async with line_to(scene) as line:
            await line.send(*sent)
            assert [(await line.answer())[0], (await line.answer())[0]] == [200, 202]
            assert scene.asked()[EVENTS] == (0, 1)
            assert await line.asked(post(ndjson([event(version=2)]))) == 202
        assert scene.asked() == {PAGE: (0, 1), EVENTS: (1, 1)}


async def test_a_request_before_the_answer_is_sent_waits(shop: Shop) -> None:
    """A read after events on the same connection is answered after them, in the same process."""
    async with scene_of(shop) as scene:
        async with line_to(scene) as line:
            await line.send(post(ndjson([event(f"S{number}") for number in range(2_000)])), READ)
            assert [(await line.answer())[0], (await line.answer())[0]] == [202, 200]
        assert scene.asked()[EVENTS] == (1, 0)


async def test_a_connection_stays_while_an_answer_is_due(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that arrives before the answer is sent is answered after it, in the same process."""
    async with scene_of(shop) as scene:
        appending, go_on, insert = anyio.Event(), anyio.Event(), shop.store.log.insert

        async def slowly(*asked: Any) -> list[int | None]:  # noqa: ANN401  # as the log takes it
            appending.set()
            await go_on.wait()
            return await insert(*asked)

        monkeypatch.setattr(shop.store.log, "insert", slowly)
        async with line_to(scene) as line:
            await line.send(post(ndjson([event()])))
            with anyio.fail_after(10):
                await appending.wait()
            await line.send(READ)
            await anyio.sleep(0.1)
            assert PAGE not in scene.asked()
            go_on.set()
            assert [(await line.answer())[0], (await line.answer())[0]] == [202, 200]
        assert scene.asked() == {EVENTS: (1, 0), PAGE: (1, 0)}


async def test_a_connection_stays_while_an_answer_is_unsent(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that reads slowly gets the complete answer, also if it sends another request meanwhile."""
    listen_for_much = listen

    def listen_for_little(host: str, port: int) -> socket.socket:
        listener = listen_for_much(host, port)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)
        return listener

    monkeypatch.setattr("tests.http.test_handover.listen", listen_for_little)
    async with scene_of(shop) as scene:
        await say(shop, catalog("x" * 300_000, sku="LARGE"))

        def ask_slowly() -> bytes:
            with socket.socket() as line:
                line.settimeout(20)
                line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                line.connect(("127.0.0.1", scene.port))
                line.sendall(READ.replace(SKU.encode(), b"LARGE"))
                time.sleep(0.3)
                line.sendall(post(ndjson([event()]), b"connection: close"))
                time.sleep(0.3)
                return b"".join(iter(lambda: line.recv(1_000_000), b""))

        first, _, second = (await to_thread.run_sync(ask_slowly)).partition(b"HTTP/1.1 202")
        head, _, body = first.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        assert b"content-length: %d" % len(body) in head
        assert len(body) > 600_000
        assert b'"appended"' in second
        assert scene.asked() == {PAGE: (0, 1), EVENTS: (0, 1)}


async def test_invalid_requests_are_answered_in_every_process(shop: Shop) -> None:
    """An invalid, too long or incomplete request gets the same answer on a connection that was passed on."""
    async with scene_of(shop) as scene:
        async with line_to(scene) as line:
            assert await line.asked(b"nonsense\r\n\r\n") == 400
        async with line_to(scene) as line:
            assert await line.asked(post(ndjson([event()]))) == 202
            assert await line.asked(b"nonsense\r\n\r\n") == 400
        async with line_to(scene) as line:
            assert await line.asked(post(ndjson([event(version=2)]))) == 202
            assert await line.asked(b"GET / HTTP/1.1\r\nx: " + b"a" * 100_000) == 431
        async with line_to(scene) as line:
            await line.send(post(ndjson([event(version=3)]))[:-1])
        await anyio.sleep(0.05)
        assert scene.asked()[EVENTS] == (2, 0)


async def test_limits_hold_where_a_connection_is(shop: Shop) -> None:
    """Each process counts its own connections, and closes silent ones."""
    async with scene_of(shop, connections_per_address=1, idle_seconds=0.3, receive_seconds=0.5) as scene:
        async with line_to(scene) as one, line_to(scene) as two:
            assert await one.asked(post(ndjson([event()]))) == 202
            assert await two.asked(post(ndjson([event(version=2)]))) == 503
            assert await one.asked(post(ndjson([event(version=3)]))) == 202
            with pytest.raises(anyio.EndOfStream), anyio.fail_after(10):
                await one._stream.receive()
        async with line_to(scene) as slow:
            assert await slow.asked(post(ndjson([event(version=4)]))[:-1]) == 408


async def test_without_a_receiver_a_connection_stays(shop: Shop) -> None:
    """Without a worker, the process that has the connection answers."""
    async with scene_of(shop) as scene:
        scene.peers.connections.worker.shutdown(socket.SHUT_RD)
        async with line_to(scene) as line:
            assert await line.asked(post(ndjson([event()]))) == 202
        assert scene.asked() == {EVENTS: (0, 1)}


async def test_waiting_for_a_frozen_process_is_bounded(shop: Shop) -> None:
    """The queue of a frozen process is bounded by the kernel; other requests are answered."""
    await say(shop, catalog("a"))
    reader = service_of(shop, reads_open=True, worker=READER)
    listener = listen("127.0.0.1", 0)
    with peers() as ways:
        ways.connections.readers.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        async with serving(reader, listener, ways), anyio.create_task_group() as group:
            scene = Scene(reader, reader, ways, listener.getsockname()[1])
            answered = anyio.Event()

            async def ask(number: int) -> None:
                async with line_to(scene) as line:
                    assert await line.asked(post(ndjson([event(version=number)]))) == 202
                    answered.set()

            for number in range(300):
                group.start_soon(ask, number)
            with anyio.fail_after(20):
                await answered.wait()
            async with line_to(scene) as line:
                assert await line.asked(READ) == 200
            group.cancel_scope.cancel()


def open_files() -> int:
    """The number of open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_no_descriptor_is_left(shop: Shop) -> None:
    """Every connection that was passed on is closed in the end, also if its client has gone meanwhile."""
    async with scene_of(shop) as scene:

        async def once() -> None:
            async with line_to(scene) as line:
                for _ in range(3):
                    assert await line.asked(post(ndjson([event()]))) == 202
                    assert await line.asked(READ) == 200
            async with line_to(scene) as line:
                await line.send(post(ndjson([event()])))

        await once()
        await anyio.sleep(0.2)
        before = open_files()
        for _ in range(20):
            await once()
        await eventually(lambda: open_files() <= before, "what was opened is closed")


async def test_an_incomplete_handover_loses_one_connection(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """If no more files can be open, the kernel delivers fewer descriptors: only that connection is lost."""
    async with scene_of(shop) as scene:
        with socket.socket() as half:
            socket.send_fds(scene.peers.connections.readers, [handover.MARK], [half.fileno()])
        async with line_to(scene) as line:
            assert await line.asked(post(ndjson([event()]))) == 202
        assert scene.asked() == {EVENTS: (1, 0)}
        assert "a connection was lost" in caplog.text


@pytest.mark.parametrize("has_memory", [True, False])
def test_received_bytes_are_passed_as_a_file(monkeypatch: pytest.MonkeyPatch, *, has_memory: bool) -> None:
    """In memory, or in the temporary folder if the kernel has no such files."""
    if not has_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    link = SocketPair.open(socket.SOCK_STREAM)
    mine, yours = socket.socketpair()
    with link.worker, link.readers, mine, yours:
        handover._send(link.readers, yours.fileno(), b"so far")
        found = handover._received(link.worker)
        assert found is not None
        assert handover._received(link.worker) is None
        connection, arrived = found
        with connection:
            assert arrived == b"so far"
            mine.send(b"and on")
            assert connection.recv(100) == b"and on"


# --- counters --------------------------------------------------------------------------------------


async def test_one_process_answers_for_all(shop: Shop) -> None:
    """The readers' counters reach the process that is asked, and again after they changed."""
    async with scene_of(shop) as scene:
        scene.peers.counters.readers.send(b'{"worker":2,')
        base = f"http://127.0.0.1:{scene.port}"
        pages = 'pagefold_page_reads_total{worker="2"} '
        async with httpx2.AsyncClient(base_url=base) as client:
            for number in (1, 2):
                assert (await client.get(f"/v1/pages/web-de/{SKU}")).status_code == 200
                with anyio.fail_after(10):
                    while f"{pages}{number}.0" not in (await client.get("/metrics")).text:  # noqa: ASYNC110  # over HTTP
                        await anyio.sleep(0.05)
            text = (await client.get("/metrics")).text
        assert 'pagefold_page_reads_total{worker="1"} 0.0' in text
        assert 'pagefold_events_total{outcome="appended",worker="1"} 1.0' in text
        assert text.count("# TYPE pagefold_page_reads_total ") == 1
