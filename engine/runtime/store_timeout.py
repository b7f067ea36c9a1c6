"""How long somebody waits for a store that says nothing."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from pagefold.engine.errors import StoreUnavailable

Result = TypeVar("Result")

TIMEOUT_SECONDS = 1.5
"""How long whoever asks a server waits for its store: an answer should be there within two seconds."""

UNNAMED_STORE = "of this server"
"""Its name, where nobody knows it."""

MAX_ABANDONED = 1_000
"""So much goes on by itself at a time. Then nothing more is begun: the store says nothing."""

_abandoned: set["asyncio.Task[Any]"] = set()
"""What nobody waits for any more. The event loop alone would not keep it."""


async def with_timeout(work: Coroutine[Any, Any, Result]) -> Result:
    """What the work gives, or raises, in time. Else it goes on by itself, and `StoreUnavailable` is raised.

    It is not cancelled: a connection whose query is cancelled waits for the store once more.
    """
    if len(_abandoned) >= MAX_ABANDONED:
        work.close()
        raise timeout_error()
    return await wait_with_timeout(asyncio.create_task(work))


async def wait_with_timeout(task: "asyncio.Task[Result]") -> Result:
    """The same for work that several wait for."""
    done, _ = await asyncio.wait([task], timeout=TIMEOUT_SECONDS)
    if not done:
        _abandoned.add(task)
        task.add_done_callback(_forget)
        raise timeout_error()
    return task.result()


def timeout_error(store: str = UNNAMED_STORE) -> StoreUnavailable:
    """The error that says so."""
    silence = TimeoutError(f"it has said nothing for {TIMEOUT_SECONDS:g} s")
    error = StoreUnavailable(store, silence)
    error.__cause__ = silence
    return error


def _forget(task: "asyncio.Task[Any]") -> None:
    """What it would have said is no matter, an error neither."""
    _abandoned.discard(task)
    if not task.cancelled():
        task.exception()
