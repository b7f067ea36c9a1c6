"""`pagefold serve` as a process: a whole shop in one command, several processes on one port, and its shutdown."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from pagefold.engine.http.listening_socket import listen
from pagefold.engine.runtime.event_loop import shorten_switch_interval
from tests.support.command_line import (
    event,
    finished,
    lines_file,
    ndjson,
    on_sqlite,
    product,
    run_pagefold,
    settle,
    spawn,
)
from tests.support.http_clients import is_free
from tests.support.servers import Server, is_running, kill, serving, within

MEGABYTE = 1024 * 1024
NDJSON = {"content-type": "application/x-ndjson"}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and an empty store."""
    return settle(tmp_path, store_url, monkeypatch)


def test_a_whole_shop_in_one_command(place: Path) -> None:
    """With --work, an appended event is soon on its page; SIGTERM ends the server, with exit code 0."""
    with serving("--work") as server:
        assert run_pagefold("ingest", lines_file(place / "a.ndjson", product(), event())).code == 0
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "nothing lags", lambda: 'pagefold_lag_events{domain="pricing"} 0.0' in server.get("/metrics").text)
        assert server.get("/readyz").json()["status"] == "ready"
        assert server.get("/v1/pages/web-de/A").content == run_pagefold("get", "A", "web-de").out.rstrip("\n").encode()
        assert server.ended() == 0
    with pytest.raises(httpx2.ConnectError):
        server.get("/healthz")


@on_sqlite
def test_without_work_nothing_is_folded(place: Path) -> None:
    """It serves what other processes fold. Ctrl-C ends it like SIGTERM."""
    run_pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving() as server:
        assert server.get("/v1/pages/web-de/A").status_code == 404
        run_pagefold("work", "--once")
        assert server.get("/v1/pages/web-de/A").status_code == 200
        assert server.ended(signal.SIGINT) == 0


@on_linux
def test_several_processes_share_a_port(place: Path) -> None:
    """Each answers; a killed one is replaced; all end together, and none is left."""
    run_pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving("--work", "--workers", "3") as server:
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "there are three", lambda: len(server.processes()) == 3)
        before = server.processes()
        victim = max(before)
        kill(victim)
        within(10, "another takes its place", lambda: len(server.processes() - {victim}) == 3)
        assert server.get("/v1/pages/web-de/A").status_code == 200
        after = server.processes()
        assert server.ended() == 0
    assert not [process for process in before | after if is_running(process)]


@on_linux
def test_a_cursor_belongs_to_no_process(place: Path) -> None:
    """A follower that is answered now by one process, now by another, misses nothing."""
    with serving("--work", "--workers", "2") as server:
        answer = httpx2.get(f"{server.url}/v1/changes?after=0").json()
        followed: set[str] = set()
        for number in range(6):
            assert run_pagefold("ingest", lines_file(place / "a.ndjson", product(f"S{number}"))).code == 0
            deadline = 10
            while f"S{number}" not in followed and deadline:  # a new connection each time, to any of them
                answer = httpx2.get(f"{server.url}/v1/changes", params={"after": answer["cursor"], "wait": 2}).json()
                followed |= {each["sku"] for each in answer["changes"] if each["status"] == "live"}
                deadline -= 1
        assert followed == {f"S{number}" for number in range(6)}
        assert server.ended() == 0


@on_linux
def test_a_killed_worker_is_replaced(place: Path) -> None:
    """While the worker is killed, the readers answer; its replacement appends what is posted, and folds it."""
    run_pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving("--work", "--workers", "3") as server:
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "all are counted", lambda: counted(server) == {"1", "2", "3"})
        before, victim = server.processes(), server.worker()
        kill(victim)
        answered: list[bool] = []

        def is_replaced() -> bool:
            answered.append(server.get("/v1/pages/web-de/A").status_code == 200)
            return bool(server.processes() - before) and sum(answered) >= 20

        within(30, "another one works, and 20 reads are answered", is_replaced)
        answer = httpx2.post(f"{server.url}/v1/events", content=ndjson([event(), product("B")]), headers=NDJSON)
        assert answer.status_code == 202
        within(20, "it is folded", lambda: server.get("/v1/pages/web-de/B").status_code == 200)
        within(10, "all are counted again", lambda: counted(server) == {"1", "2", "3"})
        assert server.worker() not in before
        assert len(server.processes()) == 3
        assert server.ended() == 0


@on_linux
@on_sqlite
def test_reads_do_not_wait_for_the_worker(place: Path) -> None:
    """While the worker is frozen, pages are read; posted events wait for it, and are appended when it resumes."""
    run_pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving("--work") as server:
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        worker = server.worker()
        os.kill(worker, signal.SIGSTOP)
        with ThreadPoolExecutor() as others, httpx2.Client(base_url=server.url, timeout=30) as client:
            posted = others.submit(client.post, "/v1/events", content=ndjson([event()]), headers=NDJSON)
            for _ in range(20):
                assert client.get("/v1/pages/web-de/A").status_code == 200
            assert not posted.done()
            os.kill(worker, signal.SIGCONT)
            assert posted.result().status_code == 202
        assert server.ended() == 0


