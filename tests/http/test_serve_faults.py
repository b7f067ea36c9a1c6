"""Faults of `pagefold serve`: its processes are stopped, freeze, or cannot fold."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from pagefold.engine.command.serve import TOKEN_POLL_SECONDS
from pagefold.engine.http.process_board import REPORT_BYTES, SILENT_BEATS, PeerWatch, ProcessBoard
from pagefold.engine.http.process_links import WORKER
from pagefold.engine.reading.check_results import INGEST, CheckResult
from pagefold.engine.stores.sqlite import folder_of
from tests.support.command_line import ROOT, event, lines_file, ndjson, on_sqlite, product, run_pagefold, settle
from tests.support.databases import query
from tests.support.fault_scenario import SOAK_ROUNDS
from tests.support.postgres import PostgresServer
from tests.support.server_load import Client, load
from tests.support.servers import Server, is_running, serving, within
from tests.support.standbys import How, gone

NDJSON = {"content-type": "application/x-ndjson"}
READ = b"GET /v1/pages/web-de/A HTTP/1.1\r\nhost: localhost\r\n\r\n"
SECONDS_TO_FAIL = 12.0
"""A process notices after ten that it cannot connect."""

SECONDS_TO_STAND_IN = 8.0
"""Two seconds until a process counts as silent, and some more on a busy machine."""


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store with a page."""
    found = settle(tmp_path, store_url, monkeypatch)
    assert run_pagefold("ingest", lines_file(found / "a.ndjson", product())).code == 0
    assert run_pagefold("work", "--once").code == 0
    return found


def set_frozen_seconds(place: Path, seconds: float) -> None:
    """Sets how long a process may be frozen."""
    file = place / "pagefold.toml"
    before = file.read_text(encoding="utf-8")
    after = before.replace("# frozen_seconds = 5.0", f"frozen_seconds = {seconds:g}")
    assert after != before
    file.write_text(after, encoding="utf-8")


def reader_of(server: Server) -> int:
    """The reader of two processes."""
    [reader] = server.processes() - {server.worker()}
    return reader


def problems(server: Server, path: str = "/readyz") -> dict[str, str]:
    """The problems, by check."""
    document: Any = server.get(path).json()
    return {each["name"]: each["problem"] for each in document["checks"] if not each["ok"]}


def post(server: Server, version: int) -> int:
    """The status of the response to one event."""
    body = ndjson([event(version=version)])
    return httpx2.post(f"{server.url}/v1/events", content=body, headers=NDJSON, timeout=20).status_code


def answers(ask: Callable[[], object]) -> bool:
    """Whether there is any response within about a second."""
    try:
        ask()
    except httpx2.TransportError:
        return False
    return True


# --- shutdown --------------------------------------------------------------------------------------


def post_of(version: int) -> bytes:
    """A request with an event."""
    body = ndjson([event(version=version)])
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d"
    return head % len(body) + b"\r\n\r\n" + body


def clients_of(server: Server) -> list[Client]:
    """Clients that keep their connection, that connect for each request, and that send requests in pieces."""
    reads = [Client(server.port, READ, keeps=keeps) for keeps in (True, True, False, False)]
    pieces = ((True, 1), (False, 1), (False, 2), (True, 3))
    return [*reads, *(Client(server.port, post_of(1), keeps=keeps, pieces=number) for keeps, number in pieces)]


def stop_under_load(workers: int) -> None:
    """Stops a server under continuous requests; every completely sent one has an answer."""
    with serving("--work", "--workers", str(workers)) as server:
        clients = clients_of(server)
        with load(*clients):
            within(20, "each is answered", lambda: all(client.answered for client in clients))
            assert server.ended() == 0
        assert [reason for client in clients for reason in client.unanswered] == []


@pytest.mark.parametrize("workers", [1, 3])
def test_accepted_requests_are_answered_at_shutdown(place: Path, workers: int) -> None:
    """SIGTERM drops no completely sent request: accepted or not yet, passed on, or still arriving."""
    assert place.is_dir()
    stop_under_load(workers)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_accepted_requests_are_answered_at_every_shutdown(place: Path, workers: int) -> None:
    """The same, many times."""
    assert place.is_dir()
    for _ in range(SOAK_ROUNDS):
        stop_under_load(workers)


@on_sqlite
@pytest.mark.parametrize("workers", [1, 2])
def test_half_a_head_may_be_completed_at_shutdown(place: Path, workers: int) -> None:
    """The server waits for the rest, and answers it as the last one of its connection."""
    assert place.is_dir()
    with serving("--workers", str(workers)) as server, ExitStack() as stack:
        client = Client(server.port, READ, keeps=False, pieces=2)
        line = stack.enter_context(client.connected())
        line.sendall(READ[:20])
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        line.sendall(READ[20:])
        answer = line.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"\r\nconnection: close\r\n" in answer
        assert server.process.wait(20) == 0


