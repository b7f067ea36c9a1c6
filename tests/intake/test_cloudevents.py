"""CloudEvents: what the SDK writes is read correctly, and every error names its attribute."""

import base64
import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, to_binary, to_structured
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from pagefold import Config, DomainEvent, Rejected
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.cloudevents import (
    BINARY_HEADERS,
    CloudEventReader,
    Found,
    in_cloudevents_terms,
    mode_of,
)
from pagefold.projections import normalise_sku
from tests.support.shared_data import data_file
from tests.support.small_shop import SOURCES, Document, document
from tests.support.strategies import events, json_values, texts

VALIDATOR = EventValidator(Config.parse(document()))
READER = CloudEventReader(SOURCES)
PLAIN: Document = {
    "specversion": "1.0",
    "id": "E-1",
    "source": "erp",
    "type": "pricing",
    "subject": "TSHIRT-M",
    "time": "2026-01-01T00:00:00Z",
    "sequence": "17",
    "data": {"currency": "EUR", "amount": "149.90"},
}


def read(**changes: object) -> Found:
    """The plain event with some members replaced; those that are `...` are removed."""
    members = {name: value for name, value in (PLAIN | changes).items() if value is not ...}
    return READER.structured(json.dumps(members).encode())


def accepted(found: Found) -> DomainEvent:
    """The result, which is an event."""
    assert isinstance(found, DomainEvent), found
    return found


def rejected(found: Found) -> str:
    """The attribute and the reason of the rejection."""
    assert isinstance(found, Rejected), found
    return str(found)


def headers_of(**changes: str) -> list[tuple[bytes, bytes]]:
    """The headers of the plain event in binary mode."""
    attributes = {name: value for name, value in PLAIN.items() if name != "data"} | changes
    found = [(f"ce-{name}".encode(), value.encode()) for name, value in attributes.items() if value]
    return [*found, (b"content-type", b"application/json")]


# --- the SDK --------------------------------------------------------------------------------------


def of_sdk(event: DomainEvent, identifier: str, *, as_bytes: bool) -> CloudEvent:
    """The event as the SDK makes it. It has no null as data, except as bytes."""
    attributes = {
        "id": identifier,
        "source": f"https://shop.example/systems/{quote(event.source)}",
        "type": f"com.example.{event.type}",
        "subject": event.sku,
        "time": event.occurred_at,
        "sequence": f"{event.source_version:010}",
        "channel": event.channel,
        "datacontenttype": "application/json",
    }
    data: Any = event.payload
    return CloudEvent(attributes, json.dumps(data).encode() if as_bytes or data is None else data)


@given(event=events(), identifier=texts(50).filter(bool), as_bytes=st.booleans())
def test_events_of_the_sdk_are_read_correctly(event: DomainEvent, identifier: str, *, as_bytes: bool) -> None:
    """In structured and binary mode, an event comes out as it went in, also after validation."""
    meant = msgspec.structs.replace(event, id=identifier)
    structured = to_structured(of_sdk(event, identifier, as_bytes=as_bytes), JSONFormat())
    binary = to_binary(of_sdk(event, identifier, as_bytes=as_bytes), JSONFormat())
    headers = [(name.lower().encode(), value.encode()) for name, value in binary.headers.items()]
    assert mode_of(headers) == "binary"
    for found in (READER.structured(structured.body), READER.binary(headers, binary.body)):
        assert VALIDATOR.validate(accepted(found)) == VALIDATOR.validate(meant)


@given(
    members=st.fixed_dictionaries(
        {name: st.just(value) for name, value in PLAIN.items()},
        optional={
            "correlationid": texts(),
            "dataschema": texts().filter(bool),
            "traceparent": texts(),
            "priority": st.integers(),
        },
    ),
    subject=texts().filter(bool),
    spaces=st.integers(0, 3),
)
def test_the_sdk_reads_alike(members: Document, subject: str, spaces: int) -> None:
    """The SDK accepts what is accepted here, with the same values."""
    body = json.dumps(members | {"subject": subject}, indent=spaces).encode()
    found = READER.structured(body)
    if members.get("correlationid") == "":
        assert rejected(found) == "correlationid: must not be empty"
        return
    theirs = JSONFormat().read(None, body)
    assert accepted(found).sku == theirs.get_subject()
    assert accepted(found).occurred_at == theirs.get_time()
    assert accepted(found).correlation_id == theirs.get_extension("correlationid")
    payload = accepted(found).payload
    assert isinstance(payload, bytes)
    assert json.loads(payload) == theirs.get_data()


