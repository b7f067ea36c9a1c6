"""Dead letters that wait for a reference: their order, and what still waits, on both stores."""

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_records import (
    DeadLetterFilter,
    Expiry,
    NewDeadLetter,
    Purge,
    Resolution,
    WaitingKey,
)
from pagefold.engine.stores.store import Store
from tests.support.small_shop import MOMENT, a_dead_letter

LATER = "2026-01-02T12:00:00.000000Z"
APPENDED = Resolution("appended", MOMENT)
FIRST, SECOND = Reference("gtin", "1"), Reference("gtin", "2")


def a_waiting(reference: Reference = FIRST, *, version: int = 1, body: bytes = b"{}") -> NewDeadLetter:
    """A part of a request that waits."""
    return NewDeadLetter(
        "waiting",
        "inventory",
        "///wms-a",
        version,
        0,
        body + b"%d" % version,
        "waits",
        body,
        MOMENT,
        b"{}",
        "webhook",
        reference,
    )


async def references(store: Store) -> list[tuple[str, int]]:
    """What waits, in order: the id and the version."""
    return [(key.reference.id, key.version) for key in await store.dead_letters.waiting()]


async def test_what_waits_comes_by_reference_and_version(store: Store) -> None:
    """Then by arrival; and in steps."""
    late, early, other = a_waiting(version=9), a_waiting(version=2), a_waiting(SECOND, version=1)
    await store.dead_letters.add([late])
    await store.dead_letters.add([other, early, early._replace(digest=b"again"), a_dead_letter()])
    assert await references(store) == [("1", 2), ("1", 2), ("1", 9), ("2", 1)]
    first, second, *rest = await store.dead_letters.waiting()
    assert first.number < second.number
    assert await store.dead_letters.waiting(limit=1) == [first]
    assert await store.dead_letters.waiting(second) == rest
    assert await store.dead_letters.waiting_state() == (4, max(key.number for key in [first, second, *rest]))
    assert await store.dead_letters.awaited([FIRST, Reference("gtin", "3")]) == {FIRST}
    assert await store.dead_letters.awaited([]) == set()


async def test_what_is_resolved_or_emptied_waits_no_more(store: Store) -> None:
    """It can be added again; under another reference, it waits there."""
    await store.dead_letters.add([a_waiting(), a_waiting(SECOND)._replace(digest=b"2")])
    first, second = await store.dead_letters.waiting()
    assert await store.dead_letters.resolve("waiting", first.number, APPENDED)
    assert await store.dead_letters.waiting() == [second]
    assert await store.dead_letters.purge_one("waiting", second.number, Purge("removed", LATER, "ada"))
    assert await store.dead_letters.waiting() == []
    assert await store.dead_letters.waiting_state() == (0, 0)
    assert await store.dead_letters.awaited([FIRST, SECOND]) == set()
    await store.dead_letters.add([a_waiting(SECOND)])
    assert await store.dead_letters.waiting() == [WaitingKey(SECOND, 1, first.number)]


async def test_a_kind_of_their_own(store: Store) -> None:
    """They are listed, counted and found by their kind, beside those of the others."""
    await store.dead_letters.add([a_waiting(), a_dead_letter()])
    assert dict(await store.dead_letters.counts()) == {("waiting", "inventory"): 1, ("ingest", "inventory"): 1}
    [waiting] = await store.dead_letters.oldest(DeadLetterFilter("waiting"))
    assert (waiting.kind, waiting.is_request, waiting.has_stream, waiting.source) == ("waiting", True, False, "wms-a")
    assert await store.dead_letters.count(DeadLetterFilter("ingest")) == 1
    assert await store.dead_letters.get("waiting", waiting.number) is not None
    assert await store.dead_letters.get("ingest", waiting.number) is None
    assert not await store.dead_letters.resolve("ingest", waiting.number, APPENDED)
    listed = await store.dead_letters.newest()
    assert sorted(each.kind for each in listed) == ["ingest", "waiting"]
    assert await store.dead_letters.oldest(after=listed[-1].key) == listed[:1]


async def test_they_expire_on_their_own(store: Store) -> None:
    """Their bodies are removed, and not those of others."""
    await store.dead_letters.add([a_waiting(), a_dead_letter(), a_dead_letter(digest=b"2")._replace(domain="")])
    expiry = Expiry("waiting", resolved=False, before=LATER)
    assert await store.dead_letters.count_expired(expiry) == 1
    assert await store.dead_letters.purge(expiry, Purge("removed", LATER, "ada"), limit=10, size=1_000) == 1
    assert await store.dead_letters.count_purged("waiting") == 1
    assert await store.dead_letters.count_purged("ingest") == 0
    for sort in ("request", "conflict"):
        assert await store.dead_letters.count_expired(Expiry(sort, resolved=False, before=LATER)) == 1
