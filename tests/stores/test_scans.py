"""Scans, corrections and claims, for rebuilds. See `engine.stores.store`."""

import random
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, nullcontext

import anyio
import anyio.lowlevel
import msgspec
import pytest

from pagefold import Config
from pagefold.engine.stores import open_store
from pagefold.engine.stores.log_records import CorrectionEvent, ScannedHeads, StoredEvent
from pagefold.engine.stores.store import Store
from tests.support.processes import ROOT, eventually
from tests.support.small_shop import Raw, everything, insert

MANY = 10_000_000
"""Bytes: more than anything here has."""

SKUS = ["A", "A-1", "A%2F1", "A%25", "A_", "AB", "A ", "a", "Ä", "\uff21", "🎽", "\U0010ffff", "0", "A'\"\\"]
SUFFIXES = ["/*/catalog/pim", "/web-de/pricing/erp", "/web-us/pricing/erp", "/*/inventory/wms-a", "/*/inventory/wms_a"]
STREAMS = [sku + tail for sku in SKUS for tail in SUFFIXES]
REQUESTED_SUFFIXES = [
    ["/pricing/erp"],
    ["/pricing/erp", "/catalog/pim"],
    ["erp", "/web-de/pricing/erp"],
    ["/inventory/wms_a"],
    ["/%/wms_a", "/inventory/%", "/inventory/wms.a", "%"],
    ["/media/dam", "x" * 500],
    [],
]
"""One, several, one that ends another, similar ones, some with wildcards, and one without streams."""

APPLICATIONS = ["0a1b2c3d4e5f", "f" * 32, "Fido", "A", "Ä-name", "~"]
"""Streams of applications of the `eventsourcing` library, one of them named like an SKU's."""


def correction(stream: str, version: int = 1, revision: int = 1, state: bytes = b"corrected") -> CorrectionEvent:
    """A correction of an event of `insert`."""
    return CorrectionEvent(stream, version, revision, "inventory", state)


def in_order(streams: Collection[str]) -> list[str]:
    """In the order of their UTF-8 bytes, which is the log's."""
    return sorted(streams, key=str.encode)


def names(events: Collection[StoredEvent]) -> list[str]:
    """Their streams."""
    return [event.originator_id for event in events]


async def scan_all(
    store: Store,
    tails: Collection[str],
    *,
    after: str = "",
    below: str = "",
    limit: int = 1_000,
    max_bytes: int = MANY,
) -> list[StoredEvent]:
    """All heads of a scan, step by step."""
    found: list[StoredEvent] = []
    end: str | None = after
    while end is not None:
        scanned = await store.log.scan(tails, after=end, below=below, limit=limit, max_bytes=max_bytes)
        assert len(scanned.heads) <= limit
        assert scanned.end is None or scanned.end > end
        found += scanned.heads
        end = scanned.end
    return found


async def scan_skus(store: Store, limit: int) -> list[str]:
    """All SKUs, that many per step."""
    found: list[str] = []
    while page := await store.log.skus(found[-1] if found else "", limit):
        assert len(page) <= limit
        found += page
    return found


# --- corrections ----------------------------------------------------------------------------------


async def test_a_correction_is_the_head_of_its_version(store: Store) -> None:
    """It gets the next position; a newer version stays the head of the stream."""
    await insert(store, "A", "B", version=1)
    [newest] = await insert(store, "B", version=2)
    positions = await store.log.correct([correction("B"), correction("A")])
    assert positions == [newest + 1, newest + 2]
    heads = {head.originator_id: head for head in await store.log.heads(["A", "B"])}
    assert heads["A"] == StoredEvent(newest + 2, "A", 1, 1, "inventory", b"corrected")
    assert (heads["B"].notification_id, heads["B"].originator_version, heads["B"].revision) == (newest, 2, 0)
    assert sorted((event.revision, event.state) for event in await store.log.events_at({("A", 1)})) == [
        (0, b"{}"),
        (1, b"corrected"),
    ]


async def test_a_revision_is_stored_once(store: Store) -> None:
    """A revision that exists, from an earlier call or this one, gets None and changes nothing."""
    await insert(store, "A")
    [position] = await store.log.correct([correction("A")])
    assert position is not None
    again = [
        correction("A", state=b"2"),
        correction("A", revision=2),
        correction("A", revision=2),
        correction("A", 1, 0),
    ]
    first, second, *rest = await store.log.correct(again)
    assert (first, rest) == (None, [None, None])
    assert second is not None
    assert second > position
    assert await store.log.correct(again) == [None] * 4
    assert [event.state for event in await everything(store)] == [b"{}", b"corrected", b"corrected"]
    assert await store.log.correct([]) == []


