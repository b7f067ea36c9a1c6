"""Appends repairs in the epochs that they were placed in."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeAlias

from pagefold.engine.intake.epoch_registry import EpochRegistry, source_of
from pagefold.engine.rebuild.epoch_placement import Placement
from pagefold.engine.rebuild.row_comparer import PendingRepair
from pagefold.engine.stores.epoch_fence import EpochsMoved
from pagefold.engine.stores.store import Log

Positions: TypeAlias = list[int | None]
Retry: TypeAlias = Callable[[Callable[[], Awaitable[Positions]]], Awaitable[Positions]]
"""Does work, and repeats it while the store is unavailable."""


async def append_placed(
    log: Log, epochs: EpochRegistry, pending: Sequence[PendingRepair], placement: Placement, retry: Retry
) -> Positions | None:
    """Returns the position of each repair, None if its version was taken. Returns None if an epoch was raised since.

    In that case the registry knows the raised epochs afterwards. A source whose rows name epochs is declared first.
    """
    for source in {source_of(each.originator_id) for each in pending if each.epoch}:
        await epochs.declare(source)
    try:
        return await retry(partial(log.correct, pending, placement.fence(pending)))
    except EpochsMoved:
        await epochs.refresh()
        return None
