"""One value gives one event, whichever way it comes: by webhook, by a change of a table, by a CloudEvent."""

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagefold import Config
from pagefold.engine.intake.formats.request_parts import RejectedPart
from pagefold.engine.intake.readers.cloudevents import CloudEventMessageReader
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from tests.support.debezium_messages import envelope, schema_of
from tests.support.deliveries import found_in
from tests.support.small_shop import Document, document
from tests.support.strategies import json_values

PLACES: Mapping[str, Document] = {
    "anything": {"catalog": {"attributes": {"value": "v"}}},
    "text": {"catalog": {"family": "v"}},
    "trimmed": {"catalog": {"attributes": {"value": {"from": "v", "steps": ["trim", {"case": "upper"}]}}}},
    "integer": {"inventory": {"available": "v"}},
    "null": {"inventory": {"available": {"from": "v", "blank": "null"}}},
    "boolean": {"inventory": {"available": "one", "backorderable": "v"}},
    "amount": {"pricing": {"amount": "v", "currency": {"constant": "EUR"}}},
    "money": {"pricing": {"amount": {"from": "v", "money": "EUR"}, "currency": {"constant": "EUR"}}},
    "cents": {"pricing": {"amount": {"from": "v", "money": {"currency": "JPY", "unit": "minor"}}, "currency": "cur"}},
    "moment": {"inventory": {"available": "one", "restockAt": "v"}},
    "lookup": {"catalog": {"attributes": {"value": {"from": "v", "lookup": {"values": {"1": "a", "x": "b"}}}}}},
    "template": {"catalog": {"attributes": {"value": {"computed": "{{ v }}/{{ one }}"}}}},
    "rounded": {"catalog": {"attributes": {"value": {"from": "v", "round": 1}}}},
    "computed": {"catalog": {"attributes": {"value": {"sum": ["v", "one"]}}}},
    "localized": {"catalog": {"localized": {"name": {"from": "v", "localized": True}}}},
    "default": {"catalog": {"family": {"from": "v", "default": "none"}}},
    "withdraw": {"catalog": {"family": {"from": "v", "blank": "withdraw"}}},
}
AT = "2026-01-01T00:00:00Z"
HEAD: Document = {"sku": "sku", "sourceVersion": "one", "occurredAt": "at", "zone": "UTC"}
AROUND: Document = {"sku": "A", "one": 1, "at": AT, "cur": "JPY"}
ATTRIBUTES: Document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t"}


class Readers(NamedTuple):
    """The readers of one contract: paths of a CloudEvent begin at the event."""

    webhook: WebhookReader
    table: DebeziumReader
    event: CloudEventMessageReader


def in_data(spec: object) -> object:
    """A contract whose paths lead into the data of an event."""
    text = json.dumps(spec)
    for name in ("v", "one", "sku", "at", "cur"):
        text = text.replace(f': "{name}"', f': "data.{name}"').replace(f'["{name}"', f'["data.{name}"')
        text = text.replace(f', "{name}"]', f', "data.{name}"]')
    made: object = json.loads(text)
    return made


def readers(place: Document) -> Readers:
    """The readers of a source with this contract at each of its entrances."""
    contract = HEAD | place
    foreign = in_data({name: value for name, value in contract.items() if name != "zone"})
    assert isinstance(foreign, dict)
    foreign |= {"zone": "UTC", "id": {"from": "@header.none"}}
    foreign = json.loads(json.dumps(foreign).replace("{{ v }}/{{ one }}", "{{ data.v }}/{{ data.one }}"))
    parsed = document()
    parsed["sources"]["x"] = {
        "domains": ["catalog", "pricing", "inventory"],
        "webhook": {"secret_variables": ["S"], "contract": contract},
        "cdc": {"contract": contract},
        "cloudevents": {"types": ["t"], "contract": foreign},
    }
    config = Config.parse(parsed)
    return Readers(WebhookReader(config, "x"), DebeziumReader(config, "x"), CloudEventMessageReader(config, "x"))


READERS = {name: readers(place) for name, place in PLACES.items()}


