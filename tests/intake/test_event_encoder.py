"""Many events at once have the results of one by one: valid ones, odd ones and hostile ones, on both stores."""

import json
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import anyio
import msgspec
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

import pagefold
from pagefold import AppendResult, Config, DomainEvent, Rejected
from pagefold.domains.values import format_timestamp, format_timestamps
from pagefold.engine.intake.event_encoder import MIN_BULK_EVENTS, EventEncoder
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.postgres import bulk_append, log
from pagefold.projections.streams import is_plain_sku, is_spreadsheet_number, normalise_sku, sku_error
from tests.support.small_shop import MOMENT, SOURCES, configured, document, event, everything
from tests.support.strategies import events, json_values, moments

SHOP = Config.parse(document())
STRICT = msgspec.structs.replace(
    SHOP,
    sources={
        name: msgspec.structs.replace(
            source,
            zero_price="refuse" if name == "erp" else source.zero_price,
            spreadsheet_skus="accept" if name == "pim" else source.spreadsheet_skus,
        )
        for name, source in SHOP.sources.items()
    },
)
"""The same shop, where prices may not be zero, and catalog SKUs may look like numbers of a spreadsheet."""

CONFIGS = [SHOP, STRICT]
ENCODERS = [EventEncoder(EventValidator(config)) for config in CONFIGS]
VALIDATORS = [EventValidator(config) for config in CONFIGS]


class Text(str):
    """A text of the caller's own type."""

    __slots__ = ()


class Payload(bytes):
    """Bytes of the caller's own type."""

    __slots__ = ()


class Name(StrEnum):
    """Names of the caller's own type."""

    CATALOG = "catalog"
    PIM = "pim"


class Nowhere(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, _moment: datetime | None) -> timedelta | None:
        """Unknown."""
        return None

    def dst(self, _moment: datetime | None) -> timedelta | None:
        """Unknown."""
        return None

    def tzname(self, _moment: datetime | None) -> str | None:
        """Unknown."""
        return None


PAYLOADS: Sequence[Any] = (
    b"",
    b"null",
    b"{}",
    b" {} ",
    b"{},{}",
    b"[]",
    b'{"family":"',
    b'"}',
    b"{",
    b'{"attributes":{"a":1,"a":2}}',
    b'{"attributes":{"a\\u003a":1,"b":"\\u003a"},"family":"x","family":"x"}',
    b'{"attributes":{"a":"\\u0000"}}',
    b'{"attributes":{"a":"\\ud800"}}',
    b'{"attributes":{"a":"\\\\u0000"}}',
    b'{"attributes":{"a":"\\u00fc\\n\\r\\u2028"}}',
    b'{"attributes":{"a":"\xff"}}',
    b'{"attributes":{"a":NaN}}',
    b'{"attributes":{"a":1e999}}',
    b'{"attributes":{"a":9007199254740993}}',
    b'{"attributes":{"a":1.000000000000000005}}',
    b'{"attributes":{"a":' + b"[" * 62 + b"]" * 62 + b"}}",
    b'{"attributes":' * 9_000,
    b'{"enabled":true,"family":null}',
    b'{"unknown":1}',
    b"false",
    b'{"available":1,"safetyStock":0}',
    b'{"available":"1"}',
    b'{"currency":"EUR","amount":"9.9"}',
    b'{"currency":"EUR","amount":"0"}',
    b'{"currency":"USD","amount":"9.90"}',
    b'{"currency":"EUR","amount":9.9}',
    b'{"assets":[{"url":""}]}',
    b'{"family":"' + b"x" * MAX_EVENT_BYTES + b'"}',
    Payload(b"{}"),
    bytearray(b"{}"),
    None,
    "{}",
    {},
    {"family": Text("x")},
    {"attributes": {"a": "\ud800"}},
    {"attributes": {"a": float("nan")}},
    MappingProxyType({"enabled": False}),
    [],
)
SKUS: Sequence[Any] = (
    *(
        "A",
        "",
        " A",
        "A ",
        "A" * 128,
        "A" * 129,
        "A/1",
        "A%2F",
        "4006381333931",
        "9.55E+12",
        "1E+5",
        "1-2",
        "~",
        "\u00c4",
    ),
    *("a\u0308", "\u200b", "A\n", "\ud800", "\ufeffA", "A\x7f", Text("A"), None, 7, b"A"),
)
MOMENTS: Sequence[Any] = (
    datetime(2026, 1, 1),  # noqa: DTZ001  # on purpose
    datetime(2026, 1, 1, tzinfo=Nowhere()),
    datetime(2026, 1, 1, tzinfo=UTC),
    datetime.min.replace(tzinfo=UTC),
    datetime.max.replace(tzinfo=UTC),
    MOMENT,
    None,
    7,
)
ODD: dict[str, SearchStrategy[Any]] = {
    "type": st.sampled_from(
        ["catalog", "pricing", "inventory", "media", "", "x", Name.CATALOG, Text("media"), None, 7, []]
    ),
    "channel": st.sampled_from(["*", "web-de", "web-us", "web-xx", "", Text("*"), None, ["*"]]),
    "source": st.sampled_from([*SOURCES, "", "nobody", Name.PIM, Text("erp"), None, {}]),
    "sku": st.sampled_from(SKUS) | st.text(max_size=5),
    "source_version": st.sampled_from([0, -1, 2**53 - 1, 2**53, 2**70, True, 1.0, "1", None]),
    "occurred_at": st.sampled_from(MOMENTS) | moments | st.datetimes(timezones=st.timezones()),
    "payload": st.sampled_from(PAYLOADS) | st.binary(max_size=6),
    "id": st.sampled_from(["x", "", "\0", "\ud800", 'ü"\\', "x" * 200, "x" * 201, 7, Text("x")]),
    "correlation_id": st.sampled_from(["x", "", "\0", "\ud800", 'ü"\\', "x" * 201, 7]),
    "epoch": st.sampled_from([0, 1, 5, 511, 512, 1_024, -1, True, "1", 2.0]),
}
WRITERS: Sequence[Callable[[object], str]] = (
    json.dumps,
    lambda payload: json.dumps(payload, ensure_ascii=False, separators=(",", ":")),
    lambda payload: json.dumps(payload, indent=1, sort_keys=True),
)


