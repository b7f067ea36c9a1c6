"""Tasks that wait for the log to grow, many at a time, on both stores."""

import anyio
import pytest

from pagefold import Config
from pagefold.engine.stores import open_store
from pagefold.engine.stores.store import Store
from tests.support.small_shop import insert

WAITING = 6


@pytest.mark.parametrize("cancelled", [0, 1, WAITING - 1])
async def test_all_that_wait_see_what_others_append(store: Store, config: Config, cancelled: int) -> None:
    """Another store appends. Whichever task was cancelled before, the others return, long before their time is over."""
    returned: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(WAITING)]

    async def wait(number: int) -> None:
        with scopes[number]:
            await store.log.wait(0, 60)
            returned.append(number)

    other = await open_store(config)
    try:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for number in range(WAITING):
                    group.start_soon(wait, number)
                await anyio.sleep(0.05)
                scopes[cancelled].cancel()
                await anyio.sleep(0.05)
                await insert(other, "A")
    finally:
        await other.close()
    assert sorted(returned) == [number for number in range(WAITING) if number != cancelled]


async def test_tasks_wait_no_longer_than_they_want(store: Store) -> None:
    """Each returns after its own time, although one of them may poll for all."""
    returned: list[float] = []

    async def wait(seconds: float) -> None:
        await store.log.wait(0, seconds)
        returned.append(seconds)

    wanted = [0.5, 0.05, 0.3, 0.15]
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for seconds in wanted:
                group.start_soon(wait, seconds)
    assert returned == sorted(wanted)
