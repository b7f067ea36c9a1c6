"""Uncounted stock: an explicit null, at every entrance; a missing value is not null, nor is zero."""

import json
from pathlib import Path

import orjson
import pytest

from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from tests.support.debezium_messages import envelope
from tests.support.deliveries import found_in
from tests.support.small_shop import Document, append, as_line, document, event, say, section, stock
from tests.support.snapshot_fixtures import configured, payload_of, read, written

FREE: Document = {"from": "stock.free", "blank": "null"}
ITEMS: Document = {"sku": "sku", "sourceVersion": "v", "occurredAt": "at", "inventory": {"available": FREE}}
ROWS: Document = {"sku": "item_no", "inventory": {"available": FREE | {"from": "free"}, "restockAt": "due"}}
AT = "2026-01-01T00:00:00Z"
HEADER = "sku,sourceVersion,occurredAt,payload.available,payload.safetyStock"


def connected(**settings: Document) -> Config:
    """A shop whose warehouse sends stock in other formats, too."""
    parsed = document()
    parsed["sources"]["wms-a"] = {"domains": ["inventory"]} | settings
    return Config.parse(parsed)


def uncounted(version: int = 1, source: str = "wms-a", **payload: object) -> DomainEvent:
    """The stock of a location that does not count."""
    return event("inventory", {"available": None} | payload, version=version, source=source)


async def test_uncounted_stock_can_be_sold(shop: Shop) -> None:
    """If any location does not count there is no sum, and the item is in stock, until it counts again."""
    await say(shop, stock(0), stock(4, source="wms-b"))
    await say(shop, uncounted(2, safetyStock=3, restockAt="2030-01-01T00:00:00Z"))
    assert await section(shop, "inventory") == {
        "available": None,
        "locations": [
            {"available": None, "restockAt": "2030-01-01T00:00:00Z", "source": "wms-a"},
            {"available": 4, "source": "wms-b"},
        ],
        "restockAt": "2030-01-01T00:00:00Z",
        "status": "in_stock",
    }
    assert (await section(shop, "inventory", "market-at"))["available"] == 4  # a channel without wms-a
    await say(shop, stock(0, version=3), stock(0, version=2, source="wms-b"))
    assert await section(shop, "inventory") == {
        "available": 0,
        "locations": [{"available": 0, "source": "wms-a"}, {"available": 0, "source": "wms-b"}],
        "status": "out_of_stock",
    }


async def test_null_is_content(shop: Shop) -> None:
    """It is neither zero nor missing, and a missing value is rejected by name."""
    await append(shop, uncounted())
    results = await shop.append([uncounted(), stock(0), event("inventory", {"safetyStock": 1}, version=2)])
    assert [each.outcome for each in results] == ["duplicate", "conflict", "rejected"]
    assert (results[-1].path, results[-1].reason) == ("payload.available", "is required")


def webhook_payload(item: Document, contract: Document = ITEMS) -> DomainEvent:
    """The event in a webhook."""
    webhooks = WebhookReader(connected(webhook={"secret_variables": ["S"], "contract": contract}), "wms-a")
    [found] = found_in(webhooks, orjson.dumps(item))
    assert isinstance(found, Statement)
    return found.event


def test_a_webhook_says_null() -> None:
    """As Shopify does, if its contract says so. Without that, null is a missing value; zero is zero."""
    said = {"sku": "A", "v": 1, "at": AT}
    validator = EventValidator(connected())
    for free, content in ((None, b'{"available":null}'), (0, b'{"available":0}')):
        assert validator.validate(webhook_payload(said | {"stock": {"free": free}})).content == content
    counted = ITEMS | {"inventory": {"available": "stock.free"}}
    for stated in (said, said | {"stock": {}}, said | {"stock": {"free": None}}):
        with pytest.raises(Rejected, match=r"payload\.available: is required"):
            validator.validate(webhook_payload(stated, counted))


def test_a_row_of_a_table_says_null() -> None:
    """NULL means uncounted in `available`, and absent in other columns, as before."""
    config = connected(cdc={"contract": ROWS})
    row = {"item_no": "A", "free": None, "due": None}
    [change] = found_in(DebeziumReader(config, "wms-a"), json.dumps(envelope("c", None, row)).encode())
    assert isinstance(change, Statement)
    assert change.event.payload == b'{"available":null}'
    assert EventValidator(config).validate(change.event).content == b'{"available":null}'


async def test_a_cell_has_a_word_for_null(tmp_path: Path) -> None:
    """CSV has no null: an empty cell is missing."""
    written(tmp_path / "stock.csv", "\n".join([HEADER, f"A,1,{AT},null,2", f"B,1,{AT},,2", f"C,1,{AT},7,", "#end,3"]))
    found = await read(configured(["inventory"], file=str(tmp_path / "stock.csv")))
    assert [payload_of(each) for each in found.events] == [
        {"available": None, "safetyStock": 2},
        {"safetyStock": 2},
        {"available": 7},
    ]


async def test_a_record_says_null(tmp_path: Path) -> None:
    """Where the contract says that a blank value is null."""
    lines = [{"id": "A", "v": 1, "at": AT, "free": None}, {"id": "B", "v": 1, "at": AT, "free": 0}]
    written(tmp_path / "stock.ndjson", "\n".join(map(json.dumps, lines)))
    contract = {
        "sku": "id",
        "sourceVersion": "v",
        "occurredAt": "at",
        "inventory": {"available": {"from": "free", "blank": "null"}},
    }
    found = await read(configured(["inventory"], file=str(tmp_path / "stock.ndjson"), contract=contract))
    assert [payload_of(each) for each in found.events] == [{"available": None}, {"available": 0}]


def test_a_line_says_null() -> None:
    """As it is stored."""
    assert b'"available":null' in as_line(uncounted())
