"""How many sections each channel has, and how many of them are ready, as they were counted last."""

from typing import NamedTuple

from pagefold.domains import DOMAINS
from pagefold.engine.shop import Shop

WAIT_SECONDS = 0.15
"""How long a screen waits for the first count."""


class CountedChannel(NamedTuple):
    """A channel: its products, and by domain how many sections there are, how many are ready, and if it is required."""

    channel: str
    products: int
    domains: list[tuple[str, int, int, bool]]


async def counted_channels(shop: Shop) -> tuple[list[CountedChannel], str] | None:
    """The channels, and when they were counted; None until the first count is done."""
    await shop.section_counts.wait_for_first(WAIT_SECONDS)
    counts, counted_at = shop.section_counts.recent(), shop.section_counts.counted_at
    if not counted_at:
        return None
    found = []
    for channel in shop.applied.config.resolved_channels:
        domains = [
            (domain.name, *counts.get((channel.name, domain.name), (0, 0)), domain.name in channel.requires)
            for domain in DOMAINS
        ]
        found.append(CountedChannel(channel.name, max(each[1] for each in domains), domains))
    return found, counted_at
