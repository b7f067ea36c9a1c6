"""The log, the pages, the dead letters and the records: the contract of `engine.stores.store`, on both stores."""

import time
from collections.abc import Callable, Mapping, Sequence

import anyio
import pytest

from pagefold import Config
from pagefold.engine.errors import AlreadyRecorded
from pagefold.engine.stores import open_store, page_listing
from pagefold.engine.stores.log_records import Lag, StoredEvent, TouchedStreams
from pagefold.engine.stores.page_listing import INITIAL_STEP, MAX_STEP, STEP_BYTES, PageLayout, next_step
from pagefold.engine.stores.recorder_records import RecordTable
from pagefold.engine.stores.store import Store
from pagefold.projections import Section
from pagefold.projections.section_fold import shared_sections
from tests.support.small_shop import MOMENT, SKU, Raw, a_section, everything, folded, insert, keys_of

ODD_SKUS = [
    "A",
    "A-1",
    "A%",
    "A%25",
    "A%252F",
    "AB",
    "A ",
    "A_",
    "a",
    "Ä",
    "\uff21",
    "🎽",
    "\U0010ffff",
    "\ufffd",
    "A'\"\\",
]


# --- the log: appending ---------------------------------------------------------------------------


async def test_insert_returns_ascending_positions_in_order(store: Store) -> None:
    """Each event gets the next position, in the given order."""
    first = await insert(store, "C", "A", "B")
    second = await insert(store, "Z", "D")
    assert first + second == sorted(set(first + second))
    assert [(event.notification_id, event.originator_id) for event in await everything(store)] == list(
        zip(first + second, "CABZD", strict=True)
    )


async def test_insert_of_nothing_is_nothing(store: Store) -> None:
    """No events return no positions."""
    assert await store.log.insert([]) == []
    assert await store.log.end() == 0


async def test_insert_takes_a_version_once(store: Store) -> None:
    """A version that exists, from an earlier call or this one, gets None and changes nothing."""
    [position] = await insert(store, "A")
    positions = await store.log.insert([Raw("A", 1, state=b"2"), Raw("B"), Raw("B", state=b"2"), Raw("A", 0)])
    assert [position is None for position in positions] == [True, False, True, False]
    assert {event.state for event in await everything(store)} == {b"{}"}
    [first] = await store.log.events_at({("A", 1)})
    assert first == StoredEvent(position, "A", 1, 0, "inventory", b"{}")


async def test_insert_is_one_transaction(store: Store) -> None:
    """If one event cannot be stored, none of them is."""
    broken = Raw("C", topic=None)  # type: ignore[arg-type]  # invalid on purpose
    with pytest.raises(Exception, match=r"(?i)null|none"):
        await store.log.insert([Raw("A"), Raw("B"), broken])
    assert await everything(store) == []
    assert await store.log.end() == 0
    assert len(await insert(store, "A")) == 1


async def test_concurrent_inserts_append_each_version_once(store: Store) -> None:
    """Of many callers with the same versions, exactly one gets each position."""
    results: list[list[int | None]] = []

    async def append() -> None:
        results.append(await store.log.insert([Raw(f"S{number}") for number in range(50)]))

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(append)
    for answers in zip(*results, strict=True):
        assert sum(answer is not None for answer in answers) == 1
    assert len(await everything(store)) == 50


async def test_states_come_back_unchanged(store: Store) -> None:
    """States are bytes to the store, and versions go up to 2^53 - 1."""
    states = [b"", b"\x00\xff\xfe", '{"a":"ü \U0001f3bd"}'.encode(), b'{"a":"\\u0000"}', b" { } ", b"x" * 1_000_000]
    events = [Raw(f"S{number}", 2**53 - 1, "a topic", state) for number, state in enumerate(states)]
    await store.log.insert(events)
    assert [(event.originator_version, event.topic, event.state) for event in await everything(store)] == [
        (2**53 - 1, "a topic", state) for state in states
    ]


# --- the log: reading -----------------------------------------------------------------------------


