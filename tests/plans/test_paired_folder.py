"""Folding under two configurations at once gives what folding under each gives."""

import random

import pytest

import pagefold
from pagefold import Shop
from pagefold.domains import DOMAINS
from pagefold.engine.folding.folder import Folder
from pagefold.engine.plans.paired_folder import PairedFolder
from pagefold.projections import sections_of
from tests.folding.test_kept_pages import keeping, product
from tests.plans.test_plans import all_pages, planned, products
from tests.support.rebuild_fixtures import CHANGES, POLICIES
from tests.support.small_shop import append, apply_file, catalog, price, say, with_channel


@pytest.mark.parametrize("name", sorted(CHANGES | POLICIES))
async def test_folding_at_once_is_folding_twice(shop: Shop, name: str) -> None:
    """Section by section; SKUs that cannot be folded under either configuration are left."""
    await append(shop, *products(random.Random(7)), price("1.00", channel="market-at", sku="OWN-PRICE"))
    channels = shop.config.resolved_channels, (CHANGES | POLICIES)[name](shop.config).resolved_channels
    for domain in DOMAINS:
        apart = [Folder(domain, each, shop.store.log) for each in channels]
        sent = [event for event in await shop.store.log.window(domain.name, 0, 10_000) if "/" in event.originator_id]
        heads = await apart[0].heads(sorted({event.originator_id.partition("/")[0] for event in sent}))
        before, after, left = await PairedFolder(domain, *channels, shop.store.log).sections(heads)
        expected = [await folder.fold_without_reading(heads) for folder in apart]
        assert left == expected[0][1] | expected[1][1]
        assert ("OWN-PRICE" in left) == ((name, domain.name) == ("currency", "pricing"))
        for found, (sections, _) in zip((before, after), expected, strict=True):
            assert sections_of(found) == sections_of([each for each in sections if each.sku not in left])
        for own, other in zip(before, after, strict=True):
            assert own.contents is other.contents
            assert len(set(own.contents)) == len(own.contents)


async def test_what_needs_older_versions_is_left(shop: Shop) -> None:
    """A page that is incomplete under one of the configurations, which keeps such pages."""
    await append(shop, catalog("shirt", sku="SHIRT"), product(1, "tee"), product(2, None))
    keeps = keeping(shop.config.store.url).resolved_channels
    paired = PairedFolder(DOMAINS[0], shop.config.resolved_channels, keeps, shop.store.log)
    heads = await Folder(DOMAINS[0], keeps, shop.store.log).heads(["SHIRT", "TEE"])
    found = await paired.sections(heads)
    assert ([each.sku for each in found.before], found.left) == (["SHIRT"], {"TEE"})


async def test_a_plan_has_what_is_left(shop: Shop) -> None:
    """A price that no longer fits its channel is a dead letter, whose page loses what it said."""
    await say(shop, *products(random.Random(7)), price("1.00", channel="web-de", sku="SKU-00", version=9))
    changed = with_channel(shop.config, "web-de", currency="USD")
    _, named = await planned(shop, changed)
    before = await all_pages(shop, ["web-de"])
    async with pagefold.open(changed) as after:
        await apply_file(after)
        await after.catch_up()
        pages = await all_pages(after, ["web-de"])
        assert await after.dead_letters.count() > 0
    assert {each.sku for each in named} == {sku for sku, _ in before if before[sku, "web-de"] != pages[sku, "web-de"]}
    assert "SKU-00" in {each.sku for each in named}
