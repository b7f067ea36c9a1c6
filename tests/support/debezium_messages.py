"""Debezium's messages for tests, and their parts."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from pagefold import Config, DomainEvent
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.statement import Statement
from tests.support.deliveries import found_in
from tests.support.small_shop import Document, document

KEY = "sources.erp.cdc"
WORD = "__debezium_unavailable_value"
CONTRACT: Document = {
    "sku": "item_no",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "price", "taxClass": "tax", "tiers": "tiers"},
}
ORIGIN: Document = {
    "connector": "postgresql",
    "db": "erp",
    "schema": "public",
    "table": "prices",
    "lsn": 24023128,
    "ts_ms": 1559033904863,
    "ts_us": 1559033904863123,
}
AT = datetime(2019, 5, 28, 8, 58, 24, 863123, tzinfo=UTC)
ROW: Document = {"id": 1, "item_no": "TSHIRT-M", "price": "149.90", "tax": None, "tiers": None}
KEY_ONLY: Document = {"id": None, "item_no": "TSHIRT-M", "price": None}


def configured(source: str = "erp", domains: str = "pricing", **settings: object) -> Config:
    """A shop with CDC of one source's tables."""
    parsed = document()
    parsed["sources"][source] = {"domains": domains.split(), "cdc": {"contract": CONTRACT} | settings}
    return Config.parse(parsed)


def reader(contract: Document = CONTRACT, **settings: object) -> DebeziumReader:
    """The reader of the source erp, whose domains are those of the contract."""
    domains = " ".join(each for each in ("catalog", "pricing", "inventory", "media") if each in contract)
    return DebeziumReader(configured("erp", domains, contract=contract, **settings), "erp")


def envelope(op: str, before: Document | None = None, after: Document | None = None, **origin: object) -> Document:
    """One change of a row."""
    return {"op": op, "before": before, "after": after, "source": ORIGIN | origin, "ts_ms": 1559033904999}


def read(message: object, contract: Document = CONTRACT, **settings: object) -> list[ParsedPart]:
    """The parts of a message."""
    return found_in(reader(contract, **settings), json.dumps(message).encode())


def change(message: object, contract: Document = CONTRACT, **settings: object) -> Statement:
    """Its only change."""
    [found] = read(message, contract, **settings)
    assert isinstance(found, Statement), found
    return found


def event(message: object, contract: Document = CONTRACT, **settings: object) -> DomainEvent:
    """The same, if it is complete."""
    found = change(message, contract, **settings)
    assert not found.unchanged
    return found.event


def payload_of(event: DomainEvent) -> object:
    """The payload, decoded."""
    assert isinstance(event.payload, bytes)
    return json.loads(event.payload)


def refused(message: object, contract: Document = CONTRACT, **settings: object) -> str:
    """The reason of its rejection."""
    [found] = read(message, contract, **settings)
    assert isinstance(found, RejectedPart), found
    return str(found.rejection)


def ignored(message: object, contract: Document = CONTRACT, **settings: object) -> str:
    """The reason why it is ignored."""
    [found] = read(message, contract, **settings)
    assert isinstance(found, IgnoredMessage), found
    return found.reason


def schema_of(**kinds: str | Decimal) -> Document:
    """A schema of columns by the names of their types; a number is the scale of a decimal."""
    fields = [
        {"field": column, "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": str(kind)}}
        if isinstance(kind, Decimal)
        else {"field": column, "name": kind, "type": "int64"}
        for column, kind in kinds.items()
    ]
    row = {"type": "struct", "fields": [{"field": "id", "type": "int32"}, *fields]}
    return {"type": "struct", "fields": [row | {"field": "before"}, row | {"field": "after"}, {"field": "op"}]}
