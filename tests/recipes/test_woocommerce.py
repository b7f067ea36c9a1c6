"""The recipe for WooCommerce: its products, variations, webhooks and deletions become the pages that are meant."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pagefold.engine.errors import SourceFailed
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchWorker
from tests.recipes.recipe_shop import RecipeShop, delivery_in, format_file, recipe_shop, wanted_pages
from tests.recipes.woocommerce_server import (
    START,
    VARIABLES,
    WooCommerce,
    body_of,
    busy_now_and_then,
    gmt,
    product,
    variation,
)
from tests.support.command_line import on_sqlite
from tests.support.fake_endpoint import Asked, Reply, serving

LATER = START + timedelta(days=1)


class Woo(NamedTuple):
    """A shop that was made by the recipe, and the WooCommerce that it belongs to."""

    at: RecipeShop
    woo: WooCommerce

    async def page(self, sku: str) -> Any:  # noqa: ANN401  # JSON
        """A page; None if there is none, or if it is disabled."""
        return await self.at.page(sku, "shop-de")

    async def stock(self, sku: str) -> Any:  # noqa: ANN401  # JSON
        """The stock on a page: how many, and its status."""
        page = await self.page(sku)
        return page["inventory"]["available"], page["inventory"]["status"]


@asynccontextmanager
async def made(folder: Path, url: str, *products: dict[str, Any], signing: str | None = None) -> AsyncIterator[Woo]:
    """A shop by the recipe, whose WooCommerce has these products."""
    woo = WooCommerce(*products)
    variables = VARIABLES | ({} if signing is None else {"WOO_WEBHOOK_SECRET": signing})
    async with serving(woo) as server:
        contract = 'contract = "contracts/woocommerce-products.toml"'
        addresses = {
            "https://shop.example": server.url,
            "requests_per_second = 5": "requests_per_second = 1000",
            contract: f'{contract}\nsettle = "0s"',  # in a test, everything was said just now
        }
        async with recipe_shop("woocommerce", folder, url, addresses=addresses, variables=variables) as at:
            yield Woo(at, woo)


# --- recorded payloads ----------------------------------------------------------------------------


def rows_in(name: str) -> list[dict[str, Any]]:
    """The rows of a recorded page."""
    text = format_file("woocommerce", name).read_text("utf-8")
    rows: list[dict[str, Any]] = json.loads(text.partition("\n\n")[2] if name.endswith(".txt") else text)
    return rows


async def test_recorded_payloads_give_their_pages(tmp_path: Path, store_url: str) -> None:
    """All pages of products, the variations, the ping, a variation's webhook, and then a deletion."""
    wanted = wanted_pages("woocommerce")
    updated, deleted, ping = (
        delivery_in(format_file("woocommerce", f"webhook.{name}.txt").read_text("utf-8"))
        for name in ("product-updated", "product-deleted", "ping")
    )
    rows = [*rows_in("products.page1.txt"), *rows_in("products.last.txt")]
    async with made(tmp_path, store_url, *rows, signing=updated.notes["secret"]) as shop:
        shop.woo.add_variations(812, *rows_in("variations.page.json"))
        report = await shop.at.rebuild("woo")
        assert (report.state, report.counts.refused) == ("completed", 0)
        assert (await shop.at.deliver(ping)).status_code == 200
        assert (await shop.at.deliver(updated)).status_code == 202
        assert await shop.at.pages(wanted) == wanted
        for sku in ("TIDE", "814", ""):
            assert await shop.page(sku or "813") is None
        assert (await shop.at.deliver(deleted)).status_code == 202
        assert await shop.page("HON-500") is None
        assert await shop.page("TIDE-BLU") is not None
        assert await shop.at.shop.dead_letters.newest() == []


# --- products -------------------------------------------------------------------------------------