@given(subject=texts().filter(bool))
def test_the_sdk_reads_headers_alike(subject: str) -> None:
    """A header's value is percent-decoded once, as the SDK does."""
    headers = headers_of(subject=quote(subject, safe=""))
    message = HTTPMessage({name.decode(): value.decode() for name, value in headers}, b"{}")
    assert accepted(READER.binary(headers, b"{}")).sku == from_binary(message, JSONFormat()).get_subject() == subject


# --- attributes -----------------------------------------------------------------------------------


def test_attributes_become_fields() -> None:
    """Every attribute that is used, and the field it becomes."""
    found = accepted(
        read(channel="web-de", correlationid="C-1", sequencetype="Integer", dataschema="urn:x", anything=True)
    )
    assert (found.type, found.sku, found.channel, found.source) == ("pricing", "TSHIRT-M", "web-de", "erp")
    assert (found.source_version, found.id, found.correlation_id) == (17, "E-1", "C-1")
    assert found.occurred_at.isoformat() == "2026-01-01T00:00:00+00:00"
    assert found.payload == b'{"currency": "EUR", "amount": "149.90"}'
    assert accepted(read(channel=None)).channel == "*"


@pytest.mark.parametrize(
    ("given_source", "name"),
    [
        ("erp", "erp"),
        ("/erp", "erp"),
        ("/shop/wms-a/", "wms-a"),
        ("https://shop.example/systems/wms-b?x=/pim#/dam", "wms-b"),
        ("urn:shop:dam", "dam"),
        ("/wms%2Da", "wms-a"),
        ("erp2", None),
        ("https://erp/", "erp"),
        ("/erp/prices", None),
        ("ERP", None),
        ("/", None),
    ],
)
def test_a_source_is_one_of_the_configuration_or_ends_in_one(given_source: str, name: str | None) -> None:
    """Of a URI the last segment counts, without query and fragment."""
    found = read(source=given_source)
    if name is None:
        assert rejected(found).startswith(f"source: {given_source!r} is not a configured source")
    else:
        assert accepted(found).source == name


@pytest.mark.parametrize("given_type", ["pricing", "com.example.pricing", "pagefold.pricing", ".pricing"])
def test_a_type_is_a_domain_or_ends_in_one(given_type: str) -> None:
    """Of a dotted name the last part counts."""
    assert accepted(read(type=given_type)).type == "pricing"


@pytest.mark.parametrize("sequence", [17, "17", "0017", "00000000000000000000000017", -0, "0", 2**53 - 1])
def test_sequences_are_integers(sequence: int | str) -> None:
    """As a number or in digits, with leading zeros or without: they are not compared as text."""
    assert accepted(read(sequence=sequence)).source_version == int(sequence)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"specversion": ...}, "specversion: is required"),
        ({"specversion": "0.3"}, "specversion: '0.3' is not supported"),
        ({"specversion": 1.0}, "specversion: expected a string, got float"),
        ({"id": ...}, "id: is required"),
        ({"id": ""}, "id: must not be empty"),
        ({"source": ...}, "source: is required"),
        ({"type": ...}, "type: is required"),
        ({"type": "com.example.pricing.v1"}, "type: 'com.example.pricing.v1' is not a domain, and does not end in"),
        ({"subject": ...}, "subject: is required"),
        ({"subject": None}, "subject: is required"),
        ({"subject": 7}, "subject: expected a string, got int"),
        ({"time": ...}, "time: is required"),
        ({"time": "2026-01-01T00:00:00"}, "time: "),
        ({"time": "yesterday"}, "time: "),
        ({"sequence": ...}, "sequence: is required"),
        ({"sequence": "17a"}, "sequence: expected an integer or its digits, got '17a'"),
        ({"sequence": "1_7"}, "sequence: expected an integer"),
        ({"sequence": " 17"}, "sequence: expected an integer"),
        ({"sequence": "\u0661\u0667"}, "sequence: expected an integer"),
        ({"sequence": 17.0}, "sequence: expected an integer"),
        ({"sequence": True}, "sequence: expected an integer"),
        ({"sequence": "-1"}, "sequence: is not between 0 and 2^53-1"),
        ({"sequence": 2**53}, "sequence: is not between 0 and 2^53-1"),
        ({"sequence": "9" * 5_000}, "sequence: expected an integer"),
        ({"sequencetype": "Uuid"}, "sequencetype: 'Uuid' is not supported"),
        ({"channel": 7}, "channel: expected a string"),
        ({"correlationId": "C"}, "correlationId: is not an attribute name"),
        ({"source_version": 7}, "source_version: is not an attribute name"),
        ({"anything": {}}, "anything: is an attribute"),
        ({"data": ...}, "data: is required"),
        ({"data_base64": "e30="}, "data_base64: must not be given together with data"),
        ({"data": ..., "data_base64": "e3"}, "data_base64: is not base64"),
        ({"data": ..., "data_base64": "é"}, "data_base64: is not base64"),
        ({"data": ..., "data_base64": 7}, "data_base64: expected a string"),
        ({"datacontenttype": "application/xml"}, "datacontenttype: 'application/xml' is not JSON"),
        ({"datacontenttype": "application/json; charset=latin-1"}, "datacontenttype: "),
        ({"datacontenttype": 7}, "datacontenttype: expected a string"),
    ],
)
def test_an_error_names_its_attribute(changes: Document, problem: str) -> None:
    """A missing, mistyped or invalid one, with the reason."""
    assert rejected(read(**changes)).startswith(problem)


