"""Snapshots whose rows name SKUs by a reference: CSV, and items of a JSON file, on both stores."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pagefold import Config, Shop
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from tests.dead_letters.test_waiting_letters import ITEM, available, product, take
from tests.support.small_shop import configured, document, say

WAITING = DeadLetterFilter("waiting")


def with_file(url: str, file: Path, **contract: object) -> Config:
    """The small shop, whose warehouse has a snapshot in a form of its own, without versions."""
    sources = document()["sources"]
    sources["wms-a"] |= {
        "snapshot": {"file": str(file), "settle": "0s", "duration": "0s"},
        "contract": {
            "versions": "none",
            "sku": {"from": "item", "via": ITEM},
            "inventory": {"available": "available"},
            **contract,
        },
    }
    return configured(url, sources=sources)


async def rebuild(shop: Shop, *, dry_run: bool = False) -> RunReport:
    """A rebuild of the warehouse."""
    async with shop.rebuilds() as rebuilds:
        report = await rebuilds.rebuild("wms-a", RebuildRequest(dry_run=dry_run, confirmed=True))
    await shop.catch_up()
    return report


def write(file: Path, rows: Sequence[tuple[object, int]]) -> None:
    """Writes the file, as CSV with an end marker, or as a document with other fields around its rows."""
    if file.suffix == ".csv":
        lines = [("item", "available"), *rows, ("#end", len(rows))]
        file.write_text("".join(f"{item},{available}\n" for item, available in lines))
    else:
        items = [{"item": item, "available": available} for item, available in rows]
        file.write_text(json.dumps({"data": {"rows": items, "warehouse": "a"}}))


@pytest.fixture(params=["csv", "json"])
async def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A file in each form."""
    return tmp_path / f"stock.{request.param}"


@pytest.fixture
def config(store_url: str, file: Path) -> Config:
    """The shop with the file."""
    return with_file(store_url, file, **({} if file.suffix == ".csv" else {"items": "data.rows"}))


async def test_rows_are_those_of_the_skus_that_have_the_references(shop: Shop, file: Path) -> None:
    """What is absent is withdrawn, what changed is corrected; a row that is not known yet waits, and proves nothing."""
    await say(shop, product("RED", 11), product("BLUE", 12))
    write(file, [(11, 4), (12, 5)])
    report = await rebuild(shop)
    proves = file.suffix == ".csv"
    assert (report.complete, report.counts.refused) == (proves, 0)
    assert [await available(shop, sku) for sku in ("RED", "BLUE")] == [4, 5]
    write(file, [(11, 6), (13, 7)])
    assert (await rebuild(shop, dry_run=True)).counts.refused == 1
    assert await shop.store.dead_letters.count(WAITING) == 0
    report = await rebuild(shop)
    assert report.counts.refused == 1
    assert [await available(shop, sku) for sku in ("RED", "BLUE")] == [6, 5]
    await rebuild(shop)
    [letter] = await shop.store.dead_letters.oldest(WAITING)
    assert (letter.via, letter.domain, letter.source) == ("snapshot", "inventory", "wms-a")
    await say(shop, product("PINK", 13))
    assert await take(shop) == 1
    assert await available(shop, "PINK") == 7
    report = await rebuild(shop)
    assert report.counts.refused == 0
    assert await available(shop, "BLUE") == (None if proves else 5)


async def test_an_ambiguous_row_waits(shop: Shop, file: Path) -> None:
    """It is never guessed."""
    await say(shop, product("RED", 11), product("BLUE", 11))
    write(file, [(11, 4)])
    assert (await rebuild(shop)).counts.refused == 1
    assert await take(shop) == 0
    await say(shop, product("BLUE", 12, version=2))
    assert await take(shop) == 1
    assert await available(shop, "RED") == 4
