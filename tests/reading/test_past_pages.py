"""Pages as they were: at every position the bytes that were folded then, on both stores."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.reading import past_pages
from pagefold.engine.reading.moments import MomentFinder, parse_at
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import CorrectionEvent
from tests.explanations.test_origins import explaining
from tests.support.rebuild_fixtures import with_new_channel, without_channel
from tests.support.small_shop import (
    CHANNELS,
    SKU,
    append,
    apply_file,
    catalog,
    configured,
    price,
    say,
    stream_of,
    with_channel,
)
from tests.support.strategies import histories

Pages = Mapping[tuple[str, str], bytes | None]


async def folded_pages(shop: Shop, skus: Sequence[str], channels: Sequence[str]) -> Pages:
    """The stored pages, also disabled ones; None where there is none."""
    return {
        (sku, channel): await shop.pages.get_json(sku, channel, disabled=True) for sku in skus for channel in channels
    }


async def past_pages_at(shop: Shop, position: int, skus: Sequence[str], channels: Sequence[str]) -> Pages:
    """The same, as they were at a position."""
    return {
        (sku, channel): await shop.past.get_json(sku, channel, position, disabled=True)
        for sku in skus
        for channel in channels
    }


@given(history=histories(skus=("A", "A-1", "\u00c4"), largest=12), changed=st.integers(0, 12))
@settings(max_examples=12)
async def test_every_position_has_the_pages_that_were_folded_then(
    store_url: str, history: Sequence[DomainEvent], changed: int
) -> None:
    """Byte for byte, in any order of versions, and under the configuration of each time."""
    config = configured(store_url)
    other = with_channel(with_new_channel(without_channel(config, "outlet-de"), "web-fr"), "web-de", locale="fr-FR")
    skus, channels = sorted({each.sku for each in history}), [*CHANNELS, "web-fr"]
    seen: dict[int, Pages] = {}
    for part, file in ((history[:changed], config), (history[changed:], other)):
        async with pagefold.open(file) as shop:
            await shop.catch_up()
            await apply_file(shop)
            await shop.catch_up()
            for sent in part:
                await shop.append([sent])
                await shop.catch_up()
                seen[await shop.store.log.end()] = await folded_pages(shop, skus, channels)
    async with pagefold.open(other) as shop:
        for position, pages in seen.items():
            assert await past_pages_at(shop, position, skus, channels) == pages
        assert await past_pages_at(shop, 2**62, skus, channels) == await folded_pages(shop, skus, channels)


@given(history=histories(skus=("A", "A/1", "B"), largest=12), released=st.integers(0, 11))
@settings(max_examples=8)
async def test_what_channels_say_and_releases_count_as_they_did(
    store_url: str, history: Sequence[DomainEvent], released: int
) -> None:
    """Byte for byte, also with contracts, requirements, filters, a tree, parents, pages that keep a version."""
    skus = sorted({each.sku for each in history})
    seen: dict[int, Pages] = {}
    async with pagefold.open(explaining(store_url)) as shop:
        if not await shop.releases.all():
            await shop.releases.create("spring", by="ada", reason="a test")
        for number, sent in enumerate(history):
            if number == released:
                status = await shop.releases.get("spring")
                change = shop.releases.roll_back if status.state == "published" else shop.releases.publish
                await change("spring", by="ada", reason="a test")
            source = "release/spring" if number % 3 == 0 and sent.type != "inventory" else sent.source
            [result] = await shop.append([in_family(sent, source)])
            assert result.outcome != "rejected"
            await shop.catch_up()
            seen[await shop.store.log.end()] = await folded_pages(shop, skus, CHANNELS)
        for position, pages in seen.items():
            assert await past_pages_at(shop, position, skus, CHANNELS) == pages


def in_family(sent: DomainEvent, source: str) -> DomainEvent:
    """The event from a source; a parent that it names is one of the products, or nobody."""
    fields = {name: getattr(sent, name) for name in DomainEvent.__struct_fields__} | {"source": source}
    if isinstance(sent.payload, Mapping) and isinstance(parent := sent.payload.get("parent"), str):
        parents = ("A", "B", "A/1", "nobody")
        fields["payload"] = {**sent.payload, "parent": parents[len(parent) % len(parents)]}
    return DomainEvent(**fields)


async def test_what_cannot_be_folded_counts_as_it_did(config: Config) -> None:
    """An event that cannot be read counts as for the consumer: the newest one before it, also in the past."""
    async with pagefold.open(config) as shop:
        seen: dict[int, Pages] = {}

        async def insert(version: int, state: bytes) -> None:
            event = EncodedEvent(stream_of(price("1.00")), version, "pricing", state, b"")
            await shop.store.log.insert([event])
            await fold()

        async def fold() -> None:
            await shop.catch_up()
            seen[await shop.store.log.end()] = await folded_pages(shop, [SKU], CHANNELS)

        await append(shop, catalog("Shirt"), price("1.00", version=1))
        await fold()
        await insert(3, b'{"recordedAt":"2026-01-01T00:00:00.000000Z","payload":1}')
        await insert(5, b"no JSON")
        await append(shop, price("4.00", version=4))
        await fold()
        await append(shop, price("6.00", version=6))
        await fold()
        for position, pages in seen.items():
            assert await past_pages_at(shop, position, [SKU], CHANNELS) == pages
        assert len(set(map(str, seen.values()))) == 3


async def test_revisions_and_epochs_count_as_they_did(config: Config) -> None:
    """A correction counts from its own position on, and an epoch orders before the version."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("Shirt"), price("1.00", version=7))
        [before] = await shop.store.log.heads([stream_of(price("1.00"))])
        state = before.state.replace(b'"1.00"', b'"2.00"')
        await shop.store.log.correct([CorrectionEvent(*before[1:3], 1, before.topic, state)])
        corrected = await shop.store.log.end()
        await shop.epochs.raise_epoch("erp", operator="ada", reason="restarted")
        await say(shop, price("3.00", version=2))
        pages = [
            await shop.past.get(SKU, "web-de", position)
            for position in (before.notification_id, corrected, await shop.store.log.end())
        ]
        assert [page["pricing"]["amount"] for page in pages if page is not None] == ["1.00", "2.00", "3.00"]


