"""Memory is bounded in bytes: bulk reads return no more than their limit, however large events are."""

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from weakref import ReferenceType, ref

import anyio
import msgspec
import pytest

from pagefold import DomainEvent, Shop
from pagefold.engine.consumers import log_tail
from pagefold.engine.errors import Overloaded, ReadTooLarge
from pagefold.engine.folding import folder
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.http.routes import pages as http_pages
from pagefold.engine.intake import appender
from pagefold.engine.replay import replayer, section_verifier
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import StoredEvent, TouchedStreams
from pagefold.engine.stores.size_batches import batches, split_equal
from pagefold.engine.stores.sqlite import pages as sqlite_pages
from pagefold.engine.stores.store import Store
from pagefold.projections import Section
from pagefold.projections.section_fold import sections_of, shared_sections
from tests.stores.test_scans import scan_all, scan_entries
from tests.support.http_clients import client_of, problem_in, service_of
from tests.support.small_shop import Raw, a_section, event, folded, insert, say

SIZES = [10, 30_000, 30_000, 10, 90_000, 20_000, 10, 10]
"""Bytes of the states of streams A to H: small ones, and some that PostgreSQL stores out of line (TOAST)."""

STREAMS = [f"{name}/x" for name in "ABCDEFGH"]
TOTAL = sum(SIZES)


async def large_streams(store: Store) -> dict[str, bytes]:
    """Appends a stream of each size."""
    states = {
        name: (b'{"payload":"%b' % name.encode()).ljust(size, b"x") for name, size in zip(STREAMS, SIZES, strict=True)
    }
    await store.log.insert([Raw(name, state=state) for name, state in states.items()])
    return states


def text(size: int, mark: str = "x") -> str:
    """A text of about that many bytes."""
    return mark * size


def large(sku: str, size: int = 50_000, version: int = 1) -> DomainEvent:
    """A catalog event of about that many bytes."""
    return event("catalog", {"attributes": {"text": text(size, sku[-1])}}, sku=sku, version=version)


# --- the store ------------------------------------------------------------------------------------


def test_parts_hold_as_much_as_fits() -> None:
    """A part ends before the next item would exceed the number or the size; a single item may be too large."""
    assert list(batches([], max_bytes=10)) == []
    assert list(batches([3, 3, 4, 1], max_bytes=10)) == [(0, 3), (3, 4)]
    assert list(batches([30, 1, 30], max_bytes=10)) == [(0, 1), (1, 2), (2, 3)]
    assert list(batches([1] * 5, max_bytes=10, max_items=2)) == [(0, 2), (2, 4), (4, 5)]


def test_divided() -> None:
    """Parts have the same length, except the last, and none is empty."""
    assert split_equal("abcdefg", 3) == ["abc", "def", "g"]
    assert split_equal("ab", 9) == ["a", "b"]


async def test_heads_are_all_or_none(store: Store) -> None:
    """If all heads fit, each is returned completely, small or large; otherwise none is."""
    states = await large_streams(store)
    wanted = [*STREAMS, "nobody's"]
    for max_bytes in (None, TOTAL + 4_096):
        heads = await store.log.heads(wanted, max_bytes=max_bytes)
        assert {head.originator_id: head.state for head in heads} == states
    with pytest.raises(ReadTooLarge, match="more than 100,000"):
        await store.log.heads(wanted, max_bytes=100_000)
    assert len(await store.log.heads(wanted[:2], max_bytes=100_000)) == 2


class Held:
    """An object in memory."""


async def test_a_read_that_is_too_large_frees_its_memory(store: Store) -> None:
    """The data of a read that was too large is freed immediately, not by the next garbage collection."""
    await large_streams(store)

    async def ask() -> ReferenceType[Held]:
        held = Held()
        try:
            await store.log.heads(STREAMS, max_bytes=100_000)
        except ReadTooLarge:  # `pytest.raises` would keep a reference
            return ref(held)
        raise AssertionError

    gc.disable()
    try:
        held = await ask()
        with anyio.fail_after(5):
            while held() is not None:  # the thread may be about to let go of it  # noqa: ASYNC110
                await anyio.sleep(0.01)
    finally:
        gc.enable()