@on_linux
@on_sqlite
def test_processes_may_be_signalled_twice(place: Path) -> None:
    """Like systemd, which signals every process, after which the first signals the others: requests are finished."""
    assert place.is_dir()
    with serving("--work") as server, half_a_request(server) as (line, rest):
        processes = server.processes()
        for _ in range(2):
            for each in (*processes, server.process.pid):
                with suppress(ProcessLookupError):  # readers have ended before the second signal
                    os.kill(each, signal.SIGTERM)
            within(5, "the port is free", lambda: is_free(server.port))
        line.sendall(rest)
        assert line.makefile("rb").readline().startswith(b"HTTP/1.1 202")
        assert finished(server.process).code == 0


@on_linux
@on_sqlite
@pytest.mark.parametrize("works", [True, False])
def test_a_worker_that_is_stopped_ends_the_server(place: Path, *, works: bool) -> None:
    """Without it, its requests would wait forever. It is not replaced, since the signal was meant to end it."""
    assert place.is_dir()
    with serving("--work") as server:
        within(10, "there are two", lambda: len(server.processes()) == 2)
        assert server.get("/v1/pages/web-de/A").status_code == 404
        worker = server.worker()
        [reader] = server.processes() - {worker}
        os.kill(worker if works else reader, signal.SIGTERM)
        assert finished(server.process).code == 0


@on_linux
@on_sqlite
def test_a_process_that_is_ending_does_not_hold_the_port(place: Path) -> None:
    """When the first process is killed, another server can take its place while the last requests are answered."""
    assert place.is_dir()
    with serving("--work") as server, half_a_request(server) as (line, rest):
        worker = server.worker()
        server.process.kill()
        within(5, "the port is free", lambda: is_free(server.port))
        assert is_running(worker)
        line.sendall(rest)
        assert line.makefile("rb").readline().startswith(b"HTTP/1.1 202")
        within(10, "it ends", lambda: not is_running(worker))


@on_linux
@on_sqlite
def test_one_process_does_everything(place: Path) -> None:
    """With one worker, there is no other process."""
    with serving("--work", "--workers", "1") as server:
        assert server.processes() == set()
        answer = httpx2.post(f"{server.url}/v1/events", content=ndjson([product()]), headers=NDJSON)
        assert answer.status_code == 202
        within(10, "it is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        assert counted(server) == {"1"}
        server.process.kill()
    assert place.is_dir()


@on_linux
@on_sqlite
def test_processes_end_with_the_one_that_started_them(place: Path) -> None:
    """When the first process is killed, the others end, and free the port."""
    assert place.is_dir()
    with serving("--workers", "2") as server:
        within(10, "there are two", lambda: len(server.processes()) == 2)
        left = server.processes()
        server.process.kill()
        within(10, "they end", lambda: not [each for each in left if is_running(each)])


@on_linux
@on_sqlite
def test_an_endless_head_takes_no_memory(place: Path) -> None:
    """Twenty megabytes of a header are not read to their end, and the server continues."""
    assert place.is_dir()
    with serving() as server:
        assert server.get("/healthz").status_code == 200
        before = peak_memory(server)
        for _ in range(5):
            send_endless_head(server.port)
        assert server.get("/healthz").status_code == 200
        assert peak_memory(server) - before < 4 * MEGABYTE


def test_computing_threads_release_the_gil_soon() -> None:
    """The event loop waits for the GIL no longer than a page read takes."""
    before = sys.getswitchinterval()
    try:
        shorten_switch_interval()
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)


def send_endless_head(port: int) -> None:
    """Sends twenty megabytes, or as much as the server takes."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        try:
            line.sendall(b"GET / HTTP/1.1\r\nx: ")
            for _ in range(20):
                line.sendall(b"a" * MEGABYTE)
        except ConnectionError:
            return
    pytest.fail("it took all of it")


@contextmanager
def half_a_request(server: Server) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection on which the worker has received a request but for its end; and that end."""
    body = ndjson([product()])
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d"
    worker, files = server.worker(), len(server.files(server.worker()))
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(head % len(body) + b"\r\n\r\n" + body[:-1])
        within(10, "it is passed on", lambda: len(server.files(worker)) > files)
        yield line, body[-1:]


def counted(server: Server) -> set[str]:
    """The processes that have published counters."""
    return set(re.findall(r'worker="(\d+)"', server.get("/metrics").text))


def peak_memory(server: Server) -> int:
    """The maximum memory of its processes, in bytes."""
    taken = [Path(f"/proc/{each}/status").read_text(encoding="utf-8") for each in server.processes()]
    peaks = [re.search(r"VmHWM:\s+(\d+) kB", each) for each in taken]
    assert peaks
    return 1024 * sum(int(peak[1]) for peak in peaks if peak is not None)


@on_sqlite
def test_a_server_that_cannot_start_says_why(place: Path) -> None:
    """A port in use, a missing store, a public address: one sentence each, and no server."""
    assert place.is_dir()
    taken = listen("127.0.0.1", 0)
    with taken:
        port = str(taken.getsockname()[1])
        ran = finished(spawn("serve", "--port", port))
        assert ran.code == 3
        assert f"cannot listen on 127.0.0.1 port {port}" in ran.err
    ran = finished(spawn("serve", "--port", "0", "--store", f"sqlite:///{place}/nothing"))
    assert ran.code == 3
    assert "`pagefold init`" in ran.err
    for options in ((), ("--workers", "1")):
        ran = finished(spawn("serve", "--port", "0", "--host", "0.0.0.0", *options))  # noqa: S104  # it is refused
        assert ran.code == 2
        assert "pagefold tokens create" in ran.err
    assert finished(spawn("serve", "--port", "70000")).code == 2