@st.composite
def written(draw: st.DrawFn) -> DomainEvent:
    """A valid event, mostly as JSON, perhaps with ids."""
    given = draw(events())
    ids = draw(st.sampled_from([{}, {}, {"id": "x-1"}, {"id": "ü", "correlation_id": "x"}, {"correlation_id": '"'}]))
    payload = given.payload
    if isinstance(payload, dict) and draw(st.integers(0, 4)):
        payload = draw(st.sampled_from(WRITERS))(payload).encode()
    return msgspec.structs.replace(given, payload=payload, **ids)


@st.composite
def damaged(draw: st.DrawFn) -> DomainEvent:
    """An event of which some fields are replaced."""
    names = draw(st.sets(st.sampled_from(sorted(ODD)), min_size=1, max_size=3))
    return msgspec.structs.replace(draw(written()), **{name: draw(ODD[name]) for name in sorted(names)})


@st.composite
def with_attributes(draw: st.DrawFn) -> DomainEvent:
    """Any JSON as an attribute."""
    return event("catalog", json.dumps({"attributes": {"a": draw(json_values)}}).encode())


def batches(smallest: int = MIN_BULK_EVENTS, largest: int = 40) -> SearchStrategy[list[DomainEvent]]:
    """Batches of any of these."""
    return st.lists(written() | damaged() | with_attributes(), min_size=smallest, max_size=largest)


def one_by_one(given: Sequence[DomainEvent], validator: EventValidator) -> list[EncodedEvent | tuple[str, str]]:
    """Each event as the validator encodes it, or the path and reason of its rejection."""
    outcomes: list[EncodedEvent | tuple[str, str]] = []
    for number, each in enumerate(given):
        try:
            outcomes.append(validator.encode(each, MOMENT, f"made-{number}"))
        except Rejected as rejection:
            outcomes.append((rejection.path, rejection.reason))
    return outcomes


def at_once(given: Sequence[DomainEvent], encoder: EventEncoder) -> list[EncodedEvent | tuple[str, str]]:
    """The same, encoded together."""
    outcomes, size = encoder.encode(given, MOMENT, "made")
    assert size == sum(len(each.state) for each in outcomes if isinstance(each, EncodedEvent))
    return [(each.path, each.reason) if isinstance(each, Rejected) else each for each in outcomes]


def attempt(encode: Callable[[], object]) -> object:
    """What it returns or raises, with all types."""
    try:
        outcome = encode()
    except Exception as error:  # noqa: BLE001  # whatever it is, it must be the same
        return type(error)
    assert isinstance(outcome, list)
    return [(type(each), *each, *map(type, each)) for each in outcome]


@given(batches(), st.sampled_from(range(len(CONFIGS))))
@settings(max_examples=120)
@example([event("catalog", payload) for payload in PAYLOADS], 0)
@example([event("pricing", payload, channel="web-de") for payload in PAYLOADS], 1)
def test_a_batch_has_the_results_of_its_events(given: list[DomainEvent], number: int) -> None:
    """Everything that is stored, and every text of a rejection, is the same, whatever the other events are."""
    expected = attempt(lambda: one_by_one(given, VALIDATORS[number]))
    assert attempt(lambda: at_once(given, ENCODERS[number])) == expected


