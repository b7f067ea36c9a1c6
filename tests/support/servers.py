"""`pagefold serve` as a process, for tests."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from tests.support.command_line import AnyProcess, finished, spawn, wait_for


class Server:
    """`pagefold serve`, and its address."""

    def __init__(self, process: AnyProcess) -> None:
        self.process = process
        self.said = wait_for(process, "listening on ")
        found = re.search(r"listening on http://[\d.]+:(\d+)", self.said)
        assert found is not None
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> httpx2.Response:
        """The response, over a separate connection."""
        return httpx2.get(self.url + path, timeout=10)

    def processes(self) -> set[int]:
        """The live processes of a server of several, all children of the first."""
        first = self.process.pid
        listed = Path(f"/proc/{first}/task/{first}/children").read_text(encoding="utf-8").split()
        return {int(each) for each in listed if is_running(int(each))}

    def worker(self) -> int:
        """The worker of several processes: its priority is lower than the readers'."""
        [worker] = [each for each in self.processes() if os.getpriority(os.PRIO_PROCESS, each) > own_niceness()]
        return worker

    @staticmethod
    def files(process: int) -> list[Path]:
        """The open files of one of them."""
        return list(Path(f"/proc/{process}/fd").iterdir())

    def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code, after SIGTERM."""
        self.process.send_signal(number)
        return finished(self.process).code


def own_niceness() -> int:
    """That of this process, which its children inherit."""
    return os.getpriority(os.PRIO_PROCESS, 0)


def is_running(process: int) -> bool:
    """Whether the process exists, and has not ended."""
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except OSError:
        return False


def kill(process: int) -> None:
    """Ends it like `kill -9`."""
    signal.pidfd_send_signal(os.pidfd_open(process), signal.SIGKILL)


@contextmanager
def serving(*options: str, start: Callable[..., AnyProcess] = spawn) -> Iterator[Server]:
    """A server that ends with the block."""
    process = start("serve", "--port", "0", *options, environment={"COLUMNS": "200"})
    try:
        yield Server(process)
    finally:
        process.kill()
        finished(process)


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def within(seconds: float, condition: str, holds: object) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    assert callable(holds)
    while not holds():
        assert time.monotonic() < deadline, condition
        time.sleep(0.02)