async def test_small_heads_count_as_well(store: Store) -> None:
    """Many small ones are too large together; a step of a scan ends before them."""
    states = {f"{number:02}/x": b'{"payload":"'.ljust(6_000, b"x") for number in range(40)}
    await store.log.insert([Raw(name, state=state) for name, state in states.items()])
    for max_bytes in (60_000, 230_000):
        with pytest.raises(ReadTooLarge):
            await store.log.heads(list(states), max_bytes=max_bytes)
    for max_bytes in (260_000, 10_000_000):
        heads = await store.log.heads(list(states), max_bytes=max_bytes)
        assert {head.originator_id: head.state for head in heads} == states
    for wanted in (list(states)[:3], list(states)):  # some take two calls
        heads = await store.log.heads(wanted, max_bytes=244_500)
        assert {head.originator_id: head.state for head in heads} == {name: states[name] for name in wanted}
    scanned = await store.log.scan(["/x"], after="", below="", limit=1_000, max_bytes=60_000)
    assert 1 <= len(scanned.heads) <= 10
    assert {head.originator_id: head.state for head in await scan_all(store, ["/x"], max_bytes=60_000)} == states


async def test_small_sections_count_as_well(store: Store) -> None:
    """Of a domain, and of several pages: many small ones are too large together."""
    sections = [a_section(f"S{number:02}", body=b'{"a":"'.ljust(6_000, b"x")) for number in range(40)]
    skus = [section.sku for section in sections]
    await folded(store, *sections)
    async with store.coordination.fold_transaction("catalog") as folding_now:
        with pytest.raises(ReadTooLarge):
            await folding_now.sections(skus, max_bytes=100_000)
        assert sections_of(await folding_now.sections(skus, max_bytes=1_000_000)) == sections
    channel = sections[0].channel
    with pytest.raises(ReadTooLarge):
        await store.pages.sections_of(skus, channel, max_bytes=100_000)
    assert len(await store.pages.sections_of(skus, channel, max_bytes=1_000_000)) == len(skus)


@pytest.mark.parametrize("max_bytes", [17_000, 31_000, 61_000, 95_000, 10_000_000])
async def test_walks_take_shorter_steps(store: Store, max_bytes: int) -> None:
    """A scan returns all heads and entries completely, whatever the step size, which only a single item exceeds."""
    states = await large_streams(store)
    assert {head.originator_id: head.state for head in await scan_all(store, ["/x"], max_bytes=max_bytes)} == states
    entries = await scan_entries(store, ["/x"], 1_000, max_bytes=max_bytes)
    assert entries == [b"%b\x1f1\x1f%b" % (name.encode(), state[1:]) for name, state in states.items()]
    scanned = await store.log.scan(["/x"], after="", below="", limit=1_000, max_bytes=max_bytes)
    sizes = [len(head.state) for head in scanned.heads]
    assert len(sizes) == 1 or sum(sizes) <= max_bytes
    entered = await store.log.head_contents(["/x"], after="", below="", limit=1_000, max_bytes=max_bytes, since=100)
    large_ones = [entry for entry in entered.contents if len(entry) > 1_000]
    assert len(large_ones) <= 1 or sum(map(len, large_ones)) <= max_bytes


async def test_a_window_has_its_size(store: Store) -> None:
    """`bytes` counts the domain's states only."""
    await insert(store, "P", topic="pricing")
    await store.log.insert([Raw("A", state=b"x" * 50_000), Raw("B", state=b"y" * 7)])
    assert await store.log.touched("inventory", 0, 10) == TouchedStreams(["A", "B"], 2, 3, 3, 50_007)


