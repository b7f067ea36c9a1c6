"""Prefetched items: in order, one at a time, and an error is raised in place of its item."""

from collections.abc import AsyncGenerator
from contextlib import suppress

import anyio
import pytest
from anyio.lowlevel import checkpoint

from pagefold.engine.runtime.task_groups import prefetch


class Maker:
    """Makes numbers, and records which, and whether it was closed; fails at one of them, if set."""

    def __init__(self, *, fails_at: int = -1) -> None:
        self.fails_at = fails_at
        self.made: list[int] = []
        self.ended = False

    async def numbers(self, upto: int) -> AsyncGenerator[int, None]:
        """From 0."""
        try:
            for number in range(upto):
                if number == self.fails_at:
                    raise ValueError(number)
                self.made.append(number)
                yield number
                await checkpoint()
        finally:
            self.ended = True


async def test_the_next_one_is_made_while_the_former_is_used() -> None:
    """One, and no more."""
    maker = Maker()
    taken = []
    async with prefetch(maker.numbers(5)) as numbers:
        async for number in numbers:
            await anyio.wait_all_tasks_blocked()
            assert maker.made == list(range(min(number + 2, 5)))
            taken.append(number)
    assert taken == [0, 1, 2, 3, 4]
    assert maker.ended


async def test_an_error_is_raised_after_the_items_before_it() -> None:
    """Unchanged, not in an exception group."""
    maker = Maker(fails_at=3)
    taken = []

    async def take() -> None:
        async with prefetch(maker.numbers(5)) as numbers:
            async for number in numbers:
                await anyio.wait_all_tasks_blocked()
                taken.append(number)

    with pytest.raises(ValueError, match="3"):
        await take()
    assert taken == [0, 1, 2]


@pytest.mark.parametrize("how", ["leaves", "fails", "is stopped"])
async def test_a_closed_receiver_ends_it(how: str) -> None:
    """It is closed, with the item that it has prefetched."""
    maker = Maker()
    with anyio.move_on_after(0.05 if how == "is stopped" else 5.0) as scope, suppress(ZeroDivisionError):
        async with prefetch(maker.numbers(1_000)) as numbers:
            async for number in numbers:
                if how == "leaves":
                    break
                if how == "fails":
                    assert 1 // number
                await anyio.sleep(1.0)
    assert scope.cancelled_caught == (how == "is stopped")
    assert maker.ended
    assert maker.made in ([0], [0, 1])
