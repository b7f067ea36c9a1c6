"""How many pages and sections channels have, and how many are ready, counted in the background."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from pagefold.engine.errors import StoreError
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.compute_thread import compute_in_thread
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS
from pagefold.engine.stores.page_listing import PageLayout
from pagefold.engine.stores.store import Pages

STEP_SKUS = 2_000
"""SKUs that are counted at a time: 30 ms on a slow machine, between which others use the connection."""

MIN_PAUSE_SECONDS = 60.0
PAUSE_FACTOR = 10
"""The pause after a count: this times what it took, at least `MIN_PAUSE_SECONDS`."""

STEP_PAUSE_SECONDS = 0.05
"""The pause between the steps of a count: page reads and other screens go on meanwhile."""


class Ready(NamedTuple):
    """How many there are, and how many of them are ready."""

    number: int = 0
    ready: int = 0


class ChannelCounts:
    """Of each channel its pages that are shown, as reads serve them, and its sections, by domain.

    A page is ready if every section is that its channel requires: `PageReader` decides it.
    """

    def __init__(self) -> None:
        self._pages: Counter[tuple[str, bool]] = Counter()
        self._sections: Counter[tuple[str, str, bool]] = Counter()

    def add(self, layouts: Iterable[PageLayout], reader: PageReader) -> None:
        """Counts the SKUs of some layouts."""
        for layout in layouts:
            for channel, sections in layout.sections.items():
                for domain, (_, ready) in sections.items():
                    self._sections[channel, domain, ready] += layout.skus
                flags = reader.flags(channel, sections)
                if flags is not None and flags.live:
                    self._pages[channel, flags.ready] += layout.skus

    def pages(self, channel: str) -> Ready:
        """The pages of a channel that are shown."""
        ready = self._pages[channel, True]
        return Ready(ready + self._pages[channel, False], ready)

    def sections(self, channel: str, domain: str) -> Ready:
        """The sections of a domain in a channel, disabled ones among them."""
        ready = self._sections[channel, domain, True]
        return Ready(ready + self._sections[channel, domain, False], ready)

    def by_section(self) -> dict[tuple[str, str], Ready]:
        """The sections of each channel and domain that has any."""
        keys = sorted({(channel, domain) for channel, domain, _ in self._sections})
        return {key: self.sections(*key) for key in keys}


async def count_channels(pages: Pages, reader: PageReader, *, pause_seconds: float = 0.0) -> ChannelCounts:
    """Counts in steps, each SKU once. A page that changes meanwhile is counted as it was or as it is."""
    counts, after = ChannelCounts(), ""
    while layouts := await pages.layouts(after, STEP_SKUS):
        await compute_in_thread(partial(counts.add, layouts, reader))
        if sum([each.skus for each in layouts]) < STEP_SKUS:
            break
        after = max(each.last for each in layouts)
        await asyncio.sleep(pause_seconds)
    return counts


class PageCounts:
    """The counts of one store, as they were when they were counted last. `counted_at` is empty before the first."""

    def __init__(self, pages: Pages, reader: PageReader) -> None:
        self._pages = pages
        self._reader = reader
        self._known = ChannelCounts()
        self._until = 0.0
        self._query: asyncio.Task[None] | None = None
        self.counted_at = ""

    def recent(self) -> ChannelCounts:
        """The newest counts. Empty until they were counted first."""
        if self._query is None and time.monotonic() >= self._until:
            self._query = asyncio.create_task(self._count())
        return self._known

    async def wait_for_first(self, seconds: float) -> None:
        """Waits until they were counted first, but no longer than this."""
        self.recent()
        if not self.counted_at and self._query is not None:
            await asyncio.wait([self._query], timeout=seconds)

    def count_again(self) -> None:
        """Begins a count, when the next one asks: channels may require something else now."""
        if self._query is not None:
            self._query.cancel()
        self._until = 0.0

    async def close(self) -> None:
        """Cancels a count under way."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait([self._query], timeout=TIMEOUT_SECONDS)

    async def _count(self) -> None:
        begun = time.monotonic()
        try:
            with suppress(StoreError):  # other metrics say so
                self._known = await count_channels(self._pages, self._reader, pause_seconds=STEP_PAUSE_SECONDS)
                self.counted_at = now()
            took = time.monotonic() - begun
            self._until = time.monotonic() + max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * took)
        finally:
            self._query = None
