"""Channel filters on both stores: pages that are disabled, what changes when a product or a rule changes, and plans."""

import random

import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.reading.page_reader import was_live
from tests.support.small_shop import (
    Document,
    append,
    apply_file,
    document,
    event,
    pages_of,
    price,
    say,
)

RULES: Document = {
    "clothing": {"only": {"@categories": ["Clothing"]}},
    "no samples": {"without": {"sample": [True]}},
}


def filtering(url: str, rules: Document, **more: object) -> Config:
    """The small shop, with a filter in one channel."""
    tables = document(url, work={"poll_seconds": 0.05})
    tables["channels"]["web-de"] |= {"filters": rules, **more}
    return Config.parse(tables, store=url)


def product(sku: str, *categories: str, version: int = 1, **attributes: object) -> DomainEvent:
    """A product in some categories."""
    payload = {"attributes": attributes, "categories": list(categories)}
    return event("catalog", payload, sku=sku, version=version)


PRODUCTS = [
    product("TEE", "Clothing > Shirts"),
    product("CAP", "Accessories", "Clothing"),
    product("MUG", "Kitchen"),
    product("SAMPLE", "Clothing", sample=True),
]


async def shown(shop: Shop, channel: str = "web-de") -> set[str]:
    """The SKUs of the live pages of a channel."""
    return {page.sku for page in await shop.pages.list_pages(channel, "", 100) if page.status == "live"}


async def test_a_filtered_page_is_disabled(store_url: str) -> None:
    """In the channel that filters, and in no other; verify finds nothing wrong."""
    async with pagefold.open(filtering(store_url, RULES)) as shop:
        await say(shop, *PRODUCTS, price("9.90", sku="MUG"))
        assert await shown(shop) == {"TEE", "CAP"}
        assert await shown(shop, "market-at") == {"TEE", "CAP", "MUG", "SAMPLE"}
        hidden = await shop.pages.get("MUG", "web-de", disabled=True)
        assert hidden is not None
        assert (hidden.status, hidden.sections["catalog"]) == ("disabled", None)
        assert (await shop.verify()).changed == 0


async def test_a_product_that_is_moved_appears_and_disappears(store_url: str) -> None:
    """Whatever the order of arrival; to a storefront it is not there, and not gone for good."""
    async with pagefold.open(filtering(store_url, RULES)) as shop:
        await say(shop, *PRODUCTS)
        await say(shop, product("MUG", "Clothing", version=3), product("TEE", "Kitchen", version=3))
        await say(shop, product("MUG", "Kitchen", version=2), product("TEE", "Clothing", version=2))
        assert await shown(shop) == {"MUG", "CAP"}
        assert not await was_live(shop.store.log, shop.config, "TEE", "web-de")
        await say(shop, event("catalog", {"enabled": False}, sku="CAP", version=2))
        assert await was_live(shop.store.log, shop.config, "CAP", "web-de")


async def test_a_plan_names_what_a_rule_hides(store_url: str) -> None:
    """Applied, the pages are those of a shop that always had the rule; without it, they are as before."""
    async with pagefold.open(filtering(store_url, {})) as shop:
        await say(shop, *PRODUCTS)
        before = await pages_of(shop)
    async with pagefold.open(filtering(store_url, RULES)) as shop:
        await apply_file(shop)
        await shop.catch_up()
        assert await shown(shop) == {"TEE", "CAP"}
        changed = {key for key, page in (await pages_of(shop)).items() if page != before[key]}
        assert changed == {("MUG", "web-de"), ("SAMPLE", "web-de")}
        saved = await shop.plan(filtering(store_url, {"clothing": RULES["clothing"]}))
        assert [(each.sku, each.channel) for each in saved.plan.samples] == [("SAMPLE", "web-de")]
    async with pagefold.open(filtering(store_url, {})) as shop:
        saved = await shop.plan()
        assert saved.plan.changed == 2
        await shop.apply(saved, by="ada", reason="a test")
        await shop.catch_up()
        assert await pages_of(shop) == before


@pytest.mark.parametrize("seed", range(3))
async def test_the_order_of_arrival_does_not_matter(store_url: str, seed: int) -> None:
    """Pages are those of the newest versions."""
    luck = random.Random(seed)
    newest = {sku: luck.choice(["Clothing", "Kitchen", "Clothing > Caps"]) for sku in ("A", "B", "C", "D")}
    events = [product(sku, category, version=9) for sku, category in newest.items()]
    events += [
        product(sku, luck.choice(["Clothing", "Kitchen"]), version=version, sample=luck.random() < 0.5)
        for sku in newest
        for version in range(1, 9)
    ]
    luck.shuffle(events)
    async with pagefold.open(filtering(store_url, RULES)) as shop:
        for each in events:
            await append(shop, each)
            if luck.random() < 0.2:
                await shop.catch_up()
        await shop.catch_up()
        assert await shown(shop) == {sku for sku, category in newest.items() if category != "Kitchen"}
        assert (await shop.verify()).changed == 0


async def test_a_filtered_page_is_not_counted(store_url: str) -> None:
    """The completeness of a channel is that of the products that it shows, also if incomplete pages are hidden."""
    requirements = [{"name": "shop", "requires": [{"attributes": ["gtin"]}]}]
    async with pagefold.open(filtering(store_url, {})) as shop:
        await say(shop, *PRODUCTS)
    for incomplete in ("show", "hide"):
        config = filtering(store_url, RULES, requirements=requirements, incomplete=incomplete)
        async with pagefold.open(config) as shop:
            await apply_file(shop)
            await shop.catch_up()
            report = await shop.completeness.report("web-de")
            assert (report.pages, report.blocked) == (2, 2)