def made_of(reader: WebhookReader | DebeziumReader | CloudEventMessageReader, body: bytes) -> object:
    """What a reader makes of a body: an event, or the place and the rule of its refusal."""
    [found] = found_in(reader, body)
    if isinstance(found, Statement):
        event = found.event
        return event.sku, event.source_version, event.occurred_at, event.payload
    assert isinstance(found, RejectedPart)
    return found.rejection.path, found.rejection.reason.rpartition("(")[2]


def by_every_entrance(place: str, text: str) -> list[object]:
    """What each entrance makes of a value, as JSON."""
    row = json.dumps(AROUND | {"v": "VALUE"}).replace('"VALUE"', text)
    event = json.dumps(ATTRIBUTES | {"data": "ROW"}).replace('"ROW"', row)
    encoded = json.dumps(ATTRIBUTES | {"data_base64": base64.b64encode(row.encode()).decode()})
    message = json.dumps(envelope("c", None, {})).replace('"after": {}', f'"after": {row}')
    found = READERS[place]
    return [
        made_of(found.webhook, row.encode()),
        made_of(found.table, message.encode()),
        made_of(found.event, event.encode()),
        made_of(found.event, encoded.encode()),
    ]


WRITTEN = [
    *("12.0", "1e2", "-0", "0.1", "19.90", "1E400", "1", "7.5", "true", "null", '""', '" "', '"1"', '" 1 "', '"x"'),
    *("[]", "{}", "[1,2]", '["a"]', '{"de_DE":"Hemd","en":""}', '"infinity"', '"2026-01-01"', '"9999-12-31T00:00:00Z"'),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", WRITTEN)
def test_what_is_written_means_the_same(place: str, text: str) -> None:
    """Numbers, texts, blanks and structures, through each transform."""
    first, *others = by_every_entrance(place, text)
    assert others == [first] * 3


@given(value=json_values, place=st.sampled_from(sorted(PLACES)))
def test_any_value_means_the_same(value: object, place: str) -> None:
    """Whatever JSON can say."""
    first, *others = by_every_entrance(place, json.dumps(value))
    assert others == [first] * 3


def typed(place: str, kind: str | Decimal, value: object) -> object:
    """What a change of a table makes of a value that its schema describes."""
    message = {"schema": schema_of(v=kind), "payload": envelope("c", None, AROUND | {"v": value})}
    return made_of(READERS[place].table, json.dumps(message).encode())


@given(unscaled=st.integers(-(10**15), 10**15), scale=st.integers(0, 6), place=st.sampled_from(sorted(PLACES)))
@example(unscaled=1990, scale=2, place="money")
@example(unscaled=1200, scale=2, place="integer")
def test_a_decimal_means_the_number(unscaled: int, scale: int, place: str) -> None:
    """In bytes, with the scale of its column: as the same digits in JSON."""
    number = unscaled.to_bytes(8, "big", signed=True)
    text = format(Decimal(unscaled).scaleb(-scale), "f")
    assert typed(place, Decimal(scale), base64.b64encode(number).decode()) == by_every_entrance(place, text)[0]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECONDS = st.integers(-62_135_510_400_000_000, 253_402_214_399_999_999)
"""From the second day of year 1 to the last but one of year 9999."""


@given(count=MICROSECONDS)
def test_a_moment_means_the_same(count: int) -> None:
    """As text with or without an offset, and in microseconds by its type; so does what no calendar has."""
    moment = EPOCH + timedelta(microseconds=count)
    text = moment.isoformat()
    expected = by_every_entrance("moment", json.dumps(text))[0]
    bare = moment.replace(tzinfo=None).isoformat(sep=" ")
    assert by_every_entrance("moment", json.dumps(bare)) == [expected] * 4
    assert typed("moment", "io.debezium.time.MicroTimestamp", count) == expected
    assert typed("moment", "io.debezium.time.ZonedTimestamp", text) == expected
    endless = by_every_entrance("moment", '"infinity"')[0]
    assert typed("moment", "io.debezium.time.MicroTimestamp", 2**63 - 1) == endless