async def test_stock_of_every_kind(tmp_path: Path, store_url: str) -> None:
    """Counted, oversold, or not counted: then the status decides."""
    kinds: dict[str, dict[str, Any]] = {
        "counted": {},
        "none": {"stock_quantity": 0, "stock_status": "outofstock"},
        "oversold": {"stock_quantity": -2, "backorders": "yes", "stock_status": "onbackorder"},
        "uncounted": {"manage_stock": False, "stock_quantity": None},
        "gone": {"manage_stock": False, "stock_quantity": None, "stock_status": "outofstock"},
        "later": {"manage_stock": False, "stock_quantity": None, "stock_status": "onbackorder"},
    }
    products = [product(number, sku=name, **kinds[name]) for number, name in enumerate(kinds, 1)]
    async with made(tmp_path, store_url, *products) as shop:
        await shop.at.rebuild("woo")
        assert {name: await shop.stock(name) for name in kinds} == {
            "counted": (3, "in_stock"),
            "none": (0, "out_of_stock"),
            "oversold": (0, "backorder"),
            "uncounted": (None, "in_stock"),
            "gone": (0, "out_of_stock"),
            "later": (0, "backorder"),
        }


async def test_prices_of_every_kind(tmp_path: Path, store_url: str) -> None:
    """A sale without dates counts at once; with dates, from the first to the last second; without a price, none."""
    sale = {"sale_price": "7.5", "regular_price": "9.9"}
    begins = {"date_on_sale_from_gmt": "2026-03-19T23:00:00"}
    ends = {"date_on_sale_to_gmt": "2026-03-27T22:59:59"}
    kinds: dict[str, dict[str, Any]] = {
        "plain": {},
        "sale": sale,
        "planned": sale | begins | ends,
        "until": sale | ends,
        "free of dates": begins,
        "none": {"regular_price": "", "price": ""},
    }
    products = [product(number, sku=name, **kinds[name]) for number, name in enumerate(kinds, 1)]
    async with made(tmp_path, store_url, *products) as shop:
        await shop.at.rebuild("woo")
        prices = {name: (await shop.page(name)).get("pricing") for name in kinds}
        planned = {"amount": "7.50", "from": "2026-03-19T23:00:00Z", "until": "2026-03-27T23:00:00Z"}
        until = {"amount": "7.50", "until": "2026-03-27T23:00:00Z"}
        assert prices == {
            "plain": {"amount": "9.90", "currency": "EUR"},
            "sale": {"amount": "7.50", "compareAt": "9.90", "currency": "EUR"},
            "planned": {"amount": "9.90", "currency": "EUR", "scheduled": [planned]},
            "until": {"amount": "9.90", "currency": "EUR", "scheduled": [until]},
            "free of dates": {"amount": "9.90", "currency": "EUR"},
            "none": None,
        }


def with_variations(shop: Woo) -> None:
    """A product with four variations: one has its own picture, one no SKU, one is private, one has its parent's SKU."""
    parent = product(10, type="variable", sku="MUG", name="Mug", images=[{"src": "a.jpg"}, {"src": "b.jpg"}])
    parent["attributes"] = [
        {"name": "Color", "variation": True, "options": ["Blue", "Red"]},
        {"name": "Material", "variation": False, "options": ["Clay"]},
    ]
    shop.woo.products[10] = parent
    shop.woo.add_variations(
        10,
        variation(11, sku="MUG-B", description="Blue one", image={"src": "blue.jpg"}, attributes=[color("Blue")]),
        variation(12, sku="", attributes=[color("Red")]),
        variation(13, sku="MUG-G", status="private", description="", attributes=[color("Grey")]),
        variation(14, sku="MUG", description="", attributes=[color("Green")]),
        variation(15, sku="MUG-W", description="", manage_stock="parent", stock_quantity=40),
    )


def color(name: str) -> dict[str, str]:
    """An attribute of a variation."""
    return {"name": "Color", "option": name}


