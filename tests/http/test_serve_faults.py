"""What befalls the processes of `pagefold serve`: they are stopped, stand still, or cannot fold."""

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

from pagefold.engine.command.serve import SECONDS_TO_CLOSE
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
"""A process that cannot connect knows it after ten."""

SECONDS_TO_STAND_IN = 8.0
"""Two seconds until a process is held to be silent, and some more on a busy machine."""


@pytest.fixture
def place(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store with a page."""
    found = settle(tmp_path, store_url, monkeypatch)
    assert run_pagefold("ingest", lines_file(found / "a.ndjson", product())).code == 0
    assert run_pagefold("work", "--once").code == 0
    return found


def set_frozen_seconds(place: Path, seconds: float) -> None:
    """How long a process may stand still."""
    file = place / "pagefold.toml"
    before = file.read_text(encoding="utf-8")
    after = before.replace("# frozen_seconds = 5.0", f"frozen_seconds = {seconds:g}")
    assert after != before
    file.write_text(after, encoding="utf-8")


def reader_of(server: Server) -> int:
    """The process of two that reads pages."""
    [reader] = server.processes() - {server.worker()}
    return reader


def problems(server: Server, path: str = "/readyz") -> dict[str, str]:
    """What is wrong, by the name of the check."""
    document: Any = server.get(path).json()
    return {each["name"]: each["problem"] for each in document["checks"] if not each["ok"]}


def post(server: Server, version: int) -> int:
    """The status of the answer to one event."""
    body = ndjson([event(version=version)])
    return httpx2.post(f"{server.url}/v1/events", content=body, headers=NDJSON, timeout=20).status_code


def answers(ask: Callable[[], object]) -> bool:
    """Whether there is an answer at all, within a second or so."""
    try:
        ask()
    except httpx2.TransportError:
        return False
    return True


# --- the end --------------------------------------------------------------------------------------


def post_of(version: int) -> bytes:
    """A request with an event."""
    body = ndjson([event(version=version)])
    head = b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\ncontent-length: %d"
    return head % len(body) + b"\r\n\r\n" + body


def clients_of(server: Server) -> list[Client]:
    """Some who keep their connection, some who come anew each time, and some whose requests come in pieces."""
    reads = [Client(server.port, READ, keeps=keeps) for keeps in (True, True, False, False)]
    pieces = ((True, 1), (False, 1), (False, 2), (True, 3))
    return [*reads, *(Client(server.port, post_of(1), keeps=keeps, pieces=number) for keeps, number in pieces)]


def stop_under_load(workers: int) -> None:
    """Stops a server while it is asked without a pause; whatever was sent whole has an answer."""
    with serving("--work", "--workers", str(workers)) as server:
        clients = clients_of(server)
        with load(*clients):
            within(20, "each is answered", lambda: all(client.answered for client in clients))
            assert server.ended() == 0
        assert [reason for client in clients for reason in client.unanswered] == []


@pytest.mark.parametrize("workers", [1, 3])
def test_whoever_was_let_in_is_answered_at_the_end(place: Path, workers: int) -> None:
    """SIGTERM drops no request that was sent whole: accepted or not yet, passed on, or still arriving."""
    assert place.is_dir()
    stop_under_load(workers)


@pytest.mark.soak
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_whoever_was_let_in_is_answered_at_every_end(place: Path, workers: int) -> None:
    """The same, many times."""
    assert place.is_dir()
    for _ in range(SOAK_ROUNDS):
        stop_under_load(workers)


@on_sqlite
@pytest.mark.parametrize("workers", [1, 2])
def test_half_a_head_may_be_completed_at_the_end(place: Path, workers: int) -> None:
    """It is waited for, and answered as the last one of its connection."""
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


# --- processes that stand still -------------------------------------------------------------------


@on_sqlite
def test_the_one_who_works_stands_in_for_readers(place: Path) -> None:
    """While the only reader stands still, those who connect are let in all the same, until it goes on."""
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
def test_readers_take_changes_while_nobody_works(place: Path) -> None:
    """The one who works stands still: whoever asks is told so at once, and changes are taken by those who live."""
    set_frozen_seconds(place, 60)
    with serving("--work") as server:
        worker = server.worker()
        os.kill(worker, signal.SIGSTOP)
        expected = {"worker": "process 1, which takes changes, does not answer"}
        within(
            SECONDS_TO_STAND_IN, "it is told", lambda: problems(server, "/readyz/ingest").items() >= expected.items()
        )
        assert problems(server, "/readyz/reads") == {}
        assert server.get("/readyz").status_code == 503
        assert post(server, 1) == 202
        os.kill(worker, signal.SIGCONT)
        within(10, "it is ready again", lambda: problems(server) == {})
        assert server.ended() == 0


@on_sqlite
@pytest.mark.parametrize("works", [True, False])
def test_one_that_stands_still_is_replaced(place: Path, *, works: bool) -> None:
    """After the time that is configured it is killed, and another one does what it did, for those who wait, too."""
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

class Vitals:
    begun = 0

    def begin(self, number):
        self.begun += 1

    def beats(self, number):
        return 0

    def end(self):
        pass

def run(start):
    assert start.is_replacement is (vitals.begun > 1)
    if vitals.begun == 1:
        time.sleep(600)
    return 0

vitals = Vitals()
supervisor.BEGIN_SECONDS = 0.5
sys.exit(supervisor.supervise(1, supervisor.Task(run, lambda: None, vitals, 0.25)))
"""
"""Supervises a process that never says anything; the next one ends by itself."""


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_one_that_is_replaced_waits_for_a_store_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: How
) -> None:
    """While the database is gone, whatever befalls the processes does not end the server; then all goes on."""
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


