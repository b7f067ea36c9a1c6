"""Webhooks of any form: what the contract reads becomes statements; what it cannot has a reason."""

import json
from collections.abc import Sequence
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold import Config, ConfigurationError, DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart
from pagefold.engine.intake.readers.webhooks import WebhookReader
from pagefold.engine.intake.statement import Statement
from tests.support.deliveries import found_in
from tests.support.shared_data import data_file
from tests.support.small_shop import Document, document
from tests.support.strategies import json_values

KEY = "sources.erp.webhook.contract"
CONTRACT: Document = {
    "sku": "variants.0.sku",
    "sourceVersion": "revision",
    "occurredAt": "updated_at",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "variants.0.price", "taxIncluded": "taxed"},
}
ITEMS: Document = {
    "items": "variants",
    "sku": "sku",
    "sourceVersion": "$.revision",
    "occurredAt": "$.updated_at",
    "pricing": {"currency": {"constant": "EUR"}, "amount": "price"},
}
DELIVERY: Document = {
    "id": 788032119674292922,
    "revision": 17,
    "updated_at": "2026-01-01T00:00:00-05:00",
    "taxed": True,
    "variants": [{"sku": "TSHIRT-M", "price": "149.90"}, {"sku": "TSHIRT-L", "price": "159.90"}],
}


def configured(contract: Document = CONTRACT, **settings: object) -> Config:
    """A shop with webhooks of the source erp, whose domains are those of the contract."""
    domains = [each for each in ("catalog", "pricing", "inventory", "media") if each in contract]
    parsed = document()
    parsed["sources"]["erp"] = {
        "domains": domains or ["pricing"],
        "webhook": {"secret_variables": ["S"], "contract": contract} | settings,
    }
    return Config.parse(parsed)


def reader(contract: Document = CONTRACT, **settings: object) -> WebhookReader:
    """The reader of the source erp."""
    return WebhookReader(configured(contract, **settings), "erp")


def read(delivery: object, contract: Document = CONTRACT, **facts: object) -> list[ParsedPart]:
    """The parts of a body."""
    return found_in(reader(contract), json.dumps(delivery).encode(), **facts)


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


def test_the_contract_finds_the_parts_of_an_event() -> None:
    """Members by name, elements by index, and constants."""
    event = only(read(DELIVERY))
    assert (event.type, event.sku, event.channel, event.source) == ("pricing", "TSHIRT-M", "*", "erp")
    assert (event.source_version, event.occurred_at.isoformat()) == (17, "2026-01-01T05:00:00+00:00")
    assert payload_of(event) == {"amount": "149.9", "taxIncluded": True, "currency": "EUR"}
    assert (
        EventValidator(configured()).validate(event).content
        == b'{"amount":"149.90","currency":"EUR","taxIncluded":true}'
    )


def test_null_blank_and_missing_values_are_left_out() -> None:
    """A missing value is neither zero nor false, and a required one is required."""
    bare = {name: value for name, value in DELIVERY.items() if name != "taxed"}
    for blank in (None, "", "  "):
        assert only(read(DELIVERY | {"taxed": blank})).payload == only(read(bare)).payload
    for changes, problem in (
        ({"variants": []}, "pricing.sku: `variants.0.sku` is blank"),
        ({"variants": {"0": {"sku": "A"}}, "revision": None}, "pricing.sourceVersion: `revision` is blank"),
        ({"updated_at": "yesterday"}, "pricing.occurredAt: `updated_at`: 'yesterday' is not a date or a moment"),
        ({"revision": 1.5}, "pricing.sourceVersion: `revision`: 1.5 has a fraction"),
        (
            {"variants": [{"sku": {"a": "secret"}}]},
            "pricing.sku: `variants.0.sku`: an object of 1 has",
        ),
    ):
        assert reason(read(DELIVERY | changes)).startswith(problem)


def test_what_a_delivery_says_beside_its_body() -> None:
    """A header, whatever its case, and when it came in; the first moment that there is counts."""
    contract = CONTRACT | {"id": "@header.X-Event-Id", "occurredAt": {"first_of": ["@header.X-At", "@received"]}}
    assert reader(contract).headers == {"x-event-id", "x-at"}
    event = only(read(DELIVERY, contract, **{"@header.x-event-id": "e-1"}))
    assert (event.id, event.occurred_at.isoformat()) == ("e-1", "2026-03-01T12:00:00+00:00")
    event = only(read(DELIVERY, contract, **{"@header.x-at": "2026-02-01T12:00:00Z"}))
    assert (event.id, event.occurred_at.isoformat()) == (None, "2026-02-01T12:00:00+00:00")
    no_moment = {name: value for name, value in CONTRACT.items() if name != "occurredAt"}
    assert only(read(DELIVERY, no_moment)).occurred_at.isoformat() == "2026-03-01T12:00:00+00:00"