@pytest.mark.parametrize("part", [1, 40_000, 10_000_000])
async def test_sections_are_compared_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch, part: int) -> None:
    """However they are divided: all equal, one missing, one different, or one surplus."""
    monkeypatch.setattr(sqlite_pages, "COMPARED_BYTES", part)
    sizes = zip("ABCDE", (10, 30_000, 90_000, 10, 20_000), strict=True)
    sections = [a_section(name, body=b'{"a":"%b"}' % name.encode().ljust(size, b"x")) for name, size in sizes]
    await folded(store, *sections)
    shared = shared_sections(sections)
    holds = partial(store.pages.matches, "catalog")
    assert await holds(shared, "ABCDE")
    assert await holds(shared, "ABCDEF")
    assert await holds(shared[:2], "AB")
    for place, each in enumerate(shared):
        rest = shared[:place] + shared[place + 1 :]
        changed = each._replace(contents=[sections[place]._replace(body=b"{}")[3:]])
        assert not await holds(rest, "ABCDE")
        assert not await holds(shared, "ABCDE".replace(each.sku, ""))
        assert not await holds([changed, *rest], "ABCDE")


async def test_sections_are_all_or_none(store: Store) -> None:
    """Of a domain, and of several pages: if they fit, all are complete; otherwise none is returned."""
    sections = [
        a_section(name, body=b'{"a":"%b"}' % name.encode().ljust(size, b"x"))
        for name, size in zip("ABCD", (10, 30_000, 90_000, 10), strict=True)
    ]
    await folded(store, *sections)
    async with store.coordination.fold_transaction("catalog") as folding_now:
        assert sections_of(await folding_now.sections("ABCD")) == sections
        assert sections_of(await folding_now.sections("ABCD", max_bytes=200_000)) == sections
        with pytest.raises(ReadTooLarge):
            await folding_now.sections("ABCD", max_bytes=100_000)
        assert sections_of(await folding_now.sections("AD", max_bytes=1_000)) == [sections[0], sections[3]]
    channel = sections[0].channel
    pages = await store.pages.sections_of("ABCD", channel, max_bytes=200_000)
    assert pages == await store.pages.sections_of("ABCD", channel)
    assert [bytes(pages[name][0][4] or b"") for name in "ABCD"] == [section.body for section in sections]
    with pytest.raises(ReadTooLarge):
        await store.pages.sections_of("ABCD", channel, max_bytes=100_000)


# --- consumers and replays --------------------------------------------------------------


async def everything_of(shop: Shop, skus: Sequence[str]) -> list[Section]:
    """The sections of some SKUs in all domains."""
    found: list[Section] = []
    for domain in ("catalog", "pricing", "inventory", "media"):
        async with shop.store.coordination.fold_transaction(domain) as reading:
            found += sections_of(await reading.sections(skus))
    return found


class Watch:
    """Measures folding: bytes of heads at a time, and the window read at each position."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, store: Store) -> None:
        self.heads = 0
        self.windows: dict[tuple[object, ...], TouchedStreams] = {}
        log = type(store.log)
        read, scan, touched = log.heads, log.scan, log.touched

        async def heads(me: object, streams: Sequence[str], **bounds: int | None) -> list[StoredEvent]:
            return self._seen(await read(me, streams, **bounds))  # type: ignore[arg-type]  # it is the log

        async def scanned(me: object, *args: object, **bounds: object) -> object:
            found = await scan(me, *args, **bounds)  # type: ignore[arg-type]  # as it was called
            self._seen(found.heads)
            return found

        async def window(me: object, domain: str, after: int, limit: int) -> TouchedStreams:
            found = await touched(me, domain, after, limit)  # type: ignore[arg-type]  # likewise
            self.windows[domain, after] = found
            return found

        monkeypatch.setattr(log, "heads", heads)
        monkeypatch.setattr(log, "scan", scanned)
        monkeypatch.setattr(log, "touched", window)

    def _seen(self, heads: list[StoredEvent]) -> list[StoredEvent]:
        self.heads = max(self.heads, sum([len(head.state) for head in heads]))
        return heads


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every limit in megabytes is set to kilobytes."""
    monkeypatch.setattr(log_tail, "MAX_WINDOW_BYTES", 200_000)
    monkeypatch.setattr(folder, "CHUNK_BYTES", 1_000_000)
    monkeypatch.setattr(section_verifier, "MAX_STEP_BYTES", 2_000_000)
    monkeypatch.setattr(replayer, "MAX_STEP_BYTES", 500_000)


