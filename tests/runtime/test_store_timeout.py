"""Requests to a store that does not respond fail in time, and abandoned work is bounded."""

import asyncio

import pytest

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.runtime import store_timeout
from pagefold.engine.runtime.store_timeout import with_timeout


async def test_a_result_in_time_is_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result or error in time is passed on; slower work is abandoned, and its result discarded."""
    monkeypatch.setattr(store_timeout, "TIMEOUT_SECONDS", 0.05)
    go_on = asyncio.Event()
    ended: list[int] = []

    async def work(number: int) -> int:
        if number > 1:
            await go_on.wait()
            ended.append(number)
        if number % 2:
            raise KeyError(number)
        return number

    assert await with_timeout(work(0)) == 0
    with pytest.raises(KeyError):
        await with_timeout(work(1))
    for number in (2, 3):
        with pytest.raises(StoreUnavailable, match="no response"):
            await with_timeout(work(number))
    go_on.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ended == [2, 3]


async def test_abandoned_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """While too much work is abandoned nothing is started; once it has ended, everything works again."""
    monkeypatch.setattr(store_timeout, "TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr(store_timeout, "MAX_ABANDONED", 3)
    go_on = asyncio.Event()
    begun: list[int] = []

    async def work(number: int) -> int:
        begun.append(number)
        await go_on.wait()
        return number

    for number in range(5):
        with pytest.raises(StoreUnavailable, match="no response"):
            await with_timeout(work(number))
    assert begun == [0, 1, 2]
    go_on.set()
    await asyncio.sleep(0.01)
    assert await with_timeout(work(5)) == 5
