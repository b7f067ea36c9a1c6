"""Several processes of one command: one that is killed or stands still is replaced, and all of them end together."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, Protocol

from pagefold.engine.command.console import print_error, send_errors
from pagefold.engine.command.options import Exit
from pagefold.engine.runtime.logs import Logger

ENDING = (signal.SIGINT, signal.SIGTERM)

LOOK_SECONDS = 0.25
"""How often it is looked whether all processes answer."""

BEGIN_SECONDS = 60.0
"""How long a process may take to say something for the first time: to begin takes long on a busy machine."""

log = Logger(__name__)


class Vitals(Protocol):
    """What processes say of themselves, by their numbers."""

    def begin(self, number: int) -> None:
        """A process begins, which has said nothing yet."""

    def beats(self, number: int) -> int:
        """A number that grows as long as the process lives; 0 before it can be expected to."""

    def end(self) -> None:
        """All of them are about to be told to end."""


class Start(NamedTuple):
    """How a process is started: its number, whether one had that before, and what ends with the process that starts it.

    `gone` is a descriptor that can be read from as soon as that process is gone.
    """

    number: int
    gone: int
    is_replacement: bool


class Task(NamedTuple):
    """What is supervised.

    `run` is what each process does; it gives an exit code. `at_end` lets go of what they let go of, perhaps more than
    once. A process whose `vitals` stand still for `frozen_seconds` is killed; before they begin, for `BEGIN_SECONDS`.
    """

    run: Callable[[Start], int]
    at_end: Callable[[], None]
    vitals: Vitals
    frozen_seconds: float


def supervise(processes: int, task: Task) -> int:
    """Runs the processes, puts another in the place of one that was killed, and ends all of them when told to.

    One that ends by itself has a reason that the next one would have too, or was told to by somebody: then all of them
    end, with its exit code. In a process of its own it gives what the task gives.
    """
    crew = _Crew(task)
    gone, alive = os.pipe()
    failures = _Failures()
    missing, started = list(range(1, processes + 1)), set[int]()
    with _woken() as wake:
        while crew.running or (missing and not crew.is_told()):
            if missing and not crew.is_told():
                number = missing.pop(0)
                task.vitals.begin(number)
                if (process := _fork()) == 0:
                    send_errors(failures.descriptor)
                    os.close(alive)  # the system closes the last one that is open with the process that has it
                    return task.run(Start(number, gone, number in started))
                crew.add(process, number)
                started.add(number)
                continue
            ended = _ended()
            if ended is None:
                select.select([wake], [], [], LOOK_SECONDS)
                _drain(wake)
                crew.kill_frozen()
            else:
                missing += crew.remove(*ended)
                failures.print_new()
    return crew.code


class _Failures:
    """The errors that processes end with, each printed once, however many processes have it."""

    def __init__(self) -> None:
        self._read, self.descriptor = os.pipe()
        os.set_blocking(self._read, False)
        self._printed: set[str] = set()

    def print_new(self) -> None:
        """Prints what has not been printed before."""
        data = b""
        with suppress(BlockingIOError):
            while piece := os.read(self._read, 65_536):
                data += piece
        for line in data.decode(errors="replace").splitlines():
            if line not in self._printed:
                self._printed.add(line)
                print_error(line)


class _Crew:
    """The processes that run, by their ids, and what becomes of them. Passes SIGINT and SIGTERM on to each."""

    def __init__(self, task: Task) -> None:
        self.running: dict[int, int] = {}
        self.code = int(Exit.DONE)
        self._task = task
        self._told: int | None = None
        self._killed: set[int] = set()
        self._heard: dict[int, tuple[int, int]] = {}
        for number in ENDING:
            signal.signal(number, self._pass_on)

    def is_told(self) -> bool:
        """Whether they were told to end."""
        return self._told is not None

    def add(self, process: int, number: int) -> None:
        """One more. Where they were told to end meanwhile, when it was not among them yet, it is told now."""
        self.running[process] = number
        if self._told is not None:
            self._pass_on(self._told, None)

    def remove(self, process: int, status: int) -> list[int]:
        """One less. Gives its number where another has to take its place; else the others are told to end."""
        number, exit_code = self.running.pop(process), os.waitstatus_to_exitcode(status)
        self._heard.pop(process, None)
        if not self.is_told() and exit_code < 0:
            log.warning("a process was killed, another takes its place", worker=number, signal=-exit_code)
            return [number]
        if process in self._killed:
            self.code = self.code or Exit.FAILED
        elif exit_code not in (0, -(self._told or 0)):  # one that had not begun yet may end by the signal itself
            self.code = self.code or abs(exit_code)
        if not self.is_told():
            self._pass_on(signal.SIGTERM, None)
        return []

    def kill_frozen(self) -> None:
        """Kills processes without a sign of life for too many checks in a row. Time asleep does not count."""
        for process, number in self.running.items():
            before, missed = self._heard.get(process, (0, 0))
            beats = self._task.vitals.beats(number)
            missed = missed + 1 if beats == before else 0
            self._heard[process] = (beats, missed)
            seconds = self._task.frozen_seconds
            if not beats and not self.is_told():  # it is about to begin
                seconds = max(seconds, BEGIN_SECONDS)
            if missed > seconds / LOOK_SECONDS and process not in self._killed:
                log.error("a process does not answer and is killed", worker=number, seconds=seconds)
                self._killed.add(process)
                _signal(process, signal.SIGKILL)

    def _pass_on(self, number: int, _frame: object) -> None:
        """As it came, to all that still run."""
        self._told = number
        self._task.vitals.end()
        self._task.at_end()
        for process in list(self.running):
            _signal(process, number)


def _signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, number)


def _ended() -> tuple[int, int] | None:
    """A process that has ended, and how; None while all run."""
    try:
        process, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (process, status) if process else None


@contextmanager
def _woken() -> Iterator[int]:
    """What can be read from as soon as a process has ended, or a signal has come."""
    wake, wakes = os.pipe()
    for end in (wake, wakes):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # what has no handler wakes nobody
    try:
        yield wake
    finally:
        if signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:  # else this is a process of its own by now
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(wake)
        os.close(wakes)


def _drain(wake: int) -> None:
    with suppress(BlockingIOError):
        while os.read(wake, 512):
            pass


def _fork() -> int:
    """One more process, by its id; 0 in the new one. There is no thread or event loop yet that it could tear apart."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)  # what a terminal sends reaches the parent alone, which passes it on, once
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for each in ENDING:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return process
