"""How many pages of a channel are shown and ready: as many as reads say."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping

import pytest

from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.reading import page_counts
from pagefold.engine.reading.page_counts import ChannelCounts, PageCounts, Ready, count_channels
from pagefold.projections import Section
from tests.support.processes import eventually
from tests.support.small_shop import (
    CHANNELS,
    MOMENT,
    catalog,
    folded,
    pages_of,
    price,
    say,
    stock,
    with_channel,
    withdrawn,
)

STATES = [(False, False), (True, False), (True, True), (False, True)]
"""Those of sections: the last one no fold gives today."""


def sections_of(domain: str, seed: int) -> Iterator[Section]:
    """Sections of some SKUs, each absent, disabled or ready in each channel, as the seed has it."""
    dice = random.Random(f"{domain} {seed}")
    for number in range(60):
        for channel in [each for each in CHANNELS if dice.random() < 0.8]:
            enabled, ready = dice.choices(STATES, [1, 2, 6, 1])[0]
            body = b"{}" if enabled else None
            yield Section(f"S{number}", channel, domain, enabled, ready, b'{"x/y":1}', body, MOMENT, MOMENT)


async def read(shop: Shop) -> Mapping[str, Ready]:
    """The pages of each channel that are served, and those that say that they are ready."""
    pages = [json.loads(page) for page in (await pages_of(shop)).values() if page is not None]
    live = [page for page in pages if page["status"] == "live"]
    ready = Counter(page["channel"] for page in live if page["ready"])
    return {channel: Ready(sum(page["channel"] == channel for page in live), ready[channel]) for channel in CHANNELS}


async def counted(shop: Shop) -> ChannelCounts:
    """Everything, counted now."""
    return await count_channels(shop.store.pages, shop.pages)


async def test_counts_are_what_reads_of_all_pages_say(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every combination of states, and however many SKUs a step has, each is counted once."""
    written: list[Section] = []
    for domain in DOMAINS:
        sections = list(sections_of(domain.name, 5))
        await folded(shop.store, *sections, domain=domain.name)
        written += sections
    expected = await read(shop)
    assert all(0 < each.ready < each.number < 60 for each in expected.values())
    assert len(set(expected.values())) == len(CHANNELS)
    everything = Counter((each.channel, each.domain) for each in written)
    ready = Counter((each.channel, each.domain) for each in written if each.ready)
    for step in (page_counts.STEP_SKUS, 60, 59, 7, 1):
        monkeypatch.setattr(page_counts, "STEP_SKUS", step)
        found = await counted(shop)
        assert {channel: found.pages(channel) for channel in CHANNELS} == expected
        assert found.by_section() == {key: Ready(number, ready[key]) for key, number in sorted(everything.items())}
    assert found.pages("nowhere") == Ready(0, 0)


async def test_counts_follow_events(shop: Shop) -> None:
    """A page is shown before it is ready, ready once it has what its channel requires, and gone with its catalog."""
    await say(shop, price("9.90"))
    assert (await counted(shop)).pages("market-at") == (1, 0)
    await say(shop, catalog("shirt"), stock(3), catalog("cap", sku="CAP"))
    found = await counted(shop)
    assert found.pages("market-at") == (2, 1)
    assert found.pages("web-us") == (2, 0), "it requires media and a price in dollars"
    assert found.pages("web-de") == (2, 1) == (await read(shop))["web-de"]
    await say(shop, withdrawn("catalog", version=2, sku="CAP"))
    found = await counted(shop)
    assert found.pages("web-de") == (1, 1) == (await read(shop))["web-de"]
    assert found.sections("web-de", "catalog") == (2, 1)


async def test_what_a_channel_requires_is_that_of_the_configuration_that_counts(shop: Shop, config: Config) -> None:
    """Also in a count that was made before."""
    await say(shop, catalog("shirt"), price("9.90"))
    counts = PageCounts(shop.store.pages, shop.pages)
    await counts.wait_for_first(5)
    assert counts.recent().pages("web-de") == (1, 0)
    shop.pages.configure(with_channel(config, "web-de", requires=["pricing"]))
    assert counts.recent().pages("web-de") == (1, 0), "it is counted now and then"
    counts.count_again()
    counts.recent()
    await asyncio.sleep(0)
    counts.count_again()  # one that has begun is given up
    await eventually(lambda: counts.recent().pages("web-de") == (1, 1), "they are counted again")
    await counts.close()
