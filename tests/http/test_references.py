"""References over HTTP, as other systems send them: by contracts alone, on both stores."""

import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.reading import lag_cache
from tests.http.test_other_systems import HOOK, change, post, reasons, said, sender
from tests.support.debezium_messages import envelope
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document, event, say, section

SHOPIFY = """
    versions = "moment"
    [[catalog]]
    only = { "@header.X-Topic" = ["products/update"] }
    each = "variants"
    whole_of = { kind = "shop:product", id = "$.id" }
    sku = "code"
    sourceVersion = "$.changed"
    parent = "$.handle"
    references = { "shop:product" = "$.id", "shop:item" = "stock_id" }
    [[catalog]]
    only = { "@header.X-Topic" = ["products/delete"] }
    withdraw = { "@header.X-Topic" = ["products/delete"] }
    sku = { from = "id", via = "shop:product" }
    sourceVersion = "@header.X-Triggered-At"
    [[inventory]]
    only = { "@header.X-Topic" = ["stock/update"] }
    sku = { from = "stock_id", via = "shop:item" }
    source = { from = "place", lookup = { values = { 100 = "wms-a", 200 = "wms-b" } } }
    sourceVersion = "changed"
    available = "available"
"""


def product(changed: int, *codes: str) -> Document:
    """A product with its variants, of which each has a stock id."""
    variants = [{"code": code, "stock_id": 10 + number} for number, code in enumerate(codes)]
    return {"id": 99, "handle": "cap", "changed": f"2026-02-01T10:{changed:02}:00Z", "variants": variants}


def stock(place: int, available: int, item: int = 10) -> Document:
    """The stock of an item at a place."""
    return {"stock_id": item, "place": place, "available": available, "changed": "2026-02-01T11:00:00Z"}


@pytest.fixture
def store_with_groups(store_url: str) -> Config:
    """A shop whose product ids are of groups."""
    parsed = document(store_url, references={"groups": ["shop:product"]}, work={"poll_seconds": 0.05})
    parsed["sources"]["other"] = {
        "domains": ["catalog", "inventory"],
        "webhook": HOOK | {"contract": tomllib.loads(SHOPIFY)},
    }
    return Config.parse(parsed, store=store_url)


@asynccontextmanager
async def served(config: Config, *, work: bool = False) -> AsyncIterator[tuple[Shop, httpx2.AsyncClient]]:
    """A shop, and its sender."""
    async with pagefold.open(config, work=work) as shop:
        service = service_of(shop, environment={"SECRET": "hush"})
        async with client_of(service, "all") as client:
            yield shop, client


async def settle(shop: Shop) -> None:
    """Folds everything, and takes what waits."""
    await shop.catch_up()
    while await shop.waiting.take_all():
        await shop.catch_up()


async def test_a_shop_deletes_a_variant_and_then_the_product(store_with_groups: Config) -> None:
    """The update lacks the variant; the deletion has only an id. Both are right within a second of what came before."""
    async with served(store_with_groups, work=True) as (shop, client):
        update, delete = {"X-Topic": "products/update"}, {"X-Topic": "products/delete"}
        await post(client, product(1, "CAP-S", "CAP-M"), **update)
        await post(client, product(2, "CAP-S"), **update)
        await settle(shop)
        assert [payload for stream, _, payload in await said(shop) if stream.startswith("CAP-M")][-1] is None
        small = await shop.pages.get("CAP-S", "web-de")
        assert small is not None
        await post(client, {"id": 99}, **delete, **{"X-Triggered-At": "2026-02-01T10:05:00Z"})
        await settle(shop)
        assert await shop.pages.get("CAP-S", "web-de") is None
        assert await reasons(shop) == []