# --- frozen processes -------------------------------------------------------------------


@on_sqlite
def test_the_worker_replaces_frozen_readers(place: Path) -> None:
    """While the only reader is frozen, new connections are accepted all the same, until it resumes."""
    set_frozen_seconds(place, 60)
    with serving("--work") as server:
        reader = reader_of(server)
        os.kill(reader, signal.SIGSTOP)
        within(SECONDS_TO_STAND_IN, "a page is read", lambda: answers(lambda: read(server)))
        assert read(server).status_code == 200
        assert problems(server, "/readyz/reads") == {"readers": "process 2, which reads pages, does not answer"}
        assert problems(server, "/readyz/ingest") == {}
        assert post(server, 1) == 202
        os.kill(reader, signal.SIGCONT)
        within(10, "it is ready again", lambda: problems(server) == {})
        assert server.ended() == 0


@on_sqlite
def test_readers_accept_events_without_a_worker(place: Path) -> None:
    """While the worker is frozen, the status says so, and other processes accept events."""
    set_frozen_seconds(place, 60)
    with serving("--work") as server:
        worker = server.worker()
        os.kill(worker, signal.SIGSTOP)
        expected = {"worker": "process 1, which takes changes, does not answer"}
        within(SECONDS_TO_STAND_IN, "a report", lambda: problems(server, "/readyz/ingest").items() >= expected.items())
        assert problems(server, "/readyz/reads") == {}
        assert server.get("/readyz").status_code == 503
        assert post(server, 1) == 202
        os.kill(worker, signal.SIGCONT)
        within(10, "it is ready again", lambda: problems(server) == {})
        assert server.ended() == 0


@on_sqlite
@pytest.mark.parametrize("works", [True, False])
def test_a_frozen_process_is_replaced(place: Path, *, works: bool) -> None:
    """After the configured time it is killed and replaced, also for requests that wait."""
    set_frozen_seconds(place, 3)
    with serving("--work") as server:
        within(20, "all have begun", lambda: answers(lambda: read(server)) and problems(server) == {})
        before = server.processes()
        victim = server.worker() if works else reader_of(server)
        os.kill(victim, signal.SIGSTOP)
        within(20, "it is replaced", lambda: not is_running(victim) and len(server.processes()) == len(before))
        within(20, "it is ready", lambda: answers(lambda: read(server)) and problems(server) == {})
        assert post(server, 1) == 202
        assert read(server).status_code == 200
        assert server.ended() == 0


NEVER_BEGINS = """
import sys, time
from pagefold.engine.command import supervisor

class Heartbeats:
    begun = 0

    def begin(self, number):
        self.begun += 1

    def beats(self, number):
        return 0

    def end(self):
        pass

def run(start):
    assert start.is_replacement is (heartbeats.begun > 1)
    if heartbeats.begun == 1:
        time.sleep(600)
    return 0

heartbeats = Heartbeats()
supervisor.START_SECONDS = 0.5
sys.exit(supervisor.supervise(1, supervisor.Task(run, lambda: None, heartbeats, 0.25)))
"""
"""Supervises a process that never sends a heartbeat; the next one ends by itself."""


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_a_replaced_process_waits_for_an_unavailable_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    """While the database is down, no fault of a process ends the server; then everything continues."""
    with PostgresServer() as database:
        place = settle(tmp_path, database.create_database(), monkeypatch)
        assert run_pagefold("ingest", lines_file(place / "a.ndjson", product())).code == 0
        with serving("--work") as server:
            within(20, "all have begun", lambda: answers(lambda: read(server)) and problems(server) == {})
            with gone(database, how):
                before = server.processes()
                for process in before:
                    os.kill(process, signal.SIGKILL)
                within(20, "others begin", lambda: len(server.processes() - before) == len(before))
                time.sleep(SECONDS_TO_FAIL)
                assert server.process.poll() is None
                assert len(server.processes()) == len(before)
            within(30, "it is ready", lambda: answers(lambda: read(server)) and problems(server) == {})
            assert post(server, 1) == 202
            assert server.ended() == 0


