"""The contract of dead letters in a store."""

import msgspec
import pytest

from pagefold.engine.stores.dead_letter_causes import cause_key
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    LAST_KEY,
    MAX_LISTED,
    DeadLetterFilter,
    Resolution,
    ResolutionKind,
)
from pagefold.engine.stores.store import Store
from tests.support.small_shop import MOMENT, a_dead_letter, ended

DISCARDED = Resolution("discarded", MOMENT, "ada", "a test", None)


async def test_adding_a_dead_letter_twice_stores_one(store: Store) -> None:
    """The same content at the same version is one dead letter, in one call and in two; other content is another."""
    await store.dead_letters.add([a_dead_letter(), a_dead_letter(digest=b"2"), a_dead_letter()])
    await store.dead_letters.add([a_dead_letter(error="wrong again")])
    kept = await store.dead_letters.newest()
    assert len(kept) == 2
    assert sorted(dead_letter.error for dead_letter in kept) == ["wrong", "wrong again"]
    assert dict(await store.dead_letters.counts()) == {("ingest", "inventory"): 2}
    assert {dead_letter.number for dead_letter in kept} == {
        dead_letter.number for dead_letter in await store.dead_letters.newest(DeadLetterFilter("ingest", "inventory"))
    }


async def test_a_dead_letter_is_found_and_resolved(store: Store) -> None:
    """A dead letter is complete, and found by its number; resolved, it has its resolution, and is not open."""
    await store.dead_letters.add([a_dead_letter()._replace(headers=b'{"a":"b"}')])
    [listed] = await store.dead_letters.newest()
    dead_letter = await store.dead_letters.get("ingest", listed.number)
    assert dead_letter is not None
    said = (a_dead_letter().state, b'{"a":"b"}')
    whole = (
        "ingest",
        listed.number,
        *a_dead_letter()[1:5],
        "wrong",
        MOMENT,
        *[None] * 5,
        "",
        None,
        None,
        listed.cause,
        *said,
    )
    assert msgspec.structs.astuple(dead_letter) == whole
    assert msgspec.structs.astuple(listed) == whole[:-2]
    assert dead_letter.id == f"ingest-{dead_letter.number}"
    assert await store.dead_letters.get("projection", dead_letter.number) is None
    assert not await store.dead_letters.resolve("projection", dead_letter.number, DISCARDED)
    assert await store.dead_letters.get("ingest", dead_letter.number) == dead_letter
    assert await store.dead_letters.resolve("ingest", dead_letter.number, DISCARDED)
    assert await store.dead_letters.get("ingest", dead_letter.number) == ended(dead_letter, DISCARDED)
    assert await store.dead_letters.newest() == []
    assert dict(await store.dead_letters.counts()) == {}
    assert [each.number for each in await store.dead_letters.newest(DeadLetterFilter(resolved=True))] == [
        dead_letter.number
    ]


@pytest.mark.parametrize("how", ["folded", "appended"])
async def test_a_fold_s_resolution_can_be_undone(store: Store, how: ResolutionKind) -> None:
    """It is reopened under its number, with the new reason and time; an operator may still resolve it."""
    await store.dead_letters.add([a_dead_letter()])
    [dead_letter] = await store.dead_letters.newest()
    assert await store.dead_letters.resolve("ingest", dead_letter.number, Resolution(how, MOMENT, None, position=7))
    later = MOMENT.replace("12:", "13:")
    await store.dead_letters.add([a_dead_letter(error="wrong again")._replace(recorded_at=later)])
    cause = cause_key("ingest", "inventory", dead_letter.originator_id, "wrong again")
    assert await store.dead_letters.newest() == [
        msgspec.structs.replace(dead_letter, error="wrong again", recorded_at=later, cause=cause)
    ]
    assert await store.dead_letters.resolve("ingest", dead_letter.number, Resolution(how, MOMENT))
    assert await store.dead_letters.resolve("ingest", dead_letter.number, DISCARDED)


@pytest.mark.parametrize("how", ["corrected", "discarded"])
async def test_an_operator_s_resolution_is_final(store: Store, how: ResolutionKind) -> None:
    """The same event that fails again does not reopen a dead letter that an operator resolved, whatever follows."""
    decided = Resolution(how, MOMENT, "ada", "a test", 7)
    await store.dead_letters.add([a_dead_letter()])
    async with store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([a_dead_letter()._replace(kind="projection")])
    dead_letters = await store.dead_letters.newest()
    for dead_letter in dead_letters:
        assert await store.dead_letters.resolve(dead_letter.kind, dead_letter.number, decided)
        assert not await store.dead_letters.resolve(dead_letter.kind, dead_letter.number, DISCARDED)
    await store.dead_letters.add([a_dead_letter(error="wrong again")])
    async with store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([a_dead_letter(error="wrong again")._replace(kind="projection")])
        assert not await folding.has_dead_letters()
    assert await store.dead_letters.newest() == []
    assert await store.dead_letters.newest(DeadLetterFilter(resolved=True)) == [
        ended(dead_letter, decided) for dead_letter in dead_letters
    ]


