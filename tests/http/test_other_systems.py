"""What other systems send, as they send it: by contracts alone it becomes the page that is meant, on both stores."""

import base64
import hashlib
import hmac
import json
import tomllib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from tests.support.debezium_messages import envelope, schema_of
from tests.support.http_clients import client_of, service_of
from tests.support.small_shop import Document, document, everything, section

HOOK: Document = {"secret_variables": ["SECRET"], "scheme": "hmac-sha256", "header": "X-Hmac"}


@asynccontextmanager
async def sender(
    url: str, contract: str, domains: str = "catalog pricing inventory", *, table: bool = False
) -> AsyncIterator[tuple[Shop, httpx2.AsyncClient]]:
    """A shop with one more source, `other`, and its sender: of webhooks, or of changes of a `table`."""
    parsed = document(url, http={"max_body_bytes": 16 * 1024 * 1024})
    says: Document = {"contract": tomllib.loads(contract)}
    entrance = {"cdc": says} if table else {"webhook": HOOK | says}
    parsed["sources"]["other"] = {"domains": domains.split(), **entrance}
    async with pagefold.open(Config.parse(parsed, store=url)) as shop:
        service = service_of(shop, environment={"SECRET": "hush"})
        async with client_of(service, "all") as client:
            yield shop, client


async def post(client: httpx2.AsyncClient, body: object, **headers: str) -> list[str]:
    """The outcomes of a webhook. The text of a body stays as it is."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    signature = base64.b64encode(hmac.digest(b"hush", content, hashlib.sha256)).decode()
    answer = await client.post("/v1/webhooks/other", content=content, headers={"x-hmac": signature} | headers)
    assert answer.status_code == 202, answer.text
    return [each["outcome"] for each in answer.json()["results"]]


async def change(client: httpx2.AsyncClient, *messages: object) -> list[str]:
    """The outcomes of changes of a table."""
    answer = await client.post("/v1/cdc/other", json=messages)
    assert answer.status_code == 202, answer.text
    return [each["outcome"] for each in answer.json()["results"]]


async def said(shop: Shop) -> list[tuple[str, int, Any]]:
    """Stream, version and payload of every event, in the order of their streams."""
    events = sorted(await everything(shop.store), key=lambda each: (each.originator_id, each.originator_version))
    return [
        (each.originator_id, each.originator_version, msgspec.json.decode(each.state)["payload"]) for each in events
    ]


async def reasons(shop: Shop) -> list[str]:
    """Why dead letters are there, in the order of the texts."""
    return sorted(each.error for each in await shop.dead_letters.newest())


async def test_the_records_of_one_delivery_may_be_one_statement(store_url: str) -> None:
    """Those of an array, by their key; what cannot be joined states nothing, and is kept as it came."""
    contract = """
        versions = "moment"
        sku = "item"
        sourceVersion = { from = "records", newest = "at" }
        join.by = "item"
        inventory.available = { from = "records", total = "pieces" }
    """
    at = "2026-02-01T10:00:00Z"
    rows = [{"item": name, "pieces": number, "at": at} for name, number in (("A", 1), ("B", 2), ("A", 3))]
    async with sender(store_url, contract, "inventory") as (shop, client):
        assert await post(client, rows) == ["appended", "appended"]
        assert [payload for _, _, payload in await said(shop)] == [{"available": 4}, {"available": 2}]
        assert await post(client, rows) == ["duplicate", "duplicate"]
        later = {**rows[0], "pieces": 9, "at": "2026-02-02T10:00:00Z"}
        assert await post(client, [later, {"item": [1]}]) == ["kept"]
        assert len(await said(shop)) == 2
        assert "is no key" in (await reasons(shop))[0]


# --- messages, records and what counts ------------------------------------------------------------


async def test_a_product_with_its_variants(store_url: str) -> None:
    """Several domains of one item; the moment is the version; a price that was is not there any more."""
    contract = """
        items = "variants"
        versions = "moment"
        sourceVersion = "$.updated"
        sku = "code"
        catalog = { parent = "$.handle", attributes = { title = "$.title", ean = "barcode" } }
        pricing = { currency = { constant = "USD" }, amount = "price", compareAt = "was" }
    """
    variants = [
        {"code": "CUP-R", "price": "7.50", "was": None, "barcode": "4006381333931"},
        {"code": "CUP-B", "price": 8},
    ]
    async with sender(store_url, contract) as (shop, client):
        body = {"updated": "2026-02-01T10:00:00+01:00", "handle": "cup", "title": "Cup", "variants": variants}
        assert await post(client, body) == ["appended"] * 4
        assert [(stream, payload) for stream, _, payload in await said(shop)] == [
            ("CUP-B/*/catalog/other", {"attributes": {"title": "Cup"}, "parent": "cup"}),
            ("CUP-B/*/pricing/other", {"amount": "8.00", "currency": "USD"}),
            ("CUP-R/*/catalog/other", {"attributes": {"ean": "4006381333931", "title": "Cup"}, "parent": "cup"}),
            ("CUP-R/*/pricing/other", {"amount": "7.50", "currency": "USD"}),
        ]


async def test_texts_in_locales_of_any_spelling(store_url: str) -> None:
    """`de_DE` and `EN-us` are locales of channels; what is no locale is reported, and harms nothing."""
    contract = """
        sku = "sku"
        versions = "none"
        catalog.localized.name = { from = "labels", localized = { unmapped = "warn" } }
    """
    labels = {"EN-us": "Blue cup", "de_DE": "Blaue Tasse", "print": "x", "fr_FR": ""}
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, {"sku": "CUP", "labels": labels}) == ["appended"]
        assert (await said(shop))[0][2] == {"localized": {"name": {"de-DE": "Blaue Tasse", "en-US": "Blue cup"}}}
        await shop.catch_up()
        assert (await section(shop, "catalog", "web-de", "CUP"))["attributes"]["name"] == "Blaue Tasse"


async def test_of_two_states_in_one_tick_the_later_to_arrive_counts(store_url: str) -> None:
    """With `tie = "replace"` it is the next revision; repeated deliveries of either change nothing."""
    contract = """
        versions = "moment"
        tie = "replace"
        sourceVersion = "updated"
        sku = "sku"
        catalog.attributes.title = "title"
    """
    first, second = ({"sku": "CUP", "updated": "2026-02-01T10:00:00Z", "title": title} for title in ("old", "new"))
    async with sender(store_url, contract) as (shop, client):
        outcomes = [await post(client, body) for body in (first, second, second, first)]
        assert outcomes[0] == outcomes[1] == ["appended"]
        assert outcomes[2:] == [["duplicate"], ["duplicate"]]
        await shop.catch_up()
        assert (await section(shop, "catalog", sku="CUP"))["attributes"] == {"title": "new"}
        assert await shop.dead_letters.count() == 0


async def test_a_header_may_be_the_version(store_url: str) -> None:
    """The moment of the change is not in the body, but in the delivery; a retry reads it again."""
    contract = """
        versions = "moment"
        sourceVersion = "@header.X-Triggered-At"
        sku = "sku"
        pricing = { currency = { constant = "EUR" }, amount = "price" }
    """
    async with sender(store_url, contract, domains="pricing") as (shop, client):
        later, earlier = {"X-Triggered-At": "2026-02-01T10:00:00.5Z"}, {"x-triggered-at": "2026-02-01T10:00:00.1Z"}
        assert await post(client, {"sku": "CUP", "price": "9"}, **later) == ["appended"]
        assert await post(client, {"sku": "CUP", "price": "8"}, **earlier) == ["appended"]
        assert await post(client, {"sku": "POT", "price": "?"}, **earlier) == ["kept"]
        assert await post(client, {"sku": "CUP", "price": "7"}) == ["kept"]
        await shop.catch_up()
        assert (await section(shop, "pricing", sku="CUP"))["amount"] == "9.00"
    async with sender(store_url, contract.replace('"price"', '{ constant = "5" }'), domains="pricing") as (shop, _):
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved", "still dead"]
        assert await reasons(shop) == ["pricing.sourceVersion: is blank, and a value is required; SKU CUP"]


async def test_what_has_nothing_to_do_with_products_is_not_kept(store_url: str) -> None:
    """A message about a customer is ignored, counted, and nowhere stored."""
    contract = """
        only = { "resource.typeId" = ["product"] }
        sku = "sku"
        versions = "none"
        catalog.family = "family"
    """
    customer = {"type": "CustomerLastNameSet", "resource": {"typeId": "customer", "id": "c-1"}, "lastName": "Example"}
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, customer) == ["ignored"]
        assert await post(client, {"resource": {"typeId": "product"}, "sku": "CUP"}) == ["appended"]
        assert await shop.dead_letters.count() == 0
        assert shop.counters.aside == {"other": {"filter": 1}}


async def test_a_master_and_its_variants(store_url: str) -> None:
    """An object at one place, and a list at another, are records alike."""
    contract = """
        items = ["masterVariant", "variants"]
        sku = "sku"
        sourceVersion = "$.version"
        catalog.localized.name = "$.name"
    """
    body = {"version": 5, "name": {"en": "Cup"}, "masterVariant": {"sku": "CUP-S"}, "variants": [{"sku": "CUP-M"}]}
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, body) == ["appended"] * 2
        streams = ["CUP-M/*/catalog/other", "CUP-S/*/catalog/other"]
        assert await said(shop) == [(stream, 5, {"localized": {"name": {"en": "Cup"}}}) for stream in streams]


async def test_stock_of_a_place_belongs_to_the_source_of_the_place(store_url: str) -> None:
    """By a table of places, and under an id of the platform's own; an unknown place is kept, and is no stock."""
    contract = """
        versions = "moment"
        sourceVersion = "updated"
        source = { from = "place", lookup = { values = { 100 = "wms-a", 200 = "wms-b" } } }
        sku = { from = "item", via = "platform:item" }
        inventory.available = "free"
    """
    levels = [(11, 100, 4), (11, 200, 0), (11, 300, 9), (11, None, 9)]
    bodies = [
        {"item": item, "place": place, "free": free, "updated": f"2026-01-01T00:00:1{number}Z"}
        for number, (item, place, free) in enumerate(levels)
    ]
    async with sender(store_url, contract, domains="inventory") as (shop, client):
        made = pagefold.DomainEvent(
            type="catalog",
            sku="CUP-R",
            channel="*",
            source="pim",
            source_version=1,
            occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
            payload={"references": {"platform:item": "11"}},
        )
        await shop.append([made])
        await shop.catch_up()
        assert [await post(client, body) for body in bodies] == [["appended"], ["appended"], ["kept"], ["kept"]]
        await shop.catch_up()
        found = await section(shop, "inventory", sku="CUP-R")
        assert [(each["source"], each["available"]) for each in found["locations"]] == [("wms-a", 4), ("wms-b", 0)]
        assert found["available"] == 4
        problem = "is not a source with the domain inventory"
        assert await reasons(shop) == [
            f"inventory.source: `place`: {shown} {problem}; SKU 11" for shown in ("300", "null")
        ]