async def test_stock_of_an_item_at_a_place(store_with_groups: Config) -> None:
    """The item leads to the SKU, the place to the source. An unknown place is refused, an unknown item waits."""
    async with served(store_with_groups) as (shop, client):
        topic = {"X-Topic": "stock/update"}
        assert "kept" in await post(client, stock(100, 4), **topic)
        assert "kept" in await post(client, stock(200, 0), **topic)
        await post(client, stock(300, 1), **topic)
        await post(client, product(1, "CAP-S"), **{"X-Topic": "products/update"})
        await settle(shop)
        shown = await section(shop, "inventory", sku="CAP-S")
        assert shown["available"] == 4
        assert [(each["source"], each["available"]) for each in shown["locations"]] == [("wms-a", 4), ("wms-b", 0)]
        [reason] = await reasons(shop)
        assert "300" in reason


async def test_a_change_of_a_table_names_a_row_of_another(store_url: str) -> None:
    """What is not known is kept, and made an event once it is; there is never a page named by the id."""
    contract = """
        [inventory]
        sku = { from = "variant_id", via = "other:variant" }
        source = { constant = "other" }
        available = "quantity"
    """
    async with sender(store_url, contract, "inventory", table=True) as (shop, client):
        row = {"variant_id": 324, "quantity": 37}
        assert await change(client, envelope("u", after=row, lsn=900)) == ["kept"]
        assert [each.error for each in await shop.dead_letters.newest(kind="waiting")] == [
            "waits for other:variant 324: no SKU has it yet"
        ]
        await say(shop, event("catalog", {"references": {"other:variant": 324}}, sku="HOODIE-S"))
        await settle(shop)
        assert [each for each in await said(shop) if "inventory" in each[0]] == [
            ("HOODIE-S/*/inventory/other", 900, {"available": 37})
        ]
        assert await shop.pages.get("324", "web-de", disabled=True) is None
        moved = envelope("u", before=row, after=row | {"variant_id": 325}, lsn=901)
        assert await change(client, moved) == ["appended", "kept"]
        assert (await said(shop))[-1] == ("HOODIE-S/*/inventory/other", 901, None)


async def test_a_cloud_event_may_have_a_reference(store_url: str) -> None:
    """As at any entrance."""
    parsed = document(store_url)
    contract = {
        "sku": {"from": "subject", "via": "gtin"},
        "sourceVersion": "data.version",
        "inventory": {"available": "data.available"},
    }
    parsed["sources"]["other"] = {"domains": ["inventory"], "cloudevents": {"sources": ["/wms"], "contract": contract}}
    async with served(Config.parse(parsed, store=store_url)) as (shop, client):
        told = {"specversion": "1.0", "id": "1", "source": "/wms", "type": "stock", "subject": "400"}
        message = told | {"time": "2026-01-01T00:00:00Z", "data": {"version": 1, "available": 4}}
        answer = await client.post("/v1/events", json=message, headers={"content-type": "application/cloudevents+json"})
        assert answer.status_code in (200, 202), answer.text
        await say(shop, event("catalog", {"references": {"gtin": "400"}}, sku="RED"))
        await settle(shop)
        assert (await section(shop, "inventory", sku="RED"))["available"] == 4


async def test_metrics_count_references_and_what_waits(
    store_with_groups: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ids by kind, ambiguous ones, and dead letters that wait."""
    monkeypatch.setattr(lag_cache, "FRESH_SECONDS", 0.0)
    async with served(store_with_groups) as (shop, client):
        for sku in ("RED", "BLUE"):
            await say(shop, event("catalog", {"references": {"gtin": "1", "shop:product": 9}}, sku=sku))
        await post(client, stock(100, 4), **{"X-Topic": "stock/update"})
        lines = (await client.get("/metrics")).text.splitlines()
        for expected in (
            'pagefold_references{kind="gtin"} 1.0',
            'pagefold_references_ambiguous{kind="gtin"} 1.0',
            'pagefold_references_ambiguous{kind="shop:product"} 0.0',
            'pagefold_dead_letters{domain="inventory",kind="waiting"} 1.0',
        ):
            assert expected in lines
