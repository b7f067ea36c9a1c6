"""Kafka Connect schemas: the meaning of a number or a text, as Debezium sends it."""

import base64
import json
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.statement import Statement
from tests.support.debezium_messages import (
    CONTRACT,
    ROW,
    configured,
    envelope,
    event,
    payload_of,
    reader,
    refused,
    schema_of,
)
from tests.support.deliveries import found_in
from tests.support.small_shop import Document


def in_bytes(unscaled: int) -> str:
    """An integer in Java's byte encoding."""
    size = max(1, (unscaled.bit_length() + 8) // 8)
    return base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()


@given(unscaled=st.integers(-(10**40), 10**40), scale=st.integers(0, 30))
def test_precise_decimals_are_exact(unscaled: int, scale: int) -> None:
    """Bytes with a scale are the number's text, to the last digit."""
    message = {
        "schema": schema_of(price=Decimal(scale)),
        "payload": envelope("c", None, ROW | {"price": in_bytes(unscaled)}),
    }
    payload = payload_of(event(message))
    assert isinstance(payload, dict)
    assert Fraction(payload["amount"]) == Fraction(unscaled, 10**scale)


def test_decimals_of_any_scale_are_exact() -> None:
    """With the scale in the value, according to the schema."""
    kinds = schema_of(price="io.debezium.data.VariableScaleDecimal")
    row = ROW | {"price": {"scale": 2, "value": in_bytes(14990)}}
    assert payload_of(event({"schema": kinds, "payload": envelope("c", None, row)})) == {
        "amount": "149.9",
        "currency": "EUR",
    }


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("%", Decimal(2)),
        ("", Decimal(2)),
        (in_bytes(1 << 900), Decimal(2)),
        (in_bytes(1), Decimal(10**9)),
        ({}, "io.debezium.data.VariableScaleDecimal"),
        ({"scale": [], "value": 7}, "io.debezium.data.VariableScaleDecimal"),
    ],
)
def test_invalid_decimals_are_rejected(value: object, kind: str | Decimal) -> None:
    """Whatever is in their place."""
    message = {"schema": schema_of(price=kind), "payload": envelope("c", None, ROW | {"price": value})}
    assert refused(message).startswith(("after.price: is", "after.price: has"))


@pytest.mark.parametrize(
    ("kind", "value", "moment"),
    [
        ("io.debezium.time.Timestamp", 1767225600500, "2026-01-01T00:00:00.500000Z"),
        ("org.apache.kafka.connect.data.Timestamp", 1767225600500, "2026-01-01T00:00:00.500000Z"),
        ("io.debezium.time.MicroTimestamp", 1767225600000001, "2026-01-01T00:00:00.000001Z"),
        ("io.debezium.time.NanoTimestamp", 1767225600000001999, "2026-01-01T00:00:00.000001Z"),
        ("io.debezium.time.ZonedTimestamp", "2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.500000Z"),
    ],
)
def test_timestamps_have_a_known_unit(kind: str, value: object, moment: str) -> None:
    """With the schema; columns without a time zone are in that of the contract."""
    contract = CONTRACT | {"occurredAt": "changed", "zone": "UTC"}
    message = {"schema": schema_of(changed=kind), "payload": envelope("c", None, ROW | {"changed": value})}
    found = event(message, contract)
    assert EventValidator(configured()).validate(found).occurred_at == moment
    if isinstance(value, int):
        assert "is not a date or a moment" in refused(message["payload"], contract)
        assert "has no offset from UTC" in refused(message, CONTRACT | {"occurredAt": "changed"})
        there = event(message, contract | {"zone": "Europe/Berlin"})
        assert found.occurred_at - there.occurred_at == timedelta(hours=1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("io.debezium.time.MicroTimestamp", 9223372036825200000),
        ("io.debezium.time.MicroTimestamp", -9223372036832400000),
        ("io.debezium.time.MicroTimestamp", 253402214400000000),
        ("io.debezium.time.Date", 2147483647),
        ("io.debezium.time.Date", 2932896),
        ("io.debezium.time.ZonedTimestamp", "infinity"),
        ("io.debezium.time.ZonedTimestamp", "9999-12-31T23:59:59Z"),
    ],
)
def test_what_no_calendar_has_is_an_open_end(kind: str, value: object) -> None:
    """PostgreSQL's infinity, as Debezium sends it, and the last day of the year 9999."""
    contract: Document = {"sku": "item_no", "zone": "UTC", "inventory": {"available": "id", "restockAt": "due"}}
    message = {"schema": schema_of(due=kind), "payload": envelope("c", None, ROW | {"due": value})}
    assert payload_of(event(message, contract)) == {"available": 1}


def test_json_and_dates_are_converted() -> None:
    """A JSON column is not a text with quotes, and a date is not a number."""
    contract: Document = {
        "sku": "item_no",
        "catalog": {"attributes": {"care": "care", "since": "since", "note": "note"}},
    }
    kinds = schema_of(care="io.debezium.data.Json", since="io.debezium.time.Date", note="io.debezium.data.Json")
    row = ROW | {"care": '{"wash":[30]}', "since": 20454, "note": "{"}
    [found] = found_in(reader(contract), json.dumps({"schema": kinds, "payload": envelope("c", None, row)}).encode())
    assert isinstance(found, Statement)
    assert payload_of(found.event) == {"attributes": {"care": {"wash": [30]}, "since": "2026-01-01", "note": "{"}}
