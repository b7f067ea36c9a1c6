"""What stores read in steps: pages as lists have them, and how far one step goes."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

INITIAL_STEP, MAX_STEP = 16, 1_000
"""Rows of a step, where nothing is known of their size yet, and at most."""

STEP_BYTES = 4 * 1024 * 1024


def next_step(step: int, size: int) -> int:
    """How many rows the step behind one of `step` rows has, which had `size` bytes: fewer where they are large."""
    return max(step // 4, 1) if size > STEP_BYTES else min(step * 4, MAX_STEP)


class SectionFlags(NamedTuple):
    """How one section stands, without what it shows."""

    domain: str
    enabled: bool
    ready: bool
    occurred_at: str


class ListedPage(NamedTuple):
    """How the sections of one SKU stand in one channel. None of them where the SKU has a page in others alone."""

    sku: str
    sections: list[SectionFlags]


def list_page(rows: Iterable[Sequence[Any]]) -> list[ListedPage]:
    """Pages from rows of (sku, domain, enabled, ready, occurred_at), sorted. `Any`: each driver has its own rows."""
    pages: list[ListedPage] = []
    for sku, domain, enabled, ready, occurred_at in rows:
        if not pages or pages[-1].sku != sku:
            pages.append(ListedPage(sku, []))
        if domain is not None:
            pages[-1].sections.append(SectionFlags(domain, bool(enabled), bool(ready), occurred_at))
    return pages
