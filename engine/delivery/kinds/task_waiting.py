"""Waits for the tasks of an engine that answers before it has done what it was asked: a receipt says that it has."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

FIRST_LOOK_SECONDS, LONGEST_LOOK_SECONDS = 0.02, 1.0

Outcome = TypeVar("Outcome")


async def applied(look: Callable[[], Awaitable[Outcome | None]]) -> Outcome:
    """What became of a task: `look` returns None until that is known. Waits for as long as the caller lets it."""
    wait = FIRST_LOOK_SECONDS
    while (outcome := await look()) is None:
        await anyio.sleep(wait)
        wait = min(wait * 2, LONGEST_LOOK_SECONDS)
    return outcome
