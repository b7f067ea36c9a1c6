"""`pagefold serve` as a process: a whole shop in one command, several processes on one port, and how it ends."""

import os
import re
import signal
import socket
import sys
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import httpx2
import pytest

from engine.http.server import listen
from engine.running import answer_soon
from tests.command_line import event, finished, lines_file, ndjson, on_sqlite, pagefold, product, settle, spawn
from tests.servers import Server, serving, within

MEGABYTE = 1024 * 1024
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration and an empty store."""
    return settle(tmp_path, store_url, monkeypatch)


def test_a_whole_shop_in_one_command(place: Path) -> None:
    """With --work, what is appended is soon a page; SIGTERM ends it, with exit code 0."""
    with serving("--work") as server:
        assert pagefold("ingest", lines_file(place / "a.ndjson", product(), event())).code == 0
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "nothing lags", lambda: 'pagefold_lag_events{domain="pricing"} 0.0' in server.get("/metrics").text)
        assert server.get("/readyz").json() == {"status": "ready"}
        assert server.get("/v1/pages/web-de/A").content == pagefold("get", "A", "web-de").out.rstrip("\n").encode()
        assert server.ended() == 0
    with pytest.raises(httpx2.ConnectError):
        server.get("/healthz")


@on_sqlite
def test_without_work_nothing_is_folded(place: Path) -> None:
    """It serves what others fold. Ctrl-C ends it as SIGTERM does."""
    pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving() as server:
        assert server.get("/v1/pages/web-de/A").status_code == 404
        pagefold("work", "--once")
        assert server.get("/v1/pages/web-de/A").status_code == 200
        assert server.ended(signal.SIGINT) == 0


@on_linux
def test_several_processes_share_a_port(place: Path) -> None:
    """Each answers; one that is killed is replaced; all of them end together, and none is left."""
    pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving("--work", "--workers", "3") as server:
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "there are three", lambda: len(children(server.process.pid)) == 3)
        before = children(server.process.pid)
        victim = max(before)
        kill(victim)
        within(10, "another takes its place", lambda: len(children(server.process.pid) - {victim}) == 3)
        assert server.get("/v1/pages/web-de/A").status_code == 200
        after = children(server.process.pid)
        assert server.ended() == 0
    assert not [process for process in before | after if Path(f"/proc/{process}").exists()]


@on_linux
def test_another_process_takes_the_consumers_over(place: Path) -> None:
    """While the process that folds is killed, the other one answers; what is posted then is folded by the next one."""
    pagefold("ingest", lines_file(place / "a.ndjson", product()))
    with serving("--work", "--workers", "2") as server:
        within(10, "the page is folded", lambda: server.get("/v1/pages/web-de/A").status_code == 200)
        within(10, "both answer", lambda: workers_asked(server) == {"1", "2"})
        before = children(server.process.pid)
        victim = folding(before)
        kill(victim)
        answered = 0
        while not children(server.process.pid) - before or answered < 20:
            answered += was_answered(server)
        body = ndjson([event(), product("B")])
        answer = httpx2.post(f"{server.url}/v1/events", content=body, headers={"content-type": "application/x-ndjson"})
        assert answer.status_code == 202
        within(20, "it is folded", lambda: server.get("/v1/pages/web-de/B").status_code == 200)
        within(10, "both answer again", lambda: workers_asked(server) == {"1", "2"})
        assert len(children(server.process.pid)) == 2
        assert server.ended() == 0


@on_linux
@on_sqlite
def test_processes_end_with_the_one_that_started_them(place: Path) -> None:
    """When the first process is killed, the others do not stay and hold the port."""
    assert place.is_dir()
    with serving("--workers", "2") as server:
        within(10, "there are two", lambda: len(children(server.process.pid)) == 2)
        left = children(server.process.pid)
        server.process.kill()
        within(10, "they end", lambda: not [each for each in left if Path(f"/proc/{each}").exists()])


@on_linux
@on_sqlite
def test_an_endless_head_takes_no_memory(place: Path) -> None:
    """Twenty megabytes of a header are not read to their end, and the server goes on."""
    assert place.is_dir()
    with serving() as server:
        assert server.get("/healthz").status_code == 200
        before = peak_memory(server.process.pid)
        for _ in range(5):
            send_endless_head(server.port)
        assert server.get("/healthz").status_code == 200
        assert peak_memory(server.process.pid) - before < 4 * MEGABYTE


def test_threads_that_compute_give_way_soon() -> None:
    """The event loop waits for Python no longer than a page read takes."""
    before = sys.getswitchinterval()
    try:
        answer_soon()
        assert sys.getswitchinterval() < before
    finally:
        sys.setswitchinterval(before)


def send_endless_head(port: int) -> None:
    """Twenty megabytes, or what the server takes of them."""
    with socket.create_connection(("127.0.0.1", port)) as line:
        try:
            line.sendall(b"GET / HTTP/1.1\r\nx: ")
            for _ in range(20):
                line.sendall(b"a" * MEGABYTE)
        except ConnectionError:
            return
    pytest.fail("it took all of it")


def children(process: int) -> set[int]:
    """The processes that one has started, and that still run."""
    listed = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8").split()
    return {int(each) for each in listed if " Z " not in Path(f"/proc/{each}/stat").read_text(encoding="utf-8")}


def folding(processes: set[int]) -> int:
    """The process that runs the consumers: the first that was started."""
    return min(processes)


def was_answered(server: Server) -> bool:
    """Whether a page is there. Who was connected to a process that was killed is not answered, and asks again."""
    try:
        with urlopen(f"{server.url}/v1/pages/web-de/A") as answer:  # noqa: S310  # it is our own
            return bool(answer.status == 200)
    except HTTPError:
        raise
    except OSError:
        return False


def workers_asked(server: Server) -> set[str]:
    """Who answers, of those that one connection or another finds. Each tells its own numbers, with its own."""
    numbers: set[str] = set()
    for _ in range(20):
        with urlopen(f"{server.url}/metrics") as answer:  # noqa: S310  # likewise
            [number] = set(re.findall(r'worker="(\d+)"', answer.read().decode()))
            numbers.add(number)
    return numbers


def kill(process: int) -> None:
    """Ends it as `kill -9` does."""
    signal.pidfd_send_signal(os.pidfd_open(process), signal.SIGKILL)


def peak_memory(process: int) -> int:
    """The most memory that it had, in bytes."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


@on_sqlite
def test_what_cannot_be_served_is_told(place: Path) -> None:
    """A taken port, a store that there is not, an address that others reach: a sentence each, and no server."""
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
    for options in ((), ("--workers", "2")):
        ran = finished(spawn("serve", "--port", "0", "--host", "0.0.0.0", *options))  # noqa: S104  # it is refused
        assert ran.code == 2
        assert "pagefold tokens create" in ran.err
    assert finished(spawn("serve", "--port", "70000")).code == 2