async def test_variations_have_what_their_parent_has(tmp_path: Path, store_url: str) -> None:
    """Name, categories, pictures, attributes that do not vary. The parent itself is not sold."""
    async with made(tmp_path, store_url) as shop:
        with_variations(shop)
        report = await shop.at.rebuild("woo")
        assert (report.state, report.counts.refused) == ("completed", 0)
        blue, white = await shop.page("MUG-B"), await shop.page("MUG-W")
        assert blue["catalog"] == {
            "attributes": {"Color": "Blue", "Material": ["Clay"], "name": "Mug", "description": "Blue one"},
            "categories": ["all"],
            "family": None,
            "parent": "MUG",
        }
        assert [each["url"] for each in blue["media"]["assets"]] == ["blue.jpg"]
        assert [(each["url"], each["position"]) for each in white["media"]["assets"]] == [("a.jpg", 0), ("b.jpg", 1)]
        assert white["catalog"]["attributes"]["description"] == "<p>text</p>"
        assert await shop.stock("MUG-W") == (None, "in_stock")
        assert [await shop.page(sku) for sku in ("MUG", "MUG-G", "12")] == [None, None, None]


# --- webhooks -------------------------------------------------------------------------------------


async def test_what_happens_to_a_product(tmp_path: Path, store_url: str) -> None:
    """It is made, its stock changes without its moment, it is changed, trashed, and restored."""
    async with made(tmp_path, store_url) as shop:
        await shop.woo.send(shop.at, "product.created", product(1))
        assert await shop.page("SKU-1") is None  # the webhook is not on yet
        await shop.woo.save_webhook(shop.at)
        assert shop.woo.webhook
        await shop.woo.send(shop.at, "product.created", product(1))
        assert await shop.stock("SKU-1") == (3, "in_stock")
        await shop.woo.send(shop.at, "product.updated", product(1, stock_quantity=2))
        assert await shop.stock("SKU-1") == (2, "in_stock")
        changed = product(1, name="New", status="draft", date_modified_gmt=gmt(LATER))
        await shop.woo.send(shop.at, "product.updated", changed)
        assert await shop.page("SKU-1") is None
        await shop.woo.send(shop.at, "product.updated", changed | {"status": "publish"})
        assert (await shop.page("SKU-1"))["catalog"]["attributes"]["name"] == "New"
        await shop.woo.send(shop.at, "product.deleted", {"id": 1})
        assert await shop.page("SKU-1") is None
        restored = product(1, date_modified_gmt=gmt(datetime.now(START.tzinfo) + timedelta(seconds=2)))
        await shop.woo.send(shop.at, "product.restored", restored)
        assert (await shop.page("SKU-1"))["catalog"]["attributes"]["name"] == "Product 1"
        await shop.woo.send(shop.at, "product.updated", product(2, sku=""))
        assert set(shop.woo.statuses) == {202}
        assert await shop.at.shop.dead_letters.newest() == []


async def test_a_variation_changes_alone(tmp_path: Path, store_url: str) -> None:
    """Its webhook takes nothing away that its parent has; under its parent's SKU, nothing is sold."""
    async with made(tmp_path, store_url) as shop:
        with_variations(shop)
        await shop.at.rebuild("woo")
        await shop.woo.save_webhook(shop.at)
        before, parent = await shop.page("MUG-W"), shop.woo.products[10]
        own = shop.woo.variations[10][15] | {"regular_price": "11", "date_modified_gmt": gmt(LATER), "weight": "0.4"}
        await shop.woo.send(shop.at, "product.updated", body_of(parent, own))
        after = await shop.page("MUG-W")
        assert after["catalog"]["attributes"] == before["catalog"]["attributes"] | {"weight": "0.4"}
        assert {**after["catalog"], "attributes": {}} == {**before["catalog"], "attributes": {}}
        assert (after["media"], after["pricing"]["amount"]) == (before["media"], "11.00")
        for number in (12, 14):
            changed = shop.woo.variations[10][number] | {"date_modified_gmt": gmt(LATER)}
            await shop.woo.send(shop.at, "product.updated", body_of(parent, changed))
        assert await shop.page("MUG") is None
        hidden = own | {"status": "private", "date_modified_gmt": gmt(LATER + timedelta(days=1))}
        await shop.woo.send(shop.at, "product.updated", body_of(parent, hidden))
        assert await shop.page("MUG-W") is None


