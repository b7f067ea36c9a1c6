"""The invariants of the design's section 8 that a store can break, on both stores."""

import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import apsw
import psycopg
import pytest
from anyio.lowlevel import checkpoint

import pagefold
from pagefold import Config, DomainEvent, LogReplaced, Shop, StoreUnavailable
from pagefold.domains import DOMAINS
from pagefold.engine.folding.folder import Folder
from pagefold.engine.intake import appender
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import NewEvent
from pagefold.engine.stores.postgres.leases import PostgresLease
from pagefold.engine.stores.sqlite import SQLiteStore
from pagefold.engine.stores.sqlite.leases import SQLiteLease
from pagefold.engine.stores.store import Store
from tests.support.small_shop import (
    SKU,
    a_model,
    append,
    as_document,
    assert_every_event_is_counted,
    catalog,
    everything,
    pages_in,
    pages_of,
    price,
    say,
    section,
    stock,
    withdrawn,
)

PATIENCE = 0.3
"""Seconds for which an append is retried in these tests."""

BREAK_UP = """
CREATE FUNCTION pagefold.break_up() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(5); RETURN NULL; END $$;
"""
TRIGGER = {
    "events": "CREATE TRIGGER faulty AFTER INSERT ON pagefold.stored_events EXECUTE FUNCTION pagefold.break_up()",
    "pages": "CREATE TRIGGER faulty AFTER INSERT OR UPDATE ON pagefold.sections EXECUTE FUNCTION pagefold.break_up()",
}
LOST = StoreUnavailable("the store", ConnectionError("lost"))
MEND = "DROP FUNCTION pagefold.break_up() CASCADE"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shortens the 20 seconds of waiting for a store that a test has broken."""
    monkeypatch.setattr(appender, "RETRY_SECONDS", PATIENCE)


@asynccontextmanager
async def broken(shop: Shop, part: str) -> AsyncIterator[None]:
    """The disk is full, or the connection breaks in every writing transaction of this part."""
    if isinstance(shop.store, SQLiteStore):
        connections = shop.store._connections
        threaded = connections.events if part == "events" else connections.pages
        pages = await threaded.run(lambda connection: connection.pragma("page_count"))
        await threaded.run(lambda connection: connection.pragma("max_page_count", pages))
        yield
        await threaded.run(lambda connection: connection.pragma("max_page_count", 1_000_000))
        return
    with psycopg.connect(shop.config.store.url, autocommit=True) as connection:
        connection.execute(BREAK_UP)
        connection.execute(TRIGGER[part].encode())
        yield
        connection.execute(MEND)


def fails_once(call: Callable[..., Awaitable[Any]], *, after: bool) -> Callable[..., Awaitable[Any]]:
    """A method that raises `StoreUnavailable` the first time, before or after its work."""
    times = itertools.count()

    async def wrapped(*arguments: object, **named: object) -> object:
        if next(times):
            return await call(*arguments, **named)
        if after:
            await call(*arguments, **named)
        raise LOST

    return wrapped


def outcomes(results: Sequence[pagefold.AppendResult]) -> list[str]:
    """The outcome of each event."""
    return [result.outcome for result in results]


def many(count: int, size: int = 3_000) -> list[DomainEvent]:
    """Events that need much space."""
    return [catalog("x" * size, sku=f"S{number:04}") for number in range(count)]


# --- I1, I2 and I12: acknowledged and failed appends ------------------------------------------


async def test_i1_an_acknowledged_event_is_in_the_log(shop: Shop) -> None:
    """When `append` returns, another connection finds each event at the returned position."""
    results = await append(shop, *many(20))
    async with pagefold.open(shop.config) as other:
        positions = {event.notification_id for event in await everything(other.store)}
    assert positions == {result.position for result in results}


async def test_i2_an_event_is_in_the_log_once(shop: Shop) -> None:
    """Many callers that send the same events repeatedly append each once, and one of them gets `appended`."""
    events = many(30, size=10)
    results: list[pagefold.AppendResult] = []

    async def send() -> None:
        for _ in range(2):
            results.extend(await shop.append(random.sample(events, len(events))))

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(send)
    assert Counter(outcomes(results)) == {"appended": 30, "duplicate": 330}
    assert len(await everything(shop.store)) == 30
    assert len({result.position for result in results}) == 30


async def test_i12_a_failed_append_is_an_error(shop: Shop) -> None:
    """If the transaction fails, the caller gets an error, nothing is half appended, and a retry is safe."""
    [first] = await append(shop, stock(1))
    async with broken(shop, "events"):
        with pytest.raises(StoreUnavailable):
            await shop.append(many(200))
        assert [event.notification_id for event in await everything(shop.store)] == [first.position]
    results = await append(shop, *many(200))
    positions = [result.position for result in results]
    assert positions == sorted(set(positions), key=lambda position: position or 0)


async def test_i12_every_caller_of_a_failed_transaction_gets_the_error(shop: Shop) -> None:
    """All callers whose events shared the transaction get the error, and later ones a working store."""
    errors: list[StoreUnavailable] = []

    async def send(events: Sequence[DomainEvent]) -> None:
        try:
            await shop.append(events)
        except StoreUnavailable as error:
            errors.append(error)

    events = many(100)
    async with broken(shop, "events"), anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(send, events[number * 25 : number * 25 + 25])
    assert len(errors) == 4
    assert await everything(shop.store) == []
    await append(shop, *events)


async def test_i12_an_unexpected_error_reaches_every_caller(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the driver's own, which is not retried, reaches every caller as it is."""
    errors: list[Exception] = []

    async def insert(_events: Sequence[NewEvent], _fence: Fence | None = None) -> list[int | None]:
        await anyio.sleep(0.01)
        raise ZeroDivisionError

    async def send(number: int) -> None:
        try:
            await shop.append([stock(number, sku=f"S{number}")])
        except ZeroDivisionError as error:
            errors.append(error)

    monkeypatch.setattr(shop.store.log, "insert", insert)
    async with anyio.create_task_group() as group:
        for number in range(5):
            group.start_soon(send, number)
    assert len(errors) == 5


