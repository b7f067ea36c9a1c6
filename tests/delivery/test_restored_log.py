"""A log that was set back: what a target holds is newer than the pages, and comes to be the pages again."""

import shutil
from pathlib import Path

import pagefold
from pagefold import Config
from tests.delivery.test_delivery_work import delivering_to, holds_the_pages, receipts_say_so, working
from tests.support.command_line import on_sqlite
from tests.support.hostile_target import hostile_target
from tests.support.small_shop import catalog, say


@on_sqlite
async def test_a_restored_log(config: Config, tmp_path: Path) -> None:
    """Everything is delivered again: receipts are of pages that no longer exist. Nothing newer stays."""
    folder = tmp_path / "shop"
    async with hostile_target() as target:
        async with working(delivering_to(config, target)) as shop:
            await say(shop, catalog("old", sku="A"), catalog("as it was", sku="C"))
            await holds_the_pages(shop, target)
        shutil.copy(folder / "events.db", tmp_path / "copy.db")
        async with working(delivering_to(config, target)) as shop:
            await say(shop, catalog("new", sku="A", version=2), catalog("added", sku="B"))
            await holds_the_pages(shop, target)
        shutil.copy(tmp_path / "copy.db", folder / "events.db")
        async with pagefold.open(config) as shop:
            await shop.recover(confirmed=True)
        target.arrived.clear()
        async with working(delivering_to(config, target)) as shop:
            await holds_the_pages(shop, target)
            await receipts_say_so(shop, target)
        assert {sku for sku, _ in target.held} == {"A", "C"}
        assert target.held.keys() <= target.arrived.keys()
