"""Every rule of validation, for lines of a file and for Python callers."""

import json
from collections import OrderedDict
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from types import MappingProxyType
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from pagefold import Config, DomainEvent, Rejected, parse_event
from pagefold.domains.values import format_timestamp
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent, EventState
from tests.support.small_shop import MOMENT, Document, as_line, document, event
from tests.support.strategies import events, json_values, texts

CONFIG = Config.parse(document())
VALIDATOR = EventValidator(CONFIG)
LARGEST = 2**53 - 1
NAMES = ("type", "sku", "channel", "source")
IDENTIFIERS = ("id", "correlation_id")
PLAIN: Document = {
    "type": "catalog",
    "sku": "A",
    "channel": "*",
    "source": "pim",
    "sourceVersion": 1,
    "occurredAt": "2026-01-01T00:00:00Z",
    "payload": {},
}
PRICE: Document = PLAIN | {"type": "pricing", "source": "erp", "payload": {"currency": "EUR", "amount": "1.00"}}
STOCK: Document = PLAIN | {"type": "inventory", "source": "wms-a", "payload": {"available": 1}}
MEDIA: Document = PLAIN | {"type": "media", "source": "dam", "payload": {"assets": [{"url": "x"}]}}


def encoded(line: bytes) -> EncodedEvent:
    """A line of a file, parsed, validated and encoded."""
    return VALIDATOR.encode(parse_event(line), MOMENT, "made")


def state_of(admission: EncodedEvent) -> EventState:
    """What is stored."""
    return msgspec.json.decode(admission.state, type=EventState)


def line(of: Document = PLAIN, **raw: str) -> bytes:
    """The event as a line, with the JSON of some fields written by hand; `payload="…"` and the like."""
    fields = {name: json.dumps(value) for name, value in of.items()} | raw
    return ("{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}").encode(
        "utf-8", "surrogateescape"
    )


def attribute(value: str, code: str = "a") -> bytes:
    """A line with one attribute, whose JSON is written by hand."""
    return line(payload=f'{{"attributes":{{"{code}":{value}}}}}')


def nested(depth: int, escape: str = "") -> bytes:
    """A line whose attribute is nested in that many objects and arrays, counted from the event."""
    inside = depth - 3
    return attribute("[" * inside + "]" * inside, escape or "a")


def rejected(given: bytes | DomainEvent) -> tuple[str, str]:
    """The path and the reason of a rejection."""
    with pytest.raises(Rejected) as caught:
        _ = encoded(given) if isinstance(given, bytes) else VALIDATOR.encode(given, MOMENT, "made")
    caught.value.path.encode()
    assert len(str(caught.value)) < 1_000, "a reason fits on a screen"
    return caught.value.path, caught.value.reason