async def test_another_configuration_can_be_given(config: Config) -> None:
    """`under` replaces the configuration of that time; by default pages before the first one are under the first."""
    async with pagefold.open(config) as shop:
        await append(shop, catalog("Shirt"))
        position = await shop.store.log.end()
        await shop.catch_up()
        other = with_channel(config, "web-de", locale="en-US", fallbacks=[])
        usual, changed = [await shop.past.get(SKU, "web-de", position, under=under) for under in (None, other)]
    assert usual is not None
    assert changed is not None
    names = [page["catalog"]["attributes"]["name"] for page in (usual, changed)]
    assert names == ["Shirt (de)", "Shirt (en)"]


async def test_a_release_counts_from_when_it_was_published(config: Config) -> None:
    """And no longer once it was rolled back: at each position the bytes of then."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("Shirt"))
        await shop.releases.create("spring", by="ada", reason="a test")
        await say(shop, catalog("Spring shirt", source="release/spring"))
        seen = {await shop.store.log.end(): await folded_pages(shop, [SKU], CHANNELS)}
        for change in (shop.releases.publish, shop.releases.roll_back):
            await change("spring", by="ada", reason="a test")
            await shop.catch_up()
            seen[await shop.store.log.end()] = await folded_pages(shop, [SKU], CHANNELS)
        for position, pages in seen.items():
            assert await past_pages_at(shop, position, [SKU], CHANNELS) == pages
        before, published, after = seen.values()
        assert before == after != published


async def test_many_channels_and_sources(store_url: str) -> None:
    """With more streams than are read by name, the pages are the same."""
    channels = {f"web-{number:02}": {"locale": "de-DE", "currency": "EUR"} for number in range(40)}
    config = configured(store_url, channels=channels)
    async with pagefold.open(config) as shop:
        await say(shop, catalog("Shirt"), catalog("Shirt of 07", channel="web-07", version=2))
        position = await shop.store.log.end()
        before = await folded_pages(shop, [SKU], list(channels))
        await say(shop, catalog("New", version=3), price("5.00", channel="web-03"))
        assert await past_pages_at(shop, position, [SKU], list(channels)) == before
        assert before[SKU, "web-07"] != before[SKU, "web-08"]


async def test_a_log_that_was_restored_is_read_as_it_is(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A position beyond the end of the log is its end, and is not settled: it may come to be, with other events."""
    monkeypatch.setattr(past_pages, "END_SECONDS", 0.0)
    async with pagefold.open(config) as shop:
        await say(shop, catalog("Shirt"))
        end = await shop.store.log.end()
        assert (await shop.past.view(end)).moment == (end, True)
        assert (await shop.past.view(end + 5)).moment == (end, False)
        assert (await shop.past.view(None)).moment == (end, False)
        assert await shop.past.get_json(SKU, "web-de", 0) is None
        assert await shop.past.first_position() == 1


