"""The recipe for Magento: what its API and its export say becomes the pages that are meant."""

import copy
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.recipes.magento_api import SECRETS, Magento, Product
from tests.recipes.recipe_shop import RecipeShop, format_file, opened, recipe_shop, wanted_pages
from tests.support.fake_endpoint import Server, serving

SYSTEM = "magento"
FAST = {
    "\n[sources.magento.snapshot]\n": "\n[sources.magento.snapshot]\nsettle = 0\n",
    '\nitems = "items"\n': '\nitems = "items"\nrequests_per_second = 1000\n',
    '\nvalue = "label"\n': '\nvalue = "label"\nrequests_per_second = 1000\n',
}
STAGED = {
    "# [sources.magento.snapshot.children.special_prices]": "[sources.magento.snapshot.children.special_prices]",
    "# url =": "url =",
    "# body =": "body =",
}
EXPORT = '\n[sources.magento.snapshot]\nfile = "FILE"\nends = "file"\ncontract = "contracts/magento-export.toml"\n'


@asynccontextmanager
async def shop_of(folder: Path, store_url: str, **more: str) -> AsyncIterator[tuple[RecipeShop, Magento]]:
    """A shop made by the recipe, and the Magento that it reads."""
    servers: list[Server] = []
    magento = Magento(lambda: servers[0].url)
    async with serving(magento) as server:
        servers.append(server)
        addresses = {'"https://shop.example/rest': f'"{server.url}/rest', **FAST, **more}
        async with recipe_shop(SYSTEM, folder, store_url, addresses=addresses, variables=SECRETS) as made:
            yield made, magento


def recorded(magento: Magento) -> None:
    """Fills the shop with the recorded answers."""

    def items(name: str) -> Any:  # noqa: ANN401  # JSON
        return json.loads(format_file(SYSTEM, name).read_text("utf-8"))

    for name in ("products.page1.json", "products.last.json"):
        magento.views["default"] += items(name)["items"]
    magento.views["de"] = items("products.store-view-de.json")["items"]
    magento.stock = items("source-items.page.json")["items"]
    magento.special_prices = items("special-price-information.json")
    magento.options = dict.fromkeys(("color", "material"), items("attribute-options.json"))


def without_stock_versions(page: dict[str, Any]) -> dict[str, Any]:
    """A page without the versions of stock: source items have none, so that content decides."""
    versions = {name: each for name, each in page["sourceVersions"].items() if not name.startswith("inventory/")}
    return {**page, "sourceVersions": versions}


@pytest.mark.parametrize("staged", [True, False])
async def test_recorded_answers_make_the_pages_that_are_wanted(tmp_path: Path, store_url: str, staged: bool) -> None:  # noqa: FBT001  # a case
    """Special prices are those of the products themselves, or those of their own endpoint."""
    async with shop_of(tmp_path, store_url, **(STAGED if staged else {})) as (made, magento):
        recorded(magento)
        wanted = wanted_pages(SYSTEM)
        for source in ("magento", "magento-stock"):
            report = await made.rebuild(source)
            assert report.complete, report
        assert list(map(without_stock_versions, await made.pages(wanted))) == list(map(without_stock_versions, wanted))
        assert await made.page("MJ-ALT", "web-en") is None
        assert (await made.page("MJ-KLIPPE", "web-en"))["catalog"]["categories"] == ["12", "31"]


async def test_an_export_makes_the_same_page(tmp_path: Path, store_url: str) -> None:
    """But for stock, tiers and categories; a cell that a store view has counts for its language."""
    [wanted] = [page for page in wanted_pages(SYSTEM) if page["channel"] == "web-de"]
    file = format_file(SYSTEM, "export.csv")
    async with shop_of(tmp_path, store_url) as (_, _magento):
        pass  # writes the files
    config = tmp_path / "pagefold.toml"
    text = config.read_text("utf-8")
    begin, end = text.index("# All products, in steps"), text.index("# The stock of all sources")
    config.write_text(text[:begin] + EXPORT.replace("FILE", str(file)) + text[end:], "utf-8")
    async with opened(tmp_path, store_url, variables=SECRETS) as made:
        await made.rebuild("magento")
        page = await made.page("MJ-KLIPPE-BLK", "web-de")
    catalog, attributes = page["catalog"], page["catalog"]["attributes"]
    assert attributes.pop("care") == "Wash at 30, line dry"
    assert catalog.pop("categories") == ["Default Category/Men", "Default Category/Men/Jackets"]
    wanted["catalog"].pop("categories")
    wanted["pricing"].pop("tiers")
    assert (catalog, page["pricing"]) == (wanted["catalog"], wanted["pricing"])
    assert [each["url"].rpartition("/")[2] for each in page["media"]["assets"]] == ["klippe.jpg", "side.jpg"]


