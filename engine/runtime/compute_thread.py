"""CPU work in a thread, one piece at a time, so that the event loop stays responsive.

Python threads do not compute in parallel. Several of them do not finish sooner than one after the other, and the event
loop, which competes for Python's lock after every system call, would have to wait for each.
"""

from collections.abc import Callable
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

Result = TypeVar("Result")

_limiters: RunVar[CapacityLimiter] = RunVar("turns")


async def compute_in_thread(work: Callable[[], Result]) -> Result:
    """The result of the work, done in a thread when it is its turn."""
    return await run_sync(work, limiter=_limiter())


def _limiter() -> CapacityLimiter:
    """The limiter of this event loop."""
    try:
        return _limiters.get()
    except LookupError:
        turn = CapacityLimiter(1)
        _limiters.set(turn)
        return turn
