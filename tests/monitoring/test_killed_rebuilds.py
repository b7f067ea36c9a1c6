"""A rebuild whose process was killed is a key figure once nobody works on it."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.stores.schedule_records import rebuild_claim
from tests.support.processes import Processes
from tests.support.rebuild_fixtures import export, toml_of, with_snapshots
from tests.support.small_shop import say, stock

SKUS = [f"SKU-{number}" for number in range(5)]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Processes that end with the test."""
    with Processes(tmp_path) as started:
        yield started


async def seen(shop: Shop) -> list[tuple[str, float | None, bool, str]]:
    """The label, value, crossing and command of the key figure."""
    found = [each for each in await shop.kpis.measure() if each.kpi == "failed-rebuilds"]
    return [(each.label, each.value, each.crossed, each.command) for each in found if each.label]


async def test_a_rebuild_whose_process_was_killed(store_url: str, tmp_path: Path, processes: Processes) -> None:
    """It is counted while it neither goes on nor was resumed; a run on which somebody works is not."""
    config = with_snapshots(store_url, tmp_path, "wms-a")
    file = tmp_path / "pagefold.toml"
    file.write_text(toml_of(config), encoding="utf-8")
    async with pagefold.open(config) as shop:
        await say(shop, *(stock(1, version=5, sku=sku) for sku in SKUS))
        export(config, "wms-a", *(stock(2, version=6, sku=sku) for sku in SKUS), taken_at="2100-01-01T00:00:00Z")
        assert await seen(shop) == []
        assert await processes.rebuilder(file, "wms-a", "--trap", "2").ended() == -signal.SIGKILL
        async with shop.rebuilds() as rebuilds:
            [killed] = await rebuilds.newest(1, "wms-a")
            assert killed.run is not None
            assert killed.state == "interrupted"
            async with shop.store.coordination.claim(rebuild_claim("wms-a")) as claimed:
                assert claimed
                assert await seen(shop) == [], "somebody may be at it"
            assert await seen(shop) == [("wms-a", 1, True, f"pagefold rebuilds show {killed.run}")]
            assert (await rebuilds.resume(killed.run)).state == "completed"
        assert [each[:3] for each in await seen(shop)] in ([], [("wms-a", 0, False)])
