"""Plans are exact while events come in: what they name is what applying changes."""

import random

import anyio
import pytest

import pagefold
from pagefold import Config, Shop
from tests.plans.test_plans import RANDOM_CHANGES, SKUS, all_pages, planned, products
from tests.support.fault_scenario import SOAK_SEED
from tests.support.small_shop import CHANNELS, catalog, configured, media, price, stock

BUSY, QUIET = frozenset(SKUS[:6]), frozenset(SKUS[6:])
LEASE_SECONDS = 30.0
"""As usual. The server ends the transaction of a client that is silent for so long, as one is on a busy machine."""

CHANGES_OF_A_BASIS = 5
"""Changes that are made one upon the other, before another one begins from the first configuration."""


@pytest.mark.parametrize(("plans", "seed"), [pytest.param(1_000, SOAK_SEED, marks=pytest.mark.soak), (8, 7)])
async def test_a_plan_is_exact_under_traffic(store_url: str, plans: int, seed: int) -> None:
    """The pages of products that nobody speaks of change exactly as planned; the others are folded right."""
    luck = random.Random(seed)
    config = base = configured(store_url, work={"poll_seconds": 0.05, "lease_seconds": LEASE_SECONDS})
    channels = sorted({*CHANNELS, "web-fr"})
    async with pagefold.open(base) as shop, anyio.create_task_group() as group:
        await shop.append(products(luck))
        await shop.catch_up()
        group.start_soon(traffic, shop, random.Random(seed))
        for number in range(plans):
            basis = config if number % CHANGES_OF_A_BASIS else base
            config = luck.choice(RANDOM_CHANGES)(luck)(basis)
            async with pagefold.open(config) as changed:
                before = await all_pages(changed, channels)
                named = await change(changed, config)
                after = await all_pages(changed, channels)
            differing = {key for key in before if before[key] != after[key] and key[0] in QUIET}
            assert named == differing, f"change {number}"
        group.cancel_scope.cancel()
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        assert (await shop.verify()).changed == 0


async def change(shop: Shop, config: Config) -> set[tuple[str, str]]:
    """Plans and applies a configuration, and folds. Returns the pages that were named, of quiet products."""
    plan, named = await planned(shop, config)
    await shop.apply(plan, by="ada", reason="a test")
    await shop.catch_up()
    return {(each.sku, each.channel) for each in named if each.sku in QUIET}


async def traffic(shop: Shop, luck: random.Random) -> None:
    """Events about the busy products, without end."""
    version = 10
    while True:
        version += 1
        sku = luck.choice(sorted(BUSY))
        await shop.append([catalog(f"{sku} {version}", sku=sku, version=version), stock(1, sku=sku, version=version)])
        await shop.append([price("3.00", sku=sku, version=version), media("b.webp", sku=sku, version=version)])
        await anyio.sleep(0.01)
