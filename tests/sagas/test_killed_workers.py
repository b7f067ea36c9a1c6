"""Workers are killed in the middle of a saga: in the end both services hold the same version of each page."""

import asyncio
import random
from pathlib import Path

import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.delivery_records import group_target
from tests.support.command_line import on_sqlite
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.hostile_target import Behaviour, chance
from tests.support.processes import Processes
from tests.support.saga_shop import CHANNEL, Sides, rename, two_targets, version_held

CONFIGURATION = """
[store]
url = "{store}"
[work]
poll_seconds = 0.05
lease_seconds = 1.0
[sources.pim]
domains = ["catalog"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
[targets.first]
timeout_seconds = 1.0
tries = 1
[targets.first.http]
url = "{first}"
networks = ["127.0.0.0/8"]
[targets.second]
timeout_seconds = 1.0
tries = 1
[targets.second.http]
url = "{second}"
networks = ["127.0.0.0/8"]
[sagas.listing]
targets = ["first", "second"]
"""

SKUS = 8
LEASE_SECONDS = 22.0
"""The pages that a killed worker had in flight are free after that."""


async def kill_workers(folder: Path, store: str, rounds: int, seed: int) -> None:
    """Two workers; again and again one is killed while pages change. The second service refuses every third version."""
    luck = random.Random(f"{seed} sagas")
    config = folder / "pagefold.toml"
    async with two_targets() as sides:
        sides.first.behave = chance(luck, (0.05, Behaviour(status=500)), (0.05, Behaviour(status=0)))
        sides.second.refuses = lambda page: isinstance(page, dict) and _number(page) % 3 == 0
        urls = {"first": sides.first.url, "second": sides.second.url}
        config.write_text(CONFIGURATION.format(store=store, **urls), encoding="utf-8")
        with Processes(folder) as processes:
            crew = [processes.worker(config), processes.worker(config)]
            async with pagefold.open(Config.load(config)) as shop:
                for number in range(1, rounds + 1):
                    for each in luck.sample(range(SKUS), luck.randint(1, SKUS)):
                        await rename(shop, f"S{each}", number)
                    await asyncio.sleep(luck.uniform(0, 0.5))
                    place = luck.randrange(len(crew))
                    crew[place].kill()
                    crew[place] = processes.worker(config)
                refused = (rounds // 3 + 1) * 3
                for each in range(SKUS):  # the last version of every other page is refused
                    await rename(shop, f"S{each}", refused + each % 2)
                await all_or_none(shop, sides)
    for side in sides:
        for arrivals in side.arrived.values():
            positions = [each.position for each in arrivals]
            assert positions == sorted(positions)
            assert all(len({each.key for each in arrivals if each.position == at}) == 1 for at in set(positions))


def _number(page: dict[str, object]) -> int:
    catalog = page["catalog"]
    assert isinstance(catalog, dict)
    return int(catalog["attributes"]["code"].removeprefix("v"))


async def all_or_none(shop: Shop, sides: Sides) -> None:
    """Waits until nothing waits; then both hold the same of each page, and never one that was refused."""
    for _ in range(int((LEASE_SECONDS + 60) / 0.1)):
        rows = await shop.store.deliveries.rows(group_target("listing"), limit=1_000)
        if len(rows) == SKUS and all(row.state in ("current", "discarded") for row in rows):
            break
        await asyncio.sleep(0.1)
    assert {row.state for row in rows} == {"current", "discarded"}
    for row in rows:
        held = [version_held(side, row.sku) for side in sides]
        assert held[0] == held[1], row.sku
        assert held[0] is None or int(str(held[0]).removeprefix("v")) % 3
        page = await shop.pages.get(row.sku, CHANNEL)
        assert page is not None
        assert (row.state == "current") == (held[0] == page["catalog"]["attributes"]["code"])


@on_sqlite
async def test_workers_are_killed(tmp_path: Path, new_store_url: str) -> None:
    """A few times."""
    await kill_workers(tmp_path, new_store_url, 3, 7)


@pytest.mark.soak
async def test_workers_are_killed_for_long(tmp_path: Path, new_store_url: str) -> None:
    """A hundred times, on both stores."""
    await kill_workers(tmp_path, new_store_url, max(100, SOAK_ROUNDS), SOAK_SEED)
