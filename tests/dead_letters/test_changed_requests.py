"""Requests whose records have changed: they are kept, counted, and taken once the contract knows the change."""

import json
from collections.abc import Callable

import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.field_ledger import FieldEntry, FieldFilter
from tests.dead_letters.test_webhook_retrier import (
    HOOK,
    WORD,
    changes,
    delivery,
    outcomes_in,
    row,
    sender,
    skus,
    written,
)
from tests.support.small_shop import Document, document

PRICE: Document = {"currency": {"constant": "EUR"}, "amount": "price"}
FAILS: Document = {"unmapped": {"attribute": "fail", "type": "fail"}}
ITEMS: Document = {
    "name": "items",
    "items": "data.rows",
    "sku": "sku",
    "sourceVersion": "$.revision",
    "occurredAt": "$.at",
    "pricing": PRICE,
}
ROWS: Document = {"name": "rows", "sku": "item", "pricing": PRICE}
EVENTS: Document = {
    "name": "events",
    "sku": "data.sku",
    "sourceVersion": "data.rev",
    "pricing": {**PRICE, "amount": "data.price"},
}
ENVELOPE = ["$.data.count"]


def configured(url: str, **more: object) -> Config:
    """A shop whose prices come in three ways, by contracts that refuse what they do not map."""
    parsed = document(url)
    named: Document = {"types": ["price"]}
    ways: list[tuple[str, Document, Document]] = [("webhook", ITEMS, HOOK), ("cdc", ROWS, {})]
    ways.append(("cloudevents", EVENTS, named))
    parsed["sources"]["erp"] = {"domains": ["pricing"]} | {
        way: {**settings, "contract": contract | FAILS | {"ignore": ENVELOPE} | more}
        for way, contract, settings in ways
    }
    return Config.parse(parsed, store=url)


def cloud_event(sku: str, **data: object) -> bytes:
    """A CloudEvent about a price."""
    content = {"sku": sku, "rev": 1, "price": "1.00", **data}
    return json.dumps(
        {
            "specversion": "1.0",
            "type": "price",
            "source": "erp",
            "id": sku,
            "time": "2026-03-01T00:00:00Z",
            "data": content,
        }
    ).encode()


WAYS: dict[str, Callable[..., bytes]] = {
    "webhook": lambda sku, **more: delivery(row(sku, **more)),
    "cdc": lambda sku, **more: changes(written(sku, **more)),
    "cloudevents": cloud_event,
}
FIELDS = {"webhook": "size", "cdc": "size", "cloudevents": "data.size"}


async def send(shop: Shop, way: str, body: bytes) -> list[str]:
    """The outcomes of a request."""
    async with sender(shop) as client:
        if way == "cloudevents":
            answer = await client.post(
                "/v1/events", content=body, headers={"content-type": "application/cloudevents+json"}
            )
            return [each["outcome"] for each in answer.json()["results"]]
        return await outcomes_in(client, {"webhook": "webhooks"}.get(way, way), body)


async def ledger(shop: Shop, way: str) -> dict[str, FieldEntry]:
    """The fields of an entrance."""
    name = {"webhook": "items", "cdc": "rows", "cloudevents": "events"}[way]
    return {each.field: each for each in await shop.store.fields.entries(FieldFilter("erp", name))}


@pytest.mark.parametrize("way", WAYS)
async def test_what_is_not_mapped_is_kept(store_url: str, way: str) -> None:
    """The request is acknowledged and in dead letters, later ones are taken; with `ignore` it can be tried again."""
    body = WAYS[way]
    async with pagefold.open(configured(store_url)) as shop:
        assert await send(shop, way, body("A")) == ["appended"]
        assert await send(shop, way, body("B", size="XL")) == ["kept"]
        assert await send(shop, way, body("C")) == ["appended"]
        [letter] = await shop.dead_letters.newest()
        assert f"`{FIELDS[way]}`: 'XL' is not mapped" in letter.error
        assert "SKU B" in letter.error
    async with pagefold.open(configured(store_url, ignore=[*ENVELOPE, "*size"])) as shop:
        fields = await ledger(shop, way)
        assert (fields[FIELDS[way]].records, fields[FIELDS[way]].all_records) == (1, 3)
        assert await shop.dead_letters.retry(letter, by="anna") == "resolved"
        assert sorted(await skus(shop)) == ["A", "B", "C"]


@pytest.mark.parametrize("way", WAYS)
async def test_a_value_of_another_kind_is_kept(store_url: str, way: str) -> None:
    """Other than the fields had before the server was started; it is taken once that is acknowledged."""
    body = WAYS[way]
    async with pagefold.open(configured(store_url)) as shop:
        assert await send(shop, way, body("A", price="2.00")) == ["appended"]
    for _ in range(2):
        async with pagefold.open(configured(store_url)) as shop:
            assert await send(shop, way, body("B", price=3)) == ["kept"]
    async with pagefold.open(configured(store_url)) as shop:
        assert await shop.store.fields.acknowledge(FieldFilter("erp"), ["type"]) == 1
    async with pagefold.open(configured(store_url)) as shop:
        assert await send(shop, way, body("C", price=3)) == ["appended"]


async def test_a_value_that_was_not_sent_is_no_other_kind(store_url: str) -> None:
    """The word that stands for a value that did not change is neither a text nor counted."""
    config = configured(store_url)
    async with pagefold.open(config) as shop:
        assert await send(shop, "cdc", changes(written("A", 1, lsn=1))) == ["appended"]
    async with pagefold.open(config) as shop:
        assert await send(shop, "cdc", changes(written("A", WORD, lsn=2))) == ["appended"]
    async with pagefold.open(config) as shop:
        assert (await ledger(shop, "cdc"))["price"].records == 1