@pytest.mark.parametrize(
    ("media_type", "good"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ("text/json", True),
        ("application/vnd.example.price+json", True),
        ("application/jsonp", False),
        ("application/json, text/plain", False),
        ("json", False),
    ],
)
def test_data_is_json_by_its_type(media_type: str, *, good: bool) -> None:
    """A JSON media type is accepted; without one, the data is JSON."""
    assert isinstance(read(datacontenttype=media_type), DomainEvent) is good


@pytest.mark.parametrize("header", BINARY_HEADERS)
def test_required_headers(header: str) -> None:
    """Without such a header the event is rejected; without any other it is accepted, and with it as well."""
    whole = headers_of(sequencetype="Integer", channel="web-de", correlationid="order-1", epoch="1")
    without = [each for each in whole if each[0] != header.encode()]
    assert len(without) == len(whole) - 1
    assert isinstance(READER.binary(whole, b"{}"), DomainEvent)
    found = READER.binary(without, b"{}")
    attribute = BINARY_HEADERS[header]
    if attribute.required:
        assert rejected(found) == f"{attribute.name}: is required"
    else:
        assert isinstance(found, DomainEvent)


# --- data -----------------------------------------------------------------------------------------


def test_an_explicit_null_withdraws() -> None:
    """In a document, in base64 and in a body; data that is absent is an error."""
    assert accepted(read(data=None)).payload is None
    assert accepted(read(data=..., data_base64="bnVsbA==")).payload is None
    assert accepted(READER.binary(headers_of(), b" null\n")).payload is None
    assert rejected(READER.binary(headers_of(), b"")).startswith("data: is required")
    assert rejected(read(data=..., data_base64=None)).startswith("data: is required")


def test_data_in_base64_is_decoded() -> None:
    """As the SDK writes bytes."""
    text = b'{"currency":"EUR","amount":"1"}'
    assert accepted(read(data=..., data_base64=base64.b64encode(text).decode())).payload == text


def test_an_invalid_field_is_named_as_cloudevents_do() -> None:
    """A rejected field is named as CloudEvents name it."""
    for changes, path in (
        ({"subject": " A"}, "subject"),
        ({"data": {"amount": 1.5, "currency": "EUR"}}, "data.amount"),
        ({"correlationid": "x" * 300}, "correlationid"),
        ({"channel": "nowhere"}, "channel"),
        ({"id": "x" * 300}, "id"),
    ):
        with pytest.raises(Rejected) as caught:
            VALIDATOR.validate(accepted(read(**changes)))
        assert in_cloudevents_terms(caught.value).path == path
        assert in_cloudevents_terms(caught.value).reason == caught.value.reason


# --- documents ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "truncated"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "specversion: is required"),
        (b'{"data":1,"id":"1","id":"2"}', "the key 'id' is repeated in one object"),
        (b'{"data":1,"id":"1","i\\u0064":"2"}', "the key 'id' is repeated in one object"),
        (b'{"data":{"a":1,"a":2}}', ""),
        (b'{"data":1,"id":"\xff"}', "UTF-8"),
        (b'{"id":"\\ud800"}', "surrogate"),
        (b'{"data":NaN}', "malformed"),
        (b'{"data":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "nested deeper than 64"),
        (b" " * (MAX_EVENT_BYTES + 1), "at most 1048576 are allowed"),
    ],
)
def test_an_invalid_document_is_rejected(body: bytes, problem: str) -> None:
    """The rules of JSON are those of every entrance."""
    assert problem in rejected(READER.structured(body))


def test_the_events_of_a_batch_are_independent() -> None:
    """A rejected one leaves the others alone; an empty batch is valid; anything but an array is not."""
    bodies = [json.dumps(PLAIN | {"sequence": number}) for number in ("1", "x", "3")]
    found = READER.batch(f"[{','.join(bodies)}]".encode())
    assert [accepted(found[0]).source_version, accepted(found[2]).source_version] == [1, 3]
    assert rejected(found[1]).startswith("sequence: ")
    assert READER.batch(b"[]") == []
    for body in (b"{}", b"", b"[1", b"null"):
        with pytest.raises(Rejected, match="a batch is a JSON array"):
            READER.batch(body)
    with pytest.raises(Rejected, match="has 5001 parts; at most 5000 are allowed"):
        READER.batch(b"[" + b"0," * 5_000 + b"0]")
    assert rejected(READER.batch(b"[7]")[0]) == "expected `object`, got `int`"


