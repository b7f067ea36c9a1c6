"""A signal that wakes every waiting task."""

import asyncio


class WakeSignal:
    """Tasks wait until it is set, or for some time. `count` is how often it was set.

    A wait takes one timer: with many short ones, a cancel scope with a deadline costs ten times as much.
    """

    def __init__(self) -> None:
        self.count = 0
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order: a set would wake them in any

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits."""
        return bool(self._waiting)

    @property
    def waiting(self) -> int:
        """How many tasks wait."""
        return len(self._waiting)

    def wake_one(self) -> None:
        """Wakes one task that waits, as if its time were over."""
        for future in self._waiting:
            if not future.done():
                _wake(future)
                return

    def set(self) -> None:
        """Wakes every task that waits now."""
        self.count += 1
        for future in self._waiting:
            _wake(future)

    async def wait(self, seconds: float, seen: int) -> None:
        """Returns after that time, or when it was set more often than `seen`: nothing in between is missed."""
        if self.count > seen:
            return
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _wake, future)
        self._waiting[future] = None
        try:
            await future
        finally:
            timer.cancel()
            del self._waiting[future]


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)