async def test_events_at_returns_the_events_of_versions(store: Store) -> None:
    """Only the given versions, each once; an unknown version is no error."""
    await insert(store, "A", "B", version=1)
    await insert(store, "A", version=2)
    found = await store.log.events_at({("A", 1), ("B", 1), ("B", 2), ("C", 1)})
    assert sorted((event.originator_id, event.originator_version) for event in found) == [("A", 1), ("B", 1)]
    assert await store.log.events_at([]) == []


async def test_touched_gives_distinct_streams_of_a_window(store: Store) -> None:
    """The domain's streams, sorted and each once; events, scanned and bytes describe the window."""
    for version in range(3):
        await insert(store, "B", "A", version=version)
        await insert(store, "P", version=version, topic="pricing")
    end = await store.log.end()
    assert await store.log.touched("inventory", 0, 100) == TouchedStreams(["A", "B"], 6, 9, end, 12)
    assert await store.log.touched("pricing", 0, 100) == TouchedStreams(["P"], 3, 9, end, 6)


async def test_touched_advances_where_nothing_matches(store: Store) -> None:
    """A window full of other domains' events ends after them."""
    positions = await insert(store, *"ABCD", topic="pricing")
    assert await store.log.touched("inventory", 0, 3) == TouchedStreams([], 0, 3, positions[2], 0)
    assert await store.log.touched("inventory", positions[2], 3) == TouchedStreams([], 0, 1, positions[3], 0)


async def test_touched_ends_where_it_began_in_an_empty_window(store: Store) -> None:
    """An empty window ends at the given position, in an empty log and beyond its end."""
    assert await store.log.touched("inventory", 0, 10) == TouchedStreams([], 0, 0, 0, 0)
    [position] = await insert(store, "A")
    assert await store.log.touched("inventory", position, 10) == TouchedStreams([], 0, 0, position, 0)
    assert await store.log.touched("inventory", position + 1_000, 10) == TouchedStreams([], 0, 0, position + 1_000, 0)


async def test_touched_has_no_gaps(store: Store) -> None:
    """Consecutive windows of any size hold every event of the domain once."""
    for number in range(25):
        await insert(store, f"S{number}", topic="pricing" if number % 3 else "inventory")
    for limit in (1, 2, 7, 25, 1_000):
        position, streams = 0, []
        while (window := await store.log.touched("inventory", position, limit)).scanned:
            assert window.scanned <= limit
            assert window.end > position
            streams += window.streams
            position = window.end
        assert sorted(streams) == sorted(f"S{number}" for number in range(0, 25, 3))
        assert position == await store.log.end()


async def test_heads_are_the_newest_versions_not_the_last_arrivals(store: Store) -> None:
    """The head of a stream has its highest version, however late an older one came."""
    await insert(store, "A", version=9)
    await insert(store, "A", "B", version=2)
    heads = await store.log.heads(["B", "A", "nobody's"])
    assert sorted((head.originator_id, head.originator_version) for head in heads) == [("A", 9), ("B", 2)]
    assert await store.log.heads([]) == []
    assert await store.log.heads(["nobody's"]) == []


async def test_heads_of_many_streams(store: Store) -> None:
    """Thousands of streams with unusual names in one call."""
    streams = [f"{sku}/{number}" for number in range(200) for sku in ODD_SKUS]
    await insert(store, *streams)
    assert {head.originator_id for head in await store.log.heads(streams)} == set(streams)


async def test_before_goes_back_in_one_stream(store: Store) -> None:
    """Older events of the same stream, newest first, up to a limit."""
    for version in (5, 1, 3, 4, 2):
        await insert(store, "A", version=version)
    await insert(store, "AA", "B", version=1)
    [head] = await store.log.heads(["A"])
    assert [event.originator_version for event in await store.log.older_events(head, 3)] == [4, 3, 2]
    older = await store.log.older_events((await store.log.older_events(head, 3))[-1], 3)
    assert [(event.originator_id, event.originator_version) for event in older] == [("A", 1)]
    assert await store.log.older_events(older[0], 3) == []


