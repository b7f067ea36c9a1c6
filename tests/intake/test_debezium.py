"""Debezium's change events: rows become events, what did not change is kept, and what is about no row is ignored."""

import base64
import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import ConfigurationError, DomainEvent, Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.debezium import DebeziumReader
from pagefold.engine.intake.formats.partial_event import PartialEvent, fill_unchanged
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart
from tests.support.debezium_messages import (
    AT,
    COLUMNS,
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
def test_a_row_is_stated(op: str, *, wrapped: bool) -> None:
    """When it was made, changed, or read for a snapshot; with the schema around it or without."""
    message = envelope(op, None, ROW)
    found = event({"schema": {}, "payload": message} if wrapped else message)
    assert (found.type, found.sku, found.channel, found.source) == ("pricing", "TSHIRT-M", "*", "erp")
    assert (found.source_version, found.occurred_at) == (24023128, AT)
    assert payload_of(found) == {"amount": "149.90", "currency": "EUR"}
    assert EventValidator(configured()).validate(found).originator_id == "TSHIRT-M/*/pricing/erp"


def test_columns_may_give_the_version_and_the_moment() -> None:
    """Where they are named, they go before those of the database; milliseconds are enough of the latter."""
    columns = COLUMNS | {"sourceVersion": "change_no", "occurredAt": "changed"}
    row = ROW | {"change_no": "17", "changed": "2026-01-01T00:00:00.5+01:00"}
    found = event(envelope("u", None, row, lsn=None, ts_ms=None, ts_us=None), columns=columns)
    assert (found.source_version, found.occurred_at.isoformat()) == (17, "2026-01-01T00:00:00.500000+01:00")
    found = event(envelope("u", None, ROW, ts_us=None))
    assert found.occurred_at == AT.replace(microsecond=863000)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (envelope("u", None, None), "after: is required"),
        (envelope("c", None, ROW | {"item_no": None}), "sku: is required"),
        (envelope("c", None, ROW, lsn=None), "sourceVersion: the change has no source.lsn; name a column with the ver"),
        (envelope("c", None, ROW, ts_us=None, ts_ms=None), "occurredAt: is required"),
        (envelope("c", None, ROW, ts_us=10**18), "source.ts_us: is outside the years"),
        (envelope("c", None, ROW, lsn="0/16E3778"), "source.lsn: expected `int | null`"),
        (envelope("x", None, ROW), "op: 'x' is unknown; the operations are c, u, r, d, t and m"),
        (
            envelope("c", None, ROW | {"price": 149.9}),
            "payload.amount: came as '149.9', not as text; with decimal.",
        ),
        (
            envelope("c", None, ROW | {"price": {"scale": 2, "value": "Opg="}}),
            "payload.amount: came as an object, not as t",
        ),
        ({"op": "c", "after": ROW}, "source: is required"),
        ({"after": ROW, "source": ORIGIN}, "op: is required"),
        ({}, "op: is required"),
        (envelope("c", None, ROW) | {"after": [1]}, "after: expected `object | null`"),
        ("text", "expected `object`"),
        ({"schema": {"fields": 7}, "payload": envelope("c", None, ROW)}, "schema: is not a Kafka Connect schema"),
    ],
)
def test_what_cannot_be_understood_is_refused(message: object, problem: str) -> None:
    """With the part that is wrong, and what the source's connector could do."""
    assert refused(message).startswith(problem)


# --- rows that are gone ---------------------------------------------------------------------------


def test_a_deletion_withdraws() -> None:
    """What the row said, at the LSN of its end, when the database says; the key of the row is enough."""
    for before in (ROW, KEY_ONLY, {"item_no": "TSHIRT-M"}):
        found = event(envelope("d", before, None, lsn=24023129))
        assert (found.sku, found.payload, found.source_version, found.occurred_at) == ("TSHIRT-M", None, 24023129, AT)


def test_the_end_of_a_row_is_behind_its_last_version() -> None:
    """With a column for the version, a deletion has the next one; the moment is not that of the last change."""
    columns = COLUMNS | {"sourceVersion": "change_no", "occurredAt": "changed"}
    before = ROW | {"change_no": 17, "changed": "2001-01-01T00:00:00Z"}
    found = event(envelope("d", before), columns=columns)
    assert (found.source_version, found.occurred_at, found.payload) == (18, AT, None)
    problem = "sourceVersion: is not in the row before the change; with ALTER TABLE … REPLICA IDENTITY FULL"
    assert refused(envelope("d", KEY_ONLY), columns=columns).startswith(problem)


