"""Waits for the tasks of an engine that answers before it has done what it was asked: a receipt says that it has."""

import time
from collections.abc import Awaitable, Callable

import anyio

from pagefold.engine.delivery.target_kind import Answer, Unavailable

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.02, 1.0


async def applied(look: Callable[[], Awaitable[Answer | None]], task: str, seconds: float) -> Answer:
    """What became of a task: `look` returns None while it goes on. One that takes longer may be applied later."""
    until = time.monotonic() + seconds
    wait = FIRST_LOOK_SECONDS
    while True:
        answer = await look()
        if answer is not None:
            return answer
        if (left := until - time.monotonic()) <= 0:
            return Unavailable(f"the task {task} was not applied within {seconds:g} s")
        await anyio.sleep(min(wait, left))
        wait = min(wait * 2, LONGEST_LOOK_SECONDS)
