"""Debezium's messages: rows become events, unchanged columns keep their values, and others are ignored."""

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import ConfigurationError, DomainEvent, Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart
from pagefold.engine.intake.readers.debezium import DebeziumReader
from pagefold.engine.intake.statement import Statement, fill_unchanged
from tests.support.debezium_messages import (
    AT,
    CONTRACT,
    KEY,
    KEY_ONLY,
    ORIGIN,
    ROW,
    WORD,
    change,
    configured,
    envelope,
    event,
    ignored,
    payload_of,
    read,
    reader,
    refused,
    schema_of,
)
from tests.support.deliveries import found_in
from tests.support.shared_data import data_file
from tests.support.small_shop import Document
from tests.support.strategies import json_values

# --- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["c", "u", "r"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_a_row_is_an_event(op: str, *, wrapped: bool) -> None:
    """A row that was created, changed, or read for a snapshot; with its schema or without."""
    message = envelope(op, None, ROW)
    found = event({"schema": {}, "payload": message} if wrapped else message)
    assert (found.type, found.sku, found.channel, found.source) == ("pricing", "TSHIRT-M", "*", "erp")
    assert (found.source_version, found.occurred_at) == (24023128, AT)
    assert payload_of(found) == {"amount": "149.9", "currency": "EUR"}
    assert EventValidator(configured()).validate(found).originator_id == "TSHIRT-M/*/pricing/erp"


def test_columns_may_give_the_version_and_the_timestamp() -> None:
    """Configured columns go before the database's; the latter's milliseconds suffice."""
    contract = CONTRACT | {"sourceVersion": "change_no", "occurredAt": "changed"}
    row = ROW | {"change_no": "17", "changed": "2026-01-01T00:00:00.5+01:00"}
    found = event(envelope("u", None, row, lsn=None, ts_ms=None, ts_us=None), contract)
    assert (found.source_version, found.occurred_at.isoformat()) == (17, "2025-12-31T23:00:00.500000+00:00")
    found = event(envelope("u", None, ROW, ts_us=None))
    assert found.occurred_at == AT.replace(microsecond=863000)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (envelope("u", None, None), "after: is required"),
        (envelope("c", None, ROW | {"item_no": None}), "pricing.sku: `item_no` is blank, and a value is required"),
        (
            envelope("c", None, ROW, lsn=None),
            "pricing.sourceVersion: the change has no source.lsn: let the contract name",
        ),
        (
            envelope("c", None, ROW, ts_us=None, ts_ms=None),
            "pricing.occurredAt: is blank, and a value is required; SKU TSHIRT-M",
        ),
        (envelope("c", None, ROW, ts_us=10**18), "source.ts_us: is outside the years"),
        (envelope("c", None, ROW, lsn="0/16E3778"), "source.lsn: expected `int | null`"),
        (envelope("x", None, ROW), "op: 'x' is unknown; the operations are c, u, r, d, t and m"),
        (
            envelope("c", None, ROW | {"price": {"scale": 2, "value": "Opg="}}),
            "pricing.amount: `price`: an object of 2 is not a number (decimal)",
        ),
        ({"op": "c", "after": ROW}, "source: is required"),
        ({"after": ROW, "source": ORIGIN}, "op: is required"),
        ({}, "op: is required"),
        (envelope("c", None, ROW) | {"after": [1]}, "after: expected `object | null`"),
        ("text", "expected `object`"),
        ({"schema": {"fields": 7}, "payload": envelope("c", None, ROW)}, "schema: is not a Kafka Connect schema"),
    ],
)
def test_an_invalid_message_is_rejected(message: object, problem: str) -> None:
    """With the invalid field, and what to set in the source's connector."""
    assert refused(message).startswith(problem)


# --- deleted rows ---------------------------------------------------------------------------


def test_a_deletion_withdraws() -> None:
    """Its event, at the LSN and timestamp of its deletion; the key of the row suffices."""
    for before in (ROW, KEY_ONLY, {"item_no": "TSHIRT-M"}):
        found = event(envelope("d", before, None, lsn=24023129))
        assert (found.sku, found.payload, found.source_version, found.occurred_at) == ("TSHIRT-M", None, 24023129, AT)