@pytest.mark.usefixtures("small")
async def test_large_events_are_folded_in_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and counts are those of a shop with enough memory, and no limit is exceeded."""
    skus = [f"S{number:02}" for number in range(40)]
    await shop.append([large(sku) for sku in skus])
    await shop.append([event("catalog", {"attributes": {"a": sku}}, sku=sku, source="pim2") for sku in skus])
    watch = Watch(monkeypatch, shop.store)
    await shop.catch_up()
    assert watch.heads <= 1_000_000 / 2
    assert len(watch.windows) > 10
    assert all(window.bytes <= 200_000 or window.scanned == 1 for window in watch.windows.values())
    [standing, *_] = (await shop.status()).domains
    assert (standing.domain, standing.applied + standing.stale) == ("catalog", 80)
    page = await shop.pages.get("S07", "web-de")
    assert page is not None
    assert page["catalog"] == {
        "attributes": {"a": "S07", "text": text(50_000, "7")},
        "categories": [],
        "family": None,
        "parent": None,
    }

    watch.heads = 0
    as_folded = await everything_of(shop, skus)
    assert (await shop.verify()).changed == 0
    assert (await shop.verify(sample=30)).changed == 0
    await break_some(shop, as_folded)
    found = await shop.replay()
    assert found.changed == len(as_folded) // 2
    assert await everything_of(shop, skus) == as_folded
    assert watch.heads <= 2_000_000 / 8 + 60_000


async def break_some(shop: Shop, sections: Sequence[Section]) -> None:
    """Replaces every second section by another of the same size."""
    async with shop.store.coordination.fold_transaction("catalog") as writing:
        broken = [each._replace(body=b'{"broken":"%b"}' % (b"x" * 50_000)) for each in sections[::2]]
        await writing.write(shared_sections([*broken, *sections[1::2]]))


@pytest.mark.usefixtures("small")
async def test_one_sku_may_be_larger_than_a_step(shop: Shop) -> None:
    """All streams of one SKU are folded and verified together, however large they are."""
    for channel in ("*", "web-de", "web-us", "market-at", "outlet-de"):
        for source in ("pim", "pim2"):
            said = {"attributes": {source: text(60_000)}}
            await say(shop, event("catalog", said, sku="HUGE", channel=channel, source=source))
    await say(shop, large("A"), large("Z"))
    assert (await shop.verify()).changed == 0
    page = await shop.pages.get("HUGE", "web-de")
    assert page is not None
    assert set(page["catalog"]["attributes"]) == {"pim", "pim2"}


@pytest.mark.usefixtures("small")
async def test_large_events_that_are_stale_are_seen(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose counter was reset is reported, although only timestamps of large heads are read."""
    monkeypatch.setattr(folder, "LARGE_HEAD_BYTES", 100)
    await say(shop, *(large(f"S{number}", version=9) for number in range(RESET_THRESHOLD)))
    later = large("S0", version=10).occurred_at
    again = [large(f"S{number}", 400, version=2) for number in range(RESET_THRESHOLD)]
    await say(shop, *(msgspec.structs.replace(each, occurred_at=later) for each in again))
    [streak] = await shop.store.coordination.streaks()
    assert (streak.domain, streak.source, streak.stale) == ("catalog", "pim", RESET_THRESHOLD)


# --- appending ------------------------------------------------------------------------------------


