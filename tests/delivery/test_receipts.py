"""Receipts say of each page what the stores count."""

from collections import Counter

from pagefold import Config
from tests.delivery.test_delivery_work import delivering_to, holds_the_pages, receipts_say_so, working
from tests.support.hostile_target import hostile_target
from tests.support.small_shop import catalog, say, withdrawn


async def test_receipts_hold_what_is_counted(config: Config) -> None:
    """Of pages that are current, withdrawn, behind and missing."""
    async with hostile_target() as target, working(delivering_to(config, target)) as shop:
        await say(shop, catalog("a", sku="A"), catalog("b", sku="B"))
        await holds_the_pages(shop, target)
        await say(shop, withdrawn("catalog", sku="B", version=2))
        await holds_the_pages(shop, target)
        await receipts_say_so(shop, target)
        await shop.targets.pause("shop", by="ada", reason="a test")
        await shop.targets.deliver_skus("shop", ["A"], by="ada", reason="a test")
        receipts = [*await shop.targets.receipts("A"), *await shop.targets.receipts("B")]
        counted = {(each.state, each.holding): 0 for each in await shop.store.deliveries.counts("shop")}
        for each in await shop.store.deliveries.counts("shop"):
            counted[each.state, each.holding] += each.pages
        assert Counter((each.state, each.holding) for each in receipts) == counted
        assert {each.holding for each in receipts} == {"behind", "none"}
        assert await shop.targets.receipts("no\0sku") == []
