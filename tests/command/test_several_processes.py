"""Several processes of one command: what they say when they fail together, or wait for each other."""

import signal
from pathlib import Path

import pytest

from tests.support.command_line import finished, on_sqlite, settle, spawn, wait_for


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a configuration and an empty store, of each kind."""
    return settle(tmp_path, store_url, monkeypatch)


@pytest.mark.parametrize("workers", ["1", "3"])
@on_sqlite
def test_processes_do_not_repeat_a_failure(workers: str, workplace: Path) -> None:
    """If no process of a server finds the store, one line says so, and the exit code is that of the processes."""
    ran = finished(spawn("--store", "sqlite:///nowhere", "serve", "--port", "0", "--workers", workers))
    assert ran.code == 3
    [line] = [line for line in ran.err.splitlines() if line.startswith("pagefold: ")]
    assert line.startswith(f"pagefold: there is no store at sqlite:///{workplace}/nowhere")


def test_a_standby_says_that_it_is_one(workplace: Path) -> None:
    """A worker whose domain is folded by another one logs that it stands by, and for which; then it takes over."""
    first = spawn("work", "--domain", "pricing")
    try:
        wait_for(first, '"folding"')
        second = spawn("work", "--domain", "pricing")
        try:
            line = wait_for(second, "standing by")
            assert '"domain":"pricing"' in line
            assert str(first.pid) in line
            first.send_signal(signal.SIGTERM)
            assert finished(first).code == 0
            wait_for(second, '"folding"')
            second.send_signal(signal.SIGTERM)
            assert finished(second).code == 0
        finally:
            second.kill()
    finally:
        first.kill()