async def test_history_is_of_one_prefix_alone(store: Store) -> None:
    """An SKU that begins another's, or contains a wildcard, has only its own streams, by name and version."""
    for sku in ODD_SKUS:
        await insert(store, f"{sku}/web-de/pricing/erp", f"{sku}/*/inventory/wms-a", version=2)
        await insert(store, f"{sku}/web-de/pricing/erp", version=1)
    for sku in ODD_SKUS:
        found = [(event.originator_id, event.originator_version) async for event in store.log.history(f"{sku}/")]
        own = f"{sku}/*/inventory/wms-a", f"{sku}/web-de/pricing/erp"
        assert found == [(own[0], 2), (own[1], 1), (own[1], 2)]


async def test_history_is_read_in_chunks(store: Store) -> None:
    """A history longer than a chunk is complete and in order, also if a chunk ends between two streams."""
    await store.log.insert([Raw("A/1", version) for version in range(1_000)])
    await store.log.insert([Raw("A/2", version) for version in range(1_500)])
    found = [(event.originator_id, event.originator_version) async for event in store.log.history("A/")]
    assert found == [("A/1", version) for version in range(1_000)] + [("A/2", version) for version in range(1_500)]


async def test_a_history_of_large_events_is_read_in_small_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few of them fit into a step, it is complete and in order."""
    monkeypatch.setattr(page_listing, "STEP_BYTES", 100)
    await store.log.insert([Raw(f"A/{version % 2}", version, state=b"x" * 50) for version in range(60)])
    found = [(event.originator_id, event.originator_version) async for event in store.log.history("A/")]
    assert found == [(f"A/{rest}", version) for rest in range(2) for version in range(rest, 60, 2)]


def test_steps_follow_the_size_of_the_rows() -> None:
    """They grow up to a bound for small rows, and shrink down to one row for large ones."""
    small, large = [INITIAL_STEP], [MAX_STEP]
    for _ in range(10):
        small.append(next_step(small[-1], 1))
        large.append(next_step(large[-1], STEP_BYTES + 1))
    assert (small[1], small[-1], large[1], large[-1]) == (INITIAL_STEP * 4, MAX_STEP, MAX_STEP // 4, 1)


async def test_lag_counts_a_domain(store: Store) -> None:
    """The number of the domain's events after a position, and the state of the oldest."""
    assert await store.log.lag("inventory", 0) == Lag(0, None)
    await store.log.insert([Raw("P", topic="pricing"), Raw("A", state=b"a"), Raw("B", state=b"b")])
    first, second, third = [event.notification_id for event in await everything(store)]
    assert await store.log.lag("inventory", 0) == await store.log.lag("inventory", first) == Lag(2, b"a")
    assert await store.log.lag("inventory", second) == Lag(1, b"b")
    for limit, counted in ((0, 0), (1, 0), (2, 1), (3, 2), (4, 2)):
        assert await store.log.lag("inventory", first - 1, limit=limit) == Lag(counted, b"a")
    assert await store.log.lag("inventory", third) == Lag(0, None)


async def test_wait_returns_immediately_if_the_log_is_longer(store: Store) -> None:
    """It does not wait if the log is already longer."""
    await insert(store, "A")
    with anyio.fail_after(20):
        await store.log.wait(0, 60)


async def test_wait_ends_with_its_time(store: Store) -> None:
    """Waiting for a log that does not grow ends after the given time."""
    started = time.perf_counter()
    with anyio.fail_after(20):
        await store.log.wait(0, 0.2)
    assert time.perf_counter() - started > 0.15


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_wait_is_woken_by_an_append(store: Store, config: Config, *, elsewhere: bool) -> None:
    """An append wakes waiting readers, also through another connection."""
    other = await open_store(config) if elsewhere else store
    try:
        await store.log.wait(0, 0.05)  # a listener that is made when first needed is there now
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(store.log.wait, await store.log.end(), 60)
                await anyio.sleep(0.1)
                await insert(other, "A")
    finally:
        if elsewhere:
            await other.close()


# --- the pages ------------------------------------------------------------------------------------


async def test_sections_are_those_of_one_page(store: Store) -> None:
    """A page's rows are domain, enabled, ready, versions, body and timestamp, with the written bytes."""
    await folded(store, a_section(body=b'{"b":1.0,"a":"\xc3\xa4"}'), a_section(SKU + "L"), a_section(channel="web-us"))
    await folded(store, a_section(domain="media", body=None), domain="media")
    rows = await store.pages.sections(SKU, "web-de")
    assert {row[0]: (bool(row[1]), bool(row[2]), row[3], row[4]) for row in rows} == {
        "catalog": (True, True, b'{"pim":1}', b'{"b":1.0,"a":"\xc3\xa4"}'),
        "media": (False, False, b'{"pim":1}', None),
    }
    assert [row[0] for row in rows] == ["catalog", "media"]
    assert [row[5] for row in rows] == [MOMENT, MOMENT]
    assert not await store.pages.sections(SKU.lower(), "web-de")