async def test_a_product_with_variations_is_fetched(tmp_path: Path, store_url: str) -> None:
    """Its webhook has only the ids of its variations; several changes make one fetch. A trashed one withdraws all."""
    async with made(tmp_path, store_url) as shop:
        with_variations(shop)
        await shop.woo.save_webhook(shop.at)
        body = shop.woo.products[10]
        for _ in range(5):
            await shop.woo.send(shop.at, "product.updated", body)
        worker = FetchWorker(shop.at.shop, lambda: datetime.now(START.tzinfo) + timedelta(minutes=1))
        await worker.run_due()
        assert shop.woo.answered == 2
        assert (await shop.page("MUG-B"))["catalog"]["attributes"]["name"] == "Mug"
        body |= {"name": "Cup", "date_modified_gmt": gmt(LATER)}
        await shop.woo.send(shop.at, "product.updated", body)
        await worker.run_due()
        assert (await shop.page("MUG-B"))["catalog"]["attributes"]["name"] == "Cup"
        await shop.woo.send(shop.at, "product.deleted", {"id": 11})
        assert [await shop.page(sku) is None for sku in ("MUG-B", "MUG-W")] == [True, False]
        await shop.woo.send(shop.at, "product.deleted", {"id": 10})
        assert await shop.page("MUG-W") is None
        assert set(shop.woo.statuses) == {202}


async def test_a_busy_shop_keeps_deliveries(tmp_path: Path, store_url: str) -> None:
    """WooCommerce never repeats one, and turns the webhook off after more than five failures in a row."""
    async with made(tmp_path, store_url) as shop:
        await shop.woo.save_webhook(shop.at)
        inner = shop.at.shop
        inner._appender.queued = inner.config.append.queue
        for number in range(1, 11):
            await shop.woo.send(shop.at, "product.created", product(number))
        assert (set(shop.woo.statuses), shop.woo.webhook) == ({202}, True)
        assert await shop.page("SKU-1") is None
        inner._appender.queued = 0
        assert await inner.waiting.take_all() == 10
        assert [await shop.stock(f"SKU-{number}") for number in (1, 10)] == [(3, "in_stock")] * 2
        await shop.at.deliver(WooCommerce.delivery("product.updated", product(1, stock_quantity=0)))
        assert await inner.dead_letters.newest() == []


async def test_a_webhook_with_another_secret_is_refused(tmp_path: Path, store_url: str) -> None:
    """It is turned off by WooCommerce, and nothing is stored."""
    async with made(tmp_path, store_url, signing="another") as shop:
        await shop.woo.save_webhook(shop.at)
        for number in range(10):
            await shop.woo.send(shop.at, "product.updated", product(number + 1))
        assert (shop.woo.statuses, shop.woo.webhook) == ([401] * 6, False)
        assert await shop.page("SKU-1") is None


# --- deltas and rebuilds --------------------------------------------------------------------------


async def test_a_delta_reads_what_changed(tmp_path: Path, store_url: str) -> None:
    """With the variations of changed products, through faults; what was deleted stays until a rebuild."""
    products = [product(number) for number in range(20, 40)]
    async with made(tmp_path, store_url, *products) as shop:
        with_variations(shop)
        await shop.at.rebuild("woo")
        now = datetime.now(START.tzinfo)
        shop.woo.products[20] |= {"name": "Changed", "date_modified_gmt": gmt(now)}
        shop.woo.products[10] |= {"name": "Cup", "date_modified_gmt": gmt(now)}
        shop.woo.trash(21)
        shop.woo.before = busy_now_and_then(2)
        report = await DeltaSync(shop.at.shop).run("woo")
        assert report.records == 2
        assert (await shop.page("SKU-20"))["catalog"]["attributes"]["name"] == "Changed"
        assert (await shop.page("MUG-B"))["catalog"]["attributes"]["name"] == "Cup"
        assert await shop.page("SKU-21") is not None
        shop.woo.before = lambda _asked, _number: None
        assert (await shop.at.rebuild("woo")).state == "completed"
        assert await shop.page("SKU-21") is None


