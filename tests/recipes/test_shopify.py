"""The recipe for Shopify: what its exports, pages and webhooks say becomes the pages that are meant."""

import json
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pagefold.engine.errors import SourceFailed
from pagefold.engine.sync.delta_sync import DeltaSync
from tests.recipes.recipe_shop import (
    RecipeShop,
    delivery_in,
    format_file,
    opened,
    recipe_shop,
    wanted_pages,
)
from tests.recipes.shopify_api import SECRETS, Line, Shopify, delivery, product_lines, update_of
from tests.support.fake_endpoint import Reply, Server, serving

SYSTEM = "shopify"
TITLE = {"sku": "KET-RED", "channel": "web-de"}


@asynccontextmanager
async def shop_of(folder: Path, store_url: str) -> AsyncIterator[tuple[RecipeShop, Shopify]]:
    """A shop made by the recipe, and the Shopify that it reads."""
    servers: list[Server] = []
    shopify = Shopify(lambda: servers[0].url)
    async with serving(shopify) as server:
        servers.append(server)
        addresses = {
            "https://shop.example": server.url,
            '"storage.googleapis.com"': f'"{server.url.replace("127.0.0.1", "localhost")}"',
            "requests_per_second = 1\n": "requests_per_second = 1000\n",
            'status = "data.node.status"\n': 'status = "data.node.status"\nevery = "1ms"\n',
            'every = "10m"\n': 'every = "10m"\nstart = "2026-03-01T00:00:00Z"\n',
            **{
                f"\n[sources.{name}.snapshot]\n": f"\n[sources.{name}.snapshot]\nsettle = 0\n"
                for name in ("shop", "shop-stock")
            },
        }
        async with recipe_shop(SYSTEM, folder, store_url, addresses=addresses, variables=SECRETS) as made:
            yield made, shopify


def lines_of(name: str) -> list[Line]:
    """The lines of a recorded bulk operation."""
    return [json.loads(line) for line in format_file(SYSTEM, name).read_text("utf-8").splitlines()]


def recorded(name: str, secret: str) -> Any:  # noqa: ANN401  # a delivery
    """A recorded webhook, whose secret is that of the test."""
    found = delivery_in(format_file(SYSTEM, name).read_text("utf-8"))
    assert found.notes["secret"] == secret
    return found


RECORDED_SECRET = "nordlicht-shopify-client-secret"  # noqa: S105  # of the recorded webhooks