def test_a_deletion_has_the_next_version() -> None:
    """With a version column, a deletion has the next version; its timestamp is not that of the last change."""
    contract = CONTRACT | {"sourceVersion": "change_no", "occurredAt": "changed"}
    before = ROW | {"change_no": 17, "changed": "2001-01-01T00:00:00Z"}
    found = event(envelope("d", before), contract)
    assert (found.source_version, found.occurred_at, found.payload) == (18, AT, None)
    problem = "pricing.sourceVersion: is not in the row before the change; with ALTER TABLE … REPLICA IDENTITY FULL"
    assert refused(envelope("d", KEY_ONLY), contract).startswith(problem)
    moments = CONTRACT | {"sourceVersion": "changed", "versions": "moment"}
    found = event(envelope("d", before), moments)
    assert (found.source_version, found.occurred_at) == (978307200000001, AT)
    assert event(envelope("d", ROW), CONTRACT | {"versions": "none"}).source_version == 0


def test_a_deleted_row_must_have_its_identity() -> None:
    """Without its SKU, or with a channel that was perhaps not sent, nothing is withdrawn."""
    contract = CONTRACT | {"channel": "shop"}
    assert refused(envelope("d", None)).startswith("before: is required")
    assert refused(envelope("d", {"id": 1})).startswith("pricing.sku: is not in the row before the change")
    assert refused(envelope("d", KEY_ONLY), contract).startswith("before.shop: is not in the row before")
    assert event(envelope("d", ROW | {"shop": None}), contract).channel == "*"
    assert event(envelope("d", KEY_ONLY | {"shop": "web-de"}), contract).channel == "web-de"


@pytest.mark.parametrize("moved", [{"item_no": "OTHER"}, {"shop": "web-de"}, {"shop": None}])
def test_a_row_that_moves_is_withdrawn(moved: Document) -> None:
    """With another SKU or channel, its earlier event is withdrawn first, at the same LSN."""
    contract = CONTRACT | {"channel": "shop"}
    before, after = ROW | {"shop": "web-us"}, ROW | {"shop": "web-us"} | moved
    withdrawn, stated = read(envelope("u", before, after), contract)
    assert isinstance(withdrawn, Statement)
    assert isinstance(stated, Statement)
    assert (withdrawn.event.sku, withdrawn.event.channel, withdrawn.event.payload) == ("TSHIRT-M", "web-us", None)
    assert (stated.event.sku, stated.event.channel) == (after["item_no"], after["shop"] or "*")
    assert withdrawn.event.source_version == stated.event.source_version


def test_a_row_that_stays_is_one_event() -> None:
    """If its identity is the same, in Unicode too, or only its key was sent, or it had none."""
    assert event(envelope("u", ROW, ROW | {"price": "1"})).sku == "TSHIRT-M"
    assert event(envelope("u", ROW | {"item_no": "A\u0308"}, ROW | {"item_no": "\u00c4"})).sku == "\u00c4"
    assert event(envelope("u", KEY_ONLY | {"item_no": "OTHER"}, ROW)).sku == "TSHIRT-M"
    assert event(envelope("u", ROW | {"item_no": None}, ROW)).sku == "TSHIRT-M"


# --- unchanged columns --------------------------------------------------------------------------


@pytest.mark.parametrize("word", [WORD, [WORD], base64.b64encode(WORD.encode()).decode()])
def test_an_unchanged_column_keeps_its_value(word: object) -> None:
    """As text, in an array and in bytes: the rest of the payload is new, and that field is the log's."""
    found = change(envelope("u", None, ROW | {"tiers": word}))
    assert found.unchanged == (("tiers",),)
    assert payload_of(found.event) == {"amount": "149.9", "currency": "EUR"}
    standing = b'{"amount":"1","currency":"EUR","taxClass":"old","tiers":[{"amount":"9","minQuantity":2}]}'
    assert payload_of(fill_unchanged(found, standing)) == {
        "amount": "149.9",
        "currency": "EUR",
        "tiers": [{"amount": "9", "minQuantity": 2}],
    }
    assert fill_unchanged(found, b'{"amount":"1","currency":"EUR"}').payload == found.event.payload


