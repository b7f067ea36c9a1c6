"""SIGINT and SIGTERM end a command after its current batch."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from signal import SIGINT, SIGTERM, Signals

import anyio
from anyio.abc import TaskStatus

from pagefold.engine.runtime.logs import Logger

log = Logger(__name__)


class StopSignal:
    """Whether SIGINT or SIGTERM was received. `scope` is cancelled then; uninterruptible work is shielded."""

    def __init__(self) -> None:
        self.signal: Signals | None = None
        self.scope = anyio.CancelScope()

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """The exit code that shells expect after this signal: 130 or 143."""
        return 128 + (self.signal or SIGINT)

    async def watch(self, *, task_status: TaskStatus[None]) -> None:
        """Waits for the first signal. A second Ctrl-C ends the process at once, which loses nothing acknowledged.

        A second SIGTERM is ignored: systemd sends one to every process, and the parent process passes on another.
        """
        with anyio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                self.signal = Signals(number)
                break
        signal.signal(SIGINT, signal.SIG_DFL)
        signal.signal(SIGTERM, signal.SIG_IGN)
        self.scope.cancel()
        log.warning("stopping after the current batch", signal=self.signal and self.signal.name)


@asynccontextmanager
async def stoppable() -> AsyncIterator[StopSignal]:
    """Watches for signals while the block lasts."""
    stop = StopSignal()
    async with anyio.create_task_group() as group:
        await group.start(stop.watch)
        yield stop
        group.cancel_scope.cancel()