@pytest.mark.parametrize("turned", [False, True])
async def test_recorded_lines_and_webhooks_make_the_pages_that_are_wanted(
    tmp_path: Path,
    store_url: str,
    turned: bool,  # noqa: FBT001  # a case
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bulk operations in any order of their lines, then an update, the stock of a location, and a deletion."""
    monkeypatch.setitem(SECRETS, "SHOPIFY_CLIENT_SECRET", RECORDED_SECRET)
    async with shop_of(tmp_path, store_url) as (made, shopify):
        shopify.products, shopify.items = lines_of("bulk-products.jsonl.txt"), lines_of("bulk-inventory.jsonl.txt")
        if turned:
            shopify.products.reverse()
            shopify.items.reverse()
        first = await made.rebuild("shop")
        assert (first.complete, first.refusals, first.counts.left_out > 0) == (True, [], True)
        await made.shop.catch_up()
        assert (await made.rebuild("shop-stock")).complete
        black = await made.page("KET-BLK", "web-de")
        assert (black["status"], black["inventory"]["available"], black["inventory"]["status"]) == (
            "live",
            None,
            "in_stock",
        )
        for name in ("webhook.products-update.txt", "webhook.inventory-level.txt"):
            assert (await made.deliver(recorded(name, RECORDED_SECRET))).status_code == 202
            await made.shop.catch_up()
        wanted = wanted_pages(SYSTEM)
        assert await made.pages(wanted) == wanted
        assert await made.page("KET-BLK", "web-de") is None
        assert (await made.deliver(recorded("webhook.products-delete.txt", RECORDED_SECRET))).status_code == 202
        assert await made.page("KET-RED", "web-de") is None


def replaced(text: str, table: str, by: str) -> str:
    """A configuration with other text in place of a table, up to the comment after it."""
    begin = text.index(f"[{table}]\n")
    return text[:begin] + by + text[text.index("\n# ", begin) :]


async def test_recorded_pages_of_rest_are_complete(tmp_path: Path, store_url: str) -> None:
    """The second answer leads to no next one, which shows that there is none; a refusal for haste is repeated."""
    answers = format_file(SYSTEM, "rest-pages.txt").read_text("utf-8").partition("HTTP/1.1")[2].split("===")
    async with shop_of(tmp_path, store_url) as (_, shopify):
        file = tmp_path / "pagefold.toml"
        address = shopify.address
        shopify.pages = [reply_in(answer, address) for answer in answers]
        shopify.throttle = 2
        commented = file.read_text("utf-8").partition("# Or the REST API")[2].partition("# Or an export")[0]
        rest = "\n".join(line.removeprefix("# ") for line in commented.splitlines()[1:])
        rest = rest.replace("requests_per_second = 2\n", "requests_per_second = 1000\n")
        file.write_text(replaced(file.read_text("utf-8"), "sources.shop.snapshot", rest), "utf-8")
        async with opened(tmp_path, store_url, variables=SECRETS) as made:
            report = await made.rebuild("shop")
            assert (report.complete, report.counts.rows) == (True, 4)
            page = await made.page("SOAP-2", "web-de")
            assert (page["catalog"]["attributes"], page["pricing"]["amount"]) == ({"title": "SOAP-2"}, "4.50")


def reply_in(text: str, address: str) -> Reply:
    """A recorded answer of another shop, as this one gives it."""
    head, _, body = text.strip().partition("\n\n")
    headers = dict(line.split(": ", 1) for line in head.splitlines()[1:])
    if "Link" in headers:
        headers["Link"] = headers["Link"].replace("https://nordlicht.myshopify.com", address)
    return Reply(body.encode(), 200, headers)


async def test_an_export_has_two_pictures_for_each_variant(tmp_path: Path, store_url: str) -> None:
    """The first row of a product counts for all of its rows; a row with a picture alone is no page."""
    export = format_file(SYSTEM, "products.csv")
    async with shop_of(tmp_path, store_url):
        pass  # writes the files
    file = tmp_path / "pagefold.toml"
    csv = f'[sources.shop.snapshot]\nfile = "{export}"\nends = "file"\ncontract = "contracts/shopify-export.toml"\n'
    file.write_text(replaced(file.read_text("utf-8"), "sources.shop.snapshot", csv), "utf-8")
    async with opened(tmp_path, store_url, variables=SECRETS) as made:
        report = await made.rebuild("shop")
        assert report.refusals == []
        black, red = await made.page("KET-BLK", "web-de"), await made.page("KET-RED", "web-de")
    assert black["catalog"]["attributes"] == {"color": "Black", "vendor": "Nordlicht", "title": "Kettle Fjell"}
    assert red["catalog"]["attributes"]["barcode"] == "4006381333931"
    assert (red["pricing"]["compareAt"], black["pricing"]["amount"]) == ("49.90", "39.90")
    assert [each["position"] for each in black["media"]["assets"]] == [1, 2]
    assert black["media"] == red["media"]


# --- deliveries and exports of any shop ------------------------------------------------------------

PRODUCT: Mapping[str, Any] = {
    "id": 700,
    "title": "Kanne",
    "handle": "kanne",
    "vendor": "Nord",
    "status": "active",
    "updated_at": "2026-03-03T10:30:00+01:00",
    "options": [{"name": "Size"}],
    "images": [{"src": "https://cdn.example/kanne.jpg", "position": 1, "alt": None, "width": 10, "height": 20}],
    "variants": [
        {
            "sku": "KANNE-S",
            "price": "12.90",
            "compare_at_price": None,
            "barcode": "1",
            "option1": "S",
            "inventory_item_id": 71,
        },
        {
            "sku": None,
            "price": "13.90",
            "compare_at_price": None,
            "barcode": "2",
            "option1": "M",
            "inventory_item_id": 72,
        },
    ],
}
LEVEL = {"inventory_item_id": 71, "location_id": 70110020030, "available": 4, "updated_at": "2026-03-03T09:31:15Z"}


async def test_a_new_product_its_stock_and_its_end(tmp_path: Path, store_url: str) -> None:
    """A product comes with its price, its stock under another id, and goes by the id of the product alone."""
    async with shop_of(tmp_path, store_url) as (made, _):
        assert (await made.deliver(delivery("products/create", PRODUCT))).status_code == 202
        await made.shop.catch_up()
        assert (await made.deliver(delivery("inventory_levels/update", LEVEL))).status_code == 202
        page = await made.page("KANNE-S", "web-de")
        assert (page["pricing"]["amount"], page["inventory"]["available"]) == ("12.90", 4)
        assert page["catalog"]["attributes"] == {"title": "Kanne", "vendor": "Nord", "size": "S", "barcode": "1"}
        assert page["media"]["assets"][0]["url"] == "https://cdn.example/kanne.jpg"
        disconnected = {name: LEVEL[name] for name in ("inventory_item_id", "location_id")}
        assert (await made.deliver(delivery("inventory_levels/disconnect", disconnected))).status_code == 202
        assert (await made.page("KANNE-S", "web-de"))["inventory"] is None
        await made.deliver(delivery("products/delete", {"id": 700}))
        assert await made.page("KANNE-S", "web-de") is None


@pytest.mark.parametrize("variants", [2, 100])
async def test_what_an_update_lacks_is_withdrawn_if_it_has_all(tmp_path: Path, store_url: str, variants: int) -> None:
    """From a hundred variants on, the rest may only not be in the delivery; a draft is withdrawn as a whole."""

    def of(number: int, updated: str) -> dict[str, Any]:
        each = [{**PRODUCT["variants"][0], "sku": f"K-{place}", "inventory_item_id": place} for place in range(number)]
        return {**PRODUCT, "updated_at": updated, "variants": each}

    async with shop_of(tmp_path, store_url) as (made, _):
        await made.deliver(delivery("products/create", of(variants + 1, "2026-03-03T10:00:00Z")))
        await made.shop.catch_up()
        await made.deliver(delivery("products/update", of(variants, "2026-03-03T11:00:00Z")))
        assert (await made.page(f"K-{variants}", "web-de") is None) == (variants < 100)
        assert (await made.page("K-0", "web-de"))["pricing"]["amount"] == "12.90"
        await made.deliver(delivery("products/update", {**of(1, "2026-03-03T12:00:00Z"), "status": "draft"}))
        assert await made.page("K-0", "web-de") is None


async def test_a_delta_has_the_texts_that_webhooks_lack(tmp_path: Path, store_url: str) -> None:
    """What changed comes as a bulk operation of its own: with its variants, or not at all if that fails."""
    async with shop_of(tmp_path, store_url) as (made, shopify):
        await made.deliver(delivery("products/create", PRODUCT))
        shopify.products = [*product_lines(700, 1, random.Random(1)), *product_lines(701, 1, random.Random(2))]
        shopify.products[0] |= {"updatedAt": "2026-03-03T09:30:00Z"}
        shopify.products[1] |= {"sku": "KANNE-S"}
        shopify.throttle = shopify.busy = shopify.fail = 1
        with pytest.raises(SourceFailed, match="the export failed; only a part of it could be read"):
            await DeltaSync(made.shop).run("shop")
        assert (await made.page("KANNE-S", "web-de"))["catalog"]["attributes"]["title"] == "Kanne"
        report = await DeltaSync(made.shop).run("shop")
        assert (report.records, report.needs_attention) == (2, False)
        assert (await made.page("KANNE-S", "web-de"))["catalog"]["attributes"]["title"] == "Produkt 700"
        await DeltaSync(made.shop).run("shop")
        assert shopify.asked_since == ["2026-03-01T00:00:00Z"] * 2 + ["2026-03-03T09:25:00Z"]


async def test_busy_servers_keep_deliveries_and_forged_ones_are_refused(tmp_path: Path, store_url: str) -> None:
    """Shopify counts every answer outside of the 200 range against the subscription."""
    async with shop_of(tmp_path, store_url) as (made, _):
        settings = made.shop.config.sources["shop"].webhook
        assert settings is not None
        assert (settings.busy, settings.answer_within) == ("keep", "4s")
        forged = delivery("products/create", PRODUCT)._replace(body=b"{}")
        assert (await made.deliver(forged)).status_code == 401


# --- many products that change while they are read --------------------------------------------------


class Changes:
    """Changes of a shop while a bulk operation runs, with a webhook for each."""

    def __init__(self, shopify: Shopify) -> None:
        self._shopify = shopify
        self._luck = random.Random(16)
        self._minute = 0
        self.deliveries: list[Any] = []
        self.changed: dict[str, str] = {}

    def __call__(self) -> None:
        """Ten products get other prices."""
        self._minute += 1
        places = [place for place, line in enumerate(self._shopify.products) if "__parentId" not in line]
        for place in self._luck.sample(places, 10):
            product, variant = self._shopify.products[place : place + 2]
            product["updatedAt"] = f"2026-03-03T{self._minute // 60:02}:{self._minute % 60:02}:00Z"
            variant["price"] = self.changed[variant["sku"]] = f"{self._luck.randrange(100, 9_999) / 100:.2f}"
            self.deliveries.append(delivery("products/update", update_of([product, variant])))


@pytest.mark.parametrize("products", [10_000, 500])
async def test_products_that_change_while_they_are_read(tmp_path: Path, store_url: str, products: int) -> None:
    """What webhooks said before, between and after the export counts by its version, in whatever order it comes."""
    if products > 1_000 and store_url.startswith("postgres"):
        pytest.skip("the smaller number shows the same")
    luck = random.Random(16)
    async with shop_of(tmp_path, store_url) as (made, shopify):
        shopify.products = [line for number in range(products) for line in product_lines(number, 1, luck)]
        shopify.polls = 6
        shopify.running = changes = Changes(shopify)
        assert (await made.rebuild("shop")).complete
        await made.shop.catch_up()
        luck.shuffle(changes.deliveries)
        for each in changes.deliveries:
            assert (await made.deliver(each)).status_code == 202
        assert len(changes.changed) > 40
        for sku, price in changes.changed.items():
            page = await made.page(sku, "web-de")
            assert page["pricing"]["amount"] == price
            assert page["catalog"]["attributes"]["title"].startswith("Produkt")
        shopify.running = lambda: None
        gone = shopify.products[:20]
        del shopify.products[:20]
        assert (await made.rebuild("shop")).complete
        assert [await made.page(line["sku"], "web-de") for line in gone if "sku" in line] == [None] * 10
