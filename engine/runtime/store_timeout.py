"""How long a request waits for a store that does not respond."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pagefold.engine.errors import StoreUnavailable

Result = TypeVar("Result")

TIMEOUT_SECONDS = 1.5
"""How long a request to the server waits for the store: a response should come within two seconds."""

UNNAMED_STORE = "of this server"
"""Its name in errors, if unknown."""

MAX_ABANDONED = 1_000
"""The number of abandoned tasks above which nothing more is started: the store does not respond."""

_abandoned: set["asyncio.Task[Any]"] = set()
"""Tasks that timed out. The event loop alone would not keep a reference."""


async def with_timeout(work: Coroutine[Any, Any, Result], seconds: float = TIMEOUT_SECONDS) -> Result:
    """The result of the work. After the timeout, the work is abandoned, and `StoreUnavailable` is raised.

    It is not cancelled: a connection whose query is cancelled waits for the store once more.
    """
    if len(_abandoned) >= MAX_ABANDONED:
        work.close()
        raise timeout_error()
    task = asyncio.create_task(work)
    await asyncio.sleep(0)  # what reads SQLite on the event loop is done then, and needs no timer
    return task.result() if task.done() else await wait_with_timeout(task, seconds)


async def wait_with_timeout(task: "asyncio.Task[Result]", seconds: float = TIMEOUT_SECONDS) -> Result:
    """The same for a task that several callers share."""
    done, _ = await asyncio.wait([task], timeout=seconds)
    if not done:
        _abandoned.add(task)
        task.add_done_callback(_forget)
        raise timeout_error(seconds=seconds)
    return task.result()


def timeout_error(store: str = UNNAMED_STORE, seconds: float = TIMEOUT_SECONDS) -> StoreUnavailable:
    """The error for a store that does not respond."""
    timeout = TimeoutError(f"no response for {seconds:g} s")
    error = StoreUnavailable(store, timeout)
    error.__cause__ = timeout
    return error


def _forget(task: "asyncio.Task[Any]") -> None:
    """Discards its result or error."""
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
