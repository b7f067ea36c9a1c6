"""Logging: one line per batch on standard error, JSON unless it is a terminal, never a payload."""

import ast
import asyncio
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
import stamina
import structlog

from pagefold.engine.runtime import logs
from pagefold.engine.runtime.redaction import PREFIX, redact_secrets
from tests.support.command_line import ROOT, event, lines_file, on_sqlite, product, run_pagefold, settle

HIDDEN = "a-payload-that-nobody-should-read"
LEVELS = {"info", "warning", "error"}


@pytest.fixture(autouse=True)
def _kept_logging() -> Iterator[None]:
    """Restores the logging configuration of the process after a test."""
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Away from a terminal, a line is one JSON object: timestamp, level, event; then the fields."""
    logs.configure("info")
    structlog.get_logger("engine.test").info("folded", domain="pricing", path=Path("a"), position=2**70)
    structlog.get_logger().debug("below the level")
    line = orjson.loads(capsys.readouterr().err)
    assert list(line)[:3] == ["at", "level", "event"]
    assert line["at"].endswith("Z")
    assert (line["level"], line["event"], line["logger"]) == ("info", "folded", "engine.test")
    assert line["domain"] == "pricing"


def test_text_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets text, one line per event."""
    error = io.StringIO()
    monkeypatch.setattr(error, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", error)
    logs.configure("info")
    structlog.get_logger("engine.test").warning("folded", domain="pricing")
    assert error.getvalue().count("\n") == 1
    assert "folded" in error.getvalue()
    assert "pricing" in error.getvalue()
    assert not error.getvalue().startswith("{")


def test_the_standard_librarys_loggers_come_out_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """Log lines of libraries and Python's warnings have the same form and the same level."""
    logs.configure("warning")
    logging.getLogger("asyncio").warning("slow callback %s", "x")
    logging.getLogger("asyncio").info("not to be seen")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    slow, old = [orjson.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (slow["event"], slow["logger"], slow["level"]) == ("slow callback x", "asyncio", "warning")
    assert slow["at"].endswith("Z")
    assert old["logger"] == "py.warnings"


def test_retries_are_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Stamina's retries are logged, with the reason, and without the call's arguments."""
    logs.configure("warning")
    attempts = 0

    @stamina.retry(on=ValueError, attempts=2, wait_initial=0, wait_jitter=0)
    def fails_once(_payload: str) -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ValueError("first")

    fails_once(HIDDEN)
    line = orjson.loads(capsys.readouterr().err)
    assert line["event"] == "retrying after an error"
    assert "first" in line["error"]
    assert line["attempt"] == 1
    assert not {"args", "kwargs", "caused_by"} & line.keys()


def test_a_retried_block_says_what_is_retried(capsys: pytest.CaptureFixture[str]) -> None:
    """Instead of stamina's `<context block>`, the line has the fields of the block around it, and the error."""
    logs.configure("warning")
    failures = [ValueError("the store is away")]
    with logs.log_context(domain="pricing"):
        for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0, wait_jitter=0):
            with attempt:
                if failures:
                    raise failures.pop()
    text = capsys.readouterr().err
    line = orjson.loads(text)
    assert (line["domain"], "the store is away" in line["error"]) == ("pricing", True)
    assert "context block" not in text


@pytest.mark.parametrize("as_json", [True, False], ids=["json", "text"])
def test_an_exception_shows_no_variables(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """A logged exception has its traceback, without the values of local variables."""
    logs.configure("info", as_json=as_json)
    payload = {"note": HIDDEN}
    try:
        payload["none"]
    except KeyError:
        structlog.get_logger().exception("failed")
    logged = capsys.readouterr().err
    assert "Traceback" in logged
    assert "test_logs.py" in logged
    assert HIDDEN not in logged


@pytest.mark.parametrize("as_json", [True, False])
def test_no_line_shows_a_secret(capsys: pytest.CaptureFixture[str], *, as_json: bool) -> None:
    """A token's secret in a line is replaced by the token's name."""
    secret = PREFIX + "x" * 43
    logs.configure("info", as_json=as_json)
    logs.Logger("tests").warning(f"about {secret}", authorization=f"Bearer {secret}", also={"secret": secret})
    logging.getLogger("others").warning("about %s", secret)
    written = capsys.readouterr().err
    assert secret not in written
    assert written.count(redact_secrets(secret)) == 4


def test_configuring_again_replaces(capsys: pytest.CaptureFixture[str]) -> None:
    """The last configuration counts, and no line is logged twice."""
    logs.configure("warning")
    logs.configure("debug")
    logging.getLogger("x").debug("once")
    structlog.get_logger("x").debug("and once")
    assert [orjson.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["once", "and once"]


def test_a_line_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reader of the log is gone, the work continues."""

    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Gone())
    logs.configure("info")
    structlog.get_logger().info("to nobody")
    logging.getLogger().warning("to nobody")


@on_sqlite
def test_no_payload_above_debug(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Appending, conflicting, folding and retrying log at `info` without payloads."""
    place = settle(tmp_path, store_url, monkeypatch)
    monkeypatch.setenv("PAGEFOLD_LOG_LEVEL", "info")
    notes = [product() | {"payload": {"attributes": {"note": f"{HIDDEN}-{number}"}}} for number in range(3)]
    file = lines_file(place / "events.ndjson", *notes, event(amount="123456.78"), event(amount="123456.79"))
    logged = run_pagefold("ingest", file).err + run_pagefold("work", "--once").err
    logged += run_pagefold("dead-letters", "retry", "--all").err
    assert '"event":"folded"' in logged
    assert HIDDEN not in logged
    assert "123456" not in logged


@on_sqlite
def test_one_line_per_batch(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines are logged by batch and domain, not by event."""
    place = settle(tmp_path, store_url, monkeypatch)
    run_pagefold("ingest", lines_file(place / "events.ndjson", *(event(f"SKU-{number}") for number in range(2_000))))
    lines = run_pagefold("work", "--once", "--domain", "pricing").err.splitlines()
    folded = [line for line in map(orjson.loads, lines) if line["event"] == "folded"]
    assert sum(line["events"] for line in folded) == 2_000
    assert len(folded) <= 4


def test_log_calls_pass_no_payloads() -> None:
    """No log call of the program passes a payload, a body, a state or a complete event, nor builds its message."""
    suspects = {"payload", "body", "state", "content", "text", "line", "events_", "letter", "sections"}
    for path in sorted((ROOT / "engine").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "log"):
                continue
            if node.func.attr not in LEVELS:  # of a store, which has an attribute `log`, too
                continue
            place = f"{path.relative_to(ROOT)}:{node.lineno}"
            assert not isinstance(node.args[0], ast.JoinedStr), f"{place} builds its message"
            assert not suspects & {keyword.arg for keyword in node.keywords}, f"{place} logs a payload"


def test_the_event_loop_logs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """At `info` the event loop adds no line."""
    logs.configure("info")
    asyncio.run(asyncio.sleep(0))
    assert capsys.readouterr().err == ""


def test_an_embedding_program_gets_logs_by_the_standard_library(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without structlog's configuration, lines go to Python's logging with their fields, none to standard output."""
    structlog.reset_defaults()
    log = logs.Logger("engine.test")
    with caplog.at_level("INFO", logger="engine.test"):
        log.info("folded", domain="pricing", position=7)
        log.warning("interrupted", reason="a test")
        log.error("frozen", pid=1)
    assert [record.getMessage() for record in caplog.records] == ["folded", "interrupted", "frozen"]
    assert (vars(caplog.records[0])["domain"], vars(caplog.records[0])["position"]) == ("pricing", 7)
    assert capsys.readouterr().out == ""
