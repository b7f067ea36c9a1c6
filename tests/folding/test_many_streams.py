"""Shops in which a SKU may have many streams of a domain, most of which do not exist."""

import pytest

from pagefold.engine.folding import head_folder
from pagefold.engine.shop import Shop
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import encode_part
from tests.stores.test_store_contract import ODD_SKUS
from tests.support.small_shop import catalog, event, insert, pages_of, price, say

SKUS = ["A", "A/1", "A%", "B", "Ä"]


@pytest.mark.parametrize("max_named", [0, 1_000])
async def test_heads_by_name_and_by_sku_give_the_same_pages(
    shop: Shop, max_named: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the fold reads the heads of all possible streams, or those that the SKUs have."""
    monkeypatch.setattr(head_folder, "MAX_NAMED_STREAMS", max_named)
    for sku in SKUS:
        await say(shop, catalog("shirt", sku=sku), price("5.00", sku=sku), price("6.00", sku=sku, channel="web-de"))
        await say(shop, event("inventory", {"available": 3}, sku=sku, source="wms-a"))
        await say(shop, event("inventory", {"available": 4}, sku=sku, source="wms-b", channel="web-us"))
    await say(shop, price("7.00", sku="B", version=2))
    pages = await pages_of(shop)
    assert len(pages) == len(SKUS) * len(shop.config.channels)
    monkeypatch.setattr(head_folder, "MAX_NAMED_STREAMS", 16)
    found = await shop.verify()
    assert (found.changed, found.sections) == (0, sum(_sections(page) for page in pages.values()))
    await shop.replay()
    assert await pages_of(shop) == pages


def _sections(page: bytes | None) -> int:
    """How many sections a page has: one for each entry of `sourceVersions` of another domain."""
    assert page is not None
    return sum(f'"{domain}/'.encode() in page for domain in ("catalog", "pricing", "inventory", "media"))


async def test_an_event_that_no_channel_reads_is_checked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stream is not among those that decide pages, and its head is decoded all the same."""
    monkeypatch.setattr(head_folder, "MAX_NAMED_STREAMS", 0)
    await say(shop, event("inventory", {"available": 3}, sku="A", source="wms-a", channel="market-at"))
    [checkpoint] = [each for each in await shop.store.coordination.checkpoints() if each.domain == "inventory"]
    assert (checkpoint.applied, checkpoint.stale, checkpoint.dead) == (1, 0, 0)
    assert await shop.store.pages.count("inventory") == 0


async def test_the_streams_of_skus(store: Store) -> None:
    """Every stream of each SKU once, whatever characters it has; none of a SKU that it begins, or of an application."""
    assert await store.log.streams_of(ODD_SKUS) == []
    suffixes = ["/*/inventory/wms", "/web-de/pricing/erp", "/web-de/pricing/erp2"]
    streams = [encode_part(sku) + suffix for sku in ODD_SKUS for suffix in suffixes]
    for version in (1, 2):
        await insert(store, *streams, *ODD_SKUS[:2], version=version)
    encoded = [encode_part(sku) for sku in ODD_SKUS]
    assert sorted(await store.log.streams_of(encoded)) == sorted(streams)
    for sku in encoded:
        assert sorted(await store.log.streams_of([sku, "none"])) == [sku + suffix for suffix in suffixes]
    assert await store.log.streams_of([]) == []