async def test_corrections_are_one_transaction(store: Store) -> None:
    """When one of them cannot be stored, none of them is."""
    await insert(store, "A")
    broken = msgspec.structs.replace(correction("A", revision=2), topic=None)  # what nothing gives
    with pytest.raises(Exception, match=r"(?i)null|None"):
        await store.log.correct([correction("A"), broken])
    assert len(await everything(store)) == 1
    assert await store.log.correct([correction("A")]) != [None]


async def test_corrections_and_inserts_appear_in_order(store: Store, config: Config) -> None:
    """A reader that continues after the last position misses nothing, while two stores insert and correct."""
    other = await open_store(config)
    seen: list[int] = []
    positions: list[int | None] = []

    async def append(to: Store, name: str) -> None:
        for number in range(15):
            positions.extend(await to.log.insert([Raw(f"{name}{number}-{each}") for each in range(20)]))
            positions.extend(await to.log.correct([correction(f"{name}{number}-{each}") for each in range(20)]))

    async def read() -> None:
        while len(seen) < 2 * 15 * 40:
            found = await store.records.notifications(seen[-1] + 1 if seen else 1, 2**53, (), 10_000)
            seen.extend(event.notification_id for event in found)
            await anyio.lowlevel.checkpoint()

    try:
        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                group.start_soon(read)
                group.start_soon(append, store, "a")
                group.start_soon(append, other, "b")
    finally:
        await other.close()
    assert seen == [event.notification_id for event in await everything(store)]
    assert sorted(position for position in positions if position is not None) == seen


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_wait_is_woken_by_a_correction(store: Store, config: Config, *, elsewhere: bool) -> None:
    """A correction wakes waiting readers, also through another connection."""
    other = await open_store(config) if elsewhere else store
    try:
        await store.log.wait(0, 0.05)  # the listener is started on first use
        [position] = await insert(store, "A")
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(store.log.wait, position, 60)
                await anyio.sleep(0.1)
                await other.log.correct([correction("A")])
    finally:
        if elsewhere:
            await other.close()


# --- scan -----------------------------------------------------------------------------------------


async def test_scan_goes_through_heads_by_name(store: Store) -> None:
    """Each stream's head once, in the order of their UTF-8 bytes, whatever the size of the steps."""
    for version in (2, 3, 1):
        await insert(store, *STREAMS, version=version)
    for limit in (1, 4, len(STREAMS), 1_000):
        found = await scan_all(store, SUFFIXES, limit=limit)
        assert names(found) == in_order(STREAMS)
        assert {head.originator_version for head in found} == {3}


@pytest.mark.parametrize("tails", REQUESTED_SUFFIXES)
async def test_scan_gives_the_streams_that_end_in_a_tail(store: Store, tails: list[str]) -> None:
    """Those and no others, each once; a tail has no wildcards. The other streams are scanned, too."""
    await insert(store, *STREAMS, *APPLICATIONS)
    expected = in_order([stream for stream in STREAMS if stream.endswith(tuple(tails))])
    for limit in (1, 3, 1_000):
        assert names(await scan_all(store, tails, limit=limit)) == expected


async def test_scan_finds_names_that_are_not_ascii(store: Store) -> None:
    """A tail is compared by characters, whatever they are."""
    await insert(store, "A/ä/übermut", "A/a/übermut", "A/ä/ubermut", "übermut")
    assert names(await scan_all(store, ["/ä/übermut"])) == ["A/ä/übermut"]
    assert names(await scan_all(store, ["übermut"])) == ["A/a/übermut", "A/ä/übermut", "übermut"]


async def test_scan_stays_between_two_names(store: Store) -> None:
    """Both bounds are exclusive, and need not be names of streams."""
    await insert(store, *STREAMS)
    ordered = in_order(STREAMS)
    rng = random.Random(7)
    for _ in range(30):
        first, last = sorted(rng.sample(range(len(ordered)), 2))
        expected = [name for name in ordered[first + 1 : last] if name.endswith("/pricing/erp")]
        found = await scan_all(
            store, ["/pricing/erp"], after=ordered[first], below=ordered[last], limit=rng.choice([1, 3, 99])
        )
        assert names(found) == expected
    of_a = [name for name in ordered if name.startswith("A/")]
    assert names(await scan_all(store, SUFFIXES, after="A/", below="A0")) == of_a
    assert await store.log.scan(SUFFIXES, after="A0", below="A/", limit=10, max_bytes=MANY) == ScannedHeads([], None)