def test_the_items_of_a_delivery_are_parts_of_their_own() -> None:
    """Paths start at the item, or at the body; an invalid item leaves the others alone."""
    found = read(DELIVERY | {"variants": [*DELIVERY["variants"], {"price": "1"}]}, ITEMS)
    assert [each.sku for each in events_in(found)] == ["TSHIRT-M", "TSHIRT-L"]
    assert {each.source_version for each in events_in(found)} == {17}
    assert reason(found[2:]).startswith("pricing.sku: is blank")
    assert read(DELIVERY | {"variants": []}, ITEMS) == []
    found = read(DELIVERY | {"variants": [{}, 7]}, ITEMS)
    assert ["is blank" in reason([each]) for each in found] == [True, True]
    many = [{"sku": "A", "price": "1"}] * 5_001
    assert len(events_in(read(DELIVERY | {"variants": many}, ITEMS))) == len(many)
    others: list[object] = [None, "x"]
    for variants in others:
        assert reason(read(DELIVERY | {"variants": variants}, ITEMS)) == "there is no array or object at 'variants'"


def test_items_may_be_at_several_places() -> None:
    """In the order of the paths, each item of an array, and an object as itself; one place may be absent."""
    contract = ITEMS | {"items": ["master", "more.variants"], "sourceVersion": "$.revision"}
    body = {"revision": 1, "updated_at": DELIVERY["updated_at"], "master": {"sku": "M", "price": "1"}}
    more = {"variants": [{"sku": "A", "price": "2"}, {"sku": "B", "price": "3"}]}
    assert [each.sku for each in events_in(read(body | {"more": more}, contract))] == ["M", "A", "B"]
    assert [each.sku for each in events_in(read(body, contract))] == ["M"]
    assert reason(read({"revision": 1}, contract)) == "there is no array or object at 'master' or 'more.variants'"


def test_an_item_makes_several_statements_or_none() -> None:
    """In several domains, of a list inside it; what does not count is ignored."""
    contract = ITEMS | {
        "catalog": {"only": {"kind": ["main"]}, "attributes": {"ean": "ean"}},
        "inventory": {
            "each": "places",
            "sku": "$.sku",
            "sourceVersion": "$.$.revision",
            "occurredAt": "$.$.updated_at",
            "channel": "shop",
            "available": "free",
        },
    }
    places = [{"shop": "web-de", "free": 3}, {"shop": "elsewhere", "free": 4}]
    variants = [{"sku": "A", "price": "1", "kind": "main", "ean": "7", "places": places}, {"sku": "B", "price": "2"}]
    first, second = (read(DELIVERY | {"variants": [each]}, contract) for each in variants)
    assert [(each.type, each.sku) for each in events_in(first)] == [
        ("catalog", "A"),
        ("pricing", "A"),
        ("inventory", "A"),
    ]
    assert [each.cause for each in first if isinstance(each, IgnoredMessage)] == ["channel"]
    assert [(each.type, each.sku) for each in events_in(second)] == [("pricing", "B")]
    assert [each.cause for each in second if isinstance(each, IgnoredMessage)] == ["filter"]


@pytest.mark.parametrize(
    ("moment", "version"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600_000_000),
        ("2026-01-01T01:00:00.000001+01:00", 1_767_225_600_000_001),
        ("1970-01-01T00:00:00Z", 0),
    ],
)
def test_a_timestamp_may_be_the_version(moment: str, version: int) -> None:
    """In microseconds since 1970, whatever the offset; it is also `occurredAt`."""
    contract = {name: value for name, value in CONTRACT.items() if name != "occurredAt"}
    contract |= {"sourceVersion": "updated_at", "versions": "moment"}
    event = only(read(DELIVERY | {"updated_at": moment}, contract))
    assert event.source_version == version
    assert event.occurred_at == datetime.fromisoformat(moment)


def test_a_version_that_is_no_timestamp_is_rejected() -> None:
    """A number is no timestamp, nor is one without an offset, and a missing one is an error."""
    for moment, problem in ((17, ": 17 is not a date"), ("2026-01-01T00:00", "has no offset"), (None, " is blank")):
        found = reason(read(DELIVERY | {"revision": moment}, CONTRACT | {"versions": "moment"}))
        assert found.startswith("pricing.sourceVersion: `revision`")
        assert problem in found