def test_a_deleted_row_must_tell_what_it_was() -> None:
    """Without its SKU, or with a channel that was perhaps not sent, nothing is withdrawn by guessing."""
    columns = COLUMNS | {"channel": "shop"}
    assert refused(envelope("d", None)).startswith("before: is required")
    assert refused(envelope("d", {"id": 1})).startswith("sku: is not in the row before the change")
    assert refused(envelope("d", KEY_ONLY), columns=columns).startswith("channel: is not in the row before")
    assert event(envelope("d", ROW | {"shop": None}), columns=columns).channel == "*"
    assert event(envelope("d", KEY_ONLY | {"shop": "web-de"}), columns=columns).channel == "web-de"


@pytest.mark.parametrize("moved", [{"item_no": "OTHER"}, {"shop": "web-de"}, {"shop": None}])
def test_a_row_that_moves_leaves_nothing_behind(moved: Document) -> None:
    """With another SKU or channel, what it said before is withdrawn first, at the same LSN."""
    columns = COLUMNS | {"channel": "shop"}
    before, after = ROW | {"shop": "web-us"}, ROW | {"shop": "web-us"} | moved
    withdrawn, stated = read(envelope("u", before, after), columns=columns)
    assert isinstance(withdrawn, PartialEvent)
    assert isinstance(stated, PartialEvent)
    assert (withdrawn.event.sku, withdrawn.event.channel, withdrawn.event.payload) == ("TSHIRT-M", "web-us", None)
    assert (stated.event.sku, stated.event.channel) == (after["item_no"], after["shop"] or "*")
    assert withdrawn.event.source_version == stated.event.source_version


def test_a_row_that_stays_is_stated_once() -> None:
    """Where its identity is the same, in Unicode too, or where no more than its key was sent, or it had none."""
    assert event(envelope("u", ROW, ROW | {"price": "1"})).sku == "TSHIRT-M"
    assert event(envelope("u", ROW | {"item_no": "A\u0308"}, ROW | {"item_no": "\u00c4"})).sku == "\u00c4"
    assert event(envelope("u", KEY_ONLY | {"item_no": "OTHER"}, ROW)).sku == "TSHIRT-M"
    assert event(envelope("u", ROW | {"item_no": None}, ROW)).sku == "TSHIRT-M"


# --- what did not change --------------------------------------------------------------------------


@pytest.mark.parametrize("word", [WORD, [WORD], base64.b64encode(WORD.encode()).decode()])
def test_what_was_not_sent_is_kept(word: object) -> None:
    """As text, in an array and in bytes: the rest of the payload is new, and that part is what the log has."""
    found = change(envelope("u", None, ROW | {"tiers": word}))
    assert found.unchanged == ("payload.tiers",)
    assert payload_of(found.event) == {"amount": "149.90", "currency": "EUR"}
    standing = b'{"amount":"1","currency":"EUR","taxClass":"old","tiers":[{"amount":"9","minQuantity":2}]}'
    assert payload_of(fill_unchanged(found, standing)) == {
        "amount": "149.90",
        "currency": "EUR",
        "tiers": [{"amount": "9", "minQuantity": 2}],
    }
    assert fill_unchanged(found, b'{"amount":"1","currency":"EUR"}').payload == found.event.payload


def test_with_the_row_before_nothing_is_left_out() -> None:
    """A full identity has the large value, and then there is nothing to keep."""
    found = event(envelope("u", ROW | {"tax": "full"}, ROW | {"tax": WORD}))
    assert payload_of(found) == {"amount": "149.90", "currency": "EUR", "taxClass": "full"}
    assert change(envelope("u", ROW | {"tax": WORD}, ROW | {"tax": WORD})).unchanged == ("payload.taxClass",)
    assert change(envelope("u", KEY_ONLY, ROW | {"tax": WORD})).unchanged == ("payload.taxClass",)


def test_nothing_can_be_kept_where_nothing_stands() -> None:
    """Of a stream that the log does not know, or that was withdrawn, with the part that is missing."""
    found = change(envelope("u", None, ROW | {"tax": WORD}))
    for standing in (None, b"null"):
        with pytest.raises(
            Rejected, match=r"payload.taxClass: was not sent, because it did not change, and the log has no"
        ):
            fill_unchanged(found, standing)


