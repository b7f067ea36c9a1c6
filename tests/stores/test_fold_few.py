"""A fold of a few SKUs stores what a fold transaction would, or nothing, on both stores."""

from collections.abc import Callable
from threading import Thread

import anyio
import psycopg
import pytest

from pagefold import Config
from pagefold.engine.errors import LeaseLost
from pagefold.engine.stores import open_store
from pagefold.engine.stores.dead_letter_records import NewDeadLetter, Resolution
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import MAX_FEW_BYTES, Checkpoint, FewSections, FewStored, Store
from pagefold.projections.section_fold import Section, sections_of, shared_sections
from tests.stores.test_fold_transaction import take_away
from tests.support.small_shop import MOMENT, Raw, a_section, folded, insert

DOMAIN = "catalog"


class Interrupted(Exception):
    """An error in the middle."""


async def stored(store: Store) -> list[Section]:
    """All sections of SKU A."""
    async with store.coordination.fold_transaction(DOMAIN) as folding:
        return sections_of(await folding.sections(["A"]))


async def position_of(store: Store) -> int:
    """The position of the checkpoint."""
    return {each.domain: each.position for each in await store.coordination.checkpoints()}.get(DOMAIN, 0)


async def fold_few(
    store: Store,
    *sections: Section,
    meanwhile: Callable[[], object] = lambda: None,
    streams: tuple[str, ...] = ("A",),
) -> FewStored | None:
    """Folds a few streams up to the end of the log into these sections, while something happens."""

    def fold(checkpoint: Checkpoint, _: list[StoredEvent]) -> FewSections:
        meanwhile()
        return FewSections(shared_sections(sections), checkpoint._replace(position=end, applied=1))

    end = await store.log.end()
    async with store.coordination.lease(DOMAIN) as lease:
        assert lease is not None
        return await lease.fold_few(streams, end, fold)


async def test_sections_and_checkpoint_are_stored_together(store: Store) -> None:
    """With the mark of the event at the end; the next transaction begins there. Equal sections do not count."""
    [first] = await insert(store, "A")
    found = await fold_few(store, a_section("A"))
    assert found is not None
    assert (found.changed, found.checkpoint.position, found.checkpoint.applied) == (1, first, 1)
    assert found.checkpoint.mark == await store.proof.mark(first)
    assert await stored(store) == [a_section("A")]
    [second] = await insert(store, "B")
    async with store.coordination.lease(DOMAIN) as lease:
        assert lease is not None
        async with lease.fold_transaction() as folding:
            assert folding.checkpoint == found.checkpoint._replace(holder=lease.holder)
    again = await fold_few(store, a_section("A"))
    assert again is not None
    assert (again.changed, again.checkpoint.position) == (0, second)
    await store.proof.prove()


async def test_nothing_but_the_checkpoint_is_stored_without_sections(store: Store) -> None:
    """Streams that no channel listens to give no sections; the checkpoint moves all the same."""
    [position] = await insert(store, "A")
    found = await fold_few(store)
    assert found is not None
    assert (found.changed, await position_of(store)) == (0, position)


async def test_the_fold_gets_the_checkpoint_and_the_newest_event_of_each_stream(store: Store) -> None:
    """Of the streams that exist."""
    await insert(store, "A", "B", "C", topic=DOMAIN)
    await insert(store, "B", version=3, topic=DOMAIN)
    await insert(store, "B", version=2, topic=DOMAIN)
    found: list[tuple[Checkpoint, list[StoredEvent]]] = []
    async with store.coordination.lease(DOMAIN) as lease:
        assert lease is not None
        assert await lease.fold_few(["A", "B", "nobody's"], 1, lambda *given: found.append(given)) is None
        [(checkpoint, heads)] = found
        assert checkpoint == Checkpoint(DOMAIN, holder=lease.holder)
    assert sorted(heads, key=lambda head: head.originator_id) == sorted(await store.log.heads(["A", "B"]))
    assert {head.originator_id: head.originator_version for head in heads} == {"A": 1, "B": 3}


