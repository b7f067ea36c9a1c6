"""A target is down while every page changes again and again: what it gets in the end, how often, and how fast."""

import time
from collections.abc import Iterator

import anyio
import pytest

from pagefold import Config, Shop
from pagefold.engine.delivery import circuit
from tests.delivery.test_delivery_work import delivering_to, holds_the_pages, working
from tests.support.command_line import on_sqlite
from tests.support.hostile_target import Behaviour, HostileTarget, hostile_target
from tests.support.small_shop import CHANNELS, catalog, price, say

WINDOW_SECONDS, WINDOW_REQUESTS = 0.2, 10
"""What the target allows, and says with every answer."""

CHUNK = 5_000
OUTAGE_SECONDS, PAGES = 600.0, 100_000
VERSIONS = 5


class AnnouncedLimits:
    """So many requests in each window; those that are too many get 429 and are not applied."""

    def __init__(self) -> None:
        self.begun = float("-inf")
        self.left = 0

    def behave(self) -> Behaviour:
        """What becomes of the next request."""
        now = time.monotonic()
        if now - self.begun >= WINDOW_SECONDS:
            self.begun, self.left = now, WINDOW_REQUESTS
        self.left -= 1
        reset = f"{self.begun + WINDOW_SECONDS - now:.3f}"
        limits = (("x-ratelimit-remaining", str(max(self.left, 0))), ("x-ratelimit-reset", reset))
        return Behaviour(applies=False, status=429, headers=limits) if self.left < 0 else Behaviour(headers=limits)


async def change(shop: Shop, skus: int, version: int) -> None:
    """Every page gets another name and another price."""
    for start in range(0, skus, CHUNK):
        numbers = range(start, min(start + CHUNK, skus))
        await say(shop, *(catalog(f"v{version}", sku=f"S{number}", version=version) for number in numbers))
        await say(shop, *(price(f"{version}.00", sku=f"S{number}", version=version) for number in numbers))


def arrivals(target: HostileTarget) -> Iterator[int]:
    """How often each page arrived."""
    yield from (len(each) for each in target.arrived.values())


async def survives(config: Config, pages: int, seconds: float, batch: int) -> None:
    """It is down for so long; nothing is given up for that, and each page arrives once or twice afterwards."""
    skus = pages // len(CHANNELS)
    limits = AnnouncedLimits()
    async with hostile_target(limits.behave) as target:
        settings = {"batches": True, "batch": batch, "concurrency": 4, "timeout_seconds": 10.0}
        async with working(delivering_to(config, target, **settings)) as shop:
            await change(shop, skus, 1)
            await holds_the_pages(shop, target, 300)
            await target.down()
            for version in range(2, 2 + VERSIONS):
                began = time.monotonic()
                await change(shop, skus, version)
                await anyio.sleep(max(0.0, seconds / VERSIONS - (time.monotonic() - began)))
            [state] = await shop.store.delivery_targets.targets()
            assert state.circuit is not None
            target.arrived.clear()
            target.requests.clear()
            target.statuses.clear()
            await target.up()
            await holds_the_pages(shop, target, 600)
            for _ in range(600):  # receipts are stored together
                if {each.state for each in await shop.store.deliveries.counts()} == {"current"}:
                    break
                await anyio.sleep(0.05)
            assert {each.state for each in await shop.store.deliveries.counts()} == {"current"}
            assert sum([each.pages for each in await shop.store.deliveries.counts()]) == skus * len(CHANNELS)
            assert max(arrivals(target)) <= 2
            assert target.statuses.count(429) <= settings["concurrency"], "it asks no more than it may"
            spent = target.requests[-1] - target.requests[0]
            assert len(target.requests) <= WINDOW_REQUESTS * (spent / WINDOW_SECONDS + 2)


@on_sqlite
async def test_an_outage(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A short one, of few pages."""
    monkeypatch.setattr(circuit, "FIRST_PROBE_SECONDS", 0.1)
    await survives(config, 60, 0.5, 2)


@pytest.mark.soak
async def test_a_long_outage(config: Config) -> None:
    """Ten minutes, while a hundred thousand pages change."""
    await survives(config, PAGES, OUTAGE_SECONDS, 500)
