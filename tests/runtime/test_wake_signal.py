"""The signal that wakes waiting tasks."""

import asyncio
import time

import anyio
import pytest

from pagefold.engine.runtime.wake_signal import WakeSignal

LONG = 30.0


async def test_every_waiting_task_is_woken() -> None:
    """Once it is set, all that wait return; those that come later wait for the next time."""
    signal, woken = WakeSignal(), []

    async def wait(number: int) -> None:
        await signal.wait(LONG, signal.count)
        woken.append(number)

    with anyio.fail_after(10):
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(wait(number))
            await asyncio.sleep(0)
            signal.set()
        assert sorted(woken) == [0, 1, 2]
        with anyio.move_on_after(0.02) as scope:
            await signal.wait(LONG, signal.count)
        assert scope.cancelled_caught


async def test_what_was_set_before_the_wait_is_not_missed() -> None:
    """A task says how often it was set when it looked last."""
    signal = WakeSignal()
    seen = signal.count
    signal.set()
    with anyio.fail_after(10):
        await signal.wait(LONG, seen)


@pytest.mark.parametrize("seconds", [0.0, 0.03])
async def test_it_returns_after_the_time(seconds: float) -> None:
    """Also when it is never set."""
    began = time.monotonic()
    await WakeSignal().wait(seconds, 0)
    assert seconds <= time.monotonic() - began + 0.002 < seconds + 10
