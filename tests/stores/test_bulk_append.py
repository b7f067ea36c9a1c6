"""PostgreSQL: many events are copied into the log, with the guarantees of `append_events`."""

import asyncio
from collections.abc import Sequence
from contextlib import closing

import anyio
import psycopg
import pytest

from pagefold import Config
from pagefold.engine.errors import LogReplaced
from pagefold.engine.stores.epoch_fence import EPOCHS, EpochsMoved, Fence
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.engine.stores.postgres import PostgresStore
from pagefold.engine.stores.postgres.bulk_append import MIN_COPIED_EVENTS
from pagefold.engine.stores.postgres.connections import Session
from pagefold.engine.stores.store import Checkpoint
from tests.support.databases import query
from tests.support.small_shop import Raw, everything, insert

GAP = """
CREATE FUNCTION take_a_number() RETURNS trigger LANGUAGE plpgsql
AS $$ BEGIN PERFORM nextval('pagefold.stored_events_notification_id_seq'); RETURN new; END $$;
CREATE TRIGGER take_a_number BEFORE INSERT ON pagefold.stored_events
FOR EACH ROW WHEN (new.originator_id = 'S0007') EXECUTE FUNCTION take_a_number()
"""
"""Another application takes a position in the middle."""


class CopyCounter:
    """Counts the events of each COPY."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        copy = Session.copy

        async def counted(
            session: Session, table: str, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
        ) -> None:
            self.sizes.append(len(rows))
            await copy(session, table, columns, rows)

        monkeypatch.setattr(Session, "copy", counted)


@pytest.fixture
def kind() -> str:
    """PostgreSQL alone."""
    return "postgres"


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> CopyCounter:
    """What is copied."""
    return CopyCounter(monkeypatch)


def many(begin: int = 0, end: int = MIN_COPIED_EVENTS, version: int = 1) -> list[Raw]:
    """Events of as many streams."""
    return [Raw(f"S{number:04}", version) for number in range(begin, end)]


def corrections(begin: int = 0, end: int = MIN_COPIED_EVENTS, revision: int = 1) -> list[CorrectionEvent]:
    """Corrections of those events."""
    return [CorrectionEvent(f"S{number:04}", 1, revision, "inventory", b"{}") for number in range(begin, end)]


async def test_many_events_are_copied(store: PostgresStore, copies: CopyCounter) -> None:
    """From `MIN_COPIED_EVENTS` on; fewer are not."""
    assert await store.log.insert(many()) == list(range(1, MIN_COPIED_EVENTS + 1))
    assert copies.sizes == [MIN_COPIED_EVENTS]
    assert None not in await store.log.correct(corrections())
    assert copies.sizes == [MIN_COPIED_EVENTS] * 2
    assert None not in await store.log.insert(many(end=MIN_COPIED_EVENTS - 1, version=2))
    assert len(copies.sizes) == 2


async def test_taken_versions_are_looked_up_while_there_are_some(store: PostgresStore, copies: CopyCounter) -> None:
    """The first failed COPY is repeated without them; then they are looked up first, until there are none."""
    await insert(store, "S0003")
    positions = await store.log.insert(many())
    assert [place for place, position in enumerate(positions) if position is None] == [3]
    assert copies.sizes == [500, 499]
    assert (await store.log.insert(many(250, 1_000))).count(None) == 250
    assert copies.sizes == [500, 499, 500]
    assert await store.log.insert(many(250, 1_000)) == [None] * 750
    assert len(copies.sizes) == 3
    for version in (2, 3):
        assert None not in await store.log.insert(many(version=version))
    assert copies.sizes == [500, 499, 500, 500, 500]
    assert len(await everything(store)) == 2_000


async def test_positions_are_those_of_the_rows(store: PostgresStore, config: Config, copies: CopyCounter) -> None:
    """If somebody takes a position without the lock, events are not copied, and get the positions that they have."""
    query(config.store.url, GAP)
    positions = await store.log.insert(many())
    assert len(copies.sizes) == 1
    assert {event.originator_id: event.notification_id for event in await everything(store)} == dict(
        zip([event.originator_id for event in many()], positions, strict=True)
    )
    revised = await store.log.correct(corrections())
    assert None not in revised
    assert [event.notification_id for event in await everything(store)] == [*positions, *revised]


async def test_a_frozen_client_is_cut_off(store: PostgresStore, config: Config) -> None:
    """A client that stops sending while it copies holds the lock of the log; its session ends after `lease_seconds`."""
    with closing(psycopg.connect(config.store.url, options="-c search_path=pagefold")) as frozen:
        frozen.execute("SELECT lock_log(NULL, '{}', '{}')")
        frozen.pgconn.send_query(b"COPY stored_events (originator_id, originator_version, topic, state) FROM STDIN")
        started = anyio.current_time()
        with anyio.fail_after(20):
            assert len(await store.log.insert(many())) == MIN_COPIED_EVENTS
        assert anyio.current_time() - started > config.work.lease_seconds * 0.8
        with pytest.raises(psycopg.OperationalError):
            frozen.execute("SELECT 1")


async def test_a_busy_client_is_waited_for(store: PostgresStore, config: Config) -> None:
    """A session that holds the lock and does not copy is left alone, however long that takes."""
    with closing(psycopg.connect(config.store.url, options="-c search_path=pagefold")) as busy:
        busy.execute("SELECT append_events('{A}', '{1}', '{inventory}', '{x}')")
        waiting = asyncio.create_task(store.log.insert(many()))
        await asyncio.sleep(2.5 * config.work.lease_seconds)
        assert not waiting.done()
        busy.commit()
        with anyio.fail_after(20):
            assert min(position for position in await waiting if position is not None) > 1


async def test_copied_events_are_announced_once(store: PostgresStore, config: Config) -> None:
    """Listeners get one notification for all of them, and none if nothing was appended."""
    with closing(psycopg.connect(config.store.url, autocommit=True)) as listener:
        listener.execute("LISTEN pagefold")
        for _ in range(2):
            await store.log.insert(many())
        assert len(list(listener.notifies(timeout=1.0))) == 1


async def test_a_fence_holds_for_copied_events(store: PostgresStore) -> None:
    """Nothing is copied if an epoch was raised since, or a stream has reached its ceiling."""
    assert None not in await store.log.insert(many(), Fence(0, {"S0001": 1}))
    with pytest.raises(EpochsMoved):
        await store.log.insert(many(version=2), Fence(0, {"S0001": 1}))
    await insert(store, EPOCHS, version=0)
    with pytest.raises(EpochsMoved):
        await store.log.insert(many(version=2), Fence(0))
    with pytest.raises(EpochsMoved):
        await store.log.correct(corrections(), Fence(0))
    assert len(await everything(store)) == MIN_COPIED_EVENTS + 1
    assert None not in await store.log.insert(many(version=2), Fence(1, {"S0001": 2}))


async def test_nothing_is_copied_into_another_log(store: PostgresStore, config: Config) -> None:
    """If the log is not the one that was folded, many events are refused as few are."""
    await insert(store, "A")
    async with store.coordination.fold_transaction("catalog") as folding:
        await folding.advance(Checkpoint("catalog", 1))
    query(config.store.url, "UPDATE pagefold.stored_events SET state = 'another'")
    with pytest.raises(LogReplaced):
        await store.log.insert(many())
    assert await store.log.end() == 1


async def test_a_cancelled_copy_leaves_all_or_nothing(store: PostgresStore) -> None:
    """Wherever it is cancelled, the next ones are appended."""
    for step in range(30):
        task = asyncio.create_task(store.log.insert(many(version=2 * step)))
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert None not in await store.log.insert(many(version=2 * step + 1))
        assert len(await store.log.events_at({(f"S{number:04}", 2 * step) for number in (0, 499)})) in (0, 2)