async def test_scan_ends_at_the_last_stream_read(store: Store) -> None:
    """`end` is the last stream scanned, selected or not; None if there were fewer than `limit`."""
    await insert(store, "A/x", "B/y", "C/x", "D/y")

    async def end(limit: int, *, after: str = "", below: str = "") -> str | None:
        scanned = await store.log.scan(["/x"], after=after, below=below, limit=limit, max_bytes=MANY)
        assert set(names(scanned.heads)) <= {"A/x", "C/x"}
        return scanned.end

    assert [await end(limit) for limit in (1, 2, 3, 4, 5)] == ["A/x", "B/y", "C/x", "D/y", None]
    assert [await end(limit, after="B/y") for limit in (1, 2, 3)] == ["C/x", "D/y", None]
    assert [await end(limit, below="D/y") for limit in (2, 3, 4)] == ["B/y", "C/x", None]
    assert await end(1, after="D/y") is None


async def test_scan_sees_corrections(store: Store) -> None:
    """The head is the event with the highest (version, revision): a correction, unless of an older version."""
    await insert(store, "A/x", "B/x", version=1)
    await insert(store, "B/x", version=2)
    await store.log.correct(
        [correction("A/x", revision=2, state=b"2"), correction("A/x"), correction("B/x", revision=9)]
    )
    found = await scan_all(store, ["/x"])
    assert [(head.originator_version, head.revision, head.state) for head in found] == [(1, 2, b"2"), (2, 0, b"{}")]


async def test_scan_of_an_empty_log(store: Store) -> None:
    """It returns nothing, and is complete."""
    assert await store.log.scan(["/x"], after="", below="", limit=10, max_bytes=MANY) == ScannedHeads([], None)


# --- entries --------------------------------------------------------------------------------------


async def scan_entries(
    store: Store, tails: Sequence[str], limit: int, since: int = 2**53, max_bytes: int = MANY
) -> list[bytes]:
    """The contents of all streams that end in a suffix, that many streams per step."""
    found: list[bytes] = []
    end: str | None = ""
    while end is not None:
        read = await store.log.head_contents(tails, after=end, below="", limit=limit, max_bytes=max_bytes, since=since)
        assert read.contents == sorted(read.contents)
        assert read.end is None or read.end > end
        found += read.contents
        end = read.end
    return found


def entries_of(heads: Sequence[StoredEvent]) -> list[bytes]:
    """The contents of the heads."""
    found = []
    for head in heads:
        begin = head.state.find(b'"payload":')
        said = head.state[begin:] if begin >= 0 else b""
        found.append(b"%b\x1f%d\x1f%b" % (head.originator_id.encode(), head.originator_version, said))
    return found


@pytest.mark.parametrize("tails", REQUESTED_SUFFIXES)
async def test_entries_equal_the_heads(store: Store, tails: list[str]) -> None:
    """In the order of a scan, with steps of any size: stream, version, and the end of the state."""
    await insert(store, *STREAMS, *APPLICATIONS)
    states = [b'{"id":"1","payload":{"a":"\\"payload\\":1","payload":2}}', b'{"payload":null}', b"\xff\x00", b""]
    await store.log.insert(
        [Raw(stream, 2 + number % 3, state=states[number % 4]) for number, stream in enumerate(STREAMS)]
    )
    expected = entries_of(await scan_all(store, tails))
    for limit in (1, 3, 1_000):
        assert await scan_entries(store, tails, limit) == expected


async def test_entries_of_later_events_equal_none(store: Store) -> None:
    """Those after the given position are marked; the others are unchanged."""
    await insert(store, *STREAMS)
    before = await scan_entries(store, SUFFIXES, 1_000)
    since = await store.log.end()
    await insert(store, STREAMS[0], version=2)
    [changed] = set(await scan_entries(store, SUFFIXES, 1_000, since)) - set(before)
    assert changed == f"{STREAMS[0]}\x1f2\x1f\x1f".encode()


async def test_entries_separate_the_states_of_applications(store: Store) -> None:
    """Separators in names and states of an application do not split entries."""
    streams = ["A\x1e/*/pricing/erp", "B\x1f/*/pricing/erp", "C/*/pricing/erp"]
    forged = b'"payload":1\x1eX/*/pricing/erp\x1f1\x1f"payload":{}}'
    await store.log.insert([Raw(stream, state=forged) for stream in streams])
    expected = entries_of(await scan_all(store, ["/pricing/erp"]))
    for limit in (1, 2, 1_000):
        assert await scan_entries(store, ["/pricing/erp"], limit) == expected


# --- SKUs, windows, untouched streams ---------------------------------------------------


async def test_skus_are_those_of_streams(store: Store) -> None:
    """Each SKU once, as encoded in the log, in the order of its streams; streams without a slash have no SKU."""
    await insert(store, *STREAMS, *APPLICATIONS, "/no-sku/catalog/pim", "//")
    expected = [name.removesuffix("/") for name in in_order([f"{sku}/" for sku in SKUS])]
    for limit in (1, 3, len(SKUS), 1_000):
        assert await scan_skus(store, limit) == expected
    assert await store.log.skus("A", 1) == [expected[expected.index("A") + 1]]
    assert await store.log.skus("A!", 1) == ["A%25"]  # one without streams, or without them any more