# --- values as others write them ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "available"),
    [("12.0", 12), ('"12.0000"', 12), ("12", 12), ('" 12 "', 12), ("1.2e1", 12), ("2.5", None), ('"a"', None)],
)
async def test_numbers_of_stock(store_url: str, written: str, available: int | None) -> None:
    """A float of a whole number is that number; half a piece is kept, with its value."""
    contract = """
        sku = "sku"
        sourceVersion = "v"
        inventory = { available = "qty", backorderable = "more" }
    """
    async with sender(store_url, contract) as (shop, client):
        body = f'{{"sku":"CUP","v":1.0,"qty":{written},"more":1}}'.encode()
        assert await post(client, body) == (["kept"] if available is None else ["appended"])
        stored = [payload for _, _, payload in await said(shop)]
        assert stored == ([] if available is None else [{"available": available, "backorderable": True}])
        assert all(written.strip('"') in each for each in await reasons(shop))


@pytest.mark.parametrize(
    ("written", "amount"),
    [("19.90", "19.90"), ("20", "20.00"), ('".99"', "0.99"), ('"019.9000"', "19.90"), ("1.99e1", "19.90")],
)
async def test_numbers_of_prices(store_url: str, written: str, amount: str) -> None:
    """Read digit by digit; a blank price beside it is none."""
    contract = """
        sku = "sku"
        sourceVersion = "v"
        pricing = { currency = { constant = "EUR" }, amount = { from = "price", money = "EUR" }, compareAt = "was" }
    """
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, f'{{"sku":"CUP","v":1,"price":{written},"was":""}}'.encode()) == ["appended"]
        assert (await said(shop))[0][2] == {"amount": amount, "currency": "EUR"}