async def test_newest_dead_letters_come_first(store: Store) -> None:
    """Of each kind and domain, up to a limit: the newest, by when they were added."""
    moments = [MOMENT.replace("12:", f"{hour}:") for hour in (11, 15, 13)]
    last = "2999-12-31T00:00:00.000000Z"
    await store.dead_letters.add(
        [a_dead_letter(version=number)._replace(recorded_at=at) for number, at in enumerate(moments)]
    )
    async with store.coordination.fold_transaction("pricing") as folding:
        await folding.add_dead_letters(
            [a_dead_letter(version=9)._replace(kind="projection", domain="pricing", recorded_at=moments[0])]
        )
        await folding.add_dead_letters(
            [a_dead_letter(version=8)._replace(kind="projection", domain="pricing", recorded_at=last)]
        )
    assert [dead_letter.originator_version for dead_letter in await store.dead_letters.newest(limit=3)] == [8, 1, 2]
    ingest = await store.dead_letters.newest(DeadLetterFilter("ingest"))
    assert [dead_letter.originator_version for dead_letter in ingest] == [1, 2, 0]
    pricing = await store.dead_letters.newest(DeadLetterFilter(domain="pricing"))
    assert [dead_letter.originator_version for dead_letter in pricing] == [8, 9]
    assert await store.dead_letters.newest(DeadLetterFilter("ingest", "pricing")) == []


async def test_dead_letters_are_listed_from_either_end(store: Store) -> None:
    """Each list continues after the last dead letter of the one before, also among those of one timestamp."""
    moments = [MOMENT.replace("12:", f"{hour}:") for hour in (11, 11, 11, 12, 13)]
    kept = [a_dead_letter(version=number)._replace(recorded_at=at) for number, at in enumerate(moments)]
    await store.dead_letters.add(kept)
    async with store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([each._replace(kind="projection") for each in kept])
    expected = sorted(dead_letter.key for dead_letter in await store.dead_letters.newest())
    assert len(expected) == 10
    for size in (1, 2, 3, 10):
        forward, back = [FIRST_KEY], [LAST_KEY]
        while page := await store.dead_letters.oldest(after=forward[-1], limit=size):
            assert len(page) <= size
            forward += [dead_letter.key for dead_letter in page]
        while page := await store.dead_letters.newest(after=back[-1], limit=size):
            back += [dead_letter.key for dead_letter in page]
        assert forward[1:] == expected
        assert back[1:] == expected[::-1]


async def test_a_list_is_bounded_in_bytes(store: Store) -> None:
    """Lists do not read bodies, and cut errors; the dead letter itself is complete."""
    error = "ü" * (MAX_LISTED + 1)
    await store.dead_letters.add([a_dead_letter(error=error)._replace(state=b"x" * 1_000_000)])
    for found in (await store.dead_letters.newest(), await store.dead_letters.oldest()):
        [listed] = found
        assert listed.error == error[:MAX_LISTED]
        assert len(msgspec.json.encode(listed)) < MAX_LISTED * 3
    dead_letter = await store.dead_letters.get("ingest", listed.number)
    assert dead_letter is not None
    assert (dead_letter.error, len(dead_letter.state)) == (error, 1_000_000)


async def test_dead_letters_of_a_source(store: Store) -> None:
    """A source's dead letters are those of its streams, and its requests without a domain."""
    names = ["A/*/inventory/wms-a", "B/*/inventory/xwms-a", "C/*/inventory/a%2Fb", "///wms-a", "///wms", "ÄA/*/media/ü"]
    for number, name in enumerate(names):
        domain = name.split("/")[2]
        await store.dead_letters.add([a_dead_letter(name, version=number)._replace(domain=domain, state=b"\xff\0")])
    for source, expected in (("wms-a", [0, 3]), ("a/b", [2]), ("wms", [4]), ("ü", [5]), ("", []), ("%", []), ("b", [])):
        wanted = DeadLetterFilter(source=source)
        found = await store.dead_letters.oldest(wanted)
        assert [dead_letter.originator_version for dead_letter in found] == expected, source
        assert await store.dead_letters.count(wanted) == len(expected)
    assert await store.dead_letters.count() == len(names)
    assert await store.dead_letters.count(DeadLetterFilter("projection")) == 0
    assert await store.dead_letters.count(DeadLetterFilter(resolved=True)) == 0
    [listed] = await store.dead_letters.newest(DeadLetterFilter("ingest", "", "wms-a"))
    delivery = await store.dead_letters.get("ingest", listed.number)
    assert delivery is not None
    assert (listed.is_request, delivery.is_request, delivery.state) == (True, True, b"\xff\0")
    assert (await store.dead_letters.counts())["ingest", ""] == 2


async def test_the_dead_letters_of_a_sku(store: Store) -> None:
    """Open ones of its streams in some domains, of both kinds, the newest first; not those of SKUs that begin alike."""
    later = MOMENT.replace("12:", "13:")
    other = [a_dead_letter("A-1/*/inventory/wms-a"), a_dead_letter("A0/*/inventory/wms-a"), a_dead_letter("///wms-a")]
    await store.dead_letters.add([a_dead_letter(), *other, a_dead_letter()._replace(domain="pricing", digest=b"2")])
    async with store.coordination.fold_transaction("inventory") as folding:
        await folding.add_dead_letters([a_dead_letter(version=2)._replace(kind="projection", recorded_at=later)])
    found = await store.dead_letters.of_sku("A", ["inventory", ""], 10)
    assert [(each.kind, each.originator_version) for each in found] == [("projection", 2), ("ingest", 1)]
    assert await store.dead_letters.of_sku("A", ["inventory", ""], 1) == found[:1]
    assert await store.dead_letters.resolve("ingest", found[1].number, DISCARDED)
    assert await store.dead_letters.of_sku("A", ["inventory"], 10) == found[:1]
