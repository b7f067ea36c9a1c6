"""`pagefold serve` as a process, for tests."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.command_line import finished, spawn, wait_for


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

    def processes(self) -> set[int]:
        """Those that answer, where there are several; each was started by the first one, and still runs."""
        first = self.process.pid
        listed = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8").split()
        return {int(each) for each in listed if is_running(int(each))}

    def worker(self) -> int:
        """The one of several that takes changes: it gives way to the others."""
        [worker] = [each for each in self.processes() if os.getpriority(os.PRIO_PROCESS, each) > own_niceness()]
        return worker

    @staticmethod
    def files(process: int) -> list[Path]:
        """What one of them has open."""
        return list(Path(f"/proc/{process}/fd").iterdir())

    def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, when it is told to end."""
        self.process.send_signal(number)
        return finished(self.process).code


def own_niceness() -> int:
    """That of this process, which those that it starts have too."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def is_running(process: int) -> bool:
    """Whether there is such a process, and it has not ended."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def kill(process: int) -> None:
    """Ends it as `kill -9` does."""
    signal.pidfd_send_signal(os.pidfd_open(process), signal.SIGKILL)


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
