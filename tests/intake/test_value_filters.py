"""Filtered requests are counted and never stored: by header, by value, and however invalid they are otherwise."""

import json

import pytest

import pagefold
from pagefold import Config, ConfigurationError, Shop
from pagefold.engine.http.metrics import exposition
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from tests.dead_letters.test_webhook_retrier import (
    ENVIRONMENT,
    HOOK,
    ITEMS,
    PRICE,
    ROWS,
    changes,
    delivery,
    outcomes_in,
    row,
    sender,
    written,
)
from tests.support.debezium_messages import envelope
from tests.support.deliveries import found_in
from tests.support.http_clients import service_of
from tests.support.small_shop import Document, document

ONLY_ITEMS = ITEMS | {"pricing": PRICE | {"only": {"status": ["publish", 7, True], "$.kind": ["product"]}}}
ONLY_ROWS = ROWS | {"only": {"list": ["retail", 7]}}
TOPICS: Document = {"only_headers": {"X-Shopify-Topic": ["products/create", "products/update"]}}


def configured(
    url: str = "sqlite:///nowhere", items: Document = ITEMS, rows: Document = ROWS, headers: Document | None = None
) -> Config:
    """A shop with these contracts and filters."""
    parsed = document(url)
    parsed["sources"]["erp"] = {
        "domains": ["pricing"],
        "webhook": HOOK | {"contract": items} | (headers or {}),
        "cdc": {"contract": rows} | (headers or {}),
    }
    return Config.parse(parsed, store=url)


def webhook(*rows: Document, **more: object) -> list[ParsedPart]:
    """A webhook of which only some items count."""
    reader = WebhookReader(configured(items=ONLY_ITEMS), "erp")
    return found_in(reader, delivery(*rows, **more))


def table(message: object) -> list[type]:
    """A CDC message of which only some rows count."""
    reader = DebeziumReader(configured(rows=ONLY_ROWS), "erp")
    return [type(each) for each in found_in(reader, json.dumps(message).encode())]


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        ("publish", True),
        (7, True),
        (True, True),
        ("draft", False),
        (7.0, True),
        (1, True),
        ("true", True),
        ("TRUE ", True),
        ("7", True),
        (" 7.0", True),
        (2, False),
        ("2", False),
        ("Publish", False),
        ("", False),
        (None, False),
        ([7], False),
    ],
)
def test_an_item_counts_by_its_value(status: object, *, counts: bool) -> None:
    """It is one of the declared values, at every path, whatever its form; an ignored item may be invalid."""
    [found] = webhook(row("A", status=status), kind="product")
    assert isinstance(found, Statement) is counts
    for wrong in (row(None, status="draft"), row("A", "free", status="draft"), {}, 7):
        [found] = webhook(wrong, kind="product")  # type: ignore[arg-type]  # not a valid item
        assert isinstance(found, IgnoredMessage)
        assert found.cause == "filter"
    [found] = webhook(row("A", status="publish"), kind="order")
    reason = "its values are not among those that `only` of the contract erp@1 has"
    assert found == IgnoredMessage("filter", reason)
    [found] = webhook(row(None, status="publish"), kind="product")
    assert isinstance(found, RejectedPart)


def test_a_withdrawal_is_filtered_too() -> None:
    """An ignored item withdraws nothing."""
    contract = ITEMS | {"pricing": ONLY_ITEMS["pricing"] | {"withdraw": {"gone": [True]}}}
    reader = WebhookReader(configured(items=contract), "erp")
    body = delivery(row("A", gone=True, status="draft"), row("A", gone=True, status="publish"), kind="product")
    ignored, withdrawn = found_in(reader, body)
    assert isinstance(ignored, IgnoredMessage)
    assert isinstance(withdrawn, Statement)
    assert withdrawn.event.payload is None


def priced(sku: str, kind: object, **more: object) -> Document:
    """A row of a table with several price lists."""
    return {"item": sku, "price": "1.00", "list": kind, **more}