async def test_skus_of_a_log_without_any(store: Store) -> None:
    """Streams of applications have none, and an empty log has none."""
    assert await store.log.skus("", 10) == []
    await insert(store, *APPLICATIONS, topic="an application's")
    assert await store.log.skus("", 10) == []


async def test_window_is_of_a_domain_and_between_two_positions(store: Store) -> None:
    """Its events with after < position <= upto, in order, corrections included; none of other topics."""
    positions = await insert(store, *"ABCD")
    await insert(store, "P", topic="pricing")
    [corrected] = await store.log.correct([correction("B")])
    assert corrected is not None

    async def window(after: int, upto: int) -> list[int]:
        return [event.notification_id for event in await store.log.window("inventory", after, upto)]

    assert await window(0, 2**53) == [*positions, corrected]
    assert await window(positions[0], positions[2]) == positions[1:3]
    assert await window(positions[3], corrected) == [corrected]
    assert await window(positions[1], positions[1]) == await window(corrected, 2**53) == []
    [last] = await store.log.window("inventory", positions[3], corrected)
    assert last == StoredEvent(corrected, "B", 1, 1, "inventory", b"corrected")


async def test_untouched_streams_have_no_event_after_a_position(store: Store) -> None:
    """Not even one of an older version, nor a correction. Streams that do not exist are untouched."""
    await insert(store, *STREAMS, version=5)
    since = await store.log.end()
    late, corrected, *rest = STREAMS
    await insert(store, late, version=1)
    await store.log.correct([correction(corrected, 5)])
    assert await store.log.untouched({*STREAMS, "nobody's"}, since) == {*rest, "nobody's"}
    assert await store.log.untouched([late, late, rest[0]], since) == {rest[0]}
    assert await store.log.untouched([late, corrected], await store.log.end()) == {late, corrected}
    assert await store.log.untouched(STREAMS, 0) == set()
    assert await store.log.untouched([], 0) == set()


async def test_untouched_of_many_streams(store: Store) -> None:
    """Thousands of streams in one call."""
    streams = [f"S{number:05}/*/catalog/pim" for number in range(5_000)]
    await insert(store, *streams)
    since = await store.log.end()
    await insert(store, *streams[::3], version=2)
    assert await store.log.untouched(streams, since) == set(streams) - set(streams[::3])


# --- claims ---------------------------------------------------------------------------------------

CLAIMANT = """
import asyncio, sys
from pagefold.engine.stores import open_store
from tests.support.processes import die_with_parent
from tests.support.small_shop import configured

async def main():
    store = await open_store(configured(sys.argv[1]))
    async with store.coordination.claim(sys.argv[2]) as claimed:
        print(claimed, flush=True)
        await asyncio.sleep(600)

die_with_parent()
asyncio.run(main())
"""


@contextmanager
def claimant(config: Config, task: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds the task, and is killed in the end."""
    arguments = [sys.executable, "-c", CLAIMANT, config.store.url, task]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"True\n"
            yield process
        finally:
            process.kill()


async def can_claim(store: Store, task: str) -> bool:
    """Whether a task is free."""
    async with store.coordination.claim(task) as claimed:
        return claimed


async def test_a_claim_is_exclusive(store: Store, config: Config) -> None:
    """While one process has a task, others get False; it is free again when the block ends, however it ends."""
    other = await open_store(config)
    try:
        for error in (None, KeyError("x")):
            with pytest.raises(KeyError) if error else nullcontext():
                async with store.coordination.claim("rebuild-erp_1.x") as claimed:
                    assert claimed
                    with anyio.fail_after(20):
                        assert not await can_claim(store, "rebuild-erp_1.x")
                        assert not await can_claim(other, "rebuild-erp_1.x")
                        assert await can_claim(other, "rebuild-erp_1.y")
                    if error:
                        raise error
            assert await can_claim(other, "rebuild-erp_1.x")
    finally:
        await other.close()


async def test_claims_and_leases_have_separate_locks(store: Store, config: Config) -> None:
    """A task may have the name of a domain, a lease or another schema: each has its own lock."""
    async with store.coordination.claim("catalog") as claimed, store.coordination.lease("catalog", wait=False) as lease:
        assert claimed
        assert lease is not None
        await insert(store, "A")
        again = await open_store(config)
        await again.close()
        assert await can_claim(store, "schema")


async def test_a_claim_ends_with_its_process(store: Store, config: Config) -> None:
    """The task of a killed process is free."""
    with claimant(config, "rebuild") as process:
        assert not await can_claim(store, "rebuild")
        assert await can_claim(store, "rebuild-2")
        process.kill()
        await eventually(lambda: can_claim(store, "rebuild"), "a free task", 5)
