"""Runs work in threads that are never abandoned."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from threading import Lock
from typing import TypeVar

from anyio.to_thread import run_sync

Result = TypeVar("Result")

POLL_SECONDS = 0.001
"""How often a cancelled task checks whether its thread has ended."""


class _Failed:
    """The error that work has raised."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def in_thread(work: Callable[[], Result]) -> Result:
    """Runs the work in a thread. A cancelled caller continues once the thread is done, or will never start.

    A task that is cancelled alone, not with its group, would leave the thread running, and the next one would use the
    same connection at the same time. Errors do not go through the thread's future: that would keep the error, whose
    traceback keeps the future, and until the next garbage collection everything on the way to the handler, possibly
    many megabytes.
    """
    turn = Lock()
    begun = abandoned = done = False

    def unless_left() -> Result | _Failed:
        nonlocal begun, done
        with turn:
            if abandoned:
                raise asyncio.CancelledError
            begun = True
        try:
            return work()
        except BaseException as error:  # noqa: BLE001  # raised below
            return _Failed(error)
        finally:
            done = True

    try:
        outcome = await run_sync(unless_left)
    except asyncio.CancelledError:
        with turn:
            abandoned = not begun
        while not abandoned and not done:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(POLL_SECONDS)
        raise
    if not isinstance(outcome, _Failed):
        return outcome
    try:
        raise outcome.error
    finally:
        del outcome
