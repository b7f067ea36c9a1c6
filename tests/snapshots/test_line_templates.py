"""Line templates: entries of similar lines without parsing, equal to those of parsing."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL
from pagefold.engine.intake.event_parser import canonical_json, parse_envelope, parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots.line_templates import LineTemplates
from pagefold.engine.stores.event_state import head_content
from tests.support.snapshot_fixtures import configured

CONFIG = configured(file="prices.ndjson")
VALIDATOR = EventValidator(CONFIG)
PRICE = {"currency": "EUR", "amount": "9.90", "taxIncluded": True, "tiers": [{"minQuantity": 10, "amount": "8.00"}]}

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SKUS = st.sampled_from(["SKU-1", "a/b", "50%", "Ä", 'q"', "", " x"]) | st.text("AB-.1", min_size=1, max_size=9)


def line(payload: object, sku: str = "SKU-1", version: object = 7, **more: object) -> bytes:
    """A row of the ERP."""
    row = {"type": "pricing", "sku": sku, "channel": "*", "source": "erp", "sourceVersion": version}
    row |= {"occurredAt": "2026-01-12T06:00:00Z", "payload": payload, **more}
    return json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode(errors="surrogatepass")


def templates_of(*lines: bytes) -> LineTemplates:
    """Templates that have learned from these lines."""
    templates = LineTemplates(CONFIG, "erp")
    for each in lines:
        try:
            templates.learn(parse_envelope(each), each)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            continue
    return templates


def read(text: bytes) -> bytes:
    """The entry of a line, by parsing it; empty if it has none."""
    event = parse_event(text)
    content = canonical_json(event.payload) if isinstance(event.payload, bytes) else NULL
    return content and head_content(VALIDATOR.stream_of(event), event.source_version, content)


def is_text(part: bytes) -> bool:
    """Whether these bytes can be a text in JSON that the validator has written."""
    return min(part) >= 0x20 and part.decode(errors="replace").encode() == part


def check(templates: LineTemplates, text: bytes) -> bytes:
    """The entry of a line equals that of parsing it, or one that no log can have."""
    [entry] = templates.entries([text])
    if not entry:
        return entry
    try:
        expected = read(text)
    except Rejected:
        expected = b""
    if entry != expected:
        assert not expected
        assert not is_text(entry.split(b"\x1f", 2)[2]), "this may be in the log"
    return entry


def test_lines_of_a_template_have_entries() -> None:
    """Other values, SKUs and channels, with keys in any order: the entry is the one in the log."""
    templates = templates_of(line(PRICE))
    other = {**PRICE, "currency": "CHF", "amount": "0.10", "taxIncluded": False}
    [entry] = templates.entries([line(other, "TSHIRT-M", 12)])
    statement = VALIDATOR.validate(parse_event(line(other, "TSHIRT-M", 12)))
    assert entry == head_content(statement.originator_id, statement.originator_version, statement.content)
    assert entry.startswith(b"TSHIRT-M/*/pricing/erp\x1f12\x1f")


@pytest.mark.parametrize(
    "text",
    [
        line({**PRICE, "amount": 'a"b'}),
        line({**PRICE, "amount": 1.5}),
        line({**PRICE, "amount": -0.0}),
        line({**PRICE, "amount": 10**20}),
        line({**PRICE, "taxClass": "standard"}),
        line(dict(reversed(PRICE.items()))),
        line(None),
        line(PRICE, "a/b"),
        line(PRICE, "50%"),
        line(PRICE, "Ä"),
        line(PRICE, version=-1),
        line(PRICE, version=1.0),
        line(PRICE, version=2**60),
        line(PRICE).replace(b'"*"', b'"web-mars"'),
        line(PRICE).replace(b'"erp"', b'"pim"'),
        line(PRICE).replace(b'"pricing"', b'"catalog"'),
        line(PRICE).replace(b'"EUR"', b'"EUR","currency":"USD"'),
        line(PRICE) + b" ",
        line(PRICE)[:-1],
        b"",
        b'{"snapshot":"end","count":1}',
    ],
)
def test_other_lines_are_left_to_the_parser(text: bytes) -> None:
    """Escapes, other numbers, members or orders, names in another spelling, and invalid rows."""
    assert templates_of(line(PRICE)).entries([text]) == [b""]


def test_nothing_is_learned_from_an_invalid_line() -> None:
    """A repeated key, an invalid timestamp, a domain that the source may not write."""
    for text in (
        line(PRICE).replace(b'"sku":"SKU-1"', b'"sku":"SKU-1","sku":"SKU-1"'),
        line(PRICE).replace(b'"amount":"9.90"', b'"amount":"9.90","amount":"9.90"'),
        line(PRICE).replace(b"2026-01", b"2026-77"),
        line(PRICE).replace(b'"pricing"', b'"catalog"'),
    ):
        assert templates_of(text).entries([text]) == [b""]


def test_the_number_of_templates_is_bounded() -> None:
    """Lines of several templates may alternate; if every line has another one, learning ends."""
    several = [line(dict(list(PRICE.items())[:size])) for size in range(1, 5)]
    templates = templates_of(*several)
    for text in several * 2:
        assert check(templates, text)
    many = [line({f"a{number}": 1}) for number in range(200)]
    templates = templates_of(*many)
    assert sum(map(bool, templates.entries(many))) < 20


@given(st.lists(VALUES, min_size=1, max_size=3), VALUES, SKUS, st.integers(-2, 2**54))
@example([{"a": 1}], {"a": 10**15}, "SKU-1", 1)
@example([{"payload": {"payload": 1}}], {"payload": {"payload": 2}}, "SKU-1", 1)
@example([{"a": "%b"}], {"a": "%"}, "SKU-1", 1)
@example([{"%b": "1", "b": ["0", "1"]}], {"%b": "0", "b": ["1", "0"]}, "SKU-1", 1)
def test_entries_equal_those_of_the_parser(known: list[Any], payload: object, sku: str, version: int) -> None:
    """After any lines, for any line."""
    templates = templates_of(*[line(each) for each in known])
    check(templates, line(payload, sku, version))
    for each in known:
        check(templates, line(each, sku, version, id="x"))


@given(st.integers(0, 400), st.binary(max_size=4), st.integers(0, 3))
def test_a_damaged_line_has_no_wrong_entry(place: int, put: bytes, dropped: int) -> None:
    """Bytes are replaced anywhere: no entry is given for an invalid line, unless the log cannot have it."""
    text = line(PRICE, id="0123", correlationId="trace-1")
    templates = templates_of(text)
    assert check(templates, text)
    check(templates, text[:place] + put + text[place + dropped :])
