"""Bulk validation: it gives a line's entry as the validator does, and none for a line that the validator rejects."""

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
from pagefold.engine.stores.log_records import SEPARATOR
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
    """A row of a source that may write everything."""
    said = PAYLOADS[domain] if payload is ... else payload
    row = {"type": domain, "sku": sku, "channel": "*", "source": "erp", "sourceVersion": 7}
    row |= {"occurredAt": "2026-01-12T06:00:00Z", **more, "payload": said}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()


def entries_of(*lines: bytes, like: bytes = b"") -> list[ValidatedEvent | None]:
    """The entries of lines, of which each, or one like it, was read before."""
    templates = LineTemplates(CONFIG, "erp")
    for each in [like] if like else lines:
        templates.learn(parse_envelope(each), each)
    entries = templates.entries(lines)
    assert all(entries), "these lines are not of a known shape"
    return bulk(lines, entries)


def bulk(lines: Sequence[bytes], entries: Sequence[bytes]) -> list[ValidatedEvent | None]:
    """The entries of these lines, validated in bulk."""
    return BULK.validate(lines, [entry[: entry.index(SEPARATOR)] for entry in entries])


def validated(text: bytes) -> ValidatedEvent | None:
    """The validator's entry of a line; None if it rejects it."""
    try:
        return VALIDATOR.validate(parse_event(text))
    except Rejected:
        return None


@pytest.mark.parametrize("domain", PAYLOADS)
def test_entries_are_those_of_the_validator(domain: str) -> None:
    """With and without each optional field, at any timestamp, and withdrawn."""
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
        assert entries_of(text) == [validated(text)] != [None]


def test_many_of_several_domains_keep_their_places() -> None:
    """More than one batch, the domains in turn, some of them rejected."""
    good = [line(domain, sku=f"SKU-{number}") for number in range(CHUNK_LINES) for domain in PAYLOADS]
    bad = [line(payload={**PAYLOADS["pricing"], "amount": amount}) for amount in ("9,90", "", "-1", "1e3", "9.90 ")]
    lines = good[:100] + bad + good[100:]
    statements = entries_of(*lines)
    assert statements == [validated(text) for text in lines]
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
def test_an_invalid_line_has_no_entry(text: bytes) -> None:
    """Whether its form, its values, or its channel is wrong; and however valid the line with its template is."""
    like = text.replace(b"x" * 1024 * 1024, b"x").replace(b'"discount"', b'"taxClass"')
    assert validated(text) is None
    templates = LineTemplates(CONFIG, "erp")
    templates.learn(parse_envelope(like), like)
    assert bulk([text], [templates.entries([text])[0] or entry_of(text)]) == [None]


def entry_of(text: bytes) -> bytes:
    """Its entry, as if its template were known."""
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
def test_another_spelling_has_the_same_entry(domain: str, payload: object) -> None:
    """Fields that are left out because they say nothing, and timestamps of other zones."""
    text = line(domain, payload)
    statement = validated(text)
    assert statement is not None
    assert bulk([text], [entry_of(text)]) == [statement]


@given(st.sampled_from(list(PAYLOADS)), st.integers(0, 400), st.binary(max_size=4), st.integers(0, 3))
def test_damaged_lines(domain: str, place: int, put: bytes, dropped: int) -> None:
    """Bytes are replaced anywhere: no entry differs from the validator's, and other lines are not affected."""
    text = line(domain, id="0123", correlationId="trace-1")
    damaged = text[:place] + put + text[place + dropped :]
    templates = LineTemplates(CONFIG, "erp")
    templates.learn(parse_envelope(text), text)
    if all(entries := templates.entries([text, damaged])):
        expected = validated(damaged)
        together, alone = bulk([text, damaged], entries), bulk([text], entries[:1])
        assert alone == [validated(text)] != [None]
        assert together[1] in (None, expected)
        assert together[0] in (None, alone[0])
