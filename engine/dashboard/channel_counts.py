"""How many pages and sections each channel has, and how many of them are ready, as they were counted last."""

from typing import NamedTuple

from pagefold.domains import DOMAINS
from pagefold.engine.reading.page_counts import Ready
from pagefold.engine.shop import Shop

WAIT_SECONDS = 0.15
"""How long a screen waits for the first count."""


class CountedChannel(NamedTuple):
    """A channel: the pages that it shows, and of each domain its sections and whether the channel requires them."""

    channel: str
    pages: Ready
    domains: list[tuple[str, Ready, bool]]


async def counted_channels(shop: Shop) -> tuple[list[CountedChannel], str] | None:
    """The channels, and when they were counted; None until the first count is done."""
    await shop.page_counts.wait_for_first(WAIT_SECONDS)
    counts, counted_at = shop.page_counts.recent(), shop.page_counts.counted_at
    if not counted_at:
        return None
    found, names = [], [domain.name for domain in DOMAINS]
    for channel in shop.applied.config.resolved_channels:
        required = {domain.name for domain in DOMAINS if domain.gives_identity} | channel.requires
        domains = [(name, counts.sections(channel.name, name), name in required) for name in names]
        found.append(CountedChannel(channel.name, counts.pages(channel.name), domains))
    return found, counted_at