async def test_moment_is_the_newest(store: Store) -> None:
    """The timestamp of a page is that of its newest section, with six digits, in any valid year."""
    moments = ["0001-01-01T00:00:00.000000Z", "1999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"]
    for number, moment in enumerate(moments):
        written = a_section(channel=f"c{number}")._replace(occurred_at=moment, recorded_at=moment)
        await folded(store, written, a_section(channel=f"c{number}", domain="media")._replace(occurred_at=moments[0]))
        rows = await store.pages.sections(SKU, f"c{number}")
        assert max(row[5] for row in rows) == moment


async def test_keys_are_every_page_once(store: Store) -> None:
    """(SKU, channel) of every page, disabled ones too, in the order of their UTF-8 bytes, however many there are."""
    skus = ODD_SKUS + [f"S{number:04}" for number in range(1_100)]
    await folded(store, *[a_section(sku, channel, body=None) for sku in skus for channel in ("web-us", "web-de")])
    await folded(store, a_section("A", "web-de", "media"), domain="media")
    expected = [(sku, channel) for sku in sorted(skus, key=str.encode) for channel in ("web-de", "web-us")]
    assert await keys_of(store) == expected


async def test_sections_of_several_pages(store: Store) -> None:
    """Those of the given SKUs in the channel, each as in the single page; unusual names and bytes alike."""
    odd = [*ODD_SKUS, "none"]
    sections = [a_section(sku, body=f'{{"x":"{number}ä"}}'.encode()) for number, sku in enumerate(ODD_SKUS)]
    await folded(store, *sections, a_section(channel="c9"), a_section("A", "c9"))
    await folded(store, *(a_section(sku, domain="media", body=None) for sku in ODD_SKUS[:3]), domain="media")
    found = await store.pages.sections_of(odd, "web-de")
    assert found.keys() == set(ODD_SKUS)
    for sku, rows in found.items():
        assert [tuple(row) for row in rows] == [tuple(row) for row in await store.pages.sections(sku, "web-de")]
    assert await store.pages.sections_of(["A"], "nowhere") == {}
    assert await store.pages.sections_of([], "web-de") == {}


async def test_pages_are_listed(store: Store) -> None:
    """By SKU, after one: the sections of one channel; an SKU that is only in other channels has none."""
    await folded(store, a_section("A"), a_section("B", "c9"), a_section("C")._replace(ready=False))
    await folded(store, a_section("A", domain="pricing", body=None), domain="pricing")
    found = await store.pages.list_pages("web-de", "", 10)
    assert {each.occurred_at for page in found for each in page.sections} == {MOMENT}
    flags = [[(each.domain, each.enabled, each.ready) for each in page.sections] for page in found]
    assert [page.sku for page in found] == ["A", "B", "C"]
    assert flags == [[("catalog", True, True), ("pricing", False, False)], [], [("catalog", True, False)]]
    assert [page.sku for page in await store.pages.list_pages("web-de", "A", 1)] == ["B"]
    assert await store.pages.list_pages("web-de", "C", 10) == []


async def test_check_returns_for_a_usable_store(store: Store) -> None:
    """It returns while the store answers with this program's schema."""
    await store.check_reads()
    await store.check_appends()
    await store.check_damage()


async def test_history_continues_after_an_event(store: Store) -> None:
    """Continues after (stream, version, revision), to the end of the prefix."""
    for version in range(3):
        await store.log.insert([Raw("A/1", version), Raw("A/2", version), Raw("B/1", version)])
    everything_of = [event async for event in store.log.history("A/")]
    last = everything_of[2]
    behind = (last.originator_id, last.originator_version, last.revision)
    assert [event async for event in store.log.history("A/", behind)] == everything_of[3:]


