"""A change of a parent that has 2,000 variants, beside as many changes of products without parents.

Both sides fold the same number of products, each with 20 attributes of its own or of its parent, in one transaction.
"""

from datetime import UTC, datetime, timedelta

import pagefold
from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench, new_stores
from benchmarks.throwaway_stores import Stores
from pagefold import Config, DomainEvent, Shop

VARIANTS = 2_000
ATTRIBUTES = 20
MIN_RATIO = 0.5
PARENT = "MODEL"
NOTE = "one event of the parent; the baseline folds an event of each product, without parents"


def config(store: str, *, inherits: bool) -> Config:
    """A shop, whose source inherits or does not."""
    source: dict[str, object] = {"domains": ["catalog"]} | ({"inherit": {}} if inherits else {})
    channel = {"locale": "de", "currency": "EUR"}
    return Config.parse({"store": {"url": store}, "sources": {"pim": source}, "channels": {"web": channel}})


def product(sku: str, version: int, parent: str | None = None) -> DomainEvent:
    """A product: what it has in common with others, or its size and its parent."""
    common = {f"attribute-{number:02}": f"value {number} of {version}" for number in range(ATTRIBUTES)}
    return DomainEvent(
        type="catalog",
        sku=sku,
        channel="*",
        source="pim",
        source_version=version,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=version),
        payload={"attributes": common if parent is None else {"size": sku}, "parent": parent},
    )


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Products a second whose pages change."""
    number = VARIANTS // (20 if bench.quick else 1)
    skus = [f"SKU-{each:05}" for each in range(number)]
    async with (
        new_stores(stores, 2) as [url, plain_url],
        pagefold.open(config(url, inherits=True)) as shop,
        pagefold.open(config(plain_url, inherits=False)) as plain,
    ):
        await shop.append([product(PARENT, 1), *(product(sku, 1, PARENT) for sku in skus)])
        await shop.catch_up()
        versions = iter(range(2, 1_000))

        async def run_pagefold() -> Timed:
            return await _timed(shop, [product(PARENT, next(versions))], skus)

        async def run_baseline() -> Timed:
            version = next(versions)
            return await _timed(plain, [product(sku, version) for sku in skus], skus)

        sides = [Side(PAGEFOLD, run_pagefold), Side(BASELINE, run_baseline)]
        rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=MIN_RATIO, what="× a change of each product")]
    name = "a change of a parent with variants"
    return [Line(name, stores.name, number, "products/s", spreads(rates), claims, NOTE)]


async def _timed(shop: Shop, events: list[DomainEvent], skus: list[str]) -> Timed:
    """Folds events that change the pages of all these SKUs."""
    await shop.append(events)
    watch = Stopwatch()
    with watch:
        await shop.catch_up()
    expected = f"value 3 of {events[0].source_version}"
    for sku in (skus[0], skus[-1]):
        page = await shop.pages.get(sku, "web")
        assert page is not None
        assert page["catalog"]["attributes"]["attribute-03"] == expected
    return Timed(watch.seconds, len(skus))