@pytest.mark.parametrize(
    ("action", "withdrawn"),
    [("removed", True), (7, True), (False, True), (0, True), (7.0, True), ("updated", False), (None, False)],
)
def test_a_declared_value_withdraws(action: object, *, withdrawn: bool) -> None:
    """One of the declared values, at its path, whatever else the item has."""
    contract = CONTRACT | {"pricing": CONTRACT["pricing"] | {"withdraw": {"event.action": ["removed", 7, False]}}}
    event = only(read(DELIVERY | {"event": {"action": action}}, contract))
    assert (event.payload is None) is withdrawn
    assert (event.sku, event.source_version) == ("TSHIRT-M", 17)
    assert only(read(DELIVERY, contract)).payload is not None


def test_a_delivery_may_withdraw_all_of_its_items() -> None:
    """By a path that starts at the body."""
    contract = ITEMS | {"pricing": ITEMS["pricing"] | {"withdraw": {"$.action": ["removed"]}}}
    found = read(DELIVERY | {"action": "removed"}, contract)
    assert [each.payload for each in events_in(found)] == [None, None]


def test_money_is_read_digit_by_digit() -> None:
    """A price that is a number is what is written, whatever a double makes of it."""
    amounts = {"149.90": "149.90", "0.1": "0.10", "1e2": "100.00", "900719925474099.3": "900719925474099.30"}
    for written, amount in amounts.items():
        body = json.dumps(DELIVERY | {"variants": [{"sku": "A", "price": "P"}]}).replace('"P"', written)
        event = only(found_in(reader(), body.encode()))
        content = EventValidator(configured()).validate(event).content
        assert json.loads(content)["amount"] == amount


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "truncated"),
        (b"sku=A&price=1", "malformed"),
        (b'{"revision":1,"revision":2}', "the key 'revision' is repeated"),
        (b'"\xff"', "is not UTF-8"),
        (b'{"a":NaN}', "malformed"),
        (b"[" * 5_000, "nested deeper than 64"),
        (b"[]", "is blank"),
        (b"null", "is blank"),
    ],
)
def test_an_unreadable_body_has_a_reason(body: bytes, problem: str) -> None:
    """Invalid JSON, or JSON of another form, is distinguished from an incomplete item."""
    assert problem in reason(found_in(reader(), body))


@pytest.mark.parametrize(
    ("contract", "key", "problem"),
    [
        ({"sku": "sku", "pricing": {"amount": "p"}}, "pricing.sourceVersion", "is required"),
        (CONTRACT | {"pricing": {"price": "p"}}, "pricing.price", "is not a field of the pricing payload"),
        (CONTRACT | {"sku": "a..b"}, "pricing.sku", "has an empty name"),
        (CONTRACT | {"channel": {"constant": "web-dee"}}, "pricing.channel", "did you mean 'web-de'"),
        ({"sku": "sku", "versions": "none"}, "", "says nothing of a domain"),
    ],
)
def test_an_invalid_contract_is_an_error_of_the_configuration(contract: Document, key: str, problem: str) -> None:
    """It is found at the start, and names its key."""
    with pytest.raises(ConfigurationError) as caught:
        WebhookReader(configured(contract), "erp")
    assert caught.value.key == f"{KEY}.{key}".rstrip(".")
    assert problem in caught.value.problem


def test_a_source_without_webhooks_has_none() -> None:
    """Its webhooks cannot be read."""
    with pytest.raises(ConfigurationError, match=r"sources.pim.webhook: is required"):
        WebhookReader(configured(), "pim")


READERS = [
    reader(),
    reader(ITEMS | {"sourceVersion": "$.updated_at", "versions": "moment", "only": {"taxed": [True]}}),
    reader(ITEMS | {"items": ["variants", "revision"], "pricing": {"each": "price", "amount": "."}}),
]


@given(delivery=st.dictionaries(st.sampled_from([*DELIVERY, "0"]), json_values), body=st.binary(max_size=40))
def test_no_delivery_is_an_error(delivery: Document, body: bytes) -> None:
    """Any JSON, and any bytes, are events or a reason why they are not."""
    for reader in READERS:
        for text in (json.dumps(delivery).encode(), json.dumps(DELIVERY | delivery).encode(), body):
            assert all(isinstance(each, Statement | RejectedPart | IgnoredMessage) for each in found_in(reader, text))


def test_naughty_strings_come_through() -> None:
    """Each as an SKU, without space around it, and as a text of the payload."""
    contract = {"sku": "sku", "sourceVersion": "v", "catalog": {"attributes": {"name": "name"}}}
    naughty = reader(contract)
    for text in json.loads(data_file("naughty", "blns.json").read_bytes()):
        delivery = {"sku": text.strip() or "A", "v": 1, "name": text}
        event = only(found_in(naughty, json.dumps(delivery).encode()))
        assert event.sku == (text.strip() or "A")
        assert payload_of(event) == ({"attributes": {"name": text}} if text.strip() else {})


