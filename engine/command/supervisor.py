"""Runs several processes of one command: replaces one that is killed or frozen, and ends all of them together."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from pagefold.engine.command.console import print_error, send_errors
from pagefold.engine.command.options import Exit
from pagefold.engine.runtime.logs import Logger

END_SIGNALS = (signal.SIGINT, signal.SIGTERM)

CHECK_SECONDS = 0.25
"""How often the heartbeats are checked."""

START_SECONDS = 60.0
"""How long a process may take until its first heartbeat: starting takes long on a busy machine."""

log = Logger(__name__)


class Heartbeats(Protocol):
    """The heartbeats of processes, by their numbers."""

    def begin(self, number: int) -> None:
        """A process is about to start: resets its heartbeats."""

    def beats(self, number: int) -> int:
        """A number that grows while the process lives; 0 until it has started."""

    def end(self) -> None:
        """All processes are about to be ended."""


class Start(NamedTuple):
    """How a process is started: its number, and whether it replaces one with the same number.

    `parent_gone` is a descriptor that becomes readable when the process that has started it is gone.
    """

    number: int
    parent_gone: int
    is_replacement: bool


class Task(NamedTuple):
    """What is supervised.

    Each process calls `run`, which returns its exit code. `at_end` releases what the processes share; it may be called
    more than once. A process without heartbeats for `frozen_seconds` is killed; before its first one, after
    `START_SECONDS`.
    """

    run: Callable[[Start], int]
    at_end: Callable[[], None]
    heartbeats: Heartbeats
    frozen_seconds: float


def supervise(processes: int, task: Task) -> int:
    """Runs the processes, replaces those that are killed, and ends all of them on SIGINT or SIGTERM.

    A process that exits by itself was asked to, or failed for a reason that its replacement would have too: then all of
    them end, with its exit code. In each of the processes it returns the exit code of the task.
    """
    children = _Processes(task)
    parent_gone, alive = os.pipe()
    failures = _Failures()
    missing, started = list(range(1, processes + 1)), set[int]()
    with _wake_up_pipe() as wake:
        while children.running or (missing and not children.is_ending()):
            if missing and not children.is_ending():
                number = missing.pop(0)
                task.heartbeats.begin(number)
                if (process := _fork()) == 0:
                    send_errors(failures.descriptor)
                    os.close(alive)  # only the parent keeps it: its end closes the pipe
                    return task.run(Start(number, parent_gone, number in started))
                children.add(process, number)
                started.add(number)
                continue
            ended = _reap()
            if ended is None:
                select.select([wake], [], [], CHECK_SECONDS)
                _drain(wake)
                children.kill_frozen()
            else:
                missing += children.remove(*ended)
                failures.print_new()
    return children.code


class _Failures:
    """The errors with which processes end. Each is printed once, however many processes have it."""

    def __init__(self) -> None:
        self._read, self.descriptor = os.pipe()
        os.set_blocking(self._read, False)
        self._printed: set[str] = set()

    def print_new(self) -> None:
        """Prints the errors that were not printed before."""
        data = b""
        with suppress(BlockingIOError):
            while piece := os.read(self._read, 65_536):
                data += piece
        for line in data.decode(errors="replace").splitlines():
            if line not in self._printed:
                self._printed.add(line)
                print_error(line)


class _Processes:
    """The running processes, by their ids. Passes SIGINT and SIGTERM on to each."""

    def __init__(self, task: Task) -> None:
        self.running: dict[int, int] = {}
        self.code = int(Exit.DONE)
        self._task = task
        self._sent: int | None = None
        self._killed: set[int] = set()
        self._last_beats: dict[int, tuple[int, int]] = {}
        for number in END_SIGNALS:
            signal.signal(number, self._pass_on)

    def is_ending(self) -> bool:
        """Whether they were sent a signal to end."""
        return self._sent is not None

    def add(self, process: int, number: int) -> None:
        """Adds a process. If a signal came before it was added, it is sent now."""
        self.running[process] = number
        if self._sent is not None:
            self._pass_on(self._sent, None)

    def remove(self, process: int, status: int) -> list[int]:
        """Removes a process that has ended. Returns its number if it must be replaced; else ends the others."""
        number, exit_code = self.running.pop(process), os.waitstatus_to_exitcode(status)
        self._last_beats.pop(process, None)
        if not self.is_ending() and exit_code < 0:
            log.warning("a process was killed and is replaced", worker=number, signal=-exit_code)
            return [number]
        if process in self._killed:
            self.code = self.code or Exit.FAILED
        elif exit_code not in (0, -(self._sent or 0)):  # one that had not started yet may end by the signal itself
            self.code = self.code or abs(exit_code)
        if not self.is_ending():
            self._pass_on(signal.SIGTERM, None)
        return []

    def kill_frozen(self) -> None:
        """Kills processes without a new heartbeat for too many checks in a row. Time asleep does not count."""
        for process, number in self.running.items():
            before, missed = self._last_beats.get(process, (0, 0))
            beats = self._task.heartbeats.beats(number)
            missed = missed + 1 if beats == before else 0
            self._last_beats[process] = (beats, missed)
            seconds = self._task.frozen_seconds
            if not beats and not self.is_ending():  # it has not started yet
                seconds = max(seconds, START_SECONDS)
            if missed > seconds / CHECK_SECONDS and process not in self._killed:
                log.error("a process does not answer and is killed", worker=number, seconds=seconds)
                self._killed.add(process)
                _signal(process, signal.SIGKILL)

    def _pass_on(self, number: int, _frame: object) -> None:
        """Passes the signal on to all running processes."""
        self._sent = number
        self._task.heartbeats.end()
        self._task.at_end()
        for process in list(self.running):
            _signal(process, number)


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _reap() -> tuple[int, int] | None:
    """The id of a process that has ended, and its status; None if none has."""
    try:
        process, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (process, status) if process else None


@contextmanager
def _wake_up_pipe() -> Iterator[int]:
    """A descriptor that becomes readable when a process ends or a signal comes."""
    wake, wakes = os.pipe()
    for end in (wake, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a signal without a handler is not written to the pipe
    try:
        yield wake
    finally:
        if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:  # else this is one of the processes by now
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(wake)
        os.close(wakes)


def _drain(wake: int) -> None:
    with suppress(BlockingIOError):
        while os.read(wake, 512):
            pass


def _fork() -> int:
    """Starts a process and returns its id; 0 in the new one. There are no threads and no event loop yet."""
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)  # signals of the terminal reach only the parent, which passes them on once
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in END_SIGNALS:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
    return process