async def test_a_fold_that_gives_up_or_fails_stores_nothing(store: Store) -> None:
    """And the next one works."""
    await insert(store, "A")

    def fail(*_: object) -> None:
        raise Interrupted

    async with store.coordination.lease(DOMAIN) as lease:
        assert lease is not None
        assert await lease.fold_few(["A"], 1, lambda *_: None) is None
        with pytest.raises(Interrupted):
            await lease.fold_few(["A"], 1, fail)
    assert (await stored(store), await position_of(store)) == ([], 0)
    assert await fold_few(store, a_section("A")) is not None


async def test_open_dead_letters_of_its_streams_need_a_transaction(store: Store) -> None:
    """Since it resolves them. Those of other streams, or resolved ones, do not."""
    await insert(store, "A", "B")
    dead_letter = NewDeadLetter("projection", DOMAIN, "B", 1, 0, b"", "wrong", b"{}", MOMENT)
    async with store.coordination.fold_transaction(DOMAIN) as folding:
        await folding.add_dead_letters([dead_letter])
    assert await fold_few(store, a_section("A"), streams=("A", "B")) is None
    assert await stored(store) == []
    assert await fold_few(store, a_section("A")) is not None
    async with store.coordination.fold_transaction(DOMAIN) as folding:
        await folding.resolve(["B"], Resolution("folded", MOMENT, None))
    assert await fold_few(store, a_section("A"), streams=("A", "B")) is not None


async def test_large_heads_need_a_transaction(store: Store) -> None:
    """Together they may be larger than the limit, although each is smaller."""
    states = [b" " * (MAX_FEW_BYTES // 2 - 10)] * 2
    await store.log.insert([Raw(name, state=state) for name, state in zip("AB", states, strict=True)])
    assert await fold_few(store, a_section("A"), streams=("A",)) is not None
    await store.log.insert([Raw(name, 2, state=b" " * MAX_FEW_BYTES) for name in "AB"])
    assert await fold_few(store, a_section("A"), streams=("A", "B")) is None


async def test_a_lost_lease_stores_nothing(store: Store) -> None:
    """A holder that is no longer the one named in the checkpoint gets `LeaseLost` before it folds."""
    await insert(store, "A")
    async with store.coordination.lease(DOMAIN) as lost:
        assert lost is not None
        await take_away(store)
        with pytest.raises(LeaseLost):
            await lost.fold_few(["A"], 1, lambda *_: pytest.fail("it was called"))
    assert await stored(store) == []


# --- what happens between the two statements, on PostgreSQL -----------------------------------------


def in_a_thread(config: Config, work: Callable[[Store], object]) -> Callable[[], None]:
    """A function that runs work with a store of its own, to its end."""

    async def opened() -> None:
        store = await open_store(config)
        try:
            await work(store)  # type: ignore[misc]  # a coroutine
        finally:
            await store.close()

    def run() -> None:
        thread = Thread(target=lambda: anyio.run(opened))
        thread.start()
        thread.join()

    return run


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
async def test_a_repair_between_the_statements_wins(store: Store, config: Config) -> None:
    """It has folded a newer event, so that what was folded before it must not be stored after it."""
    await insert(store, "A")
    newer = a_section("A", body=b'"newer"')
    repair = in_a_thread(config, lambda other: folded(other, newer))
    assert await fold_few(store, a_section("A", body=b'"older"'), meanwhile=repair) is None
    assert (await stored(store), await position_of(store)) == ([newer], 0)
    assert await fold_few(store, a_section("A", body=b'"newest"')) is not None


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE pagefold.checkpoints SET holder = 'another'",
        "UPDATE pagefold.checkpoints SET position = 0, mark = NULL",
        "TRUNCATE pagefold.stored_events",
        "UPDATE pagefold.stored_events SET state = 'another log'",
    ],
)
async def test_a_change_between_the_statements_is_noticed(store: Store, config: Config, change: str) -> None:
    """Another holder, a recovery, a log that is gone, or another one: nothing is stored."""

    def meanwhile() -> None:
        with psycopg.connect(config.store.url) as connection:
            connection.execute(change)

    await insert(store, "A")
    assert await fold_few(store, a_section("A"), meanwhile=meanwhile) is None
    assert (await stored(store), await position_of(store)) == ([], 0)
