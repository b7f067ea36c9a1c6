"""The command line under test: in this process, or in a process of its own where needed."""

import io
import logging
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import orjson
import pytest
import structlog

from pagefold.engine.command.app import run
from pagefold.engine.command.options import LOG_LEVEL_VARIABLE
from pagefold.engine.configuration.config import STORE_VARIABLE
from tests.support.forked_processes import ForkedProcess

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = (sys.executable, "-m", "pagefold.engine.command")

AnyProcess: TypeAlias = ForkedProcess | subprocess.Popen[str]

on_sqlite = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For tests that do not depend on the store."""


class Ran(NamedTuple):
    """The result of a command: its exit code, standard output and messages."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:  # noqa: ANN401  # tests look into it as they like
        """The only JSON document on standard output."""
        [line] = self.out.splitlines()
        return orjson.loads(line)

    @property
    def documents(self) -> list[Any]:
        """The JSON documents on standard output, one per line."""
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def counts(self) -> dict[str, int]:
        """The outcomes counted by `ingest --json`, without zeros."""
        names = ("appended", "duplicate", "conflict", "rejected")
        return {name: self.document[name] for name in names if self.document[name]}


def settle(folder: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes a working folder with a configuration and an empty store, and changes to it."""
    place = folder / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.delenv(LOG_LEVEL_VARIABLE, raising=False)
    monkeypatch.setenv(STORE_VARIABLE, store_url)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for processes of their own
    assert run_pagefold("init").code == 0
    return place


def run_pagefold(*arguments: str) -> Ran:
    """Runs a command in this process."""
    with _captured() as (out, err), _kept_logging():
        code = run(arguments)
    return Ran(code, out.getvalue().decode(), err.getvalue().decode())


def spawn(
    *arguments: str, stdin: int = subprocess.DEVNULL, environment: Mapping[str, str] | None = None
) -> ForkedProcess:
    """A command as a process of its own, in the working directory."""
    streams = (stdin, subprocess.PIPE, subprocess.PIPE)
    return ForkedProcess(arguments, environment={**os.environ, **(environment or {})}, streams=streams)


def start_python(
    *arguments: str, stdin: int | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """The same with an interpreter of its own: for tests of how that starts, or how much memory it takes."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, **(environment or {})},
    )


def finished(process: AnyProcess, text: str | None = None) -> Ran:
    """Waits for the process, after writing the text to it."""
    out, err = process.communicate(text, timeout=60)
    return Ran(process.wait(), out, err)


def wait_for(process: AnyProcess, words: str) -> str:
    """Reads standard error up to a line with this text. Fails if it ends before, or after a minute."""
    assert process.stderr is not None
    read = ""
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    try:
        while words not in read:
            line = process.stderr.readline()
            assert line, f"it ended without {words!r}: {read}"
            read += line
    finally:
        watchdog.cancel()
    return read


def event(sku: str = "A", version: int = 1, amount: object = "1.00", **fields: object) -> dict[str, object]:
    """A price for every channel; `fields` replace or add."""
    return {
        "type": "pricing",
        "sku": sku,
        "channel": "*",
        "source": "erp",
        "sourceVersion": version,
        "occurredAt": "2026-01-01T00:00:00Z",
        "payload": {"currency": "EUR", "amount": amount},
    } | fields


def product(sku: str = "A", version: int = 1, *, enabled: bool = True) -> dict[str, object]:
    """A catalog entry for every channel."""
    payload = {"attributes": {"colour": "red"}, "enabled": enabled}
    return event(sku, version, type="catalog", source="pim", payload=payload)


def ndjson(events: Sequence[object]) -> bytes:
    """One event per line; bytes are lines of their own."""
    return b"".join((each if isinstance(each, bytes) else orjson.dumps(each)) + b"\n" for each in events)


def lines_file(path: Path, *events: object) -> str:
    """A file of events; returns its name."""
    path.write_bytes(ndjson(events))
    return str(path)


@contextmanager
def _captured() -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    kept = sys.stdout, sys.stderr
    out, err = io.BytesIO(), io.BytesIO()
    sys.stdout, sys.stderr = (io.TextIOWrapper(each, encoding="utf-8", write_through=True) for each in (out, err))
    wrappers = sys.stdout, sys.stderr
    try:
        yield out, err
    finally:
        sys.stdout, sys.stderr = kept
        for wrapper in wrappers:
            wrapper.detach()


@contextmanager
def _kept_logging() -> Iterator[None]:
    """Restores logging, which a command configures for its process."""
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        warnings.showwarning = show
        root.handlers[:] = handlers
        root.setLevel(level)
        structlog.reset_defaults()
