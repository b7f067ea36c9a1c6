"""The heads of streams as they were at a position: the contract of `Log.heads` and `older_events`, on both stores."""

import asyncio

import anyio
import pytest

from pagefold.engine.errors import ReadTooLarge
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.store import Store
from tests.support.small_shop import Raw, insert


async def test_heads_as_of_a_position_are_those_that_were(store: Store) -> None:
    """Of the events up to there the highest version, whatever came later; a stream that came later has none."""
    positions = [await insert(store, "A", version=version) for version in (5, 2, 9, 7)]
    await insert(store, "B")
    expected = [[], [5], [5], [9], [9], [9]]
    places = [0, *(place for [place] in positions), 2**63 - 1]
    for place, versions in zip(places, expected, strict=True):
        heads = await store.log.heads(["A", "nobody's"], as_of=place)
        assert [head.originator_version for head in heads] == versions
    everything_then = await store.log.heads(["B", "A"], as_of=places[-2])
    assert [head.originator_id for head in everything_then] == ["A"]
    assert await store.log.heads([], as_of=1) == []


async def test_a_revision_counts_from_its_own_position(store: Store) -> None:
    """A correction is the head of its version from then on, and not before."""
    await insert(store, "A", version=5)
    before = await store.log.end()
    await store.log.correct([CorrectionEvent("A", 5, 1, "t", b"corrected")])
    assert [head.revision for head in await store.log.heads(["A"], as_of=before)] == [0]
    assert [head.revision for head in await store.log.heads(["A"], as_of=before + 1)] == [1]


async def test_heads_as_of_a_position_within_a_size(store: Store) -> None:
    """The size is that of the heads as they were, not as they are."""
    await store.log.insert([Raw("A", 1, state=b"x" * 100_000), Raw("B", 1, state=b"x" * 10)])
    place = await store.log.end()
    await store.log.insert([Raw("A", 2, state=b"small"), Raw("B", 2, state=b"x" * 300_000)])
    with pytest.raises(ReadTooLarge) as refused:
        await store.log.heads(["A", "B"], max_bytes=50_000, as_of=place)
    assert refused.value.size == 100_010
    heads = await store.log.heads(["A", "B"], max_bytes=200_000, as_of=place)
    assert sorted((head.originator_id, len(head.state)) for head in heads) == [("A", 100_000), ("B", 10)]
    [head] = await store.log.heads(["B"])
    assert [event.originator_version for event in await store.log.older_events(head, 9, as_of=place)] == [1]
    assert await store.log.older_events(head, 9, as_of=1) == []


async def test_reads_at_once_have_the_heads_of_their_own_position(store: Store) -> None:
    """Whether they share a query or not: of large events, too, and where one of them cannot be answered."""
    streams = ["A", "B", "C"]
    for version in range(1, 9):
        for stream in streams:
            state = b"x" * 100_000 if (stream, version) == ("B", 5) else b"{}"
            await store.log.insert([Raw(stream, version, state=state)])
    end = await store.log.end()
    wanted = [(streams[first:], place) for place in range(end + 1) for first in range(len(streams))]
    alone = [await store.log.heads(names, as_of=place) for names, place in wanted]
    assert len({tuple(sorted(heads)) for heads in alone}) > end

    async def cancelled() -> None:
        with anyio.move_on_after(0):
            await store.log.heads(streams, as_of=3)

    given_up = [asyncio.create_task(cancelled()) for _ in range(3)]
    bad = asyncio.create_task(store.log.heads(["\ud800"], as_of=3))
    found = await asyncio.gather(*(store.log.heads(names, as_of=place) for names, place in wanted))
    assert list(map(sorted, found)) == list(map(sorted, alone))
    await asyncio.gather(*given_up)
    assert isinstance((await asyncio.gather(bad, return_exceptions=True))[0], Exception)
    assert sorted(await store.log.heads(streams, as_of=end)) == sorted(alone[-3])


async def test_older_events_of_several_streams_are_those_of_each(store: Store) -> None:
    """Newest first, with revisions, up to a limit and a position; a stream with a large state is left out."""
    for stream in ("A", "B", "C"):
        for version in (3, 1, 2):
            await insert(store, stream, version=version)
    await store.log.correct([CorrectionEvent("A", 2, 1, "t", b"x"), CorrectionEvent("C", 1, 1, "t", b"x" * 101)])
    await insert(store, "D")
    heads = await store.log.heads(["A", "B", "C", "D"])
    end = await store.log.end()
    for limit, place in ((1, None), (2, None), (9, None), (9, end - 3), (9, 3), (9, 1)):
        found = await store.log.older_events_of(heads, limit, 100, as_of=place)
        each = {head.originator_id: await store.log.older_events(head, limit, as_of=place) for head in heads}
        assert found == {
            stream: older for stream, older in each.items() if all(len(event.state) <= 100 for event in older)
        }
        assert ("C" in found) == (limit == 1 or place is not None)
    assert await store.log.older_events_of([], 9, 100) == {}