# --- lines ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "path", "reason"),
    [
        pytest.param(b"", "", "truncated", id="empty"),
        pytest.param(b"null", "", "expected `object`, got `null`", id="null"),
        pytest.param(b"[]", "", "expected `object`, got `array`", id="array"),
        pytest.param(line()[:-1], "", "truncated", id="truncated"),
        pytest.param(line() + b"{}", "", "trailing characters", id="two"),
        pytest.param(b"\xef\xbb\xbf" + line(), "", "malformed", id="byte order mark"),
        pytest.param(b"{}", "type", "is required", id="nothing"),
        pytest.param(line().replace(b',"payload":{}', b""), "payload", "is required", id="no payload"),
        pytest.param(line(sku='"\udcff"'), "", "is not UTF-8", id="UTF-8 in the SKU"),
        pytest.param(attribute('"\udcff"'), "payload", "is not UTF-8", id="UTF-8 in the payload"),
        pytest.param(attribute('"\udcff\\u0061"'), "", "is not UTF-8", id="UTF-8 beside an escape"),
        pytest.param(attribute("NaN"), "", "malformed", id="NaN"),
        pytest.param(attribute("-Infinity"), "", "malformed", id="Infinity"),
        pytest.param(attribute("1e999"), "payload.attributes.a", "beyond what a double holds", id="beyond a float"),
        pytest.param(attribute('"\\ud800"'), "", "lone surrogate", id="lone surrogate"),
        pytest.param(attribute("1", "\\ud800"), "", "lone surrogate", id="lone surrogate in a key"),
        pytest.param(line(sku='"\\udfff"'), "", "lone surrogate", id="lone surrogate in the SKU"),
        pytest.param(attribute('"\\u0000"'), "payload", "U+0000", id="U+0000"),
        pytest.param(attribute("1", "\\u0000"), "payload", "U+0000", id="U+0000 in a key"),
        pytest.param(attribute('"\\\\\\u0000"'), "payload", "U+0000", id="U+0000 behind a backslash"),
        pytest.param(line(sku='"a\\u0000"'), "sku", "control character U+0000", id="U+0000 in the SKU"),
        pytest.param(line(id='"\\u0000"'), "id", "U+0000", id="U+0000 in the id"),
        pytest.param(attribute('"\x01"'), "", "malformed", id="raw control character"),
        pytest.param(attribute('1,"a":2'), "payload", "'a' is repeated", id="key twice"),
        pytest.param(attribute('1,"\\u0061":2'), "", "'a' is repeated", id="key twice, once escaped"),
        pytest.param(attribute('[{"b":":","b":":"}]'), "payload", "'b' is repeated", id="key twice, deep"),
        pytest.param(line(payload='{"family":"x","family":"x"}'), "payload", "'family' is repeated", id="field twice"),
        pytest.param(line()[:-1] + b',"sku":"A"}', "", "'sku' is repeated", id="envelope twice"),
        pytest.param(line()[:-1] + b',"s\\u006bu":"A"}', "", "'sku' is repeated", id="once escaped"),
        pytest.param(line()[:-1] + b',"payload":{}}', "", "'payload' is repeated", id="payload twice"),
        pytest.param(line(id="null") [:-1] + b',"id":null}', "", "'id' is repeated", id="id twice"),
        pytest.param(line(extra="1"), "extra", "unknown field", id="unknown field"),
        pytest.param(line(payload='{"extra":1}'), "payload.extra", "unknown field", id="unknown in the payload"),
        pytest.param(line(MEDIA, payload='{"assets":[{"x":1}]}'), "payload.assets[0].x", "unknown field", id="list"),
        pytest.param(line(payload="[]"), "payload", "expected `object`, got `array`", id="payload is a list"),
        pytest.param(line(payload="false"), "payload", "expected `object`, got `bool`", id="payload is false"),
        pytest.param(line(payload='""'), "payload", "expected `object`, got `str`", id="payload is text"),
    ],
)  # fmt: skip
def test_invalid_lines_are_rejected(given: bytes, path: str, reason: str) -> None:
    """Ambiguous JSON, or another form than an event's, is rejected with its path and reason."""
    where, why = rejected(given)
    assert where == path
    assert reason in why


@pytest.mark.parametrize("escape", ["", "\\u0061"], ids=["plain", "escaped"])
@pytest.mark.parametrize("depth", [65, 66, 250, 256, 300, 900, 990, 1_000, 1_200, 5_000, 100_000])
def test_nesting_over_64(depth: int, escape: str) -> None:
    """However deep, and whichever decoder fails first, it is the same rejection."""
    path, reason = rejected(nested(depth, escape))
    assert "nested deeper than 64" in reason
    assert path == "" or path.startswith("payload")
    encoded(nested(64, escape))


@pytest.mark.parametrize("escape", ["a", "\\u0061"], ids=["plain", "escaped"])
@pytest.mark.parametrize("digits", [16, 17, 19, 20, 30, 308, 310, 400, 4_300, 4_301, 20_000])
@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_beyond_2_to_the_53(digits: int, escape: str, sign: str) -> None:
    """However many digits, and whichever decoder fails first, the rejection names the integer's path."""
    path, reason = rejected(attribute(sign + "9" * digits, escape))
    assert path.startswith("payload.attributes")
    assert "2^53-1" in reason or "range" in reason
    for of, name in ((PLAIN, "sourceVersion"), (STOCK, "payload.available")):
        raw = (
            {"sourceVersion": "9" * digits} if of is PLAIN else {"payload": '{"available":' + sign + "9" * digits + "}"}
        )
        assert rejected(line(of, **raw))[0] == name


def test_the_largest_integers_are_accepted() -> None:
    """2^53 - 1, above and below zero, as a version, a count and an attribute."""
    encoded(attribute(f"[{LARGEST},{-LARGEST},0,-0]"))
    assert encoded(line(sourceVersion=str(LARGEST))).originator_version == LARGEST
    encoded(line(STOCK, payload=f'{{"available":{-LARGEST},"safetyStock":{LARGEST}}}'))


