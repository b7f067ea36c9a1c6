"""Very many connections that do nothing, or as little as they can, do not disturb the server."""

import resource
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest

from pagefold.engine.command.serve import limited_to_open_files
from pagefold.engine.http.open_file_limit import SPARE_FILES, raise_file_limit
from tests.support.command_line import lines_file, on_sqlite, product, run_pagefold, settle
from tests.support.servers import Server, serving, within
from tests.support.small_shop import configured

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and connects from many addresses")

CROWD = 2_000
FILES_OF_OTHERS = 500
"""Open files of this process, at most, that are not these connections."""

OTHERS = 40
"""Open files of the server, more or fewer, that are not these either: of answers that were just sent, and databases."""

FROM_AN_ADDRESS = 500
KILOBYTE, MEGABYTE = 1024, 1024 * 1024
PAGE = "/v1/pages/web-de/A"
POST = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store with a page."""
    place = settle(tmp_path, store_url, monkeypatch)
    run_pagefold("ingest", lines_file(place / "a.ndjson", product()))
    run_pagefold("work", "--once")
    return place


def limit(place: Path, **limits: float) -> None:
    """Adds settings of the server, whose table is the last one in the file."""
    with (place / "pagefold.toml").open("a", encoding="utf-8") as settings:
        settings.writelines(f"{name} = {value}\n" for name, value in limits.items())


@contextmanager
def crowd(server: Server, number: int, street: int = 0) -> Iterator[list[socket.socket]]:
    """Connections from several addresses, some from each."""
    address = f"127.1.{street // 250}.{street % 250 + 1}"
    with ExitStack() as stack:
        lines: list[socket.socket] = []
        for _ in range(number):
            line = stack.enter_context(
                socket.create_connection(("127.0.0.1", server.port), source_address=(address, 0))
            )
            line.settimeout(60)
            lines.append(line)
        yield lines


def connections(server: Server) -> int:
    """The number of open files of the server's processes."""
    return sum(len(server.files(each)) for each in server.processes() or {server.process.pid})


def memory(server: Server) -> int:
    """The bytes of memory of the server's processes, shared ones counted once."""
    pages = sum(int(Path(f"/proc/{each}/statm").read_text(encoding="utf-8").split()[1]) for each in server.processes())
    return pages * resource.getpagesize()


def is_healthy(server: Server) -> bool:
    """Whether it is healthy, and serves a page."""
    for path in ("/healthz", PAGE):
        with urlopen(server.url + path, timeout=30) as answer:  # noqa: S310  # it is our own
            assert answer.status == 200
    return True


def rest(line: socket.socket) -> bytes:
    """What the server sends before it closes the connection."""
    said = b""
    with suppress(ConnectionError):
        while part := line.recv(65_536):
            said += part
    return said


def idle(place: Path, number: int) -> int:
    """Connects, waits, asks once, and waits for the end. Returns the bytes of memory per connection."""
    number = min(number, raise_file_limit(number + FILES_OF_OTHERS) - FILES_OF_OTHERS)
    limit(place, connections=number + FILES_OF_OTHERS, receive_seconds=600, idle_seconds=2)
    with serving() as server, ExitStack() as stack:
        assert is_healthy(server)
        before, files = memory(server), connections(server)
        lines: list[socket.socket] = []
        for street in range(number // FROM_AN_ADDRESS):
            lines += stack.enter_context(crowd(server, FROM_AN_ADDRESS, street))
            within(60, "they are accepted", lambda: connections(server) >= files + len(lines) - OTHERS)  # noqa: B023  # it is the same list
        taken = (memory(server) - before) // len(lines)
        assert is_healthy(server)
        for line in lines:
            line.sendall(b"HEAD /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert {rest(line)[:15] for line in lines} == {b"HTTP/1.1 200 OK"}
        within(120, "they are forgotten", lambda: connections(server) <= files + OTHERS)
        assert is_healthy(server)
        assert server.ended() == 0
    return taken


@on_sqlite
def test_idle_connections_take_little(place: Path) -> None:
    """Each takes some kilobytes while it is silent; pages are read meanwhile; in the end it is closed."""
    assert idle(place, CROWD) < 16 * KILOBYTE


@on_sqlite
@pytest.mark.soak
def test_the_maximum_number_of_idle_connections(place: Path) -> None:
    """The same with all files that a process may have open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert idle(place, min(most - FILES_OF_OTHERS - SPARE_FILES, 100_000)) < 16 * KILOBYTE


@on_sqlite
def test_an_address_has_no_more_than_its_share(place: Path) -> None:
    """A process refuses further connections from it, each with a response; from other addresses, pages are read."""
    limit(place, connections_per_address=100)
    with serving("--workers", "1") as server:
        files = connections(server)
        with crowd(server, 300) as lines:
            for line in lines[100:]:
                assert rest(line).startswith(b"HTTP/1.1 503 ")
            assert is_healthy(server)
            assert 100 <= connections(server) - files < 200


@on_sqlite
def test_endless_bodies_take_bounded_memory(place: Path) -> None:
    """Hundreds of megabytes of started bodies are not kept: beyond a budget, requests are refused.

    Complete requests are accepted all the time, and the others time out.
    """
    limit(place, receive_seconds=5, max_body_bytes=MEGABYTE)
    begun = POST + b"content-length: %d\r\n\r\n" % MEGABYTE + b" " * (MEGABYTE - 1)
    with serving() as server:
        assert is_healthy(server)
        before = memory(server)
        with crowd(server, 300) as lines:
            for line in lines:
                with suppress(ConnectionError):
                    line.sendall(begun)
            assert is_healthy(server)
            assert memory(server) - before < 200 * MEGABYTE
            ends = [rest(line)[9:12] for line in lines]
        assert set(ends) <= {b"429", b"408", b"503"}  # 503: on a busy machine, the store takes too long
        assert b"429" in ends
        assert is_healthy(server)


# --- open files -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "given", "asked"),
    [
        (1_024, 1_048_576, 10_000, 10_000, 10_200),
        (1_024, resource.RLIM_INFINITY, 10_000, 10_000, 10_200),
        (1_024, 4_096, 10_000, 3_896, 4_096),
        (20_000, 20_000, 10_000, 10_000, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 10_000, 10_000, None),
        (100, 100, 10_000, 1, 100),
    ],
)
def test_there_are_files_for_all_connections(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, wanted: int, given: int, asked: int | None
) -> None:
    """The server raises the limit of the kernel if needed; if it cannot, there are fewer connections."""
    said: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: said.append(limits))
    assert raise_file_limit(wanted) == given
    assert said == ([] if asked is None else [(asked, hard)])


def test_a_server_is_configured_within_its_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections beyond the possible open files are not accepted; other limits stay as configured."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1_024, 1_024))
    monkeypatch.setattr(resource, "setrlimit", lambda _, __: None)
    config = configured("sqlite:///nowhere", http={"connections": 5_000, "idle_seconds": 3.0})
    limited = limited_to_open_files(config).http
    assert limited.connections + limited.followers == 1_024 - SPARE_FILES
    assert limited_to_open_files(config).http.idle_seconds == 3.0
    assert limited_to_open_files(configured("sqlite:///nowhere", http={"connections": 50})).http.connections == 50