async def test_prices_in_minor_units(store_url: str) -> None:
    """By the digits of the currency, or by those that come with the price; tiers, too, for the channel of a country."""
    contract = """
        sku = "sku"
        sourceVersion = "version"
        channel = { from = "country", lookup = { values = { DE = "web-de", AT = "market-at" } } }
        [pricing]
        currency = "value.code"
        amount = { from = "value.cents", money = { currency = { from = "value.code" }, unit = "minor" } }
        [pricing.tiers]
        from = "tiers"
        each.members.minQuantity = "min"
        each.members.amount = { from = "cents", money = { currency = { from = "$.value.code" }, unit = "minor" } }
    """
    price = {"sku": "CUP", "version": 1, "value": {"code": "EUR", "cents": 1990}}
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, price | {"country": "DE", "tiers": [{"min": 10, "cents": 1800}]}) == ["appended"]
        assert await post(client, price | {"version": 2, "value": {"code": "JPY", "cents": 1990}}) == ["appended"]
        assert await post(client, price | {"version": 3, "value": {"code": "KWD", "cents": 1990}}) == ["appended"]
        tiers = {"tiers": [{"amount": "18.00", "minQuantity": 10}]}
        assert await said(shop) == [
            ("CUP/*/pricing/other", 2, {"amount": "1990", "currency": "JPY"}),
            ("CUP/*/pricing/other", 3, {"amount": "1.990", "currency": "KWD"}),
            ("CUP/web-de/pricing/other", 1, {"amount": "19.90", "currency": "EUR"} | tiers),
        ]


