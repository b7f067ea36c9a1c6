"""Real processes for tests of faults: workers that fold, appenders that append, and what can happen to both.

A process writes its output to a file, so that it never waits for a reader, and nothing is lost when it dies.
"""

import ctypes
import inspect
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

import anyio
import orjson

from tests.support.forked_processes import ForkedProcess

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_END = 15.0
POLL_SECONDS = 0.01

_DIE_WITH_PARENT = 1
"""`PR_SET_PDEATHSIG`, from <linux/prctl.h>."""

Line: TypeAlias = dict[str, Any]
"""The fields of one JSON line of a process. `Any`, because each event has its own fields."""

Condition: TypeAlias = Callable[[], bool | Awaitable[bool]]


class Acknowledgement(NamedTuple):
    """The result of one line of an appender's input, by the line's number."""

    line: int
    outcome: str
    position: int | None


def die_with_parent() -> None:
    """Ties this process to its parent: it ends when the parent does, however that ends (on Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


async def eventually(condition: Condition, what: str, seconds: float = 20.0) -> float:
    """Waits until the condition holds, and returns how long that took. Fails if it takes too long."""
    begun = time.monotonic()
    while not await _holds(condition):
        assert time.monotonic() - begun < seconds, f"{what}: not within {seconds:g} s"
        await anyio.sleep(POLL_SECONDS)
    return time.monotonic() - begun


async def _holds(condition: Condition) -> bool:
    result = condition()
    return await result if inspect.isawaitable(result) else bool(result)


class Process:
    """A Python module of the tests, in a process of its own. Its output is in `log`."""

    def __init__(self, module: str, *arguments: str, log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            streams = (subprocess.DEVNULL, output.fileno(), output.fileno())
            self._process = ForkedProcess(arguments, module=module, folder=ROOT, streams=streams)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended. A frozen process is alive."""
        return self._process.poll() is None

    @property
    def frozen(self) -> bool:
        """Whether it is stopped."""
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0] in {"T", "t"}

    @property
    def exit_code(self) -> int | None:
        """None while it is alive; below zero, the signal that ended it."""
        return self._process.poll()

    def kill(self) -> None:
        """Ends it like `kill -9`, frozen or not. Without effect if it has ended."""
        self._process.kill()
        self._process.wait(SECONDS_TO_END)

    def terminate(self) -> int:
        """Asks it to end, and returns its exit code."""
        self._process.terminate()
        return self._process.wait(SECONDS_TO_END)

    def freeze(self) -> None:
        """Stops it (SIGSTOP)."""
        self._process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + SECONDS_TO_END
        while not self.frozen:
            assert time.monotonic() < deadline, f"process {self.pid} does not stop"
            time.sleep(POLL_SECONDS / 10)

    def wake(self) -> None:
        """Resumes it."""
        self._process.send_signal(signal.SIGCONT)

    async def ended(self, seconds: float = 60.0) -> int:
        """Waits for its end and returns its exit code."""
        await eventually(lambda: not self.alive, f"the end of {self}", seconds)
        return self._process.wait()

    def said(self, event: str, **fields: object) -> list[Line]:
        """The lines so far with that event and those fields."""
        wanted = {"event": event, **fields}
        return [line for line in self._lines() if wanted.items() <= line.items()]

    def _lines(self) -> list[Line]:
        complete = self.log.read_bytes().rpartition(b"\n")[0].split(b"\n")
        return [orjson.loads(line) for line in complete if line.startswith(b"{")]

    def __repr__(self) -> str:
        return f"process {self.pid}, which said last:\n{self.log.read_text(errors='replace')[-3000:]}"


class Worker(Process):
    """A process of `tests.support.worker_process`."""

    def __init__(self, trap: Path, module: str, *arguments: str, log: Path) -> None:
        super().__init__(module, *arguments, log=log)
        self._trap = trap

    def set_trap(self, number: signal.Signals) -> None:
        """Sends itself that signal inside its next transaction, when a batch is written and not committed."""
        hidden = self._trap.with_suffix(".new")
        hidden.write_text(number.name, encoding="utf-8")
        hidden.rename(self._trap)

    def remove_trap(self) -> None:
        """Removes the trap."""
        self._trap.unlink(missing_ok=True)


AnyProcess = TypeVar("AnyProcess", bound=Process)


class Processes:
    """The processes of one test, in a folder of their own. None is left when it is closed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in self._started:
            process.kill()

    def worker(self, config: Path, *options: str) -> "Worker":
        """A process that folds all domains, with options of `tests.support.worker_process`."""
        trap = self._folder / f"trap-{len(self._started)}"
        arguments = (str(config), "--trap", str(trap), *options)
        return self._start(Worker(trap, "tests.support.worker_process", *arguments, log=self._new_log()))

    def appender(self, config: Path, lines: Path, acknowledged: Path, *options: str) -> Process:
        """A process that appends the lines of a file, and records what was acknowledged."""
        arguments = (str(config), str(lines), str(acknowledged), *options)
        return self._start(Process("tests.support.appender_process", *arguments, log=self._new_log()))

    def machine(self, config: Path, lines: Path, acknowledged: Path, disk: Path, *options: str) -> Process:
        """A process that appends and folds until its power fails. See `tests.support.power_loss`."""
        arguments = (str(config), str(lines), str(acknowledged), str(disk), *options)
        return self._start(Process("tests.support.power_loss", *arguments, log=self._new_log()))

    def rebuilder(self, config: Path, source: str, *options: str) -> Process:
        """A process that rebuilds one source. See `tests.support.rebuild_process`."""
        return self._start(Process("tests.support.rebuild_process", str(config), source, *options, log=self._new_log()))

    def _new_log(self) -> Path:
        return self._folder / f"process-{len(self._started)}.log"

    def _start(self, process: AnyProcess) -> AnyProcess:
        self._started.append(process)
        return process


def acknowledged(file: Path) -> list[Acknowledgement]:
    """The results that appenders recorded in a file. An incomplete last line was not acknowledged."""
    if not file.exists():
        return []
    complete = file.read_bytes().rpartition(b"\n")[0].split(b"\n")
    return [Acknowledgement(*orjson.loads(line)) for line in complete if line]


HELPERS = (b"pagefold.engine.replay.verifier_process", b"pagefold.engine.plans.planner_process")


def children() -> list[int]:
    """The processes that verify or plan pages for this one, and still run."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                command = (process / "cmdline").read_bytes()
            except (OSError, IndexError):
                continue
            if parent == os.getpid() and any(module in command for module in HELPERS):
                found.append(int(process.name))
    return found
