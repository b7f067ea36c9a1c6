"""Tasks that run together, with errors as they were raised: a caller that waits for one thing is told one error."""

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeAlias

import anyio

Work: TypeAlias = Callable[[], Coroutine[object, object, None]]


@contextmanager
def ungrouped() -> Iterator[None]:
    """Raises the only error of a task group as itself; of several, the first, with the group as its cause."""
    try:
        yield
    except BaseExceptionGroup as group:
        first: BaseException = group
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        raise first from (group if len(group.exceptions) > 1 else first.__cause__)


async def together(*work: Work) -> None:
    """Runs all of them at once. When one fails the others are cancelled, and its error is raised."""
    with ungrouped():
        async with anyio.create_task_group() as group:
            for each in work:
                group.start_soon(each)


@asynccontextmanager
async def beside(work: Work) -> AsyncIterator[None]:
    """Runs the work beside a block, and cancels it at the block's end. When it fails, the block is cancelled."""
    with ungrouped():
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            yield
            group.cancel_scope.cancel()