def test_a_whole_payload_can_be_kept() -> None:
    """Where one column has all of it."""
    settings: Document = {"columns": {"sku": "item_no", "payload": "state"}, "constants": {}}
    found = change(envelope("u", None, ROW | {"state": WORD}), **settings)
    assert found.unchanged == ("payload",)
    assert fill_unchanged(found, b'{"amount":"1"}').payload == b'{"amount":"1"}'
    stated = event(envelope("u", None, ROW | {"state": '{"amount": "2"}'}), **settings)
    assert stated.payload == b'{"amount": "2"}'
    assert fill_unchanged(PartialEvent(stated), None) is stated


def test_parts_inside_objects_are_kept() -> None:
    """One attribute keeps its value, beside others that are new, and where there are no others."""
    attributes: Document = {"payload": {"attributes": {"text": "text", "size": "size"}}}
    config = configured("pim", "catalog", columns={"sku": "item_no"} | attributes, constants={})
    standing = b'{"attributes":{"size":"S","text":"long","weight":1.5}}'
    for size, kept in (("M", {"size": "M", "text": "long"}), (None, {"text": "long"})):
        message = envelope("u", None, ROW | {"text": WORD, "size": size})
        [found] = found_in(DebeziumReader(config, "pim"), json.dumps(message).encode())
        assert isinstance(found, PartialEvent)
        assert payload_of(fill_unchanged(found, standing)) == {"attributes": kept}


def test_an_identity_is_never_kept() -> None:
    """A SKU or a channel that was not sent cannot be looked up by itself."""
    problem = "sku: was not sent, because it did not change; with ALTER TABLE … REPLICA IDENTITY FULL"
    assert refused(envelope("u", None, ROW | {"item_no": WORD})).startswith(problem)
    assert event(envelope("u", ROW, ROW | {"item_no": WORD})).sku == "TSHIRT-M"


def test_the_word_may_be_another_one() -> None:
    """As `unavailable.value.placeholder` has it; then the usual one is a text like any other."""
    settings: Document = {"unavailable_value": "same"}
    assert change(envelope("u", None, ROW | {"tax": "same"}), **settings).unchanged == ("payload.taxClass",)
    assert change(envelope("u", None, ROW | {"tax": WORD}), **settings).unchanged == ()


# --- what is about no row -------------------------------------------------------------------------


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
def test_what_is_about_no_row_is_ignored(message: object, reason: str) -> None:
    """It is no fault, so that the connector goes on."""
    assert ignored(message).startswith(reason)
    assert ignored(message, tables=["public.prices"]).startswith(reason)


def test_only_the_declared_tables_count() -> None:
    """As `schema.table`, or `database.table` where there are no schemas."""
    tables = ["public.prices", "erp.offers"]
    assert event(envelope("c", None, ROW), tables=tables).sku == "TSHIRT-M"
    assert event(envelope("c", None, ROW, schema=None, table="offers"), tables=tables).sku == "TSHIRT-M"
    problem = f"the table public.offers is not among {KEY}.tables"
    assert ignored(envelope("c", None, {"anything": 1}, table="offers"), tables=tables) == problem


def test_silence_is_no_tombstone() -> None:
    """Where a message was lost on its way, nothing was said: it is refused like any other text that is no JSON."""
    for body in (b"", b" \n"):
        [found] = found_in(reader(), body)
        assert isinstance(found, RejectedPart)


def test_a_record_has_its_message_as_its_value() -> None:
    """With a key, as those write it who pass on records of Kafka, beside its schema or alone; nothing else is one."""
    message = envelope("c", None, ROW)
    expected = event(message)
    assert event({"key": {"id": 1}, "value": message}) == expected
    assert event({"key": None, "value": {"schema": None, "payload": message}, "partition": 0}) == expected
    for other in ({"value": None}, {"key": 1}, {"key": 1, "value": None, "op": "d"}):
        [found] = found_in(reader(), json.dumps(other).encode())
        assert isinstance(found, RejectedPart)


def test_a_body_may_have_several_messages() -> None:
    """In an array or one a line; one that is refused leaves the others alone."""
    messages = [json.dumps(each) for each in (envelope("c", None, ROW), envelope("x"), None, envelope("d", ROW))]
    for body in (f"[{','.join(messages)}]", "\n".join(messages), "\r\n\n".join(messages) + "\n"):
        found = found_in(reader(), body.encode())
        assert [type(each) for each in found] == [PartialEvent, RejectedPart, IgnoredMessage, PartialEvent]
    assert found_in(reader(), json.dumps(envelope("c", None, ROW), indent=1).encode()) == found[:1]
    assert found_in(reader(), b"[]") == []
    assert len(found_in(reader(), b"null\n" * 5_000)) == 5_000


