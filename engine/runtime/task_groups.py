"""Task groups whose errors are raised as they are, not as a group."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import TypeAlias, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectSendStream

Item = TypeVar("Item")

Work: TypeAlias = Callable[[], Coroutine[object, object, None]]


@contextmanager
def unwrap_group() -> Iterator[None]:
    """Raises the only error of a task group; of several, the first, with the group as its cause."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from (group if len(group.exceptions) > 1 else first.__cause__)


async def run_together(*work: Work) -> None:
    """Runs all of them concurrently. If one fails, the others are cancelled, and its error is raised."""
    with unwrap_group():
        async with anyio.create_task_group() as group:
            for each in work:
                group.start_soon(each)


@asynccontextmanager
async def run_beside(work: Work) -> AsyncIterator[None]:
    """Runs the work during a block, and cancels it at the block's end. If it fails, the block is cancelled."""
    with unwrap_group():
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield
            group.cancel_scope.cancel()


@asynccontextmanager
async def prefetch(items: AsyncGenerator[Item, None]) -> AsyncIterator[AsyncIterator[Item]]:
    """Produces the next item while the previous one is used. Errors are raised when the next item is taken."""
    failures: list[Exception] = []
    send, receive = anyio.create_memory_object_stream[Item](0)

    async def taken() -> AsyncIterator[Item]:
        async for item in receive:
            yield item
        if failures:
            raise failures[0]

    async with receive, run_beside(partial(forward, items, send, failures)):
        yield taken()


async def forward(
    items: AsyncGenerator[Item, None], send: MemoryObjectSendStream[Item], failures: list[Exception]
) -> None:
    """Sends items until there are no more, or the receiver is closed. Errors are passed to the receiver."""
    with send:
        async with aclosing(items):
            try:
                async for item in items:
                    await send.send(item)
            except anyio.BrokenResourceError:
                return
            except Exception as error:  # noqa: BLE001  # raised where the items are taken
                failures.append(error)
