"""Many lines examined at once: of each is told what the door tells of it, and what the door refuses is not told."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagefold.engine.errors import Rejected
from pagefold.engine.events import ValidatedEvent
from pagefold.engine.intake.bulk_validator import CHUNK_LINES, BulkValidator
from pagefold.engine.intake.event_parser import parse_envelope, parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots.line_templates import LineTemplates
from pagefold.engine.stores.store import SEPARATOR
from tests.support.snapshot_fixtures import configured

CONFIG = configured(("pricing", "inventory", "catalog", "media"), file="all.ndjson")
VALIDATOR, BULK = EventValidator(CONFIG), BulkValidator(CONFIG)

PAYLOADS: dict[str, dict[str, Any]] = {
    "pricing": {
        "currency": "EUR",
        "amount": "9.90",
        "taxIncluded": True,
        "tiers": [{"minQuantity": 10, "amount": "8.00"}],
        "customerGroups": {"trade": "7.00"},
    },
    "inventory": {"available": 7, "safetyStock": 2, "backorderable": True, "restockAt": "2026-03-01T00:00:00Z"},
    "catalog": {
        "attributes": {"size": "M", "washable": True, "grams": 180},
        "localized": {"name": {"de": "Hemd"}},
        "categories": ["shirts"],
    },
    "media": {"assets": [{"url": "https://img.example/1.jpg", "role": "front", "position": 1, "alt": {"de": "vorn"}}]},
}


def line(domain: str = "pricing", payload: object = ..., sku: str = "SKU-1", **more: object) -> bytes:
    """A row of a source that knows everything."""
    said = PAYLOADS[domain] if payload is ... else payload
    row = {"type": domain, "sku": sku, "channel": "*", "source": "erp", "sourceVersion": 7}
    row |= {"occurredAt": "2026-01-12T06:00:00Z", **more, "payload": said}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def told(*lines: bytes, like: bytes = b"") -> list[ValidatedEvent | None]:
    """What is told of lines, of which each, or else one like it, was read before."""
    shapes = LineTemplates(CONFIG, "erp")
    for each in [like] if like else lines:
        shapes.learn(parse_envelope(each), each)
    entries = shapes.entries(lines)
    assert all(entries), "these lines are not of a known shape"
    return bulk(lines, entries)


def bulk(lines: Sequence[bytes], entries: Sequence[bytes]) -> list[ValidatedEvent | None]:
    """What is told of lines with these entries."""
    return BULK.validate(lines, [entry[: entry.index(SEPARATOR)] for entry in entries])


def examined(text: bytes) -> ValidatedEvent | None:
    """What the door says of one line; None where it refuses it."""
    try:
        return VALIDATOR.validate(parse_event(text))
    except Rejected:
        return None


@pytest.mark.parametrize("domain", PAYLOADS)
def test_they_are_told_as_the_door_tells_them(domain: str) -> None:
    """With and without what an event may have, at any moment, and taken back."""
    lines = [
        line(domain),
        line(domain, sku="SKU-2", sourceVersion=0),
        line(domain, channel="web"),
        line(domain, occurredAt="2026-01-12T06:00:00.5+01:00"),
        line(domain, id="row-1"),
        line(domain, id="row-2", correlationId="trace"),
        line(domain, None),
    ]
    for text in lines:
        assert told(text) == [examined(text)] != [None]


def test_many_of_several_domains_are_told_each_in_its_place() -> None:
    """More than are looked at together, the domains in turn, and among them some that are refused."""
    good = [line(domain, sku=f"SKU-{number}") for number in range(CHUNK_LINES) for domain in PAYLOADS]
    bad = [line(payload={**PAYLOADS["pricing"], "amount": amount}) for amount in ("9,90", "", "-1", "1e3", "9.90 ")]
    lines = good[:100] + bad + good[100:]
    statements = told(*lines)
    assert statements == [examined(text) for text in lines]
    assert statements.count(None) == len(bad)


@pytest.mark.parametrize(
    "text",
    [
        line(payload={**PAYLOADS["pricing"], "currency": "CHF"}, channel="web"),
        line(payload={**PAYLOADS["pricing"], "currency": "eur"}),
        line(payload={**PAYLOADS["pricing"], "tiers": [{"minQuantity": 0, "amount": "8.00"}]}),
        line(payload={**PAYLOADS["pricing"], "customerGroups": {"trade": "free"}}),
        line(payload={**PAYLOADS["pricing"], "compareAt": "dear"}),
        line(payload={**PAYLOADS["pricing"], "discount": "1.00"}),
        line("inventory", {"available": "7"}),
        line("catalog", {"attributes": {"note": "x" * 1024 * 1024}}),
    ],
)
def test_what_the_door_refuses_is_not_told(text: bytes) -> None:
    """Whether its form is wrong, its values, or the channel; and however good the line is whose shape it has."""
    like = text.replace(b"x" * 1024 * 1024, b"x").replace(b'"discount"', b'"taxClass"')
    assert examined(text) is None
    shapes = LineTemplates(CONFIG, "erp")
    shapes.learn(parse_envelope(like), like)
    assert bulk([text], [shapes.entries([text])[0] or entry_of(text)]) == [None]


def entry_of(text: bytes) -> bytes:
    """As if its shape were known."""
    wire = parse_envelope(text)
    stream = f"{wire.sku}/{wire.channel}/{wire.type}/{wire.source}".encode()
    payload = json.dumps(json.loads(bytes(wire.payload)), sort_keys=True, separators=(",", ":")).encode()
    return b'%b\x1f%d\x1f"payload":%b}' % (stream, wire.source_version, payload)


@pytest.mark.parametrize(
    ("domain", "payload"),
    [
        ("pricing", {**PAYLOADS["pricing"], "compareAt": None}),
        ("pricing", {**PAYLOADS["pricing"], "scheduled": [{"amount": "5.00", "from": "2026-01-01T00:00:00+01:00"}]}),
        ("inventory", {"available": 7, "safetyStock": 0, "backorderable": False}),
        ("catalog", {**PAYLOADS["catalog"], "enabled": True}),
    ],
)
def test_what_is_written_in_another_way_is_told_as_the_log_has_it(domain: str, payload: object) -> None:
    """Values that mean nothing and are left out, moments of another zone."""
    text = line(domain, payload)
    statement = examined(text)
    assert statement is not None
    assert bulk([text], [entry_of(text)]) == [statement]


@given(st.sampled_from(list(PAYLOADS)), st.integers(0, 400), st.binary(max_size=4), st.integers(0, 3))
def test_whatever_was_spoilt(domain: str, place: int, put: bytes, dropped: int) -> None:
    """Bytes are replaced anywhere: nothing is told that the door would not tell, and no neighbour suffers for it."""
    text = line(domain, id="0123", correlationId="trace-1")
    spoilt = text[:place] + put + text[place + dropped :]
    shapes = LineTemplates(CONFIG, "erp")
    shapes.learn(parse_envelope(text), text)
    if all(entries := shapes.entries([text, spoilt])):
        expected = examined(spoilt)
        beside, alone = bulk([text, spoilt], entries), bulk([text], entries[:1])
        assert alone == [examined(text)] != [None]
        assert beside[1] in (None, expected)
        assert beside[0] in (None, alone[0])