async def test_a_delta_whose_rows_move_is_repeated(tmp_path: Path, store_url: str) -> None:
    """A product that goes moves others to the page before: the run fails, and the next one begins where it did."""
    products = [product(number, date_modified_gmt=gmt(datetime.now(START.tzinfo))) for number in range(1, 251)]
    async with made(tmp_path, store_url, *products) as shop:

        def change(_asked: Asked, number: int) -> Reply | None:
            shop.woo.trash(number)
            shop.woo.products[1_000 + number] = product(1_000 + number, date_modified_gmt=gmt(LATER.replace(year=2027)))
            return None

        shop.woo.before = change
        with pytest.raises(SourceFailed, match="rows moved between its pages while they were read"):
            await DeltaSync(shop.at.shop).run("woo")
        shop.woo.before = lambda _asked, _number: None
        await DeltaSync(shop.at.shop).run("woo")
        assert [await shop.page(f"SKU-{number}") is None for number in (100, 101, 102, 250)] == [False] * 4


async def test_variations_that_cannot_be_read_change_nothing(tmp_path: Path, store_url: str) -> None:
    """The rest of the snapshot is read, and nothing is withdrawn."""
    async with made(tmp_path, store_url, product(1), product(2)) as shop:
        with_variations(shop)
        await shop.at.rebuild("woo")
        shop.woo.trash(1)
        shop.woo.products[2] |= {"name": "Changed", "date_modified_gmt": gmt(LATER)}
        shop.woo.before = lambda asked, _: Reply(b"", 404) if asked.path.endswith("variations") else None
        report = await shop.at.rebuild("woo")
        assert (report.complete, report.counts.withdrawn) == (False, 0)
        assert (await shop.page("SKU-2"))["catalog"]["attributes"]["name"] == "Changed"
        assert [await shop.page(sku) is None for sku in ("SKU-1", "MUG-B")] == [False, False]


@on_sqlite
async def test_ten_thousand_products_that_change_meanwhile(tmp_path: Path, store_url: str) -> None:
    """While pages move, products are skipped or come twice: nothing of them is withdrawn. A quiet run repairs all."""
    products = [product(number) for number in range(1, 10_001)]
    async with made(tmp_path, store_url, *products) as shop:
        assert (await shop.at.rebuild("woo", ["catalog"])).state == "completed"
        faults, next_id = busy_now_and_then(61), 10_001

        def change(asked: Asked, number: int) -> Reply | None:
            nonlocal next_id
            shop.woo.trash(7 * number)
            shop.woo.products[next_id] = product(next_id)
            changed = shop.woo.products.get(9_000 - number)
            if changed is not None:
                changed |= {"name": "Changed", "date_modified_gmt": gmt(LATER)}
            next_id += 1
            return faults(asked, number)

        shop.woo.before = change
        moving = await shop.at.rebuild("woo", ["catalog"])
        assert (moving.complete, moving.counts.withdrawn) == (False, 0)
        await shop.at.shop.catch_up()
        there = [number for number in shop.woo.products if number <= 10_000]
        assert all([await shop.at.shop.pages.get_json(f"SKU-{n}", "shop-de") for n in there[::100]])
        shop.woo.before = lambda _asked, _number: None
        quiet = await shop.at.rebuild("woo", ["catalog"])
        assert quiet.state == "completed"
        await shop.at.shop.catch_up()
        listed = {f"SKU-{number}" for number in shop.woo.products}
        skus = [f"SKU-{number}" for number in range(1, next_id)]
        read = partial(shop.at.shop.pages.get_many_json, channel="shop-de")
        pages = [await read(skus[at : at + 500]) for at in range(0, next_id, 500)]
        assert {sku for some in pages for sku in some} == listed