# --- times ----------------------------------------------------------------------------------------

BASE = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """A time."""
    return BASE + timedelta(seconds=seconds)


async def write(shop: Shop, url: str, events: Sequence[tuple[int, float | None]]) -> None:
    """Makes a log of events at positions, recorded at times. Those of an application do not say when."""
    rows = ["DELETE FROM stored_events"]
    for position, seconds in events:
        recorded = "" if seconds is None else at(seconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        state = ((recorded and msgspec.json.encode({"recordedAt": recorded})) or b"-").hex()
        blob = f"x'{state}'" if url.startswith("sqlite:") else f"'\\x{state}'"
        row = f"({position}, 'P{position}', 0, 'catalog', {blob})"
        columns = "notification_id, originator_id, originator_version, topic, state"
        rows.append(f"INSERT INTO stored_events ({columns}) VALUES {row}")  # noqa: S608  # ours
    store: Any = shop.store
    if url.startswith("sqlite:"):
        for row in rows:
            await store._connections.events.run(lambda connection, row=row: list(connection.execute(row)))
        return
    async with store._connections.writer.session() as session:
        for row in rows:
            await session.run(row)


@given(
    steps=st.lists(st.tuples(st.integers(1, 3), st.none() | st.integers(0, 3)), max_size=30),
    asked=st.integers(-1, 50),
)
@settings(max_examples=30)
async def test_a_time_is_the_last_position_before_a_later_event(
    store_url: str, steps: Sequence[tuple[int, int | None]], asked: int
) -> None:
    """Also where positions are missing, and where events do not say when they were recorded."""
    events: list[tuple[int, float | None]] = []
    place = clock = 0
    for gap, step in steps:
        place, clock = place + gap, clock + (step or 0)
        events.append((place, None if step is None else clock))
    async with pagefold.open(configured(store_url)) as shop:
        await write(shop, store_url, events)
        end = await shop.store.log.end()
        found = (await MomentFinder(shop.store).find(at(asked), end)).position
        later = [place for place, each in events if each is not None and each > asked]
        assert found == (min(later) - 1 if later else end)


async def test_the_position_of_a_time_stays_as_the_log_grows(shop: Shop, store_url: str) -> None:
    """Also where times do not ascend: the same positions are halved, however long the log is."""
    times: list[float] = [0, 5, 3, 9, 8, 20, 12, 30, 25, 40]
    events: list[tuple[int, float | None]] = list(enumerate(times, 1))
    finder = MomentFinder(shop.store)
    found = []
    for later in (0, 1, 5, 60):
        await write(shop, store_url, [*events, *((11 + number, 100 + number) for number in range(later))])
        end = await shop.store.log.end()
        found.append([(await finder.find(at(each), end)).position for each in range(40)])
    [before] = set(map(tuple, found))
    for seconds, position in enumerate(before):
        assert times[position] > seconds, "the next event was recorded later"


async def test_few_events_are_read_for_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each bit of the end of the log."""
    await append(shop, *(catalog("x", sku=f"S{number}") for number in range(1_000)))
    reads = 0
    read = shop.store.records.notifications

    async def counted(start: int, stop: int, topics: Sequence[str], limit: int) -> object:
        nonlocal reads
        reads += 1
        return await read(start, stop, topics, limit)

    monkeypatch.setattr(shop.store.records, "notifications", counted)
    for seconds in (-100, 0, 100_000_000):
        reads = 0
        await MomentFinder(shop.store).find(at(seconds), await shop.store.log.end())
        assert reads <= 10


async def test_a_time_counts_the_configuration_that_was_applied_by_then(config: Config) -> None:
    """A configuration that was applied after the last event counts from its own time on."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("Shirt"))
    async with pagefold.open(with_channel(config, "web-de", locale="en-US")) as shop:
        before = datetime.now(UTC)
        await apply_file(shop)
        await shop.catch_up()
        view, now = await shop.past.view(before), await shop.past.view(datetime.now(UTC))
        assert (view.number, now.number) == (0, 1)
        assert now.moment == (await shop.store.log.end(), False)
        assert await shop.past.get_json(SKU, "web-de", datetime.now(UTC)) == await shop.pages.get_json(SKU, "web-de")


async def test_a_settled_time_is_found_once(shop: Shop, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The position of a time that is long past is kept."""
    await write(shop, store_url, [(1, 0), (2, 10), (3, 20)])
    first = await shop.past.view(at(10))
    assert first.moment == (2, True)

    async def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(MomentFinder, "find", fail)
    assert await shop.past.view(at(10)) == first


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("0017", 17),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T13:00:00.5+01:00", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T13:00+01:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_positions_and_times_are_read(text: str, expected: object) -> None:
    """Digits are a position; anything else is RFC 3339 with a zone."""
    assert parse_at(text) == expected


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "is no position and no time"),
        ("-1", "is no position and no time"),
        ("yesterday", "is no position and no time"),
        ("2026-01-31", "a time needs its zone"),
        ("2026-01-31T12:00:00", "a time needs its zone"),
        ("2026-01-31T12:00:00 01:00", r"in a URL, \+ is written %2B"),
        ("9223372036854775808", "beyond every position"),
        ("\u0661", "is no position and no time"),
        ("2026-02-30T12:00:00Z", "such as 2026-01-31T12:00:00Z$"),
        ("2026-01-31T24:00+01:00", "such as 2026-01-31T12:00:00Z$"),
        ("0001-01-01T00:00:00+05:00", "outside the years"),
    ],
)
def test_what_is_no_moment_is_refused(text: str, hint: str) -> None:
    """With what is allowed, and why it may have failed."""
    with pytest.raises(ValueError, match=hint) as refused:
        parse_at(text)
    assert re.search(r"position|is no time", str(refused.value))


@pytest.mark.parametrize("time", [datetime(2026, 1, 1), datetime.min.replace(tzinfo=UTC) - timedelta(0)])  # noqa: DTZ001
async def test_a_time_without_a_zone_is_refused(shop: Shop, time: datetime) -> None:
    """A `datetime` without a zone is no moment; the earliest one is before every event."""
    if time.tzinfo is None:
        with pytest.raises(ValueError, match="has no zone"):
            await shop.past.view(time)
    else:
        assert (await shop.past.view(time)).moment.position == 0


# --- history --------------------------------------------------------------------------------------


@given(history=histories(skus=("A",), largest=14))
@settings(max_examples=25)
async def test_every_position_has_the_history_of_then(store_url: str, history: Sequence[DomainEvent]) -> None:
    """The entries that there were, with the heads and the changes as they were shown."""
    async with pagefold.open(configured(store_url)) as shop:
        seen = {}
        for sent in history:
            await shop.append([sent])
            seen[await shop.store.log.end()] = [entry async for entry in shop.history("A")]
        for position, entries in seen.items():
            assert [entry async for entry in shop.history("A", as_of=position)] == entries