async def test_skus_of_sections(store: Store) -> None:
    """Each SKU that has a section of the domain, once, in the order of their UTF-8 bytes, whatever the page."""
    for channel in ("web-us", "web-de"):
        await folded(store, *[a_section(sku, channel, body=None) for sku in ODD_SKUS])
    await folded(store, a_section("A", "web-de", "media"), a_section("ZZ", "web-de", "media"), domain="media")
    for limit in (1, 4, len(ODD_SKUS), 100):
        found: list[str] = []
        while page := await store.pages.skus("catalog", found[-1] if found else "", limit):
            assert len(page) <= limit
            found += page
        assert found == sorted(ODD_SKUS, key=str.encode)
    assert await store.pages.skus("media", "A", 10) == ["ZZ"]
    assert await store.pages.skus("pricing", "", 10) == []


async def test_layouts_of_pages(store: Store) -> None:
    """Which sections SKUs have, in which state, each SKU once; the next ones after the greatest."""
    assert list(await store.pages.layouts("", 10)) == []
    await folded(store, a_section("A"), a_section("B"), a_section("C", body=None), a_section("A", "web-us"))
    await folded(store, a_section("B", domain="media"), domain="media")
    media, ready = {"media": (True, True)}, {"catalog": (True, True)}
    alone = PageLayout({"web-de": ready | media}, 1, "B")
    found = await store.pages.layouts("", 10)
    assert sorted(found, key=lambda each: each.last) == [
        PageLayout({"web-de": ready, "web-us": ready}, 1, "A"),
        alone,
        PageLayout({"web-de": {"catalog": (False, False)}}, 1, "C"),
    ]
    assert list(await store.pages.layouts("A", 1)) == [alone]
    await folded(store, *[a_section(sku) for sku in ODD_SKUS])
    assert sum([each.skus for each in await store.pages.layouts("", 100)]) == len({"A", "B", "C", *ODD_SKUS})


SOME = [
    a_section("A"),
    a_section("A", "web-us"),
    a_section('B "\\/', body=None),
    a_section("Ä", body='{"ä":"\\u0000"}'.encode()),
    a_section("Ä", "web-us", body=b"\xff\x00"),
    a_section("Ä", "web-zu", body=b"\xff\x00"),
    a_section("𝄞", body=b""),
]
"""Sections by SKU and channel."""

CHANGED: Mapping[str, Callable[[Section], Section]] = {
    "channel": lambda section: section._replace(channel="web-zz"),
    "enabled": lambda section: section._replace(enabled=not section.enabled),
    "ready": lambda section: section._replace(ready=not section.ready),
    "versions": lambda section: section._replace(versions=b'{"pim":2}'),
    "longer versions": lambda section: section._replace(versions=section.versions + b" "),
    "body": lambda section: section._replace(body=b"1"),
    "no body": lambda section: section._replace(body=None if section.body is not None else b""),
    "versions and body": lambda section: section._replace(versions=b'{"pim":1}x', body=(section.body or b"")[1:]),
    "occurred_at": lambda section: section._replace(occurred_at="2026-01-01T12:00:00.000001Z"),
    "recorded_at": lambda section: section._replace(recorded_at="2026-01-01T12:00:00.000001Z"),
}


async def holds(store: Store, domain: str, sections: Sequence[Section], skus: Sequence[str]) -> bool:
    """Whether it has them, given as the fold gives them: by SKU, what is the same only once."""
    return await store.pages.matches(domain, shared_sections(sections), skus)


async def test_stored_sections_match(store: Store) -> None:
    """Exactly these sections of these SKUs in this domain; other SKUs may have more."""
    skus = list(dict.fromkeys(section.sku for section in SOME))
    assert await holds(store, "catalog", [], [])
    assert await holds(store, "catalog", [], skus)
    assert not await holds(store, "catalog", SOME[:1], [])
    await folded(store, *SOME, a_section("C"))
    await folded(store, a_section("A", domain="media"), domain="media")
    for asked in (skus, [*skus, "nobody's"], skus[::-1], [*skus, *skus]):
        assert await holds(store, "catalog", SOME, asked)
    for fewer in range(len(SOME)):
        assert not await holds(store, "catalog", SOME[:fewer] + SOME[fewer + 1 :], skus)
    for asked in (skus[1:], [*skus, "C"], []):
        assert not await holds(store, "catalog", SOME, asked)
    assert not await holds(store, "media", SOME, skus)
    assert not await holds(store, "pricing", SOME, skus)
    assert await holds(store, "pricing", [], skus)
    assert await store.pages.count("catalog") == len(SOME) + 1
    assert await store.pages.count("pricing") == 0


