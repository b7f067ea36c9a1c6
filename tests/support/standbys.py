"""PostgreSQL servers that are stopped, frozen, or hot standbys."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

import psycopg

from tests.support.postgres import PostgresServer, _process_options, name_of

SECONDS_TO_START = 30.0

How = Literal["stopped", "frozen"]


@contextmanager
def gone(server: PostgresServer, how: How) -> Iterator[None]:
    """The server is stopped, or all of its processes are frozen, for the length of the block."""
    if how == "stopped":
        server.stop("immediate")
        yield
        server.start()
        return
    assert server._process is not None
    first = server._process.pid
    children = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8").split()
    processes = [first, *map(int, children)]
    try:
        for process in processes:
            _signal(process, signal.SIGSTOP)
        yield
    finally:
        for process in processes:
            _signal(process, signal.SIGCONT)


@contextmanager
def standby(primary: PostgresServer, url: str) -> Iterator[str]:
    """A hot standby of the primary, by the URL of the same database; it has the primary's current content."""
    folder = primary.folder / "standby"
    options = _process_options(primary.user, primary.folder)
    copy: list[Path | str] = [
        primary.binaries / "pg_basebackup",
        "-h",
        primary.folder,
        "-U",
        "postgres",
        "-D",
        folder / "data",
        "-R",
    ]
    subprocess.run([*copy, "--checkpoint=fast", "--no-sync"], check=True, capture_output=True, timeout=60, **options)
    settings = [f"-c{name}={value}" for name, value in primary.settings.items()]
    command: list[Path | str] = [primary.binaries / "postgres", "-D", folder / "data", "-k", folder, *settings]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **options)
    try:
        there = f"postgresql://postgres@/{name_of(url)}?host={folder}"
        _wait_until_it_answers(there)
        yield there
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(SECONDS_TO_START)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(url: str) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "the standby did not start"
            time.sleep(0.05)
        else:
            return


def _signal(process: int, number: signal.Signals) -> None:
    """Signals a process of the server. One that worked in the background may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(process, number)
