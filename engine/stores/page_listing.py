"""Lists of pages, and the size of the steps in which stores read."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

INITIAL_STEP, MAX_STEP = 16, 1_000
"""Rows of the first step, whose size is unknown, and of the largest."""

STEP_BYTES = 4 * 1024 * 1024
"""Bytes of a step, above which the next one has fewer rows."""


def next_step(step: int, size: int) -> int:
    """The number of rows of the step after one of `step` rows and `size` bytes."""
    return max(step // 4, 1) if size > STEP_BYTES else min(step * 4, MAX_STEP)


class SectionFlags(NamedTuple):
    """The state of one section, without its content."""

    domain: str
    enabled: bool
    ready: bool
    occurred_at: str


class ListedPage(NamedTuple):
    """The sections of one SKU in one channel; none if the SKU has pages in other channels only."""

    sku: str
    sections: list[SectionFlags]


def listed_pages(rows: Iterable[Sequence[Any]]) -> list[ListedPage]:
    """Pages from rows of (sku, domain, enabled, ready, occurred_at), sorted. `Any`: each driver has its own rows."""
    pages: list[ListedPage] = []
    for sku, domain, enabled, ready, occurred_at in rows:
        if not pages or pages[-1].sku != sku:
            pages.append(ListedPage(sku, []))
        if domain is not None:
            pages[-1].sections.append(SectionFlags(domain, bool(enabled), bool(ready), occurred_at))
    return pages
