"""`pagefold serve` as a process, for tests."""

import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from tests.command_line import finished, spawn, wait_for


class Server:
    """`pagefold serve`, and where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said = wait_for(process, "listening on ")
        found = re.search(r"listening on (http://127\.0\.0\.1:(\d+))", self.said)
        assert found is not None
        self.url, self.port = found[1], int(found[2])

    def get(self, path: str) -> httpx2.Response:
        """The answer, over a connection of its own."""
        return httpx2.get(self.url + path, timeout=10)

    def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, when it is told to end."""
        self.process.send_signal(number)
        return finished(self.process).code


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """A server that does not outlive the block."""
    process = spawn("serve", "--port", "0", *options, environment={"COLUMNS": "200"})
    try:
        yield Server(process)
    finally:
        process.kill()
        finished(process)


def within(seconds: float, condition: str, holds: object) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