@pytest.mark.parametrize("version", ["-1", "1.0", "1e2", '"1"', "true", "null", str(2**53)])
def test_versions_are_integers_from_0(version: str) -> None:
    """A version is an integer from 0 to 2^53 - 1."""
    path, reason = rejected(line(sourceVersion=version))
    assert path == "sourceVersion"
    assert "expected `int`" in reason or "is not between 0 and 2^53-1" in reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("type", "prices", "unknown domain 'prices'; the domains are catalog, pricing, inventory, media"),
        ("source", "sap", "unknown source 'sap'; the configuration does not have it"),
        ("source", "erp", "'erp' may not write the domain catalog"),
        ("channel", "web-xx", "unknown channel 'web-xx'; use '*' or a channel of the configuration"),
        ("channel", "", "unknown channel ''; use '*' or a channel of the configuration"),
    ],
)
def test_unknown_types_sources_and_channels(field: str, value: str, reason: str) -> None:
    """What the configuration does not have, or does not give to the source, is rejected by name."""
    assert rejected(line(PLAIN | {field: value})) == (field, reason)


MONEY = "; money is a decimal string"


@pytest.mark.parametrize(
    ("payload", "path", "reason"),
    [
        ('{"currency":"EUR","amount":1.5}', "amount", "expected `str`, got `float`" + MONEY),
        ('{"currency":"EUR","amount":1}', "amount", "expected `str`, got `int`" + MONEY),
        ('{"currency":"EUR","amount":"1","compareAt":1.5}', "compareAt", "got `float`" + MONEY),
        ('{"currency":"EUR","amount":"1","tiers":[{"minQuantity":1,"amount":1.5}]}', "tiers[0].amount", MONEY),
        ('{"currency":"EUR","amount":"1","scheduled":[{"amount":1.5}]}', "scheduled[0].amount", MONEY),
        ('{"currency":"EUR","amount":"1","customerGroups":{"b":1.5}}', "customerGroups.b", MONEY),
        ('{"currency":"EUR","amount":"1,5"}', "amount", "'1,5' is not an amount"),
        ('{"currency":"eur","amount":"1"}', "currency", "'eur' is not a currency"),
        ('{"amount":"1"}', "currency", "is required"),
        ('{"currency":"EUR","amount":"1","tiers":[{"minQuantity":0,"amount":"1"}]}', "tiers[0].minQuantity", ">= 1"),
        ('{"amount":"1","currency":"EUR","scheduled":[{"amount":"1","from":"x"}]}', "scheduled[0].from", "RFC3339"),
    ],
)  # fmt: skip
def test_money(payload: str, path: str, reason: str) -> None:
    """A price is a decimal string with a currency; a number is rejected with a hint."""
    where, why = rejected(line(PRICE, payload=payload))
    assert where.removeprefix("payload.") == path
    assert reason in why


def test_a_price_for_a_channel_is_in_its_currency() -> None:
    """A channel's price must be in its currency; one for `*` may be in any."""
    dollars = PRICE | {"payload": {"currency": "USD", "amount": "1"}}
    path, reason = rejected(line(dollars | {"channel": "web-de"}))
    assert path.startswith("payload")
    assert reason == "the price is in USD, the channel's currency is EUR"
    encoded(line(dollars))
    encoded(line(dollars | {"channel": "web-us"}))


@pytest.mark.parametrize(
    ("sku", "reason"),
    [
        ("", "must not be empty"),
        ("x" * 129, "has 129 characters; at most 128"),
        ("\u00e4" * 129, "has 129 characters; at most 128"),
        (" a", "begin or end with space"),
        ("a ", "begin or end with space"),
        ("\u00a0a", "begin or end with space"),
        ("a\u2003", "begin or end with space"),
        ("a\tb", "control character U+0009"),
        ("a\nb", "control character U+000A"),
        ("a\x7fb", "control character U+007F"),
        ("a\x85b", "control character U+0085"),
    ],
)
def test_skus(sku: str, reason: str) -> None:
    """An SKU has 1 to 128 characters after normalisation, all visible, and no surrounding space."""
    for given in (line(PLAIN | {"sku": sku}), event("catalog", {}, sku=sku)):
        path, why = rejected(given)
        assert path == "sku"
        assert reason in why


@pytest.mark.parametrize(
    "sku", ["x" * 128, "e\u0301" * 128, "a b", "%/*", "\U0001f3bd", "a\u00a0b", "9.55E12", "E+12", "'; DROP"]
)
def test_unusual_skus_are_accepted(sku: str) -> None:
    """An SKU may have any printable character; two spellings of one are the same, in NFC."""
    admission = encoded(line(PLAIN | {"sku": sku}))
    assert admission.originator_id.count("/") == 3
    assert "e\u0301" not in admission.originator_id