@pytest.mark.parametrize("change", CHANGED.values(), ids=list(CHANGED))
async def test_different_sections_do_not_match(store: Store, change: Callable[[Section], Section]) -> None:
    """One difference in one of the sections."""
    skus = [section.sku for section in SOME]
    await folded(store, *SOME)
    for number, section in enumerate(SOME):
        assert change(section) != section
        assert not await holds(store, "catalog", [*SOME[:number], change(section), *SOME[number + 1 :]], skus)
    assert await holds(store, "catalog", SOME, skus)


async def test_many_sections_match(store: Store) -> None:
    """Thousands of them in one call, megabytes together."""
    sections = [a_section(f"S{number:05}", body=b"%07d" % number * 100) for number in range(6_000)]
    skus = [section.sku for section in sections]
    await folded(store, *sections)
    assert await holds(store, "catalog", sections, skus)
    assert not await holds(store, "catalog", [*sections[:-1], sections[-1]._replace(body=b"")], skus)


async def test_publishing_a_layout_can_be_repeated(store: Store) -> None:
    """The same layout again, or another one."""
    for requires in ({"web-de": ["catalog"]}, {"web-de": ["catalog"]}, {"web-us": frozenset({"media"})}):
        await store.pages.publish_layout(["catalog", "media"], "catalog", requires)


# --- records --------------------------------------------------------------------------------------


async def test_records_are_all_or_nothing(store: Store) -> None:
    """An existing version, or a tracking position that does not move forward, rolls the call back."""
    assert await store.records.insert("stored_events", [Raw("A", 0), Raw("A", 1)], ("up", 5)) == [1, 2]
    with pytest.raises(AlreadyRecorded):
        await store.records.insert("stored_events", [Raw("B", 0), Raw("A", 1)], ("up", 6))
    for position in (5, 4):
        with pytest.raises(AlreadyRecorded):
            await store.records.insert("stored_events", [Raw("B", 0)], ("up", position))
    assert await store.records.tracked("up") == 5
    assert await store.records.tracked("down") is None
    assert [event.originator_id for event in await everything(store)] == ["A", "A"]


@pytest.mark.parametrize("table", ["stored_events", "stored_snapshots"])
async def test_records_are_selected_by_version(store: Store, table: RecordTable) -> None:
    """Events and snapshots of one stream: after a version, up to a version, from either end, with a limit."""
    await store.records.insert(table, [Raw("A", version) for version in range(5)] + [Raw("AB", 0)], None)

    async def versions(after: int, upto: int, limit: int, *, descending: bool) -> list[int]:
        found = await store.records.select(table, "A", after=after, upto=upto, descending=descending, limit=limit)
        return [event.originator_version for event in found]

    assert await versions(-1, 2**53, 100, descending=False) == [0, 1, 2, 3, 4]
    assert await versions(0, 3, 100, descending=True) == [3, 2, 1]
    assert await versions(-1, 2**53, 2, descending=True) == [4, 3]


async def test_notifications_are_selected_by_position(store: Store) -> None:
    """Both bounds are inclusive; topics are the given ones, or any; snapshots are not included."""
    await insert(store, *"AB", topic="x")
    await insert(store, *"CD", topic="y")
    await store.records.insert("stored_snapshots", [Raw("A", 0)], None)
    first, second, third, fourth = [event.notification_id for event in await everything(store)]

    async def positions(start: int, stop: int, *topics: str, limit: int = 100) -> list[int]:
        return [each.notification_id for each in await store.records.notifications(start, stop, topics, limit)]

    assert await positions(second, third) == [second, third]
    assert await positions(first, fourth, "y") == [third, fourth]
    assert await positions(first, fourth, "y", "x", limit=3) == [first, second, third]
    assert await positions(first, fourth, "z") == []