def test_one_that_never_begins_is_replaced() -> None:
    """What stands still before it has said anything is killed after a while, and another takes its place."""
    command = [sys.executable, "-c", NEVER_BEGINS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "does not answer and is killed" in done.stdout + done.stderr


@on_sqlite
def test_one_that_stands_still_does_not_hold_up_the_end(place: Path) -> None:
    """It is killed then as well, and the exit code tells that not everything ended as it should."""
    set_frozen_seconds(place, 2)
    with serving("--work") as server:
        os.kill(reader_of(server), signal.SIGSTOP)
        assert server.ended() == 3


def read(server: Server) -> httpx2.Response:
    """The page, asked for by somebody who does not wait long."""
    return httpx2.get(f"{server.url}/v1/pages/web-de/A", timeout=2)


# --- consumers that cannot fold -------------------------------------------------------------------


def put_checkpoints(store_url: str, change: str) -> None:
    """Changes the checkpoints behind the store's back."""
    if store_url.startswith("sqlite:"):
        with sqlite3.connect(folder_of(store_url) / "pages.db") as connection:
            connection.execute(f"UPDATE checkpoints SET position = position {change}")  # noqa: S608  # ours
        connection.close()
    else:
        query(store_url, f"UPDATE pagefold.checkpoints SET position = position {change}")  # noqa: S608  # ours


def is_told(server: Server) -> bool:
    """Whether a log that is not the one that was folded is told as the consumers' problem."""
    return "pricing: the log is not the one" in problems(server, "/readyz/ingest").get("consumers", "")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_cannot_fold_says_so(place: Path, store_url: str, workers: int) -> None:
    """A log that ends before what was folded is no end of the server: pages are read, and the cause is told."""
    assert place.is_dir()
    put_checkpoints(store_url, "+ 1000")
    with serving("--work", "--workers", str(workers)) as server:
        within(20, "it is told", lambda: is_told(server))
        assert problems(server, "/readyz/reads") == {}
        assert read(server).status_code == 200
        not_ready = 'pagefold_ready{for="ingest"} 0.0'
        within(20, "it is a metric", lambda: not_ready in server.get("/metrics").text)
        put_checkpoints(store_url, "- 1000")
        within(40, "it folds again", lambda: problems(server) == {})
        assert server.ended() == 0


def take_log(store_url: str) -> None:
    """Takes the log away, as one does who puts another one in its place."""
    if store_url.startswith("sqlite:"):
        for file in folder_of(store_url).glob("events.db*"):
            file.unlink()
    else:
        query(store_url, "ALTER SCHEMA pagefold RENAME TO taken")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_whose_log_was_taken_away_goes_on(place: Path, store_url: str, workers: int) -> None:
    """It refuses changes, and tells why; it does not end, whatever it asks the log for beside."""
    assert place.is_dir()
    with serving("--work", "--workers", str(workers)) as server:
        within(20, "all are at it", lambda: problems(server) == {})
        take_log(store_url)
        time.sleep(2 * SECONDS_TO_CLOSE)
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


# --- what processes know of each other --------------------------------------------------------------


def test_a_process_that_says_nothing_is_silent() -> None:
    """One that has not begun does not answer; one that lives does; one that stands still does not for long."""
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
    """By whoever has the board; what is too long, half written, or of a process that is gone is none."""
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
