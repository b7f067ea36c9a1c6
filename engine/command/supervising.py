"""Several processes of one command: one that is killed is replaced, and all of them end together."""

import os
import signal
from collections.abc import Callable
from contextlib import suppress

from engine.command.options import Exit
from engine.logs import Logger

ENDING = (signal.SIGINT, signal.SIGTERM)

log = Logger(__name__)


def supervise(processes: int, one: Callable[[int, int], int], at_end: Callable[[], None]) -> int:
    """Runs the processes, puts another in the place of one that was killed, and ends all of them when told to.

    `at_end` is called then, perhaps more than once: it lets go of what they let go of.

    One that ends by itself has a reason that the next one would have too, or was told to by somebody: then all of them
    end, with its exit code. In a process of its own it runs `one`, with its number, from 1, and a descriptor that can
    be read from as soon as the process that started it is gone; and gives what that gives.
    """
    running, code = dict[int, int](), int(Exit.DONE)
    told = _Told(running, at_end)
    gone, alive = os.pipe()
    missing = list(range(1, processes + 1))
    while running or (missing and not told.has_come()):
        if missing and not told.has_come():
            number = missing.pop(0)
            if (process := _fork()) == 0:
                os.close(alive)  # the system closes the last one that is open with the process that has it
                return one(number, gone)
            running[process] = number
            if told.has_come():  # meanwhile, when it was not among them yet
                told.pass_on(told.signal or signal.SIGTERM, None)
            continue
        process, status = os.wait()
        number, exit_code = running.pop(process), os.waitstatus_to_exitcode(status)
        if not told.has_come() and exit_code < 0:
            log.warning("a process was killed, another takes its place", worker=number, signal=-exit_code)
            missing.append(number)
            continue
        if exit_code not in (0, -(told.signal or 0)):  # one that had not begun yet may end by the signal itself
            code = code or abs(exit_code)
        if not told.has_come():
            told.pass_on(signal.SIGTERM, None)
    return code


class _Told:
    """Passes SIGINT and SIGTERM on to every process."""

    def __init__(self, running: dict[int, int], at_end: Callable[[], None]) -> None:
        self.signal: int | None = None
        self._running = running
        self._at_end = at_end
        for number in ENDING:
            signal.signal(number, self.pass_on)

    def has_come(self) -> bool:
        """Whether they were told to end."""
        return self.signal is not None

    def pass_on(self, number: int, _frame: object) -> None:
        """As it came, to all that still run."""
        self.signal = number
        self._at_end()
        for process in list(self._running):
            with suppress(ProcessLookupError):
                os.kill(process, number)


def _fork() -> int:
    """One more process, by its id; 0 in the new one. There is no thread or event loop yet that it could tear apart."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    process = os.fork()
    if process == 0:
        os.setpgid(0, 0)  # what a terminal sends reaches the parent alone, which passes it on, once
        for each in ENDING:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    return process
