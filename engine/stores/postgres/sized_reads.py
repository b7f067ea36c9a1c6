"""Reads with a limit of bytes: large values are left out until the total size is known."""

from collections.abc import Awaitable, Callable, Sequence

from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.stores.postgres.connections import Record
from pagefold.engine.stores.step_sizes import UNBOUNDED

INLINE_BYTES = 8 * 1024
"""Larger values are read separately, once the total size is known."""


def inline_bytes(values: int, max_bytes: int) -> int:
    """As `INLINE_BYTES`, for a number of values whose inline ones alone might exceed the limit several times."""
    return min(INLINE_BYTES, 4 * max_bytes // values)


async def sections_within(
    max_bytes: int | None,
    read: Callable[[int], Awaitable[Sequence[Record]]],
    measure: Callable[[], Awaitable[Sequence[Record]]],
) -> Sequence[Record]:
    """The rows of sections, if their contents, the last column, are within the limit.

    `read` leaves contents above the given size out; `measure` returns the bytes of all. Raises `ReadTooLarge` if they
    have more than `max_bytes` together.
    """
    if max_bytes is None:
        return await read(UNBOUNDED)
    rows = await read(INLINE_BYTES)
    contents = [row[-1] for row in rows]
    is_whole = None not in contents
    if is_whole:
        size = sum(map(len, contents))
    else:
        [(size,)] = await measure()
    check_size(size, max_bytes)
    return rows if is_whole else await read(UNBOUNDED)


def check_size(size: int, max_bytes: int) -> None:
    """Raises `ReadTooLarge` if the size exceeds the limit."""
    if size > max_bytes:
        raise ReadTooLarge(size, max_bytes)
