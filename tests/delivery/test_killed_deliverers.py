"""Deliverers are killed and frozen in the middle of anything: in the end the target holds exactly the pages."""

import asyncio
import random
from pathlib import Path

import pytest

import pagefold
from pagefold import Config
from tests.support.command_line import on_sqlite
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.hostile_target import Behaviour, HostileTarget, chance, hostile_target
from tests.support.processes import Processes
from tests.support.small_shop import catalog, pages_of, price, say

CONFIGURATION = """
[store]
url = "{store}"
[work]
poll_seconds = 0.05
lease_seconds = 1.0
[sources.pim]
domains = ["catalog"]
[sources.erp]
domains = ["pricing"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
[channels.market-at]
locale = "de-AT"
currency = "EUR"
[targets.shop]
concurrency = 3
timeout_seconds = 1.0
[targets.shop.http]
url = "{url}"
networks = ["127.0.0.0/8"]
"""

SKUS = 25
LEASE_SECONDS = 22.0
"""A killed deliverer's pages are free after that: its timeout and the margin of a claim."""


async def kill_deliverers(folder: Path, store: str, rounds: int, seed: int) -> None:
    """Two processes deliver; again and again one is killed while pages change, and another one begins."""
    luck = random.Random(f"{seed} deliverers")
    behave = chance(luck, (0.05, Behaviour(status=500)), (0.05, Behaviour(status=0)), (0.3, Behaviour(delay=0.02)))
    config = folder / "pagefold.toml"
    async with hostile_target(behave) as target:
        config.write_text(CONFIGURATION.format(store=store, url=target.url), encoding="utf-8")
        with Processes(folder) as processes:
            crew = [processes.worker(config), processes.worker(config)]
            async with pagefold.open(Config.load(config)) as shop:
                for number in range(1, rounds + 1):
                    changed = luck.sample(range(SKUS), luck.randint(1, SKUS))
                    await say(shop, *(catalog(f"v{number}", sku=f"S{each}", version=number) for each in changed))
                    await asyncio.sleep(luck.uniform(0, 0.4))
                    place = luck.randrange(len(crew))
                    if luck.random() < 0.2:  # one in five is frozen for a moment
                        crew[place].freeze()
                        await asyncio.sleep(luck.uniform(0, 1.0))
                        crew[place].wake()
                    else:
                        crew[place].kill()
                        crew[place] = processes.worker(config)
                await say(shop, *(price("9.00", sku=f"S{each}") for each in range(SKUS)))
                await comes_to_hold(shop, target)
    for arrivals in target.arrived.values():
        positions = [each.position for each in arrivals]
        assert positions == sorted(positions)


async def comes_to_hold(shop: pagefold.Shop, target: HostileTarget) -> None:
    """Waits until the target holds exactly the pages, by its own account and by the receipts."""
    expected = {key: page for key, page in (await pages_of(shop)).items() if page is not None}
    for _ in range(int((LEASE_SECONDS + 30) / 0.1)):
        rows = await shop.store.deliveries.rows("shop", limit=10_000)
        if set(target.held) == set(expected) and rows and all(row.state == "current" for row in rows):
            break
        await asyncio.sleep(0.1)
    assert {row.state for row in rows} == {"current"}
    shown = {key: await shop.pages.get(*key) for key in expected}
    for key, page in shown.items():
        assert page is not None
        held = target.held[key]
        assert isinstance(held, dict)
        assert held["updatedAt"] == page.updated_at.isoformat(timespec="microseconds").replace("+00:00", "Z")
        assert held["sourceVersions"] == page.source_versions


@on_sqlite
async def test_deliverers_are_killed(tmp_path: Path, new_store_url: str) -> None:
    """A few times."""
    await kill_deliverers(tmp_path, new_store_url, 4, 7)


@pytest.mark.soak
async def test_deliverers_are_killed_for_long(tmp_path: Path, new_store_url: str) -> None:
    """A hundred times, on both stores."""
    await kill_deliverers(tmp_path, new_store_url, max(100, SOAK_ROUNDS), SOAK_SEED)
