"""Kafka Connect schemas: the meaning of a number or a text, as Debezium sends it."""

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.debezium import DebeziumReader
from pagefold.engine.intake.statement import Statement
from tests.support.debezium_messages import COLUMNS, ROW, configured, envelope, event, payload_of, refused, schema_of
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
    digits = f"{abs(unscaled):0{scale + 1}}"
    sign = "-" if unscaled < 0 else ""
    point = len(digits) - scale
    assert payload["amount"] == sign + digits[:point] + (f".{digits[point:]}" if scale else "")


def test_decimals_of_any_scale_are_exact() -> None:
    """With the scale in the value, according to the schema."""
    kinds = schema_of(price="io.debezium.data.VariableScaleDecimal")
    row = ROW | {"price": {"scale": 2, "value": in_bytes(14990)}}
    assert payload_of(event({"schema": kinds, "payload": envelope("c", None, row)})) == {
        "amount": "149.90",
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
    assert refused(message).startswith(("payload.amount: is", "payload.amount: has"))


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
    """With the schema, columns without a time zone are in UTC."""
    columns = COLUMNS | {"occurredAt": "changed"}
    message = {"schema": schema_of(changed=kind), "payload": envelope("c", None, ROW | {"changed": value})}
    found = event(message, columns=columns)
    assert EventValidator(configured()).validate(found).occurred_at == moment
    if isinstance(value, int):
        assert refused(message["payload"], columns=columns).startswith("occurredAt: expected a timestamp")
        message["payload"] = envelope("c", None, ROW | {"changed": value * 10**6})
        assert refused(message, columns=columns).startswith("occurredAt: is outside the years")


def test_json_and_dates_are_converted() -> None:
    """A JSON column is not a text with quotes, and a date is not a number."""
    attributes: Document = {"payload": {"attributes": {"care": "care", "since": "since", "note": "note"}}}
    config = configured("pim", "catalog", columns={"sku": "item_no"} | attributes, constants={})
    kinds = schema_of(care="io.debezium.data.Json", since="io.debezium.time.Date", note="io.debezium.data.Json")
    row = ROW | {"care": '{"wash":[30]}', "since": 20454, "note": "{"}
    [found] = found_in(
        DebeziumReader(config, "pim"), json.dumps({"schema": kinds, "payload": envelope("c", None, row)}).encode()
    )
    assert isinstance(found, Statement)
    assert payload_of(found.event) == {"attributes": {"care": {"wash": [30]}, "since": "2026-01-01", "note": "{"}}
