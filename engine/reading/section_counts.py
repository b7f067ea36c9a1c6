"""How many sections channels have, and how many are ready, counted in the background: that reads every row."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS
from pagefold.engine.stores.store import Pages

MIN_PAUSE_SECONDS = 60.0
PAUSE_FACTOR = 10
"""The pause after a count: this times what it took, at least `MIN_PAUSE_SECONDS`."""

STEP_PAUSE_SECONDS = 0.05
"""The pause between the steps of a count: page reads and other screens go on meanwhile."""


class SectionCounts:
    """The counts of one store, as they were when they were counted last. `counted_at` is empty before the first."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._known: Mapping[tuple[str, str], tuple[int, int]] = {}
        self._until = 0.0
        self._query: asyncio.Task[None] | None = None
        self.counted_at = ""

    def recent(self) -> Mapping[tuple[str, str], tuple[int, int]]:
        """By channel and domain, the sections and those that are ready. Empty until they were counted first."""
        if self._query is None and time.monotonic() >= self._until:
            self._query = asyncio.create_task(self._count())
        return self._known

    async def wait_for_first(self, seconds: float) -> None:
        """Waits until they were counted first, but no longer than this."""
        self.recent()
        if not self.counted_at and self._query is not None:
            await asyncio.wait([self._query], timeout=seconds)

    async def close(self) -> None:
        """Cancels a count under way."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait([self._query], timeout=TIMEOUT_SECONDS)

    async def _count(self) -> None:
        begun = time.monotonic()
        try:
            with suppress(StoreError):  # other metrics say so
                self._known = await self._pages.counts(pause_seconds=STEP_PAUSE_SECONDS)
                self.counted_at = now()
        finally:
            self._query = None
            took = time.monotonic() - begun
            self._until = time.monotonic() + max(MIN_PAUSE_SECONDS, PAUSE_FACTOR * took)