async def test_values_that_are_computed(store_url: str) -> None:
    """The lesser of two prices, the greater only where it is one, and what is free of a stock."""
    contract = """
        sku = "sku"
        versions = "none"
        [pricing]
        currency = "currency"
        amount = { least = ["price", "sale"], steps = [{ money = { currency = { from = "currency" } } }] }
        compareAt = { when = { value = "price", above = "sale", then = "price" } }
        [inventory]
        available = { difference = ["quantity", "allocated"] }
    """
    row = {"sku": "CUP", "price": "40.000", "sale": "36.000", "currency": "PLN", "quantity": 50, "allocated": 8}
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, row) == ["appended"] * 2
        assert [payload for _, _, payload in await said(shop)] == [
            {"available": 42},
            {"amount": "36.00", "compareAt": "40.00", "currency": "PLN"},
        ]


async def test_moments_without_an_offset(store_url: str) -> None:
    """Are read in the zone of the contract; an hour that does not exist there, or twice, is kept with its value."""
    contract = """
        zone = "Europe/Berlin"
        versions = "moment"
        sku = "sku"
        sourceVersion = "changed"
        catalog.family = "family"
    """
    moments = ["2026-07-01T12:00:00", "2026-07-01 10:00:00+00", "2026-03-29T02:30:00", "2026-10-25T02:30:00"]
    async with sender(store_url, contract) as (shop, client):
        outcomes = [await post(client, {"sku": "CUP", "changed": moment}) for moment in moments]
        assert outcomes == [["appended"], ["duplicate"], ["kept"], ["kept"]]
        missing, twice = await reasons(shop)
        assert "'2026-03-29T02:30:00' does not exist in Europe/Berlin" in missing
        assert "'2026-10-25T02:30:00' exists twice in Europe/Berlin" in twice


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59+01:00", "infinity", "0001-01-01"])
async def test_an_open_end(store_url: str, end: str) -> None:
    """What no calendar has is no end: the stock is stated, and comes at no moment."""
    contract = """
        zone = "UTC"
        sku = "sku"
        versions = "none"
        inventory = { available = "qty", restockAt = "due" }
    """
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, {"sku": "CUP", "qty": 0, "due": end}) == ["appended"]
        assert (await said(shop))[0][2] == {"available": 0}


