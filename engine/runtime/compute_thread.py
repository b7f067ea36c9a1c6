"""Work that is Python's alone, in a thread: beside the event loop, and one piece at a time.

Python does one thing at a time whatever there are threads for. Several that compute do not end sooner than one after
the other, and the event loop, which asks for its turn after every system call, would have to wait behind each of them.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

Result = TypeVar("Result")

_limiters: RunVar[CapacityLimiter] = RunVar("turns")


async def compute_in_thread(work: Callable[[], Result]) -> Result:
    """What the work gives, done in a thread when it is its turn."""
    return await run_sync(work, limiter=_limiter())


def _limiter() -> CapacityLimiter:
    """That of this event loop."""
    try:
        return _limiters.get()
    except LookupError:
        turn = CapacityLimiter(1)
        _limiters.set(turn)
        return turn