def test_with_a_full_identity_nothing_is_missing() -> None:
    """`REPLICA IDENTITY FULL` has the large value, so nothing is missing."""
    found = event(envelope("u", ROW | {"tax": "full"}, ROW | {"tax": WORD}))
    assert payload_of(found) == {"amount": "149.9", "currency": "EUR", "taxClass": "full"}
    assert change(envelope("u", ROW | {"tax": WORD}, ROW | {"tax": WORD})).unchanged == (("taxClass",),)
    assert change(envelope("u", KEY_ONLY, ROW | {"tax": WORD})).unchanged == (("taxClass",),)


def test_an_unknown_value_cannot_be_kept() -> None:
    """For a stream that is unknown or withdrawn, the error names the missing field."""
    found = change(envelope("u", None, ROW | {"tax": WORD}))
    for standing in (None, b"null"):
        with pytest.raises(
            Rejected, match=r"payload.taxClass: was not sent, because it did not change, and the log has no"
        ):
            fill_unchanged(found, standing)


def test_parts_inside_objects_are_kept() -> None:
    """One attribute keeps its value, beside others that are new, and alone."""
    contract: Document = {"sku": "item_no", "catalog": {"attributes": {"text": "text", "size.eu": "size"}}}
    standing = b'{"attributes":{"size.eu":"S","text":"long","weight":1.5}}'
    for size, kept in (("M", {"size.eu": "M", "text": "long"}), (None, {"text": "long"})):
        message = envelope("u", None, ROW | {"text": WORD, "size": size})
        found = change(message, contract)
        assert found.unchanged == (("attributes", "text"),)
        assert payload_of(fill_unchanged(found, standing)) == {"attributes": kept}


def test_whatever_reads_an_unchanged_column_is_unchanged() -> None:
    """A value of several columns, of a template, of names with a locale: none is made of what is left."""
    contract: Document = {
        "sku": "item_no",
        "catalog": {
            "family": {"first_of": ["long", "id"]},
            "parent": {"from": "long", "default": "none"},
            "attributes": {"made": {"computed": "{{ id }} {{ long|upper }}"}, "id": "id"},
            "localized": {"name": {"locale_columns": "name_{locale}"}, "text": {"locale_columns": "text_{locale}"}},
        },
    }
    row = ROW | {"long": WORD, "name_de": WORD, "name_en": "Mug", "text_de": "Becher"}
    found = change(envelope("u", None, row), contract)
    places = (("family",), ("parent",), ("attributes", "made"), ("localized", "name"))
    assert found.unchanged == places
    assert payload_of(found.event) == {"attributes": {"id": 1}, "localized": {"text": {"de": "Becher"}}}


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"only": {"long": ["x"]}}, "after.long"),
        ({"items": "long"}, "after.long"),
        ({"pricing": {"each": "long", "amount": "price"}}, "after.long"),
        ({"pricing": {"only": {"long": ["x"]}, "amount": "price"}}, "pricing.only"),
        ({"pricing": {"withdraw": {"long": ["x"]}, "amount": "price"}}, "pricing.withdraw"),
        ({"occurredAt": "long"}, "pricing.occurredAt"),
        ({"id": "long"}, "pricing.id"),
    ],
)
def test_what_an_unchanged_column_decides_is_unknown(more: Document, place: str) -> None:
    """Whether a row counts, what it withdraws, its statements, and the fields of an event."""
    found = refused(envelope("u", None, ROW | {"long": WORD}), CONTRACT | more)
    assert found.startswith(f"{place}: ")
    assert "was not sent, because it did not change; with ALTER TABLE … REPLICA IDENTITY FULL" in found


def test_an_identity_is_never_kept() -> None:
    """An SKU or channel that was not sent cannot be looked up."""
    problem = "pricing.sku: `item_no` was not sent, because it did not change; with ALTER TABLE … REPLICA IDENTITY FULL"
    assert refused(envelope("u", None, ROW | {"item_no": WORD})).startswith(problem)
    assert event(envelope("u", ROW, ROW | {"item_no": WORD})).sku == "TSHIRT-M"


def test_the_placeholder_is_configurable() -> None:
    """It is that of `unavailable.value.placeholder`; then the default one is a text like any other."""
    for word in ("same", "gleich wie früher", 'a "quoted" one', "back\\slash/"):
        assert change(envelope("u", None, ROW | {"tax": word}), unavailable_value=word).unchanged == (("taxClass",),)
    settings: Document = {"unavailable_value": "same"}
    assert change(envelope("u", None, ROW | {"tax": WORD}), **settings).unchanged == ()