@pytest.mark.parametrize(
    ("message", "found"),
    [
        (envelope("c", None, priced("A", "retail")), [Statement]),
        (envelope("c", None, priced("A", 7)), [Statement]),
        (envelope("c", None, priced("A", "trade")), [IgnoredMessage]),
        (envelope("c", None, {"item": "A", "price": "1.00"}), [IgnoredMessage]),
        (envelope("c", None, {"item": None, "price": "x", "list": "trade"}), [IgnoredMessage]),
        (envelope("u", priced("A", "retail"), priced("A", "trade")), [Statement, IgnoredMessage]),
        (envelope("u", priced("A", "trade"), priced("A", "retail")), [Statement]),
        (envelope("u", priced("A", "retail"), priced("B", "retail")), [Statement, Statement]),
        (envelope("u", priced("A", "trade"), priced("B", "trade")), [IgnoredMessage]),
        (envelope("u", priced("A", "retail"), priced("A", "__debezium_unavailable_value")), [Statement]),
        (envelope("u", None, priced("A", "__debezium_unavailable_value")), [RejectedPart]),
        (envelope("d", priced("A", "retail")), [Statement]),
        (envelope("d", priced("A", "trade")), [IgnoredMessage]),
        (envelope("d", priced("A", None)), [IgnoredMessage]),
        (envelope("d", {"item": "A", "shop": "*", "list": "retail"}), [Statement]),
        (envelope("d", {"item": "A", "shop": "*"}), [RejectedPart]),
    ],
)
def test_a_row_counts_by_its_columns(message: Document, found: list[type]) -> None:
    """A row that no longer counts is withdrawn; of a deleted one, the key alone does not say whether it counted."""
    assert table(message) == found


async def test_a_delivery_counts_by_its_headers(store_url: str) -> None:
    """A request to the wrong address is not parsed: its personal data is neither in dead letters nor in the log."""
    order = b'{"customer":{"name":"Erika Mustermann"}} no JSON'
    async with pagefold.open(configured(store_url, headers=TOPICS)) as shop, sender(shop) as client:
        for via in ("webhooks", "cdc"):
            for headers in ({}, {"x-shopify-topic": "orders/create"}, {"x-shopify-topic": "PRODUCTS/UPDATE"}):
                assert await outcomes_in(client, via, order, **headers) == ["ignored"]
        good = {"X-Shopify-Topic": "products/update"}
        assert await outcomes_in(client, "webhooks", delivery(row("A")), **good) == ["appended"]
        assert await outcomes_in(client, "cdc", changes(written("B")), **good) == ["appended"]
        assert await shop.dead_letters.count() == 0
        assert await outcomes_in(client, "webhooks", order, **good) == ["kept"]
        assert await samples(shop) == {("erp", "filter"): 6.0, ("erp", "kept"): 1.0}


async def samples(shop: Shop) -> dict[tuple[str, str], float]:
    """The metrics of requests that became no events."""
    service = service_of(shop, environment=ENVIRONMENT)
    found: dict[tuple[str, str], float] = {}
    for line in (await exposition(service.shop, [service.counters()], [])).decode().splitlines():
        if line.startswith("pagefold_ingest_items_not_appended_total{"):
            labels, _, number = line.partition("{")[2].rpartition("} ")
            named = dict(pair.split("=") for pair in labels.replace('"', "").split(","))
            found[named["source"], named["outcome"]] = float(number)
    return found


async def test_a_retry_resolves_what_a_filter_ignores(store_url: str) -> None:
    """A filter that is added later, by value or by header, resolves the dead letters that it ignores."""
    async with pagefold.open(configured(store_url)) as shop, sender(shop) as client:
        topic = {"x-shopify-topic": "orders/create"}
        assert await outcomes_in(client, "webhooks", delivery(row("A", "free", status="draft")), **topic) == ["kept"]
        assert await outcomes_in(client, "cdc", changes(written("A", "free", list="trade"))) == ["kept"]
    filters: list[tuple[Document, Document, list[str]]] = [
        (ROWS, TOPICS, ["resolved", "still dead"]),
        (ONLY_ROWS, {}, ["resolved"]),
    ]
    for rows, headers, expected in filters:
        async with pagefold.open(configured(store_url, rows=rows, headers=headers)) as shop:
            assert [word async for _, word in shop.dead_letters.retry_all()] == expected
    async with pagefold.open(configured(store_url)) as shop:
        dead_letters = [await shop.dead_letters.get(name) for name in ("ingest-1", "ingest-2")]
        assert [dead_letter.resolution for dead_letter in dead_letters] == ["ignored", "ignored"]


@pytest.mark.parametrize(
    ("settings", "key", "problem"),
    [
        ({"x topic": ["x"]}, "x topic", "is not the name of a header"),
        ({"x-topic": [7]}, "x-topic", "expected the values to accept"),
        ({"x": []}, "x", "expected the values to accept"),
    ],
)
def test_an_invalid_filter_is_an_error(settings: Document, key: str, problem: str) -> None:
    """The error names its key, and says what would be valid."""
    with pytest.raises(ConfigurationError) as caught:
        configured(headers={"only_headers": settings})
    assert problem in caught.value.problem
    assert caught.value.key.endswith(f".only_headers.{key}")
