"""Webhooks of any form: what the declared paths select becomes events; what they miss has a reason."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pagefold import Config, ConfigurationError, DomainEvent, Rejected
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import ParsedPart, RejectedPart
from pagefold.engine.intake.formats.webhook_bodies import WebhookReader
from pagefold.engine.intake.mapping.value_conversion import value_at
from pagefold.engine.intake.statement import Statement
from tests.support.deliveries import found_in
from tests.support.shared_data import data_file
from tests.support.small_shop import Document, document
from tests.support.strategies import json_values

KEY = "sources.erp.webhook"
PATHS: Document = {
    "sku": "variants.0.sku",
    "sourceVersion": "revision",
    "occurredAt": "updated_at",
    "payload": {"amount": "variants.0.price", "taxIncluded": "taxed"},
}
CONSTANTS: Document = {"payload": {"currency": "EUR"}}
DELIVERY: Document = {
    "id": 788032119674292922,
    "revision": 17,
    "updated_at": "2026-01-01T00:00:00-05:00",
    "taxed": True,
    "variants": [{"sku": "TSHIRT-M", "price": "149.90"}, {"sku": "TSHIRT-L", "price": "159.90"}],
}


def configured(source: str = "erp", domains: str = "pricing", **settings: object) -> Config:
    """A shop with webhooks of one source."""
    webhook = {"secret_variables": ["S"], "paths": PATHS, "constants": CONSTANTS} | settings
    parsed = document()
    parsed["sources"][source] = {"domains": domains.split(), "webhook": webhook}
    return Config.parse(parsed)


def reader(**settings: object) -> WebhookReader:
    """The reader of the source erp."""
    return WebhookReader(configured(**settings), "erp")  # type: ignore[arg-type]  # settings of any type


def read(delivery: object, **settings: object) -> list[ParsedPart]:
    """The parts of a body."""
    return found_in(reader(**settings), json.dumps(delivery).encode())


def events_in(found: Sequence[ParsedPart]) -> list[DomainEvent]:
    """The events among them."""
    return [each.event for each in found if isinstance(each, Statement)]


def only(found: Sequence[ParsedPart]) -> DomainEvent:
    """The one event in it."""
    [one] = found
    assert isinstance(one, Statement), one
    return one.event


def payload_of(event: DomainEvent) -> object:
    """The payload, decoded."""
    assert isinstance(event.payload, bytes)
    return json.loads(event.payload)


def reason(found: Sequence[ParsedPart]) -> str:
    """The reason why the part is not an event."""
    [one] = found
    assert isinstance(one, RejectedPart), one
    return str(one.rejection)


def test_the_paths_find_the_parts_of_an_event() -> None:
    """Members by name, elements by index, and constants."""
    event = only(read(DELIVERY))
    assert (event.type, event.sku, event.channel, event.source) == ("pricing", "TSHIRT-M", "*", "erp")
    assert (event.source_version, event.occurred_at.isoformat()) == (17, "2026-01-01T00:00:00-05:00")
    assert payload_of(event) == {"amount": "149.90", "taxIncluded": True, "currency": "EUR"}
    assert (
        EventValidator(configured()).validate(event).content
        == b'{"amount":"149.90","currency":"EUR","taxIncluded":true}'
    )


def test_null_and_missing_values_are_left_out() -> None:
    """A missing value is neither zero nor false, and a required one is required."""
    bare = {name: value for name, value in DELIVERY.items() if name != "taxed"}
    assert only(read(DELIVERY | {"taxed": None})).payload == only(read(bare)).payload
    for changes, problem in (
        ({"variants": []}, "sku: is required"),
        ({"variants": {"0": {"sku": "A"}}, "revision": None}, "sourceVersion: is required"),
        ({"updated_at": "yesterday"}, "occurredAt: "),
        ({"revision": 1.5}, "sourceVersion: expected an integer, got '1.5'"),
        ({"variants": [{"sku": {"a": "secret"}}]}, "sku: expected a string"),
    ):
        assert reason(read(DELIVERY | changes)).startswith(problem)


def test_other_fields_may_have_paths() -> None:
    """The domain, if the source has several, the channel and the identifiers."""
    paths = PATHS | {"type": "kind", "channel": "shop", "id": "id", "correlationId": "trace"}
    delivery = DELIVERY | {"kind": "pricing", "shop": "web-de"}
    event = only(read(delivery, domains="pricing inventory", paths=paths))
    assert (event.type, event.channel, event.id, event.correlation_id) == (
        "pricing",
        "web-de",
        "788032119674292922",
        None,
    )
    assert only(read(delivery, paths=paths)).channel == "web-de"
    assert only(read(DELIVERY, paths=paths)).channel == "*"


def test_a_complete_payload_has_one_path() -> None:
    """Unchanged; a null there withdraws, and a missing payload is an error."""
    paths = {name: path for name, path in PATHS.items() if name != "payload"} | {"payload": "state"}
    whole = {"paths": paths, "constants": {}}
    assert only(read(DELIVERY | {"state": {"amount": "1", "currency": "EUR"}}, **whole)).payload == (
        b'{"amount":"1","currency":"EUR"}'
    )
    assert only(read(DELIVERY | {"state": None}, **whole)).payload is None
    assert reason(read(DELIVERY, **whole)) == "payload: is required"


def test_the_items_of_a_delivery_are_events_of_their_own() -> None:
    """Paths start at the item, or at the body; an invalid item leaves the others alone."""
    paths = {"sku": "sku", "sourceVersion": "$.revision", "occurredAt": "$.updated_at", "payload": {"amount": "price"}}
    found = read(DELIVERY | {"variants": [*DELIVERY["variants"], {"price": "1"}]}, items="variants", paths=paths)
    assert [each.sku for each in events_in(found)] == ["TSHIRT-M", "TSHIRT-L"]
    assert {each.source_version for each in events_in(found)} == {17}
    assert reason(found[2:]) == "sku: is required"
    assert read(DELIVERY | {"variants": []}, items="variants", paths=paths) == []
    found = read(DELIVERY | {"variants": [{}, 7]}, items="variants", paths=paths)
    assert [reason([each]) for each in found] == ["sku: is required"] * 2
    many = [{"sku": "A", "price": "1"}] * 5_001
    assert len(events_in(read(DELIVERY | {"variants": many}, items="variants", paths=paths))) == len(many)
    others: list[object] = [None, {}, "x"]
    for variants in others:
        problem = "there is no array at 'variants'"
        assert reason(read(DELIVERY | {"variants": variants}, items="variants", paths=paths)) == problem


@pytest.mark.parametrize(
    ("moment", "version"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
        ("2026-01-01T01:00:00.000001+01:00", 1_767_225_600_000_001),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_timestamp_may_be_the_version(moment: str, version: int) -> None:
    """In microseconds since 1970, whatever the offset; the same path may give `occurredAt`."""
    paths = PATHS | {"sourceVersion": "updated_at"}
    event = only(read(DELIVERY | {"updated_at": moment}, paths=paths, version="moment"))
    assert event.source_version == version
    assert event.occurred_at.isoformat() == moment.replace("Z", "+00:00")


def test_a_version_that_is_no_timestamp_is_rejected() -> None:
    """A number is no timestamp, nor is one without an offset, and a missing one is an error."""
    for moment, problem in ((17, "expected a timestamp"), ("2026-01-01T00:00:00", ""), (None, "is required")):
        found = reason(read(DELIVERY | {"revision": moment}, version="moment"))
        assert found.startswith(f"sourceVersion: {problem}")


@pytest.mark.parametrize(
    ("action", "withdrawn"),
    [("removed", True), (7, True), (False, True), (0, False), (7.0, False), ("updated", False), (None, False)],
)
def test_a_declared_value_withdraws(action: object, *, withdrawn: bool) -> None:
    """One of the declared values, at its path, whatever else the item has."""
    withdrawals = {"event.action": ["removed", 7, False]}
    event = only(read(DELIVERY | {"event": {"action": action}}, withdrawals=withdrawals))
    assert (event.payload is None) is withdrawn
    assert (event.sku, event.source_version) == ("TSHIRT-M", 17)
    assert only(read(DELIVERY, withdrawals=withdrawals)).payload is not None


def test_a_delivery_may_withdraw_all_of_its_items() -> None:
    """By a path that starts at the body."""
    settings: Document = {"items": "variants", "withdrawals": {"$.action": ["removed"]}}
    paths = {"sku": "sku", "sourceVersion": "$.revision", "occurredAt": "$.updated_at", "payload": {"amount": "price"}}
    found = read(DELIVERY | {"action": "removed"}, paths=paths, **settings)
    assert [each.payload for each in events_in(found)] == [None, None]


def test_money_stays_text() -> None:
    """A price that is a number is rejected by the validator."""
    event = only(read(DELIVERY | {"variants": [{"sku": "A", "price": 149.90}]}))
    with pytest.raises(Rejected, match=r"payload.amount: .* money is a decimal string"):
        EventValidator(configured()).validate(event)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "truncated"),
        (b"sku=A&price=1", "malformed"),
        (b'{"revision":1,"revision":2}', "the key 'revision' is repeated"),
        (b'"\xff"', "is not UTF-8"),
        (b'{"a":NaN}', "malformed"),
        (b"[" * 5_000, "nested deeper than 64"),
        (b"[]", "is required"),
        (b"null", "is required"),
    ],
)
def test_an_unreadable_body_has_a_reason(body: bytes, problem: str) -> None:
    """Invalid JSON, or JSON of another form, is distinguished from an incomplete item."""
    assert problem in reason(found_in(reader(), body))


@pytest.mark.parametrize(
    ("settings", "key", "problem"),
    [
        ({"paths": {"sku": "sku"}}, f"{KEY}.paths.sourceVersion", "is required: name its column"),
        (
            {"paths": PATHS | {"payload": {"price": "p"}}},
            f"{KEY}.paths.payload.price",
            "not a field of the pricing payload",
        ),
        (
            {"constants": {"payload": {"colour": 1}}},
            f"{KEY}.constants.payload.colour",
            "not a field of the pricing payload",
        ),
        ({"domains": "pricing media"}, f"{KEY}.paths.type", "is required: name its column"),
    ],
)
def test_an_invalid_path_is_an_error_of_the_configuration(settings: Document, key: str, problem: str) -> None:
    """It is found at the start, and names its key."""
    with pytest.raises(ConfigurationError) as caught:
        WebhookReader(configured(**settings), "erp")
    assert caught.value.key == key
    assert problem in caught.value.problem


def test_a_source_without_webhooks_has_none() -> None:
    """Its webhooks cannot be read."""
    with pytest.raises(ConfigurationError, match=r"sources.pim.webhook: is required"):
        WebhookReader(configured(), "pim")


READERS = [
    WebhookReader(configured(), "erp"),
    WebhookReader(configured(items="variants", version="moment", withdrawals={"taxed": [True]}), "erp"),
]


@given(delivery=st.dictionaries(st.sampled_from([*DELIVERY, "0"]), json_values), body=st.binary(max_size=40))
def test_no_delivery_is_an_error(delivery: Document, body: bytes) -> None:
    """Any JSON, and any bytes, are events or a reason why they are not."""
    for reader in READERS:
        for text in (json.dumps(delivery).encode(), json.dumps(DELIVERY | delivery).encode(), body):
            assert all(isinstance(each, Statement | RejectedPart) for each in found_in(reader, text))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a", [{"0": 1, "": 2}]),
        ("a.0", {"0": 1, "": 2}),
        ("a.0.0", 1),
        ("a.0.", 2),
        ("b", None),
        ("a.1", UNSET),
        ("a.-1", UNSET),
        ("a.00", {"0": 1, "": 2}),
        ("a.\u0660", UNSET),
        ("a." + "9" * 5_000, UNSET),
        ("b.a", UNSET),
        ("c.0", UNSET),
    ],
)
def test_a_path_leads_to_members_and_elements(path: str, value: object) -> None:
    """No index is negative, and no text has elements."""
    whole = {"a": [{"0": 1, "": 2}], "b": None, "c": "text"}
    assert value_at(whole, path.split(".")) == value


def test_naughty_strings_come_through() -> None:
    """Each as an SKU and as a text of the payload."""
    paths = {"sku": "sku", "sourceVersion": "v", "occurredAt": "at", "payload": {"attributes": {"name": "name"}}}
    reader = WebhookReader(configured("pim", "catalog", paths=paths, constants={}), "pim")
    for text in json.loads(data_file("naughty", "blns.json").read_bytes()):
        delivery = {"sku": text, "v": 1, "at": "2026-01-01T00:00:00Z", "name": text}
        event = only(found_in(reader, json.dumps(delivery).encode()))
        assert event.sku == text
        assert payload_of(event) == {"attributes": {"name": text}}