# --- many products that change while they are read ------------------------------------------------

CHILDREN = 4
CHANGES = 20


def product(number: int, luck: random.Random) -> Product:
    """One of many: every fifth is configurable, and the four after it are its variants."""
    is_parent = number % (CHILDREN + 1) == 0
    links = {"configurable_product_links": list(range(number + 1, number + 1 + CHILDREN))} if is_parent else {}
    return {
        "id": number,
        "sku": f"P-{number:05}",
        "name": f"Product {number}",
        "price": 0 if is_parent else luck.randrange(100, 9_999) / 100,
        "status": 1,
        "visibility": 4 if is_parent else 1,
        "type_id": "configurable" if is_parent else "simple",
        "updated_at": "2026-03-02 09:15:00",
        "extension_attributes": {"website_ids": [1], **links},
        "media_gallery_entries": [],
        "tier_prices": [],
        "custom_attributes": [{"attribute_code": "category_ids", "value": [str(number)]}] if is_parent else [],
    }


class Changes:
    """Changes of a shop while it is read, in both store views."""

    def __init__(self, magento: Magento) -> None:
        self._magento = magento
        self._luck = random.Random(16)
        self._minute = 0
        self.gone: list[str] = []

    def __call__(self) -> None:
        """Some products get other prices; every second time, one goes, and one comes."""
        self._minute += 1
        products, german = self._magento.views["default"], self._magento.views["de"]
        for each in self._luck.sample(products, CHANGES):
            each["price"] = self._luck.randrange(100, 9_999) / 100
            each["updated_at"] = f"2026-03-03 {self._minute // 60:02}:{self._minute % 60:02}:00"
        if self._minute % 2:
            return
        gone = products.pop(self._luck.randrange(len(products)))
        self.gone.append(gone["sku"])
        german[:] = [each for each in german if each["id"] != gone["id"]]
        products.append(product(20_001 + 5 * self._minute, self._luck))


@pytest.mark.parametrize("products", [pytest.param(10_000, marks=pytest.mark.soak), 600])
async def test_products_that_change_while_they_are_read(tmp_path: Path, store_url: str, products: int) -> None:
    """Among changes and faults a run is complete; the next one has all of it, and withdraws what is gone."""
    if products > 1_000 and store_url.startswith("postgres"):
        pytest.skip("the smaller number shows the same")
    luck = random.Random(16)
    async with shop_of(tmp_path, store_url) as (made, magento):
        magento.options = {"color": [], "material": []}
        magento.views["default"] = [product(number, luck) for number in range(1, products + 1)]
        magento.views["de"] = [
            {**each, "name": f"Produkt {each['id']}"} for each in copy.deepcopy(magento.views["default"])
        ]
        magento.fault_rate = 10
        magento.between = changes = Changes(magento)
        assert (await made.rebuild("magento")).complete
        magento.between = lambda: None
        assert (await made.rebuild("magento")).complete
        assert {sku: await made.page(sku, "web-de") for sku in changes.gone} == dict.fromkeys(changes.gone)
        assert magento.faults > 0
        for each in luck.sample(magento.views["default"], 100):
            check(await made.page(each["sku"], "web-de"), each, magento.views["default"])


def check(page: Any, each: Product, products: list[Product]) -> None:  # noqa: ANN401  # JSON
    """A page has the price of its product, and what the product has by its parent."""
    parents = [
        other for other in products if each["id"] in other["extension_attributes"].get("configurable_product_links", [])
    ]
    if each["id"] <= 20_000:
        assert page["catalog"]["attributes"]["name"] == f"Produkt {each['id']}"
    assert page["catalog"]["parent"] in (None, *(parent["sku"] for parent in parents))
    assert (page["catalog"]["parent"] is None) == (not parents)
    if each["type_id"] == "simple":
        assert page["pricing"]["amount"] == f"{each['price']:.2f}"
        assert page["catalog"]["categories"] == [str(parent["id"]) for parent in parents]