async def test_transactions_are_limited_in_bytes(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events too large for one transaction are divided; results are in order, rejections included."""
    monkeypatch.setattr(appender, "MAX_BATCH_BYTES", 200_000)
    sizes: list[int] = []
    log = type(shop.store.log)
    insert_into = log.insert

    async def insert(me: object, events: Sequence[Raw], fence: Fence | None = None) -> list[int | None]:
        sizes.append(sum([len(each.state) for each in events]))
        return await insert_into(me, events, fence)  # type: ignore[arg-type]  # it is the log

    monkeypatch.setattr(log, "insert", insert)
    events = [large(f"S{number:02}") for number in range(20)]
    events[7] = event("catalog", {"no": "such field"}, sku="S07")
    results = await shop.append([*events, events[0]])
    assert Counter(result.outcome for result in results) == {"appended": 19, "rejected": 1, "duplicate": 1}
    assert results[7].outcome == "rejected"
    assert results[-1].outcome == "duplicate"
    assert len(sizes) > 3
    assert max(sizes) < 200_000 + 60_000


async def test_an_atomic_append_is_one_transaction(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An atomic append is one transaction, however large; while it waits, there is no room for another."""
    monkeypatch.setattr(appender, "MAX_BATCH_BYTES", 100_000)
    monkeypatch.setattr(appender, "MAX_QUEUE_BYTES", 400_000)
    outcomes: list[str] = []

    async def take(first: int) -> None:
        try:
            results = await shop.append_atomically([large(f"S{number:02}") for number in range(first, first + 5)])
            outcomes.append(Counter(result.outcome for result in results).most_common(1)[0][0])
        except Overloaded:
            outcomes.append("overloaded")

    async with anyio.create_task_group() as group:
        for first in (0, 10, 20):
            group.start_soon(take, first)
    assert sorted(outcomes) == ["appended", "overloaded", "overloaded"]
    assert (await shop.append_atomically([large("S30")]))[0].outcome == "appended"


# --- reading over HTTP ----------------------------------------------------------------------------


async def test_batches_of_large_pages(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that are too large together are refused before they are read; large ones are answered, one at a time."""
    monkeypatch.setattr(http_pages, "MAX_CONCURRENT_BYTES", 100_000)
    monkeypatch.setattr(http_pages, "MAX_RESPONSE_BYTES", 300_000)
    skus = [f"S{number}" for number in range(8)]
    await say(shop, *(large(sku) for sku in skus))
    async with client_of(service_of(shop)) as client:
        for asked in (skus[:1], skus[:4]):
            answer = await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": asked})
            assert answer.status_code == 200
            found: Mapping[str, object] = answer.json()["found"]
            assert list(found) == asked
            for sku in asked:
                body = await shop.pages.get_json(sku, "web-de")
                assert body is not None
                assert body in answer.content
        refused = await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": skus})
        assert refused.status_code == 422
        assert "bytes together; at most 300000 are allowed" in problem_in(refused)["detail"]
        again = await client.post("/v1/pages:batchGet", json={"channel": "web-de", "skus": skus[:4]})
        assert again.status_code == 200  # its reservation was released


async def test_large_pages_beside_small_ones(shop: Shop) -> None:
    """Concurrent readers each get their complete page, large or small."""
    await say(shop, large("L1", 200_000), large("L2", 300_000), *(large(f"S{number}", 10) for number in range(20)))
    skus = ["L1", *(f"S{number}" for number in range(20)), "L2", "nobody's"]
    found: dict[str, bytes | None] = {}

    async def read(sku: str) -> None:
        found[sku] = await shop.pages.get_json(sku, "web-de")

    async with anyio.create_task_group() as group:
        for sku in skus:
            group.start_soon(read, sku)
    assert len(found["L1"] or b"") > 200_000
    assert len(found["L2"] or b"") > 300_000
    assert found.pop("nobody's") is None
    assert all(body is not None and f'"sku":"{sku}"'.encode() in body for sku, body in found.items())
