"""Splits sequences whose items have different sizes: as many items as fit, at least one."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def batches(sizes: Sequence[int], *, max_bytes: int, max_items: int | None = None) -> Iterator[tuple[int, int]]:
    """The start and end of each batch, in order. A single item may be larger than `max_bytes`."""
    most = len(sizes) if max_items is None else max_items
    if sizes and len(sizes) <= most and sum(sizes) <= max_bytes:
        yield 0, len(sizes)
        return
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (total + size > max_bytes or index - start == most):
            yield start, index
            start, total = index, 0
        total += size
    if sizes:
        yield start, len(sizes)


def split_equal(items: Sequence[Item], parts: int) -> list[Sequence[Item]]:
    """About `parts` parts of equal length, in order; none is empty."""
    step = -(-len(items) // parts)
    return [items[start : start + step] for start in range(0, len(items), step)]