@pytest.mark.parametrize(("free", "available"), [(None, None), (0, 0), ("", None)])
async def test_stock_that_nobody_counts(store_url: str, free: object, available: int | None) -> None:
    """If the contract says that null means so, the item can always be sold."""
    contract = """
        sku = "sku"
        versions = "none"
        inventory.available = { from = "free", blank = "null" }
    """
    async with sender(store_url, contract) as (shop, client):
        assert await post(client, {"sku": "CUP", "free": free}) == ["appended"]
        await shop.catch_up()
        found = await section(shop, "inventory", sku="CUP")
        assert (found["available"], found["status"]) == (available, "out_of_stock" if free == 0 else "in_stock")


async def test_pictures_keep_their_order(store_url: str) -> None:
    """A list of objects with other names, without positions: the first of the source is the first of the page."""
    contract = """
        sku = "sku"
        versions = "none"
        media.assets = { from = "images", each = { members = { url = "src", alt = "text" } } }
    """
    images = [{"src": f"https://img.example/{name}.jpg", "text": {"en": name}, "id": 7} for name in ("z", "a", "m")]
    async with sender(store_url, contract, domains="media") as (shop, client):
        assert await post(client, {"sku": "CUP", "images": images}) == ["appended"]
        await shop.catch_up()
        shown = await section(shop, "media", sku="CUP")
        assert [each["url"][-5] for each in shown["assets"]] == ["z", "a", "m"]


# --- tables ---------------------------------------------------------------------------------------


async def test_a_padded_sku(store_url: str) -> None:
    """CHAR(10) of a table means the SKU without its padding."""
    contract = """
        sku = "item_no"
        inventory.available = "qty"
    """
    async with sender(store_url, contract, table=True) as (shop, client):
        assert await change(client, envelope("c", None, {"item_no": "CUP-R     ", "qty": 3})) == ["appended"]
        assert (await said(shop))[0][0] == "CUP-R/*/inventory/other"


async def test_a_poison_row_does_not_stop_the_others(store_url: str) -> None:
    """It is kept, whole, with the SKU, the value and the rule, and taken when the contract is mended."""
    contract = """
        sku = "item_no"
        inventory.available = "qty"
    """
    rows: Sequence[tuple[str, object]] = [("GOOD-1", 3), ("BAD", "three"), ("GOOD-2", 4)]
    messages = [envelope("c", None, {"item_no": sku, "qty": qty}) for sku, qty in rows]
    async with sender(store_url, contract, table=True) as (shop, client):
        assert await change(client, *messages) == ["appended", "kept", "appended"]
        assert await change(client, messages[1]) == ["kept"]
        [dead_letter] = await shop.dead_letters.newest()
        assert json.loads(dead_letter.state) == messages[1]
        assert dead_letter.originator_id == "BAD/*/inventory/other"
        assert dead_letter.error == "inventory.available: `qty`: 'three' is not a number (integer); SKU BAD"
    mended = contract + 'withdraw = { qty = ["three"] }'
    mended = mended.replace("inventory.available", "[inventory]\n        available")
    async with sender(store_url, mended, table=True) as (shop, client):
        assert [word async for _, word in shop.dead_letters.retry_all()] == ["resolved"]
        assert [stream.partition("/")[0] for stream, _, _ in await said(shop)] == ["BAD", "GOOD-1", "GOOD-2"]