# --- messages without a row -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (None, "a tombstone"),
        ({"schema": None, "payload": None}, "a tombstone"),
        ({"key": {"id": 1}, "value": None}, "a tombstone"),
        ({"key": None, "value": {"schema": None, "payload": None}, "topic": "t", "offset": 7}, "a tombstone"),
        (envelope("t"), "the table public.prices was truncated"),
        (
            envelope("m", table="", schema="") | {"message": {"prefix": "foo", "content": "Ymfy"}},
            "a logical decoding m",
        ),
        ({"ts_ms": 1559033904999}, "a heartbeat"),
        ({"status": "BEGIN", "id": "571:53195829", "ts_ms": 1, "event_count": None}, "a transaction marker"),
    ],
)
def test_a_message_without_a_row_is_ignored(message: object, reason: str) -> None:
    """It is no error, so that the connector continues."""
    assert ignored(message).startswith(reason)
    assert ignored(message, tables=["public.prices"]).startswith(reason)


def test_only_the_declared_tables_count() -> None:
    """As `schema.table`, or `database.table` in databases without schemas."""
    tables = ["public.prices", "erp.offers"]
    assert event(envelope("c", None, ROW), tables=tables).sku == "TSHIRT-M"
    assert event(envelope("c", None, ROW, schema=None, table="offers"), tables=tables).sku == "TSHIRT-M"
    problem = f"the table public.offers is not among {KEY}.tables"
    assert ignored(envelope("c", None, {"anything": 1}, table="offers"), tables=tables) == problem


def test_an_empty_message_is_no_tombstone() -> None:
    """An empty message was lost on its way: it is rejected like any other text that is not JSON."""
    for body in (b"", b" \n"):
        [found] = found_in(reader(), body)
        assert isinstance(found, RejectedPart)


def test_a_record_has_its_message_as_its_value() -> None:
    """With a key, as forwarders of Kafka records send it, with its schema or alone; nothing else is a record."""
    message = envelope("c", None, ROW)
    expected = event(message)
    assert event({"key": {"id": 1}, "value": message}) == expected
    assert event({"key": None, "value": {"schema": None, "payload": message}, "partition": 0}) == expected
    for other in ({"value": None}, {"key": 1}, {"key": 1, "value": None, "op": "d"}):
        [found] = found_in(reader(), json.dumps(other).encode())
        assert isinstance(found, RejectedPart)


def test_a_body_may_have_several_messages() -> None:
    """In an array or one per line; a rejected one leaves the others alone."""
    messages = [json.dumps(each) for each in (envelope("c", None, ROW), envelope("x"), None, envelope("d", ROW))]
    for body in (f"[{','.join(messages)}]", "\n".join(messages), "\r\n\n".join(messages) + "\n"):
        found = found_in(reader(), body.encode())
        assert [type(each) for each in found] == [Statement, RejectedPart, IgnoredMessage, Statement]
    assert found_in(reader(), json.dumps(envelope("c", None, ROW), indent=1).encode()) == found[:1]
    assert found_in(reader(), b"[]") == []
    assert len(found_in(reader(), b"null\n" * 5_000)) == 5_000


# --- examples and arbitrary input -------------------------------------------------------------------


def test_the_examples_of_the_documentation_are_read() -> None:
    """A row that was created, changed and deleted, a truncated table, and a message."""
    contract: Document = {"sku": "id", "catalog": {"attributes": {"name": "first_name", "mail": "email"}}}
    reads = reader(contract)
    names = ["c_1", "u_2", "d_3", "t_4", "m_5"]
    bodies = [data_file("formats", "debezium", f"postgres_{name}.json").read_bytes() for name in names]
    made, changed, deleted, emptied, message = [found_in(reads, body) for body in bodies]
    events = [each.event for found in (made, changed, deleted) for each in found if isinstance(each, Statement)]
    assert [each.sku for each in events] == ["1", "1", "1"]
    assert [each.source_version for each in events] == [24023128, 24023128, 46523128]
    assert payload_of(events[0]) == {"attributes": {"name": "Anne", "mail": "annek@noanswer.org"}}
    assert payload_of(events[1]) == {"attributes": {"name": "Anne Marie", "mail": "annek@noanswer.org"}}
    assert events[2].payload is None
    assert [type(found[0]) for found in (emptied, message)] == [IgnoredMessage, IgnoredMessage]