@pytest.mark.parametrize(
    ("moment", "stored"),
    [
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z"),
        ("2026-01-01T00:30:00.5+01:00", "2025-12-31T23:30:00.500000Z"),
        ("2026-01-01t00:00:00z", "2026-01-01T00:00:00.000000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
        ("2026-01-01T00:00:00", None),
        ("2026-01-01", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-01-01T00:00:60Z", None),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59-00:01", None),
        ("9999-12-31T23:59:59.9999999Z", None),
        ("yesterday", None),
    ],
)
def test_timestamps(moment: str, stored: str | None) -> None:
    """`occurredAt` is RFC 3339 with an offset, stored in UTC with microseconds, from year 1 to 9999."""
    given = line(PLAIN | {"occurredAt": moment})
    if stored is None:
        assert rejected(given)[0] == "occurredAt"
    else:
        assert state_of(encoded(given)).occurred_at == stored


@pytest.mark.parametrize("field", ["id", "correlationId"])
def test_identifiers(field: str) -> None:
    """An id and a correlation id have 1 to 200 characters; a missing id is generated."""
    for value in ("", "x" * 201):
        assert rejected(line(PLAIN | {field: value})) == (field, "must be a string of 1 to 200 characters")
    assert rejected(line(PLAIN | {field: 7}))[0] == field
    state = state_of(encoded(line(PLAIN | {field: "\u00fc" * 200})))
    assert (state.id, state.correlation_id) == (("\u00fc" * 200, None) if field == "id" else ("made", "\u00fc" * 200))


@pytest.mark.parametrize(
    ("of", "payload", "path"),
    [
        (STOCK, '{"available":1.0}', "payload.available"),
        (STOCK, '{"available":true}', "payload.available"),
        (STOCK, '{"available":1,"safetyStock":-1}', "payload.safetyStock"),
        (STOCK, '{"available":1,"restockAt":"2026-01-01"}', "payload.restockAt"),
        (STOCK, '{"available":1,"restockAt":"0001-01-01T00:00:00+00:01"}', "payload.restockAt"),
        (STOCK, "{}", "payload.available"),
        (MEDIA, '{"assets":[{"url":""}]}', "payload.assets[0].url"),
        (MEDIA, '{"assets":[{"url":"x"},{"url":"x","width":-1}]}', "payload.assets[1].width"),
        (MEDIA, '{"assets":[{}]}', "payload.assets[0].url"),
        (PLAIN, '{"enabled":1}', "payload.enabled"),
        (PLAIN, '{"categories":[1]}', "payload.categories[0]"),
        (PLAIN, '{"attributes":null}', "payload.attributes"),
    ],
)
def test_payloads(of: Document, payload: str, path: str) -> None:
    """Each field has a type and bounds, and a rejection names it."""
    assert rejected(line(of, payload=payload))[0] == path


def test_a_large_event() -> None:
    """An event has at most 1 MiB, as a line and as a mapping."""
    text = "x" * MAX_EVENT_BYTES
    assert "at most 1048576" in rejected(attribute(f'"{text}"'))[1]
    assert "at most 1048576" in rejected(event("catalog", {"attributes": {"a": text}}))[1]
    encoded(attribute(f'"{text[:-500]}"'))


# --- Python callers -----------------------------------------------------------------------------------------


class Text(str):
    """A subclass of `str`."""

    __slots__ = ()


class Number(int):
    """A subclass of `int`."""


class Fraction(float):
    """A subclass of `float`."""


class Size(Enum):
    """Something that is not JSON."""

    M = "M"


class Nowhere(tzinfo):
    """A time zone without an offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, _moment: datetime | None) -> str | None:
        return None


def deep(depth: int) -> list[Any]:
    """A list in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("-inf"),
        LARGEST + 1,
        -LARGEST - 1,
        10**5_000,
        "\ud800",
        "\0",
        {"\ud800": 1},
        {"\0": 1},
        {1: 1},
        {None: 1},
        (1,),
        {1},
        b"x",
        Decimal("1.5"),
        datetime(2026, 1, 1, tzinfo=UTC),
        Size.M,
        object(),
        MappingProxyType({"a": 1}),
        deep(62),
        deep(300),
        deep(100_000),
        ENDLESS,
    ],
    ids=lambda value: type(value).__name__,
)
def test_mappings_that_are_not_json(value: object) -> None:
    """What cannot be written as JSON, or is ambiguous, is rejected anywhere in a payload."""
    for inside in (value, [value], {"x": [value]}):
        path, _ = rejected(event("catalog", {"attributes": {"a": inside}}))
        assert path.startswith("payload")


