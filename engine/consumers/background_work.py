"""The consumers in the background of a program, and whether they have stopped for good."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal, TypeAlias

import anyio

from pagefold.engine.errors import LogReplaced, WorkersStopped
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.recent_faults import RecentFaults

WorkersState: TypeAlias = Literal["off", "running", "stopped"]
"""`off` where a program has not requested workers; `stopped` after an error that is not retried."""

FAULT = "fold all domains"

log = Logger(__name__)


class BackgroundWork:
    """Runs `work` beside a program. An error ends it: that is logged at once, kept in `faults`, and `check` raises it.

    It has a task of its own, so that a program may begin and end it in different tasks.
    """

    def __init__(self, work: Callable[[], Awaitable[None]], faults: RecentFaults) -> None:
        self._work = work
        self._faults = faults
        self._error: Exception | None = None
        self.state: WorkersState = "off"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Works for the length of the block, and finishes the current batch at its end."""
        self.state = "running"
        scope = anyio.CancelScope()
        task = asyncio.create_task(self._run(scope))
        try:
            yield
        finally:
            scope.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
            self.state = "stopped" if self._error else "off"

    @property
    def problem(self) -> str | None:
        """Why the work has ended; None while it has not."""
        return None if self._error is None else str(self._stopped(self._error))

    def check(self) -> None:
        """Raises `LogReplaced`, or `WorkersStopped` for any other error, when an error has ended the work."""
        if self._error is not None:
            raise self._stopped(self._error) from self._error

    @staticmethod
    def _stopped(error: Exception) -> LogReplaced | WorkersStopped:
        return LogReplaced(error.reason) if isinstance(error, LogReplaced) else WorkersStopped(error)

    async def _run(self, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                await self._work()
        except Exception as error:  # noqa: BLE001  # every error is reported to the program
            self._error = error
            self.state = "stopped"
            self._faults.failed(FAULT, error, math.inf)
            log.error("the workers have stopped: nothing is folded until the shop is opened again", error=str(error))  # noqa: TRY400  # ours has no other