@pytest.mark.parametrize("lost", ["insert", "events_at"])
async def test_i2_a_lost_acknowledgement_is_no_duplicate(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """If the commit succeeds and its response is lost, the retry returns `appended` with the positions."""
    [before] = await append(shop, stock(1, sku="OLD"))
    batch = [stock(1, sku="OLD"), stock(1), stock(1), stock(2), price("1.00"), stock(2, sku="OLD")]
    monkeypatch.setattr(shop.store.log, lost, fails_once(getattr(shop.store.log, lost), after=True))
    results = await shop.append(batch)
    assert outcomes(results) == ["duplicate", "appended", "duplicate", "conflict", "appended", "conflict"]
    _, first, second = await everything(shop.store)
    expected = [before.position, *[first.notification_id] * 3, second.notification_id, before.position]
    assert [result.position for result in results] == expected


async def test_i8_a_conflict_is_stored_before_it_is_answered(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If storing the conflict fails, the append fails: the retry stores it, once."""
    await append(shop, stock(1))
    keep = shop.store.dead_letters.add
    for after in (False, True):
        monkeypatch.setattr(shop.store.dead_letters, "add", fails_once(keep, after=after))
        assert outcomes(await shop.append([stock(2)])) == ["conflict"]
        assert len(await shop.dead_letters.newest()) == 1


# --- I3, I4: pages ----------------------------------------------------------------------------------


async def test_i3_pages_survive_a_failed_fold(shop: Shop) -> None:
    """A fold that fails in the middle leaves pages and checkpoint unchanged; the next one folds them."""
    await say(shop, catalog("before"), price("1.00"))
    before, checkpoints = await pages_of(shop), await positions(shop.store)
    await append(shop, *many(60), catalog("after", version=2))
    async with broken(shop, "pages"):
        with pytest.raises(StoreUnavailable):
            await shop.catch_up()
        assert await pages_of(shop) == before
        assert (await positions(shop.store))["catalog"] == checkpoints["catalog"]
    await shop.catch_up()
    assert len(await pages_of(shop)) == len(before) + 60 * 4
    assert (await section(shop, "catalog"))["attributes"]["code"] == "after"
    await assert_every_event_is_counted(shop.store)


async def positions(store: Store) -> dict[str, int]:
    """The position of each domain."""
    return {each.domain: each.position for each in await store.coordination.checkpoints()}


async def test_i4_no_reader_sees_a_section_go_back(shop: Shop) -> None:
    """With events out of order and a repair beside the consumer, versions on a page only grow."""
    versions = [
        version for begin in range(1, 121, 30) for version in random.Random(4).sample(range(begin, begin + 30), 30)
    ]
    inventory = next(domain for domain in DOMAINS if domain.name == "inventory")
    folder = Folder(inventory, shop.config.resolved_channels, shop.store.log)
    seen: list[int] = []
    stream = f"{SKU}/*/inventory/wms-a"

    async def read() -> None:
        while True:
            page = await shop.pages.get(SKU, "web-de")
            seen.append(page.source_versions["inventory/wms-a"] if page else 0)
            await checkpoint()

    async def repair() -> None:
        while True:
            async with shop.store.coordination.fold_transaction("inventory") as folding:
                await folder.fold(folding, [stream])
            await anyio.sleep(0.005)

    async with anyio.create_task_group() as group:
        for task in (read, repair, shop.work):
            group.start_soon(task)
        for start in range(0, 120, 3):
            await shop.append([stock(version, version=version) for version in versions[start : start + 3]])
            await anyio.sleep(0.002)
            if start % 30 == 27:
                with anyio.fail_after(20):
                    while not seen or seen[-1] < start + 3:  # noqa: ASYNC110  # the reader polls, as readers do
                        await anyio.sleep(0.01)
        group.cancel_scope.cancel()
    assert seen == sorted(seen)
    assert {30, 60, 90, 120} <= set(seen)


# --- I5: checkpoints --------------------------------------------------------------------------------


async def test_i5_a_checkpoint_is_never_ahead_of_the_log(shop: Shop) -> None:
    """After catching up, every checkpoint is at the end of the log, also if no event concerned the domain."""
    for number in range(3):
        await say(shop, stock(number, version=number + 1))
        end = await shop.store.log.end()
        assert await positions(shop.store) == dict.fromkeys(("catalog", "inventory", "media", "pricing"), end)


@pytest.mark.parametrize("left", [0, 2])
async def test_i5_a_log_from_a_backup_is_refused(shop: Shop, left: int) -> None:
    """If the log ends before a checkpoint, folding stops with the reason, on start and while running."""
    await say(shop, *many(5, size=1))
    await cut(shop, left)
    with pytest.raises(LogReplaced, match="restored to an older state"):
        await shop.catch_up()
    with anyio.fail_after(5), pytest.raises(LogReplaced, match=f"position 6, but the log ends at {left}"):
        await shop.work()


async def cut(shop: Shop, left: int) -> None:
    """Keeps only the first events of the log, as a backup would."""
    if isinstance(shop.store, SQLiteStore):

        def delete(connection: apsw.Connection) -> None:
            connection.execute("DELETE FROM stored_events WHERE notification_id > ?", (left,))

        await shop.store._connections.events.run(delete)
        return
    with psycopg.connect(shop.config.store.url) as connection:
        connection.execute("DELETE FROM pagefold.stored_events WHERE notification_id > %s", (left,))


# --- I7: no row disappears --------------------------------------------------------------------------


async def test_i7_a_withdrawn_section_keeps_its_row(shop: Shop) -> None:
    """A withdrawn section is disabled; a newer event restores it, and its page never disappears."""
    await say(shop, catalog("shirt"), stock(5))
    keys = set(await pages_of(shop))
    await say(shop, withdrawn("catalog", version=2), withdrawn("inventory", version=2))
    assert set(await pages_of(shop)) == keys
    assert await shop.pages.get_json(SKU, "web-de") is None
    page = await shop.pages.get(SKU, "web-de", disabled=True)
    assert page is not None
    assert (page.status, page.sections["catalog"], page.sections["inventory"]) == ("disabled", None, None)
    assert page.source_versions == {"catalog/pim": 2, "inventory/wms-a": 2}
    await say(shop, catalog("shirt", version=3))
    assert await shop.pages.get(SKU, "web-de") is not None


# --- I8: conflicts ----------------------------------------------------------------------------------


async def test_i8_conflicts_are_reported_and_stored_once(shop: Shop) -> None:
    """The first content at a version stays; each other content becomes one dead letter, however often it is sent."""
    [first] = await append(shop, stock(1))
    for _ in range(3):
        results = await shop.append([stock(2), withdrawn("inventory", version=1), stock(2), stock(1)])
        assert outcomes(results) == ["conflict", "conflict", "conflict", "duplicate"]
        assert {result.position for result in results} == {first.position}
    dead_letters = await shop.dead_letters.newest()
    assert len(dead_letters) == 2
    assert {(dead_letter.kind, dead_letter.domain, dead_letter.originator_version) for dead_letter in dead_letters} == {
        ("ingest", "inventory", 1)
    }
    await shop.catch_up()
    assert (await section(shop, "inventory"))["available"] == 1
    assert [await shop.dead_letters.retry(dead_letter) for dead_letter in dead_letters] == ["still dead", "still dead"]
    assert len(await shop.dead_letters.newest()) == 2


async def test_i8_conflicts_within_one_call(shop: Shop) -> None:
    """Of two contents at one version in one call the first is appended, and its repetition is a duplicate."""
    results = await shop.append([stock(1), stock(2), stock(1)])
    assert outcomes(results) == ["appended", "conflict", "duplicate"]
    assert len({result.position for result in results}) == 1


async def test_i8_the_content_of_a_correction_is_a_duplicate(shop: Shop) -> None:
    """Content that equals any revision of its version is a duplicate: a corrected source causes no conflict."""
    await append(shop, stock(1))
    [stands] = await everything(shop.store)
    corrected = stands.state.replace(b'"available":1', b'"available":2')
    await revise(shop, stands.originator_id, corrected)
    assert outcomes(await shop.append([stock(1), stock(2), stock(3)])) == ["duplicate", "duplicate", "conflict"]
    await shop.catch_up()
    assert (await section(shop, "inventory"))["available"] == 2
    [dead_letter] = await shop.dead_letters.newest()
    assert dead_letter.revision == 1


async def revise(shop: Shop, stream: str, state: bytes) -> None:
    """Appends a correction of version 1, as a rebuild does."""
    into = "INSERT INTO {}stored_events (originator_id, originator_version, revision, topic, state) VALUES "
    if isinstance(shop.store, SQLiteStore):

        def insert(connection: apsw.Connection) -> None:
            connection.execute(into.format("") + "(?, 1, 1, 'inventory', ?)", (stream, state))

        await shop.store._connections.events.run(insert)
        return
    with psycopg.connect(shop.config.store.url) as connection:
        connection.execute((into.format("pagefold.") + "(%s, 1, 1, 'inventory', %s)").encode(), (stream, state))


# --- I9: leases -------------------------------------------------------------------------------------


async def test_i9_a_worker_that_lost_its_lease_starts_again(shop: Shop) -> None:
    """A worker that finds another name in the checkpoint changes nothing, and continues with a new lease."""
    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        await append(shop, stock(1))
        await folded_up_to(shop, 1)
        await name_another_holder(shop)
        await append(shop, stock(2, version=2))
        await folded_up_to(shop, 2)
        group.cancel_scope.cancel()
    await assert_every_event_is_counted(shop.store)


async def folded_up_to(shop: Shop, version: int) -> None:
    """Returns when the page shows that version of the stock."""
    with anyio.fail_after(10):
        while True:
            page = await shop.pages.get(SKU, "web-de", disabled=True)
            if page is not None and page.source_versions.get("inventory/wms-a") == version:
                return
            await anyio.sleep(0.01)


async def name_another_holder(shop: Shop) -> None:
    """As a standby does when it takes over."""
    if isinstance(shop.store, SQLiteStore):
        update = "UPDATE checkpoints SET holder = 'another'"
        await shop.store._connections.pages.run(lambda connection: connection.execute(update).fetchall())
        return
    with psycopg.connect(shop.config.store.url) as connection:
        connection.execute("UPDATE pagefold.checkpoints SET holder = 'another'")


# --- I10, I11: the sum is exact, and lag ends ---------------------------------------------------------


async def test_i10_every_event_is_counted(shop: Shop) -> None:
    """Applied, stale and dead add up to the events of the domain, in any order and any windows."""
    order = random.Random(10)
    events = [stock(version, version=version, sku=f"S{sku}") for version in range(1, 9) for sku in range(5)]
    events += [price("1.00", version=version, channel=channel) for version in (1, 2) for channel in ("*", "web-de")]
    events += [withdrawn("inventory", version=9, sku="S1"), stock(1, channel="outlet-de", source="wms-b")]
    order.shuffle(events)
    while events:
        batch = [events.pop() for _ in range(min(len(events), order.randint(1, 9)))]
        await shop.append(batch + order.sample(batch, 1))
        if order.random() < 0.7:
            await shop.catch_up()
            await assert_every_event_is_counted(shop.store)
    await shop.catch_up()
    await assert_every_event_is_counted(shop.store)
    status = await shop.status()
    by_domain = {domain.domain: domain for domain in status.domains}
    counted = sum(each.applied + each.stale + each.dead for each in status.domains)
    assert counted == len(await everything(shop.store))
    assert by_domain["inventory"].applied >= 7
    assert status.lag_events == 0


async def test_i11_lag_ends_after_the_faults(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers recover by themselves after the store was unavailable, at every kind of read and transaction."""
    log = shop.store.log
    for name in ("touched", "next_events", "wait_for_hint"):
        monkeypatch.setattr(log, name, fails_once(getattr(log, name), after=False))
    for lease in (SQLiteLease, PostgresLease):
        monkeypatch.setattr(lease, "fold_few", fails_once(lease.fold_few, after=True))
    events = [stock(version, version=version) for version in range(1, 6)] + [catalog("shirt"), price("1.00")]
    await append(shop, *events)
    async with anyio.create_task_group() as group:
        group.start_soon(shop.work)
        with anyio.fail_after(15):
            while set((await positions(shop.store)).values()) != {8}:  # noqa: ASYNC110  # the store has no event for it
                await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    await assert_pages(shop, shop.config, events)


async def assert_pages(shop: Shop, config: Config, events: Sequence[DomainEvent]) -> None:
    """The pages are those that the model makes of the events."""
    model = a_model(config)
    for event in events:
        model.submit(as_document(event))
    await shop.catch_up()
    assert await pages_of(shop) == pages_in(model)