def test_a_record_makes_a_bounded_number_of_statements() -> None:
    """A small body could make millions otherwise; the parts beside it are read."""
    prices: Document = {
        "each": "prices",
        "sku": "$.sku",
        "sourceVersion": "$.$.revision",
        "occurredAt": "$.$.updated_at",
    }
    contract = ITEMS | {"pricing": prices | {"amount": "."}}
    variants = [{"sku": "A", "prices": [1] * number} for number in (2, 10_001)]
    first, second, rejected = read(DELIVERY | {"variants": variants}, contract)
    assert [type(each) for each in (first, second)] == [Statement, Statement]
    assert reason([rejected]) == "pricing.each: 10001 elements are more than 10,000"


# --- parts that are kept, each as a request of its own --------------------------------------------


def divided(contract: Document, body: bytes, parts: Sequence[int]) -> list[object]:
    """Some parts of a body, as requests of their own."""
    return [json.loads(text) for _, text in reader(contract).parse(body, {}).divided(parts)]


@pytest.mark.parametrize(
    ("items", "body", "parts", "kept"),
    [
        ("v", {"a": 1, "v": [1, 2, 3]}, [1], [{"a": 1, "v": [2]}]),
        ("v", {"a": 1, "v": [1, 2, 3]}, [0, 2], [{"a": 1, "v": [1]}, {"a": 1, "v": [3]}]),
        ("v", {"v": {"sku": "A"}}, [0], [{"v": {"sku": "A"}}]),
        ("x.1.v", {"x": [0, {"v": [1, 2], "b": 3}]}, [1], [{"x": [0, {"v": [2], "b": 3}]}]),
        (["m", "v"], {"m": {"s": 1}, "v": [2, 3]}, [0], [{"m": {"s": 1}, "v": []}]),
        (["m", "v"], {"m": {"s": 1}, "v": [2, 3]}, [2], [{"m": None, "v": [3]}]),
        (["m", "v"], {"v": [2, 3], "n": 1}, [0], [{"v": [2], "n": 1}]),
        (["v", "w"], {"v": [1], "w": [2, 3]}, [1], [{"v": [], "w": [2]}]),
        (["v", "v.0"], {"v": [{"a": 1}]}, [0], [{"v": [{"a": 1}]}]),
    ],
)
def test_parts_become_requests_of_their_own(items: object, body: object, parts: list[int], kept: object) -> None:
    """With everything around them; what is at other places of items is left out."""
    assert divided(ITEMS | {"items": items}, json.dumps(body).encode(), parts) == kept


def test_an_array_is_divided() -> None:
    """A body that is a list of items, without anything around them."""
    contract = {"items": "$", "sku": "sku", "sourceVersion": "v", "pricing": {"amount": "price"}}
    assert divided(contract, b"[1,2,3]", [2]) == [[3]]


@pytest.mark.parametrize("path", ["$.v.0.sku", "$.v", "$.$"])
def test_items_that_others_read_stay_together(path: str) -> None:
    """A path from the root that leads into the items would read another one after they are divided."""
    contract = ITEMS | {"items": "v", "id": {"from": path}}
    body = {"v": [1, 2]}
    assert divided(contract, json.dumps(body).encode(), [1]) == [body]


@given(sizes=st.lists(st.integers(0, 3), min_size=1, max_size=3), data=st.data())
def test_a_part_that_was_kept_is_read_as_before(sizes: list[int], data: st.DataObject) -> None:
    """Whatever is divided: the request that is kept makes the statements that its parts made."""
    names = [f"p{number}" for number in range(len(sizes))]
    contract = ITEMS | {"items": names}
    body: Document = {"revision": 7, "updated_at": DELIVERY["updated_at"]}
    for name, size in zip(names, sizes, strict=True):
        items = [{"sku": f"{name}-{number}", "price": "1"} for number in range(size)]
        body[name] = items[0] if size == 1 and data.draw(st.booleans()) else items
    reads, text = reader(contract), json.dumps(body).encode()
    delivery = reads.parse(text, {})
    chosen = st.lists(st.sampled_from(range(delivery.parts or 1)), unique=True, min_size=1).map(sorted)
    for which, kept in delivery.divided(data.draw(chosen)) if delivery.parts else ():
        assert found_in(reads, kept) == [each for part in which for each in delivery.read(part, part + 1)[0]]