def test_a_process_that_never_starts_is_replaced() -> None:
    """A process that freezes before its first heartbeat is killed after a while, and replaced."""
    command = [sys.executable, "-c", NEVER_BEGINS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "does not answer and is killed" in done.stdout + done.stderr


@on_sqlite
def test_a_frozen_process_does_not_delay_the_shutdown(place: Path) -> None:
    """It is killed then as well, and the exit code says that the shutdown was not clean."""
    set_frozen_seconds(place, 2)
    with serving("--work") as server:
        os.kill(reader_of(server), signal.SIGSTOP)
        assert server.ended() == 3


def read(server: Server) -> httpx2.Response:
    """The page, read with a short timeout."""
    return httpx2.get(f"{server.url}/v1/pages/web-de/A", timeout=2)


# --- consumers that cannot fold -------------------------------------------------------------------


def put_checkpoints(store_url: str, change: str) -> None:
    """Changes the checkpoints directly in the store."""
    if store_url.startswith("sqlite:"):
        with sqlite3.connect(folder_of(store_url) / "pages.db") as connection:
            connection.execute(f"UPDATE checkpoints SET position = position {change}")  # noqa: S608  # ours
        connection.close()
    else:
        query(store_url, f"UPDATE pagefold.checkpoints SET position = position {change}")  # noqa: S608  # ours


def is_reported(server: Server) -> bool:
    """Whether a replaced log is reported as a problem of the consumers."""
    return "pricing: the log is not the one" in problems(server, "/readyz/ingest").get("consumers", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_fold_says_so(place: Path, store_url: str, workers: int) -> None:
    """A log that ends before the checkpoint does not end the server: pages are read, and the cause is reported."""
    assert place.is_dir()
    put_checkpoints(store_url, "+ 1000")
    with serving("--work", "--workers", str(workers)) as server:
        within(20, "it is reported", lambda: is_reported(server))
        assert problems(server, "/readyz/reads") == {}
        assert read(server).status_code == 200
        not_ready = 'pagefold_ready{for="ingest"} 0.0'
        within(20, "it is a metric", lambda: not_ready in server.get("/metrics").text)
        put_checkpoints(store_url, "- 1000")
        within(40, "it folds again", lambda: problems(server) == {})
        assert server.ended() == 0


def take_log(store_url: str) -> None:
    """Removes the log, as somebody may who puts another one in its place."""
    if store_url.startswith("sqlite:"):
        for file in folder_of(store_url).glob("events.db*"):
            file.unlink()
    else:
        query(store_url, "ALTER SCHEMA pagefold RENAME TO taken")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_log_was_removed_continues(place: Path, store_url: str, workers: int) -> None:
    """It refuses events, and reports why; it does not end, whatever else it reads from the log."""
    assert place.is_dir()
    with serving("--work", "--workers", str(workers)) as server:
        within(20, "all are at it", lambda: problems(server) == {})
        take_log(store_url)
        time.sleep(2 * TOKEN_POLL_SECONDS)
        assert httpx2.post(server.url + "/v1/events", json=product("B")).status_code == 503
        assert problems(server, "/readyz/ingest") != {}
        assert server.get("/healthz").status_code == 200
        if store_url.startswith("sqlite:"):
            assert problems(server, "/readyz/reads") == {}
            assert read(server).status_code == 200
        else:
            query(store_url, "ALTER SCHEMA taken RENAME TO pagefold")
            within(40, "all is well again", lambda: problems(server) == {})
            assert read(server).status_code == 200
        assert server.ended() == 0


# --- the process board --------------------------------------------------------------


def test_a_process_without_heartbeats_is_silent() -> None:
    """A process is silent before its first heartbeat and soon after its last."""
    board = ProcessBoard(2)
    watch = PeerWatch(board, WORKER)
    assert (watch.answers(1), watch.answers(2), watch.silent()) == (True, False, [2])
    board.beat(2)
    for _ in range(SILENT_BEATS + 3):
        board.beat(2)
        watch.look()
    assert watch.silent() == []
    for _ in range(SILENT_BEATS - 1):
        watch.look()
    assert watch.answers(2)
    watch.look()
    assert not watch.answers(2)
    board.beat(2)
    watch.look()
    assert watch.answers(2)
    board.begin(2)
    assert not watch.answers(2)


def test_a_report_is_read_as_it_was_written() -> None:
    """By every process with the board; one that is too long, incomplete, or of an ended process is ignored."""
    board = ProcessBoard(2)
    assert board.reported(WORKER) == []
    results = [CheckResult("log", INGEST, ok=False, problem="the disk is full"), CheckResult("lag", INGEST, ok=True)]
    board.beat(WORKER)
    board.report(WORKER, results)
    board.beat(WORKER)
    assert (board.reported(WORKER), board.beats(WORKER), board.reported(2)) == (results, 2, [])
    board._memory[board._slot(WORKER) + 20] ^= 1
    assert board.reported(WORKER) == []
    board.report(WORKER, [CheckResult("log", INGEST, ok=False, problem="x" * REPORT_BYTES)])
    assert board.reported(WORKER) == []
    board.report(WORKER, results)
    board.begin(WORKER)
    assert (board.reported(WORKER), board.beats(WORKER)) == ([], 0)
    assert not board.is_ending
    board.end()
    assert board.is_ending
