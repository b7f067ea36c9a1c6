"""The heads of streams as they were at a position: the contract of `Log.heads` and `older_events`, on both stores."""

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