def test_an_invalid_contract_is_an_error_of_the_configuration() -> None:
    """It is found at the start, and names its key; a source without CDC has none."""
    with pytest.raises(ConfigurationError, match=rf"{KEY}.contract.pricing.sku: is required"):
        reader({"pricing": {"amount": "price"}})
    with pytest.raises(
        ConfigurationError, match=rf"{KEY}.contract.pricing.price: is not a field of the pricing payload"
    ):
        reader({"sku": "item_no", "pricing": {"price": "price"}})
    with pytest.raises(ConfigurationError, match=rf"{KEY}.contract: is required"):
        configured(contract=None)
    with pytest.raises(ConfigurationError, match=r"sources.pim.cdc: is required"):
        DebeziumReader(configured(), "pim")


READER = reader()
KIND_OF_JSON = "io.debezium.data.Json"
KINDS = schema_of(price=Decimal(2), tax="io.debezium.time.Date", tiers="io.debezium.data.Json")
rows = st.none() | st.dictionaries(st.sampled_from(list(ROW)), json_values | st.just(WORD))


@given(
    op=st.sampled_from("curdtmx"),
    before=rows,
    after=rows,
    origin=st.dictionaries(st.sampled_from(list(ORIGIN)), json_values),
)
def test_no_message_is_an_error(op: str, before: Document | None, after: Document | None, origin: Document) -> None:
    """Anything in any place is a change, ignored or rejected, and an unchanged column can be completed or not."""
    whole = envelope(op, before and ROW | before, after and ROW | after)
    for message in (envelope(op, before, after, **origin), whole, {"schema": KINDS, "payload": whole}):
        for found in found_in(READER, json.dumps(message).encode()):
            assert isinstance(found, Statement | IgnoredMessage | RejectedPart)
            if isinstance(found, Statement):
                assert isinstance(fill_unchanged(found, b'{"tiers":[1],"taxClass":{}}'), DomainEvent)


@pytest.mark.parametrize(
    ("depth", "found"), [(62, Statement), (63, RejectedPart), (970, RejectedPart), (5_000, RejectedPart)]
)
def test_nesting_is_bounded(depth: int, found: type[ParsedPart]) -> None:
    """At 64, counted from the message; deeper is rejected, and never another error, whatever the depth."""
    message = json.dumps(envelope("c", None, ROW | {"more": "here"})).replace('"here"', "[" * depth + "]" * depth)
    assert [type(each) for each in found_in(READER, message.encode())] == [found]


def test_a_column_of_json_may_be_of_any_depth() -> None:
    """The validator rejects it, also if a column beside it is unchanged."""
    row = ROW | {"tiers": "[" * 980 + "]" * 980, "tax": WORD}
    [found] = found_in(
        READER, json.dumps({"schema": schema_of(tiers=KIND_OF_JSON), "payload": envelope("u", None, row)}).encode()
    )
    assert isinstance(found, Statement)
    with pytest.raises(Rejected, match=r"nested deeper than 64|expected"):
        EventValidator(configured()).validate(fill_unchanged(found, b"{}"))


@given(body=st.binary(max_size=60), schema=json_values, payload=json_values)
def test_no_body_is_an_error(body: bytes, schema: object, payload: object) -> None:
    """Any bytes, and any JSON in the envelope."""
    for each in (body, json.dumps({"schema": schema, "payload": payload}).encode(), json.dumps(payload).encode()):
        for found in found_in(READER, each):
            assert isinstance(found, IgnoredMessage | RejectedPart)


def test_naughty_strings_come_through() -> None:
    """Each as an SKU, without space around it, and as a text of the payload; what is blank is nothing."""
    for text in json.loads(data_file("naughty", "blns.json").read_bytes()):
        found = event(envelope("c", None, ROW | {"item_no": (text.strip() and text) or "A", "tax": text}))
        assert found.sku == (text.strip() or "A")
        tax = {"taxClass": text} if text.strip() else {}
        assert payload_of(found) == {"amount": "149.9", "currency": "EUR"} | tax