# --- binary mode ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("€", "€"),
        ('"A B"', "A B"),
        ('"A \\"B\\""', 'A "B"'),
        ("100%", "100%"),
        ("%2525", "%25"),
    ],
)
def test_headers_are_decoded_once(value: str, subject: str) -> None:
    """Percent-encoding, quotes as older senders set them, and plain UTF-8."""
    assert accepted(READER.binary(headers_of(subject=value), b"{}")).sku == subject


def test_repeated_or_invalid_headers_are_rejected() -> None:
    """Each attribute has one header, and the data's media type its own."""
    twice = [*headers_of(), (b"CE-Subject", b"B")]
    assert rejected(READER.binary(twice, b"{}")) == "subject: is repeated"
    assert rejected(READER.binary([*headers_of(), (b"content-type", b"text/json")], b"{}")).endswith("is repeated")
    assert rejected(READER.binary(headers_of(datacontenttype="x"), b"{}")).startswith(
        "datacontenttype: must be the header"
    )
    assert rejected(READER.binary(headers_of(subject="%FF"), b"{}")) == "subject: is not UTF-8: invalid start byte"
    assert rejected(READER.binary([(b"ce-a-b", b"x")], b"{}")).startswith("a-b: is not an attribute name")
    xml = [(name, b"text/xml" if name == b"content-type" else value) for name, value in headers_of()]
    assert rejected(READER.binary(xml, b"{}")).startswith("datacontenttype: ")


@pytest.mark.parametrize(
    ("headers", "mode"),
    [
        ([(b"content-type", b"application/cloudevents+json; charset=utf-8")], "structured"),
        ([(b"Content-Type", b"Application/CloudEvents-Batch+JSON")], "batch"),
        (headers_of(), "binary"),
        ([*headers_of(), (b"content-type", b"application/cloudevents+json")], "structured"),
        ([(b"content-type", b"application/json")], None),
        ([(b"content-type", b"\xff"), (b"ce-id", b"1")], None),
    ],
)
def test_the_mode_is_in_the_headers(headers: list[tuple[bytes, bytes]], mode: str | None) -> None:
    """The media type decides, or else the attribute that every event has."""
    assert mode_of(headers) == mode


# --- arbitrary input -------------------------------------------------------------------------------------


@given(body=st.binary(max_size=60), headers=st.lists(st.tuples(st.sampled_from([b"ce-id", b"ce-x"]), st.binary())))
def test_no_bytes_are_an_error(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Any body with any headers is an event or a rejection."""
    assert isinstance(READER.structured(body), Rejected)
    assert isinstance(READER.binary(headers, body), Rejected)
    assert isinstance(READER.binary([*headers_of(), *headers], body), DomainEvent | Rejected)
    mode_of(headers)


@given(members=st.dictionaries(st.sampled_from([*PLAIN, "datacontenttype", "data_base64", "A", ""]), json_values))
def test_no_document_is_an_error(members: Document) -> None:
    """Anything in any attribute is an event or a rejection, alone and in a batch."""
    for each in (members, PLAIN | members):
        body = json.dumps(each).encode()
        found = READER.structured(body)
        assert isinstance(found, DomainEvent | Rejected)
        [in_batch] = READER.batch(b"[" + body + b"]")
        assert type(in_batch) is type(found)


def test_naughty_subjects_come_through() -> None:
    """Each string is read unchanged, in each mode, whether or not it is a valid SKU."""
    for text in json.loads(data_file("naughty", "blns.json").read_bytes()):
        if text:
            assert accepted(read(subject=text)).sku == text
            assert accepted(READER.binary(headers_of(subject=quote(text)), b"{}")).sku == text
            assert normalise_sku(text)


@pytest.mark.parametrize("name", [f"structured_{number}.json" for number in range(1, 7)])
def test_the_examples_of_the_specification_are_documents(name: str) -> None:
    """They lack the fields of a product's event, or are not JSON, and the error says so."""
    problem = rejected(READER.structured(data_file("formats", "cloudevents", name).read_bytes()))
    assert problem.partition(":")[0] in {"datacontenttype", "type"}


def test_the_batches_of_the_specification_are_batches() -> None:
    """One of two events, which are not about products, and an empty one."""
    found = READER.batch(data_file("formats", "cloudevents", "batch_7.json").read_bytes())
    assert [rejected(each).partition(":")[0] for each in found] == ["datacontenttype", "type"]
    assert READER.batch(data_file("formats", "cloudevents", "batch_8.json").read_bytes()) == []
