"""The recipe for Saleor: its answers by GraphQL, and what its signed events fetch, become the pages that are meant."""

import json
import re
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pagefold import SourceFailed
from pagefold.engine.configuration import endpoint_config
from pagefold.engine.recipes.recipe_files import recipe_files
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.fetch_worker import FetchWorker
from tests.recipes.recipe_shop import RecipeShop, recipe_shop
from tests.recipes.saleor_api import TOKEN, Saleor, failure
from tests.support.fake_endpoint import Asked, Reply, Server, serving
from tests.support.signing_keys import SigningKey, signing_key

KEY: SigningKey = signing_key("1")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives up after three requests."""
    monkeypatch.setattr(endpoint_config, "ATTEMPTS", 3)


def price(channel: str, amount: float | None, currency: str) -> dict[str, Any]:
    """The listing of a variant in a channel."""
    money = None if amount is None else {"amount": amount, "currency": currency}
    return {"channel": {"slug": channel}, "price": money}


def stock(warehouse: str, quantity: int, allocated: int) -> dict[str, Any]:
    """The stock of a variant in a warehouse."""
    return {"warehouse": {"slug": warehouse}, "quantity": quantity, "quantityAllocated": allocated}


def attribute(slug: str, *values: str) -> dict[str, Any]:
    """An attribute with its values."""
    return {"attribute": {"slug": slug}, "values": [{"name": each} for each in values]}


@pytest.fixture(name="saleor")
def a_saleor() -> Saleor:
    """A tee in two sizes, one of which has no SKU, and a voucher that is not tracked."""
    saleor = Saleor()
    saleor.key_set = {"keys": [KEY.public]}
    saleor.product(
        "UHJvZHVjdDox",
        "Tee",
        de={"name": "T-Shirt"},
        attributes=[attribute("material", "Cotton", "Wool")],
        media=[{"url": "https://shop.example/tee.jpg", "alt": "Tee", "type": "IMAGE"}],
    )
    saleor.variant(
        "VmFyaWFudDox",
        "UHJvZHVjdDox",
        "TEE-S",
        attributes=[attribute("size", "S")],
        channelListings=[price("eu", 29.949999999999999, "EUR"), price("us", None, "USD")],
        stocks=[stock("main", 10, 3), stock("south", 2, 0)],
    )
    saleor.variant("VmFyaWFudDoy", "UHJvZHVjdDox", None)
    saleor.product("UHJvZHVjdDoy", "Voucher")
    saleor.variant(
        "VmFyaWFudDoz", "UHJvZHVjdDoy", "VOUCHER", trackInventory=False, channelListings=[price("eu", 10, "EUR")]
    )
    return saleor


@asynccontextmanager
async def made(server: Server, folder: Path, url: str) -> AsyncIterator[RecipeShop]:
    """A shop by the recipe, which asks the server as fast as it can."""
    addresses = {
        "https://shop.example": server.url,
        '\nurl = "http': '\nrequests_per_second = 1000.0\nurl = "http',
        "snapshot]\n": 'snapshot]\nsettle = "0s"\n',
    }
    async with recipe_shop("saleor", folder, url, addresses=addresses, variables={"SALEOR_TOKEN": TOKEN}) as shop:
        yield shop


async def rebuild(made: RecipeShop) -> None:
    """Reads everything."""
    for source in ("saleor", "saleor-prices"):
        assert (await made.rebuild(source)).complete


async def send(made: RecipeShop, saleor: Saleor, source: str, name: str, **body: Any) -> int:  # noqa: ANN401  # JSON
    """The status with which an event is answered."""
    headers, content = saleor.event(name, **body)
    headers["saleor-signature"] = KEY.jws(content)
    answer = await made.client.post(f"/v1/webhooks/{source}", content=content, headers=headers)
    return answer.status_code


async def fetch(made: RecipeShop) -> None:
    """Fetches what is wanted."""
    await FetchWorker(made.shop).run_due()


TEE = {
    "sku": "TEE-S",
    "channel": "web-eu",
    "status": "live",
    "ready": True,
    "readiness": {"catalog": True, "pricing": True, "inventory": True, "media": True},
    "sourceVersions": {
        "catalog/saleor": 1772442900123456,
        "pricing/saleor-prices": 0,
        "inventory/main": 0,
        "inventory/south": 0,
        "media/saleor": 1772442900123456,
    },
    "catalog": {
        "attributes": {"material": "Cotton, Wool", "name": "T-Shirt", "size": "S", "variant": "one"},
        "categories": ["apparel"],
        "family": "shirt",
        "parent": "tee",
    },
    "pricing": {"currency": "EUR", "amount": "29.95"},
    "inventory": {
        "available": 9,
        "status": "in_stock",
        "locations": [{"source": "main", "available": 7}, {"source": "south", "available": 2}],
    },
    "media": {"assets": [{"position": 0, "url": "https://shop.example/tee.jpg", "alt": "Tee"}]},
}


async def test_the_pages_of_a_saleor(tmp_path: Path, store_url: str, saleor: Saleor) -> None:
    """Prices by channel, rounded; what is allocated is not free; a price of null is none; no SKU, no page."""
    async with serving(saleor) as server, made(server, tmp_path, store_url) as shop:
        await rebuild(shop)
        page = await shop.page("TEE-S", "web-eu")
        page["media"]["assets"][0]["url"] = "https://shop.example/tee.jpg"
        assert page == TEE
        assert (await shop.page("TEE-S", "web-us"))["pricing"] is None
        voucher = await shop.page("VOUCHER", "web-eu")
        assert (voucher["inventory"]["available"], voucher["inventory"]["status"]) == (None, "in_stock")


async def test_the_events_of_a_saleor(tmp_path: Path, store_url: str, saleor: Saleor) -> None:
    """Each fetches what it is about, in any order; what was deleted is withdrawn; an unsigned one is refused."""
    tee = {"productVariant": {"id": "VmFyaWFudDox", "sku": "TEE-S"}}
    async with serving(saleor) as server, made(server, tmp_path, store_url) as shop:
        await rebuild(shop)
        saleor.later()
        saleor.product("UHJvZHVjdDox", "Tee", de={"name": "Hemd"})
        saleor.variant(
            "VmFyaWFudDox",
            "UHJvZHVjdDox",
            "TEE-S",
            channelListings=[price("us", 33.0, "USD")],
            stocks=[stock("main", 4, 0)],
        )
        assert await send(shop, saleor, "saleor", "product_updated", product={"id": "UHJvZHVjdDox"}) == 202
        assert await send(shop, saleor, "saleor-prices", "product_variant_stock_updated", **tee) == 202
        await fetch(shop)
        page = await shop.page("TEE-S", "web-eu")
        assert page["catalog"]["attributes"]["name"] == "Hemd"
        assert [each["available"] for each in page["inventory"]["locations"]] == [4, 0]
        assert page["pricing"] is None, "the listing in the other channel is gone, for which there is no event"
        assert (await shop.page("TEE-S", "web-us"))["pricing"] == {"currency": "USD", "amount": "33.00"}
        headers, body = saleor.event("product_updated", product={"id": "UHJvZHVjdDox"})
        answer = await shop.client.post("/v1/webhooks/saleor", content=body, headers=headers)
        assert answer.status_code == 401
        del saleor.variants["VmFyaWFudDox"]
        assert await send(shop, saleor, "saleor", "product_variant_deleted", **tee) == 202
        assert await send(shop, saleor, "saleor-prices", "product_variant_deleted", **tee) == 202
        await fetch(shop)
        assert await shop.page("TEE-S", "web-eu") is None
        del saleor.products["UHJvZHVjdDoy"], saleor.variants["VmFyaWFudDoz"]
        assert await send(shop, saleor, "saleor", "product_deleted", product={"id": "UHJvZHVjdDoy"}) == 202
        await fetch(shop)
        assert await shop.page("VOUCHER", "web-eu") is None


async def test_an_event_that_was_lost(tmp_path: Path, store_url: str, saleor: Saleor) -> None:
    """The next delta fetches the variants of products that changed; the next run finds prices and stock."""
    async with serving(saleor) as server, made(server, tmp_path, store_url) as shop:
        await rebuild(shop)
        await DeltaSync(shop.shop, lambda: saleor.clock).run("saleor")
        saleor.later()
        saleor.product("UHJvZHVjdDox", "Tee", de={"name": "Hemd"})
        saleor.variant("VmFyaWFudDox", "UHJvZHVjdDox", "TEE-S", stocks=[stock("south", 1, 0)])
        await DeltaSync(shop.shop, lambda: saleor.clock).run("saleor")
        await fetch(shop)
        await shop.rebuild("saleor-prices")
        page = await shop.page("TEE-S", "web-eu")
        assert page["catalog"]["attributes"]["name"] == "Hemd"
        assert page["inventory"]["available"] == 1


async def test_a_saleor_that_fails(tmp_path: Path, saleor: Saleor) -> None:
    """Limits, and errors in a good response, are retried; a wrong token ends the run with what Saleor says of it."""
    replies: Iterator[Reply] = iter(
        [Reply(status=429, headers={"retry-after": "0"}), failure("Query cost"), Reply(cut=0)]
    )
    async with serving(saleor) as server, made(server, tmp_path, f"sqlite:///{tmp_path}/shop") as shop:
        saleor.fault = lambda _: next(replies, None)
        with pytest.raises(SourceFailed):
            await shop.rebuild("saleor")
        await rebuild(shop)
        assert (await shop.page("TEE-S", "web-eu"))["ready"]
        saleor.fault = lambda _: failure("Signature has expired")
        with pytest.raises(SourceFailed, match="its response has errors: Signature has expired, after all retries"):
            await shop.rebuild("saleor")


async def test_a_full_saleor_that_changes_while_it_is_read(tmp_path: Path, store_url: str) -> None:
    """Of 10,000 variants none is missed; what changed behind the page that was read comes by its event."""
    count = 10_000 if store_url.startswith("sqlite") else 300
    saleor = Saleor()
    saleor.key_set = {"keys": [KEY.public]}
    numbers = [f"{number:05}" for number in range(count)]
    for number in numbers:
        saleor.product(f"P{number}", f"Product {number}")
        saleor.variant(f"V{number}", f"P{number}", f"S-{number}")
    changes = iter(numbers[::531])
    changed: list[str] = []

    def change() -> None:
        saleor.later(1)
        if (number := next(changes, None)) is not None:
            saleor.product(f"P{number}", f"Changed {number}")
            changed.append(number)

    async with serving(saleor) as server, made(server, tmp_path, store_url) as shop:
        saleor.between = change
        assert (await shop.rebuild("saleor")).complete
        saleor.between = lambda: None
        for number in changed:
            await send(shop, saleor, "saleor", "product_updated", product={"id": f"P{number}"})
        await fetch(shop)
        await shop.shop.catch_up()
        found = {}
        for number in numbers:
            page = json.loads(await shop.shop.pages.get_json(f"S-{number}", "web-us") or b"null")
            found[f"P{number}"] = page and page["catalog"]["attributes"]["name"]
        assert found == {number: each["name"] for number, each in saleor.products.items()}


async def test_a_page_that_fails_withdraws_nothing(tmp_path: Path, saleor: Saleor) -> None:
    """Not all was read, so nothing is known of the rest."""
    async with serving(saleor) as server, made(server, tmp_path, f"sqlite:///{tmp_path}/shop") as shop:
        await rebuild(shop)
        before = await shop.page("VOUCHER", "web-eu")

        def fault(asked: Asked) -> Reply | None:
            page = {"nodes": [], "pageInfo": {"endCursor": None, "hasNextPage": True}}
            return Reply(json.dumps({"data": {"productVariants": page}}).encode())

        saleor.fault = fault
        report = await shop.rebuild("saleor")
        assert (report.complete, report.counts.withdrawn) == (False, 0)
        assert await shop.page("VOUCHER", "web-eu") == before


def test_the_subscription_has_every_event() -> None:
    """What a fetch reads of an event is asked for by the subscription."""
    files = recipe_files("saleor")
    sources = tomllib.loads(files["pagefold.toml"])["sources"]
    rules = [rule for name in ("saleor", "saleor-prices") for rule in sources[name]["webhook"]["fetch"]]
    asked = dict(re.findall(r"\.\.\. on (\w+) { (\w+ {[^}]*)", files["saleor-subscription.graphql"]))
    for rule in rules:
        [(member, field)] = [
            path.split(".") for path in rule["body"]["variables"].values() for path in [path.strip("{}")]
        ]
        for event in rule["only"]["@header.Saleor-Event"]:
            name = event.title().replace("_", "")
            assert asked[name].split(" { ")[0] == member, event
            assert field in asked[name].split(" { ")[1].split(), event
