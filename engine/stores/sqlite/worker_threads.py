"""Work in threads that nobody leaves behind."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TypeVar

from anyio.to_thread import run_sync

Result = TypeVar("Result")

POLL_SECONDS = 0.001
"""How often it is looked whether a thread has ended whose task was cancelled."""


class _Failed:
    """What work has raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def in_thread(work: Callable[[], Result]) -> Result:
    """Does the work in a thread. Whoever is cancelled meanwhile goes on when it is done, or will never begin.

    A task that is cancelled by itself, and not with its group, would leave the thread at work, and the next one would
    use the same connection beside it. What the work raises does not go through the future of the thread: that would
    keep the error, whose traceback keeps the future, and with it, until somebody looks for cycles, all that is held on
    the way to whoever handles it, which may be many megabytes.
    """
    turn = Lock()
    begun = left = done = False

    def unless_left() -> Result | _Failed:
        nonlocal begun, done
        with turn:
            if left:
                raise asyncio.CancelledError
            begun = True
        try:
            return work()
        except BaseException as error:  # noqa: BLE001  # it is raised below
            return _Failed(error)
        finally:
            done = True

    try:
        outcome = await run_sync(unless_left)
    except asyncio.CancelledError:
        with turn:
            left = not begun
        while not left and not done:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(POLL_SECONDS)
        raise
    if not isinstance(outcome, _Failed):
        return outcome
    try:
        raise outcome.error
    finally:
        del outcome
