"""The recipe for Odoo: what is asked of it by JSON-2, by JSON-RPC and by an export becomes the pages that are meant."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import pagefold
from pagefold import SourceFailed
from pagefold.engine.configuration import endpoint_config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.recipes.recipe_files import CONFIGURATION, recipe_files
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchWorker
from tests.recipes.odoo_api import KEY, Odoo, error, rpc_error
from tests.recipes.recipe_shop import RecipeShop, opened
from tests.support.fake_endpoint import Asked, Reply, Server, serving

JSON_2, JSON_RPC = CONFIGURATION, "pagefold-json-rpc.toml"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after three requests."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 3)


@pytest.fixture(name="odoo")
def an_odoo() -> Odoo:
    """A chair in two warehouses, a mug without a German name, a service, and what has no code."""
    odoo = Odoo()
    odoo.product(
        17,
        "CHAIR-OAK",
        "Oak chair",
        129.90000000000001,
        weight=5.1000000000000005,
        description_sale="Solid",
        barcode="4006381333931",
    )
    odoo.translated[17] = {"name": "Eichenstuhl", "description_sale": "Massiv"}
    odoo.product(18, "MUG", "Mug", 8.0, categ_id=False)
    odoo.product(19, "ASSEMBLY", "Assembly", 49.5, type="service", is_storable=False)
    odoo.product(20, None, "Not for sale", 0.0)
    quants = [(1, 10.1, 2.0), (1, 0.2, 0.0), (2, 3.0, 4.0), (None, 99.0, 0.0)]
    for number, (warehouse, quantity, reserved) in enumerate(quants, 1):
        odoo.quant(number, 17, warehouse, quantity, reserved)
    return odoo


@asynccontextmanager
async def made(server: Server, folder: Path, url: str, system: str = JSON_2) -> AsyncIterator[RecipeShop]:
    """A shop by one of the configurations of the recipe, which asks the server as fast as it can."""
    for name, text in recipe_files("odoo").items():
        text = text.replace("https://shop.example", server.url)  # noqa: PLW2901  # as a person edits a file
        text = text.replace('\nurl = "http', '\nrequests_per_second = 1000.0\nurl = "http')  # noqa: PLW2901  # likewise
        text = text.replace("[sources.odoo.snapshot]\n", '[sources.odoo.snapshot]\nsettle = "0s"\n')  # noqa: PLW2901  # likewise
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    if system != CONFIGURATION:
        (folder / system).replace(folder / CONFIGURATION)
    async with opened(folder, url, variables={"ODOO_KEY": KEY}) as shop:
        yield shop


async def sync(made: RecipeShop, odoo: Odoo, *sources: str) -> None:
    """Asks for changes, and fetches what they are about."""
    odoo.later()
    for source in sources or ("odoo", "wh-main"):
        await DeltaSync(made.shop, lambda: odoo.clock).run(source)
    await FetchWorker(made.shop).run_due()


async def rebuild(made: RecipeShop) -> None:
    """Reads everything."""
    for source in ("odoo", "wh-main"):
        assert (await made.rebuild(source)).state == "completed"


CHAIR = {
    "sku": "CHAIR-OAK",
    "channel": "web-de",
    "status": "live",
    "ready": True,
    "readiness": {"catalog": True, "pricing": True, "inventory": True, "media": False},
    "catalog": {
        "attributes": {
            "barcode": "4006381333931",
            "weight": "5.1",
            "name": "Eichenstuhl",
            "description": "Massiv",
        },
        "categories": ["12"],
        "family": None,
        "parent": "17",
    },
    "pricing": {"currency": "EUR", "amount": "129.90"},
    "inventory": {
        "available": 8,
        "status": "in_stock",
        "locations": [{"source": "wh-main", "available": 8}, {"source": "wh-south", "available": 0}],
    },
    "media": None,
}


async def test_the_pages_of_an_odoo(tmp_path: Path, store_url: str, odoo: Odoo) -> None:
    """False is blank, floats are rounded, quants are summed by warehouse, and a service is not counted."""
    async with serving(odoo) as server, made(server, tmp_path, store_url) as shop:
        await rebuild(shop)
        page = await shop.page("CHAIR-OAK", "web-de")
        version = 1772442900000000
        assert page.pop("sourceVersions") == {
            "catalog/odoo": version,
            "pricing/odoo": version,
            "inventory/wh-main": 0,
            "inventory/wh-south": 0,
        }
        assert page == CHAIR
        mug = await shop.page("MUG", "web-de")
        assert (mug["catalog"]["attributes"], mug["catalog"]["categories"]) == ({"name": "Mug", "weight": "0"}, [])
        assert mug["inventory"]["available"] == 0
        assert (await shop.page("ASSEMBLY", "web-de"))["inventory"]["available"] is None


async def test_what_changes_in_an_odoo(tmp_path: Path, store_url: str, odoo: Odoo) -> None:
    """A price, also back and forth by the template, a translation, stock, an archived product, a deleted one."""
    async with serving(odoo) as server, made(server, tmp_path, store_url) as shop:
        await rebuild(shop)
        await sync(shop, odoo)
        odoo.later()
        odoo.product(18, "MUG", "Mug", 9.5)
        odoo.write("product.template", 17)
        odoo.translated[17]["name"] = "Stuhl aus Eiche"
        odoo.quant(1, 17, 1, 4.0)
        odoo.product(19, "ASSEMBLY", "Assembly", 49.5, active=False)
        await sync(shop, odoo)
        chair = await shop.page("CHAIR-OAK", "web-de")
        assert chair["catalog"]["attributes"]["name"] == "Stuhl aus Eiche"
        assert [each["available"] for each in chair["inventory"]["locations"]] == [4, 0]
        assert (await shop.page("MUG", "web-de"))["pricing"]["amount"] == "9.50"
        assert await shop.page("ASSEMBLY", "web-de") is None
        for amount in (99.0, 129.9):
            odoo.later()
            odoo.tables["product.product"][17]["lst_price"] = amount
            odoo.write("product.template", 17)
            await sync(shop, odoo)
            assert (await shop.page("CHAIR-OAK", "web-de"))["pricing"]["amount"] == f"{amount:.2f}"
        for number in (1, 2, 3):
            del odoo.tables["stock.quant"][number]
        del odoo.tables["product.product"][18]
        await rebuild(shop)
        assert (await shop.page("CHAIR-OAK", "web-de"))["inventory"]["available"] == 0
        assert await shop.page("MUG", "web-de") is None


async def test_an_odoo_by_json_rpc(tmp_path: Path, odoo: Odoo) -> None:
    """The other configuration gives the same pages, and the same changes."""
    async with serving(odoo) as server, made(server, tmp_path, f"sqlite:///{tmp_path}/shop", JSON_RPC) as shop:
        await rebuild(shop)
        page = await shop.page("CHAIR-OAK", "web-de")
        del page["sourceVersions"]
        assert page == CHAIR
        await sync(shop, odoo)
        odoo.later()
        odoo.product(18, "MUG", "Mug", 9.5)
        odoo.quant(1, 17, 1, 4.0)
        await sync(shop, odoo)
        assert (await shop.page("MUG", "web-de"))["pricing"]["amount"] == "9.50"
        assert (await shop.page("CHAIR-OAK", "web-de"))["inventory"]["available"] == 4


async def test_two_products_with_one_reference(tmp_path: Path, odoo: Odoo) -> None:
    """The last one counts, in every run; the report counts the other as repeated."""
    odoo.product(30, "MUG", "Another mug", 11.0)
    async with serving(odoo) as server, made(server, tmp_path, f"sqlite:///{tmp_path}/shop") as shop:
        first, second = await shop.rebuild("odoo"), await shop.rebuild("odoo")
        assert (first.counts.missing, first.counts.repeated) == (6, 2)
        assert (second.counts.equal, second.counts.repeated) == (6, 2)
        assert (await shop.page("MUG", "web-de"))["catalog"]["attributes"]["name"] == "Another mug"


async def test_an_odoo_that_fails(tmp_path: Path, odoo: Odoo) -> None:
    """What passes is asked for again, also with a status of 200; a wrong key ends the run with what Odoo says of it."""
    url = f"sqlite:///{tmp_path}/shop"
    replies: Iterator[Reply] = iter([rpc_error("could not serialize access"), Reply(status=502)])
    async with serving(odoo) as server, made(server, tmp_path, url, JSON_RPC) as shop:
        odoo.fault = lambda _: next(replies, None)
        await rebuild(shop)
        assert (await shop.page("CHAIR-OAK", "web-de"))["ready"]
        odoo.fault = lambda _: rpc_error("Access Denied")
        with pytest.raises(SourceFailed, match="its response has errors: Odoo Server Error; Access Denied"):
            await shop.rebuild("odoo")
    odoo.fault = lambda _: error(401, "Invalid apikey")
    (tmp_path / "2").mkdir()
    async with serving(odoo) as server, made(server, tmp_path / "2", url) as shop:
        with pytest.raises(SourceFailed, match="401 Unauthorized; check the token in ODOO_KEY"):
            await shop.rebuild("odoo")


@pytest.mark.parametrize("model", ["german", "quants"])
async def test_a_page_that_cannot_be_read(tmp_path: Path, odoo: Odoo, model: str) -> None:
    """Where one request fails, no product is stated in part, and nothing is withdrawn."""
    url = f"sqlite:///{tmp_path}/shop"
    asked = b'"lang":"de_DE"' if model == "german" else b"reserved_quantity"
    async with serving(odoo) as server, made(server, tmp_path, url) as shop:
        await rebuild(shop)
        before = await shop.page("CHAIR-OAK", "web-de")

        def fault(request: Asked) -> Reply | None:
            return Reply(b'[{"id": 17,', cut=5) if asked in request.body else None

        odoo.fault = fault
        with pytest.raises(SourceFailed):
            await shop.rebuild("odoo" if model == "german" else "wh-main")
        assert await shop.page("CHAIR-OAK", "web-de") == before


async def test_a_full_odoo_that_changes_while_it_is_read(tmp_path: Path, store_url: str) -> None:
    """Of 10,000 products none is missed; what changed behind the page that was read comes with the next changes."""
    count = 10_000 if store_url.startswith("sqlite") else 500
    odoo = Odoo()
    for number in range(1, count + 1):
        odoo.product(number, f"P-{number:05}", f"Product {number}", number / 100)
    changes = iter(range(1, count, 97))
    odoo.later()

    def change() -> None:
        odoo.later(1)
        for _ in range(3):
            if (number := next(changes, None)) is not None:
                odoo.product(number, f"P-{number:05}", f"Changed {number}", 7.0)
        deleted = max(odoo.tables["product.product"])
        if odoo.tables["product.product"][deleted]["default_code"] and deleted > count - 5:
            del odoo.tables["product.product"][deleted]

    async with serving(odoo) as server, made(server, tmp_path, store_url) as shop:
        odoo.between = change
        report = await shop.rebuild("odoo")
        odoo.between = lambda: None
        await sync(shop, odoo, "odoo")
        await shop.shop.catch_up()
        assert report.state == "completed"
        products = odoo.tables["product.product"]
        wanted = {each["default_code"]: (each["name"], f"{each['lst_price']:.2f}") for each in products.values()}
        found = {}
        for sku in wanted:
            page = json.loads(await shop.shop.pages.get_json(sku, "web-de") or b"null")
            found[sku] = page and (page["catalog"]["attributes"]["name"], page["pricing"]["amount"])
        assert len(found) >= count - 5
        assert found == wanted


async def test_an_export_of_odoo(tmp_path: Path, odoo: Odoo) -> None:
    """A product continues in rows whose first cells are blank; a ' before + - = is not part of a text."""
    rows = [
        ["id", "default_code", "name", "lst_price", "barcode", "active", "write_date", *QUANT],
        [
            "product_17",
            "'-CHAIR",
            "'=Oak chair",
            "129.90000000000001",
            "4006381333931",
            "True",
            MOMENT,
            "Main",
            "10.1",
            "2",
        ],
        ["", "", "", "", "", "", "", "Main", "0.2", "0"],
        ["", "", "", "", "", "", "", "South", "'-2", "0"],
        ["product_18", "MUG", "Mug", "8", "", "", MOMENT, "", "", ""],
    ]
    folder = tmp_path / "exports"
    folder.mkdir()
    text = "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows) + "\n"
    (folder / "products.csv").write_text(text)
    async with serving(odoo) as server, made(server, tmp_path, f"sqlite:///{tmp_path}/shop") as shop:
        config = shop.shop.config
        snapshot = SnapshotConfig(file=str(folder / "products.csv"), contract="contracts/odoo-export.toml", ends="file")
        async with pagefold.open(config.with_snapshot("odoo", snapshot)) as other, other.rebuilds() as service:
            await service.rebuild("odoo")
            chair = await RecipeShop(other, shop.client).page("-CHAIR", "web-de")
            assert (chair["catalog"]["attributes"]["name"], chair["pricing"]["amount"]) == ("=Oak chair", "129.90")
            assert [each["available"] for each in chair["inventory"]["locations"]] == [8, 0]
            assert await RecipeShop(other, shop.client).page("MUG", "web-de") is None


MOMENT = "2026-03-02 09:15:00"
QUANT = [f"stock_quant_ids/{name}" for name in ("warehouse_id", "quantity", "reserved_quantity")]
