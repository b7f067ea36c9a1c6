"""Running a command: one event loop, and signals that end it after the current batch."""

import gc
import importlib.util
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from signal import SIGINT, SIGTERM, Signals

import anyio
from anyio.abc import TaskStatus

from engine.logs import Logger

SECONDS_TO_KEEP_PYTHON = 0.0005
"""How long a thread computes while another wants to: below what a page read over HTTP takes as a whole."""

log = Logger(__name__)


def collect_less() -> None:
    """Lets Python look for cycles in its objects less often.

    A batch is thousands of small objects that go with the batch. To look through all of them again and again, and
    through all that was imported, costs a sixth of the time, and finds nothing.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def answer_soon() -> None:
    """Lets the event loop have Python back soon from threads that compute.

    They keep it for 5 ms each otherwise, one after the other, and the loop asks for it anew whenever it was in a system
    call: while much is read and folded, whoever asks for a page would wait for that again and again.
    """
    sys.setswitchinterval(SECONDS_TO_KEEP_PYTHON)


def run(main: Callable[[], Awaitable[int]]) -> int:
    """Runs a command to its exit code, on uvloop where there is one."""
    collect_less()
    return anyio.run(main, backend_options={"use_uvloop": importlib.util.find_spec("uvloop") is not None})


class Stop:
    """Whether SIGINT or SIGTERM has come. `scope` is cancelled then: what must not be interrupted shields itself."""

    def __init__(self) -> None:
        self.signal: Signals | None = None
        self.scope = anyio.CancelScope()

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """What shells expect of a program that was ended by this signal: 130 or 143."""
        return 128 + (self.signal or SIGINT)

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Waits for the first signal. A second Ctrl-C ends the process at once, which loses nothing acknowledged."""
        with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                self.signal = Signals(number)
                break
        signal.signal(SIGINT, signal.SIG_DFL)
        self.scope.cancel()
        log.warning("stopping after the current batch", signal=self.signal and self.signal.name)


@asynccontextmanager
async def stoppable() -> AsyncIterator[Stop]:
    """Watches for signals while the block lasts."""
    stop = Stop()
    async with anyio.create_task_group() as group:
        await group.start(stop.watch)
        yield stop
        group.cancel_scope.cancel()
