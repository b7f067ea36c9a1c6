"""Thousands of events in one append: the contract of `Log.insert` and `Log.correct`, on both stores."""

from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.store import Store
from tests.support.small_shop import Raw, everything


async def test_a_large_insert_keeps_its_order(store: Store) -> None:
    """Thousands of events in one call, a third of them twice, get their own positions."""
    streams = [f"S{number:05}" for number in range(6_000)]
    batch = [Raw(stream) for stream in streams] + [Raw(stream, state=b"2") for stream in streams[::3]]
    positions = await store.log.insert(batch)
    assert positions[6_000:] == [None] * 2_000
    taken = [position for position in positions[:6_000] if position is not None]
    assert len(taken) == 6_000
    assert taken == sorted(taken)


async def test_many_events_of_taken_versions(store: Store) -> None:
    """Of thousands of events, those whose version exists get None; the others are appended, in order."""
    await store.log.insert([Raw(f"S{number:04}") for number in range(1, 2_000, 2)])
    positions = await store.log.insert([Raw(f"S{number:04}", state=b"2") for number in range(2_000)])
    assert positions[1::2] == [None] * 1_000
    stored = {event.notification_id: event for event in await everything(store)}
    appended = [stored[position] for position in positions if position is not None]
    assert [(event.originator_id, event.state) for event in appended] == [
        (f"S{number:04}", b"2") for number in range(0, 2_000, 2)
    ]
    assert len(stored) == 2_000


async def test_many_corrections_of_taken_revisions(store: Store) -> None:
    """A revision exists once, in the log and among thousands of corrections."""
    for revisions, free in (((1, 1, 2), 2), ((2, 3), 1)):
        corrections = [
            CorrectionEvent(f"S{number:03}", 1, revision, "inventory", b"%d" % place)
            for number in range(600)
            for place, revision in enumerate(revisions)
        ]
        positions = await store.log.correct(corrections)
        assert len(positions) - positions.count(None) == 600 * free
        appended = [each.state for each, position in zip(corrections, positions, strict=True) if position is not None]
        assert set(appended) == ({b"0", b"2"} if free == 2 else {b"1"})
