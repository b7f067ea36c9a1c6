"""How many sections each channel has, and how many of them are ready.

Counting reads every section: it takes a second for a million pages. So a screen shows what was counted last, and does
not wait for the next count.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from pagefold.domains import DOMAINS
from pagefold.engine.errors import StoreError
from pagefold.engine.runtime.clock import now
from pagefold.engine.shop import Shop

FRESH_SECONDS = 60.0
WAIT_SECONDS = 0.15
"""How long a screen waits for the first count."""


class CountedChannel(NamedTuple):
    """A channel: its products, and by domain how many sections there are, how many are ready, and if it is required."""

    channel: str
    products: int
    domains: list[tuple[str, int, int, bool]]


class ChannelCounts:
    """The counts of one shop, shared by all visitors."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._known: Mapping[tuple[str, str], tuple[int, int]] | None = None
        self._counted_at = ""
        self._until = 0.0
        self._task: asyncio.Task[None] | None = None

    async def read(self) -> tuple[list[CountedChannel], str] | None:
        """The channels, and when they were counted; None until the first count is done."""
        if time.monotonic() >= self._until and self._task is None:
            self._task = asyncio.create_task(self._count())
        if self._known is None and self._task is not None:
            await asyncio.wait([self._task], timeout=WAIT_SECONDS)
        return None if self._known is None else (self._channels(self._known), self._counted_at)

    def _channels(self, counts: Mapping[tuple[str, str], tuple[int, int]]) -> list[CountedChannel]:
        found = []
        for channel in self._shop.applied.config.resolved_channels:
            domains = [
                (domain.name, *counts.get((channel.name, domain.name), (0, 0)), domain.name in channel.requires)
                for domain in DOMAINS
            ]
            found.append(CountedChannel(channel.name, max(each[1] for each in domains), domains))
        return found

    async def _count(self) -> None:
        """Counts once. An error leaves what was counted before: other parts of the screen say what is wrong."""
        try:
            with suppress(StoreError):
                self._known = await self._shop.store.pages.counts()
                self._counted_at = now()
        finally:
            self._until = time.monotonic() + FRESH_SECONDS
            self._task = None
