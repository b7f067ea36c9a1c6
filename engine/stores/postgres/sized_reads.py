"""Reads that are bounded by bytes: what is large is left out, until it is known how much all of it is."""

from collections.abc import Awaitable, Callable, Sequence
from operator import itemgetter

from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.stores.postgres.connections import Record
from pagefold.engine.stores.step_sizes import UNBOUNDED

INLINE_BYTES = 8 * 1024
"""A value that has more bytes is asked for by itself, once it is known how many all of them have."""


def inline_bytes(values: int, max_bytes: int) -> int:
    """The same for so many values that together they would be more than some times what may be held."""
    return min(INLINE_BYTES, 4 * max_bytes // values)


async def sections_within(
    max_bytes: int | None,
    read: Callable[[int], Awaitable[Sequence[Record]]],
    measure: Callable[[], Awaitable[Sequence[Record]]],
    column: int,
) -> Sequence[Record]:
    """The rows of sections that `read` gives, without values of more bytes than it is told, when they are small enough.

    `column` is where versions stand, with the body behind them; `measure` tells how many bytes all have. Raises
    `ReadTooLarge` where they have more than `max_bytes` together.
    """
    if max_bytes is None:
        return await read(UNBOUNDED)
    rows = await read(INLINE_BYTES)
    is_whole = None not in map(itemgetter(column), rows)
    if is_whole:
        size = sum([len(row[column]) + len(row[column + 1] or b"") for row in rows])
    else:
        [(size,)] = await measure()
    check_size(size, max_bytes)
    return rows if is_whole else await read(UNBOUNDED)


def check_size(size: int, max_bytes: int) -> None:
    """Raises `ReadTooLarge` where there is more than may be held."""
    if size > max_bytes:
        raise ReadTooLarge(size, max_bytes)
