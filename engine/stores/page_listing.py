"""Lists of pages, and the size of the steps in which stores read."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pagefold.engine.stores.section_rows import (
    SectionFlags,
    SectionState,
    flags_by_channel,
    readable_channels,
    section_flags,
)

INITIAL_STEP, MAX_STEP = 16, 1_000
"""Rows of the first step, whose size is unknown, and of the largest."""

STEP_BYTES = 4 * 1024 * 1024
"""Bytes of a step, above which the next one has fewer rows."""


def next_step(step: int, size: int) -> int:
    """The number of rows of the step after one of `step` rows and `size` bytes."""
    return max(step // 4, 1) if size > STEP_BYTES else min(step * 4, MAX_STEP)


class ListedPage(NamedTuple):
    """The sections of one SKU in one channel; none if the SKU has pages in other channels only."""

    sku: str
    sections: list[SectionFlags]


class PageLayout(NamedTuple):
    """SKUs that have the same sections in the same state: these by channel and domain, how many SKUs, the last one."""

    sections: Mapping[str, Mapping[str, SectionState]]
    skus: int
    last: str


def page_layouts(groups: Iterable[Any]) -> list[PageLayout]:
    """From groups of (rows of a SKU as `flags_by_channel` takes them, number of SKUs, last SKU)."""
    return [PageLayout(flags_by_channel(rows), number, last) for rows, number, last in groups]


def listed_pages(rows: Iterable[Any], channel: str) -> list[ListedPage]:
    """Pages from rows of (sku, domain, channels, flags, layout), sorted. `Any`: each driver has its own rows."""
    pages: list[ListedPage] = []
    for sku, *row in rows:
        if not pages or pages[-1].sku != sku:
            pages.append(ListedPage(sku, []))
        if (flags := section_flags(row, channel)) is not None:
            pages[-1].sections.append(flags)
    return pages


class PageKeys:
    """Collects the pages of each SKU from rows of (sku, domain, channels), sorted, in steps."""

    def __init__(self) -> None:
        self.last = ("", "")
        self._channels: set[str] = set()

    def add(self, rows: Iterable[Any]) -> list[tuple[str, str]]:
        """Adds rows. Returns (sku, channel) of the pages of the SKUs that have no more rows."""
        keys: list[tuple[str, str]] = []
        for sku, domain, channels in rows:
            if sku != self.last[0]:
                keys += self.rest()
            self.last = (sku, domain)
            self._channels.update(readable_channels(channels))
        return keys

    def rest(self) -> list[tuple[str, str]]:
        """The pages of the last SKU."""
        channels, self._channels = self._channels, set()
        return [(self.last[0], channel) for channel in sorted(channels)]