class NotAsked(EventValidator):
    """A validator that must not be asked for a single event."""

    def encode(self, event: DomainEvent, recorded_at: str, default_id: str) -> EncodedEvent:
        """Fails."""
        raise AssertionError(event, recorded_at, default_id)


@given(st.lists(written(), min_size=MIN_BULK_EVENTS, max_size=40))
def test_valid_events_are_encoded_at_once(given: list[DomainEvent]) -> None:
    """Valid JSON needs the validator only for SKUs that are not plain, epochs, and payloads that are not JSON yet."""
    plain = [
        each for each in given if is_plain_sku(each.sku) and (each.payload is None or isinstance(each.payload, bytes))
    ]
    encoder = EventEncoder(NotAsked(CONFIGS[0]))
    if len(plain) >= MIN_BULK_EVENTS:
        assert at_once(plain, encoder) == one_by_one(plain, VALIDATORS[0])


@pytest.mark.parametrize("events", [3, 700])
def test_encoding_stops_at_a_number_of_bytes(events: int) -> None:
    """With the event that reaches it; the rest has no result."""
    given = [event("inventory", b'{"available":1}', sku=f"S{number:03}") for number in range(events)]
    everything, size = ENCODERS[0].encode(given, MOMENT, "made")
    assert len(everything) == events
    for taken in (1, 2, events - 1, events):
        limit = sum(len(each.state) for each in everything[:taken] if isinstance(each, EncodedEvent))
        assert ENCODERS[0].encode(given, MOMENT, "made", limit) == (everything[:taken], limit)
        assert ENCODERS[0].encode(given, MOMENT, "made", limit - 1) == (everything[:taken], limit)
    assert ENCODERS[0].encode(given, MOMENT, "made", size + 1) == (everything, size)


@given(st.text(max_size=6) | st.from_regex(r"[0-9][.,]?[0-9]*E?[+-]?[0-9]*", fullmatch=True))
@example("A" * 128)
@example("A" * 129)
def test_a_plain_sku_is_valid_for_every_source(sku: str) -> None:
    """It is in its normal form, breaks no rule, needs no escapes, and is no spreadsheet's number."""
    if is_plain_sku(sku):
        assert normalise_sku(sku) == sku
        assert sku_error(sku) is None
        assert not is_spreadsheet_number(sku)
        assert not set(sku) & {"%", "/"}


@given(st.lists(st.datetimes(timezones=st.just(UTC)), max_size=5))
def test_timestamps_are_formatted_at_once(given: list[datetime]) -> None:
    """As one by one."""
    assert format_timestamps(given) == [format_timestamp(each).encode() for each in given]


# --- in a store -----------------------------------------------------------------------------------


@pytest.fixture
def new_config(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Config]:
    """The small shop at a new store, for each call."""
    if kind == "sqlite":
        return lambda: configured(f"sqlite:///{tmp_path / uuid4().hex}")
    url = str(request.getfixturevalue("postgres_url"))
    return lambda: configured(url, store={"url": url, "schema": f"shop_{uuid4().hex}"})


async def appended(config: Config, calls: Sequence[Sequence[DomainEvent]]) -> tuple[list[AppendResult], list[Any]]:
    """The results of these calls, and what is stored, with positions counted from 1."""
    async with pagefold.open(config) as shop:
        results = [result for call in calls for result in await shop.append(call)]
        stored = await everything(shop.store)
    places = {each.notification_id: place for place, each in enumerate(stored, 1)}
    counted = [
        msgspec.structs.replace(each, position=places[each.position]) if each.position else each for each in results
    ]
    return counted, [_without_made(each, places) for each in stored]


def _without_made(stored: StoredEvent, places: dict[int, int]) -> tuple[object, ...]:
    """A stored event without what differs between two appends: its made id, and the time of recording."""
    state = re.sub(rb'^\{"id":"[0-9a-f]{32}-[0-9]+-[0-9]+"', b"{", bytes(stored.state))
    state = re.sub(rb'"recordedAt":"[^"]+"', b"", state)
    return (places[stored.notification_id], *stored[1:5], state)


@given(given=batches(20))
@settings(max_examples=8, phases=[Phase.generate])  # shrinking would take minutes
def test_a_batch_is_stored_as_its_events_are(
    new_config: Callable[[], Config], monkeypatch: pytest.MonkeyPatch, given: list[DomainEvent]
) -> None:
    """A store has the same results and the same bytes, also where versions repeat and many events are copied."""
    monkeypatch.setattr(log, "MIN_COPIED_EVENTS", MIN_BULK_EVENTS)
    assert bulk_append.MIN_COPIED_EVENTS > MIN_BULK_EVENTS
    given = [msgspec.structs.replace(each, epoch=None) for each in given]  # the first of one is noted before its batch
    together = anyio.run(appended, new_config(), [given, given[::2]])
    alone = anyio.run(appended, new_config(), [[each] for each in (*given, *given[::2])])
    assert together == alone
