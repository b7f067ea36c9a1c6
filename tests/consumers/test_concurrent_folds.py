"""A consumer folds a few SKUs at a time while repairs of other processes fold the same SKUs, on both stores."""

import json
import random
from collections import defaultdict

import anyio

import pagefold
from pagefold import Config, Shop
from pagefold.domains import DOMAINS
from pagefold.engine.folding.folder import Folder
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.small_shop import stock

INVENTORY = next(domain for domain in DOMAINS if domain.name == "inventory")
SKUS = [f"S{number}" for number in range(6)]
SOURCES = ("wms-a", "wms-b")
CHANNEL = "web-de"
CHANGES = 10 * SOAK_ROUNDS


async def repair(shop: Shop, rng: random.Random) -> None:
    """Folds streams again, as a dead letter's retry does."""
    folder = Folder(INVENTORY, shop.config.resolved_channels, shop.store.log)
    streams = [f"{sku}/*/inventory/{source}" for sku in rng.sample(SKUS, 3) for source in SOURCES]
    async with shop.store.coordination.fold_transaction("inventory") as folding:
        await folder.fold(folding, streams)


async def versions(shop: Shop, sku: str) -> dict[str, int]:
    """What the page of a SKU is made from."""
    page = await shop.pages.get_json(sku, CHANNEL, disabled=True)
    return {} if page is None else json.loads(page)["sourceVersions"]


async def test_pages_never_go_back(config: Config) -> None:
    """Whoever folds a SKU last has seen at least what the one before had seen; at the end every page is right."""
    rng = random.Random(SOAK_SEED)
    newest: dict[tuple[str, str], int] = defaultdict(int)
    async with pagefold.open(config) as shop, pagefold.open(config) as other:
        async with anyio.create_task_group() as group:

            async def append() -> None:
                for _ in range(CHANGES):
                    sku, source = rng.choice(SKUS), rng.choice(SOURCES)
                    newest[sku, source] += rng.choice([1, 1, 1, 2])
                    await shop.append([stock(rng.randrange(99), version=newest[sku, source], sku=sku, source=source)])
                    await anyio.sleep(rng.choice([0, 0, 0.002]))
                await shop.catch_up()
                group.cancel_scope.cancel()

            async def interfere() -> None:
                while True:
                    await repair(other, rng)
                    await anyio.sleep(rng.choice([0, 0.001, 0.005]))

            async def watch() -> None:
                seen: dict[str, dict[str, int]] = {sku: {} for sku in SKUS}
                while True:
                    for sku in SKUS:
                        now = await versions(other, sku)
                        assert all(now.get(name, -1) >= version for name, version in seen[sku].items()), (
                            SOAK_SEED,
                            sku,
                            now,
                        )
                        seen[sku] = now
                    await anyio.sleep(0.001)

            group.start_soon(shop.work)
            group.start_soon(interfere)
            group.start_soon(watch)
            group.start_soon(append)
        for sku in SKUS:
            wanted = {f"inventory/{source}": newest[sku, source] for source in SOURCES if newest[sku, source]}
            assert await versions(shop, sku) == wanted
        assert (await shop.verify()).changed == 0