# --- the examples, and anything -------------------------------------------------------------------


def test_the_examples_of_the_documentation_are_read() -> None:
    """A row that was made, changed and deleted, a table that was truncated, and a message."""
    config = configured(
        "pim",
        "catalog",
        columns={"sku": "id", "payload": {"attributes": {"name": "first_name", "mail": "email"}}},
        constants={},
    )
    names = ["c_1", "u_2", "d_3", "t_4", "m_5"]
    bodies = [data_file("formats", "debezium", f"postgres_{name}.json").read_bytes() for name in names]
    made, changed, deleted, emptied, message = [found_in(DebeziumReader(config, "pim"), body) for body in bodies]
    events = [each.event for found in (made, changed, deleted) for each in found if isinstance(each, PartialEvent)]
    assert [each.sku for each in events] == ["1", "1", "1"]
    assert [each.source_version for each in events] == [24023128, 24023128, 46523128]
    assert payload_of(events[0]) == {"attributes": {"name": "Anne", "mail": "annek@noanswer.org"}}
    assert payload_of(events[1]) == {"attributes": {"name": "Anne Marie", "mail": "annek@noanswer.org"}}
    assert events[2].payload is None
    assert [type(found[0]) for found in (emptied, message)] == [IgnoredMessage, IgnoredMessage]


def test_columns_that_cannot_work_are_a_fault_of_the_configuration() -> None:
    """It is found before the first change comes, and named by its key; a source without changes has none."""
    with pytest.raises(ConfigurationError, match=rf"{KEY}.columns.sku: is required: name its column"):
        reader(columns={"payload": {"amount": "price"}})
    with pytest.raises(
        ConfigurationError, match=rf"{KEY}.columns.payload.price: is not a field of the pricing payload"
    ):
        reader(columns={"sku": "item_no", "payload": {"price": "price"}})
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
    """Anything in any place is a change, ignored or refused, and what is kept can be completed or not."""
    whole = envelope(op, before and ROW | before, after and ROW | after)
    for message in (envelope(op, before, after, **origin), whole, {"schema": KINDS, "payload": whole}):
        for found in found_in(READER, json.dumps(message).encode()):
            assert isinstance(found, PartialEvent | IgnoredMessage | RejectedPart)
            if isinstance(found, PartialEvent):
                assert isinstance(fill_unchanged(found, b'{"tiers":[1],"taxClass":{}}'), DomainEvent)


@pytest.mark.parametrize(
    ("depth", "found"), [(62, PartialEvent), (63, RejectedPart), (970, RejectedPart), (5_000, RejectedPart)]
)
def test_nesting_is_bounded(depth: int, found: type[ParsedPart]) -> None:
    """At 64, counted from the message; deeper is refused, and never an error, whatever the depth."""
    message = json.dumps(envelope("c", None, ROW | {"more": "here"})).replace('"here"', "[" * depth + "]" * depth)
    assert [type(each) for each in found_in(READER, message.encode())] == [found]


def test_a_column_of_json_may_be_of_any_depth() -> None:
    """It is the door that refuses it, also where something beside it is kept."""
    row = ROW | {"tiers": "[" * 980 + "]" * 980, "tax": WORD}
    [found] = found_in(
        READER, json.dumps({"schema": schema_of(tiers=KIND_OF_JSON), "payload": envelope("u", None, row)}).encode()
    )
    assert isinstance(found, PartialEvent)
    with pytest.raises(Rejected, match=r"nested deeper than 64|expected"):
        EventValidator(configured()).validate(fill_unchanged(found, b"{}"))


@given(body=st.binary(max_size=60), schema=json_values, payload=json_values)
def test_no_body_is_an_error(body: bytes, schema: object, payload: object) -> None:
    """Any bytes, and any JSON in the wrapper."""
    for each in (body, json.dumps({"schema": schema, "payload": payload}).encode(), json.dumps(payload).encode()):
        for found in found_in(READER, each):
            assert isinstance(found, IgnoredMessage | RejectedPart)


def test_naughty_strings_come_through() -> None:
    """Each as a SKU and as a text of the payload."""
    for text in json.loads(data_file("naughty", "blns.json").read_bytes()):
        found = event(envelope("c", None, ROW | {"item_no": text, "tax": text}))
        assert found.sku == text
        assert payload_of(found) == {"amount": "149.90", "currency": "EUR", "taxClass": text}