async def test_a_row_makes_statements_of_several_streams(store_url: str) -> None:
    """A price and a stock; what the row says no longer is withdrawn, and a deletion withdraws all of it."""
    contract = """
        sku = "item_no"
        pricing = { only = { sold = [true] }, currency = { constant = "EUR" }, amount = "price" }
        inventory = { channel = "shop", available = "qty" }
    """
    first = {"item_no": "CUP", "sold": True, "price": "7.50", "shop": "web-de", "qty": 3}
    second, third = first | {"sold": False, "qty": 2}, first | {"shop": "web-us"}
    moves = [
        envelope("c", None, first, lsn=1),
        envelope("u", first, second, lsn=2),
        envelope("u", second, third, lsn=3),
        envelope("d", third, None, lsn=4),
    ]
    async with sender(store_url, contract, table=True) as (shop, client):
        outcomes = await change(client, *moves)
        assert [each for each in outcomes if each != "ignored"] == ["appended"] * 9
        assert await change(client, *moves) == [each.replace("appended", "duplicate") for each in outcomes]
        assert [
            (stream.removesuffix("/other"), version, bool(payload)) for stream, version, payload in await said(shop)
        ] == [
            ("CUP/*/pricing", 1, True),
            ("CUP/*/pricing", 2, False),
            ("CUP/*/pricing", 3, True),
            ("CUP/*/pricing", 4, False),
            ("CUP/web-de/inventory", 1, True),
            ("CUP/web-de/inventory", 2, True),
            ("CUP/web-de/inventory", 3, False),
            ("CUP/web-us/inventory", 3, True),
            ("CUP/web-us/inventory", 4, False),
        ]


async def test_values_by_their_types(store_url: str) -> None:
    """A decimal in bytes, a boolean as a number, JSON and a moment without a zone: as the schema has them."""
    contract = """
        zone = "Europe/Berlin"
        sku = "item_no"
        pricing = { currency = { constant = "EUR" }, amount = "price", taxIncluded = "gross" }
        catalog.attributes = { care = "care", since = { from = "since", date = { zone = "Europe/Berlin" } } }
    """
    types = schema_of(price=Decimal(2), care="io.debezium.data.Json", since="io.debezium.time.MicroTimestamp")
    row = {"item_no": "CUP", "price": "Ae4=", "gross": 1, "care": '{"wash":30.0}', "since": 1782907200000000}
    async with sender(store_url, contract, table=True) as (shop, client):
        assert await change(client, {"schema": types, "payload": envelope("c", None, row)}) == ["appended"] * 2
        assert [payload for _, _, payload in await said(shop)] == [
            {"attributes": {"care": {"wash": 30}, "since": "2026-07-01T10:00:00Z"}},
            {"amount": "4.94", "currency": "EUR", "taxIncluded": True},
        ]


async def test_a_large_delivery(store_url: str) -> None:
    """Two thousand variants in more than a megabyte are two thousand events."""
    contract = """
        items = "variants"
        versions = "moment"
        sourceVersion = "$.updated"
        sku = "sku"
        pricing = { currency = { constant = "EUR" }, amount = "price" }
    """
    variants = [{"sku": f"CUP-{number:04}", "price": "19.90", "more": "x" * 600} for number in range(2_000)]
    async with sender(store_url, contract) as (shop, client):
        outcomes = await post(client, {"updated": "2026-01-03T11:00:00+01:00", "variants": variants})
        assert outcomes == ["appended"] * 2_000
        assert await shop.dead_letters.count() == 0