@pytest.mark.parametrize("value", [Number(1), Text("x"), Fraction(0.5)], ids=["int", "str", "float"])
def test_values_of_subclasses_are_stored_or_rejected(value: object) -> None:
    """A number or text of a subclass is stored as its value, or rejected; never another error."""
    for payload in ({"attributes": {"a": value}}, {"family": value}):
        try:
            content = VALIDATOR.encode(event("catalog", payload), MOMENT, "made").content
        except Rejected as error:
            assert error.path.startswith("payload")  # noqa: PT017  # both outcomes are fine
        else:
            assert json.loads(content) in ({"attributes": {"a": value}}, {"family": value})


@pytest.mark.parametrize("payload", ["{}", 5, [], [("family", "x")], b"", b"null", b"[]", {1: 2}, {"family": 3}, set()])
def test_payloads_that_are_not_mappings(payload: Any) -> None:  # noqa: ANN401  # what the types forbid
    """A payload is a mapping with text keys, or its JSON as bytes, or None."""
    assert rejected(event("catalog", payload))[0].startswith("payload")


def test_other_mappings_are_accepted() -> None:
    """Any mapping is accepted, with its keys in any order."""
    given = MappingProxyType(OrderedDict(family="x", attributes={"b": 1, "a": {"d": 1.0, "c": None}}))
    content = VALIDATOR.encode(event("catalog", given), MOMENT, "made").content
    assert content == b'{"attributes":{"a":{"c":null,"d":1.0},"b":1},"family":"x"}'


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field in NAMES for value in (None, 1, ["a"], b"A", "\ud800", "\0")]
    + [("source_version", value) for value in (None, True, 1.0, "1", -1, 2**53, 10**5_000)]
    + [("occurred_at", value) for value in (None, "2026-01-01T00:00:00Z", datetime(2026, 1, 1))]  # noqa: DTZ001  # the naive one
    + [("occurred_at", datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))))]
    + [("occurred_at", datetime(2026, 1, 1, tzinfo=Nowhere()))]
    + [(field, value) for field in IDENTIFIERS for value in (1, "", "\ud800", "\0", "x" * 201, b"x", Text("x"))],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_events_with_invalid_fields(field: str, value: object) -> None:
    """Anything in place of an event's field is rejected by the field's name, and is never another error."""
    given = msgspec.structs.replace(event("catalog", {}), **{field: value})
    path, _ = rejected(given)
    assert (
        path
        == msgspec.json.decode(json.dumps(path))
        == "".join([field.split("_", maxsplit=1)[0], *map(str.title, field.split("_")[1:])])
    )


# --- valid events -----------------------------------------------------------------------------------------


@hypothesis.given(events())
@settings(max_examples=100)
def test_a_line_and_a_mapping_are_the_same_event(drawn: DomainEvent) -> None:
    """A mapping and the line of its JSON give the same event with the same content."""
    by_line = encoded(as_line(drawn))
    by_mapping = VALIDATOR.encode(drawn, MOMENT, "made")
    assert by_line == by_mapping
    assert b"\\u0000" not in by_line.content.replace(b"\\\\", b"")


@hypothesis.given(json_values, texts(8))
@settings(max_examples=150)
def test_values_come_back_equal(value: object, code: str) -> None:
    """An attribute of any JSON value is stored as exactly that value."""
    admission = VALIDATOR.encode(event("catalog", {"attributes": {code: value}}), MOMENT, "made")
    stored = json.loads(admission.content)["attributes"][code]
    assert stored == value
    assert repr(stored) == repr(json.loads(json.dumps(value, sort_keys=True)))


@hypothesis.given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=200)
def test_any_bytes_of_a_file_are_rejected_at_most(noise: bytes) -> None:
    """No bytes, alone or in place of a field, cause another error than a rejection."""
    for given in (noise, line()[:40] + noise, b'{"payload":' + noise + b"," + line()[1:], line()[:-3] + noise + b"}}"):
        try:
            encoded(given)
        except Rejected as error:
            error.reason.encode()


@hypothesis.given(st.datetimes(timezones=st.just(UTC) | st.timezones()))
def test_timestamps_are_written_in_one_form(moment: datetime) -> None:
    """Fixed-width UTC text, whatever the zone and the fraction. Outside the years 1 to 9999 it is rejected."""
    try:
        expected = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(27)
    except OverflowError:
        with pytest.raises(OverflowError):
            format_timestamp(moment)
        return
    assert format_timestamp(moment) == expected
    assert len(expected) == 27
