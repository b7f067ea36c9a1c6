"""A reader that follows the log by position misses nothing, however many writers append concurrently."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from zlib import crc32

import anyio
import apsw
import psycopg
import pytest

import pagefold
from pagefold import AppendResult, DomainEvent, Shop
from pagefold.engine.demo.faults import Arrival
from pagefold.engine.demo.reference_model import DOMAINS
from pagefold.engine.demo.sample_shop import OPENING
from tests.support.fault_scenario import (
    BEYOND_ALL,
    SOAK_ROUNDS,
    SOAK_SEED,
    Scene,
    judge_acknowledgements,
    judge_log,
    log_of,
    on,
)
from tests.support.postgres import PostgresServer
from tests.support.processes import Acknowledgement, Processes, acknowledged, eventually

STORES = ("sqlite", "postgres")
APPENDERS = 8
SKUS = 240
CHANGES = 2500
WINDOW = 200
HELD_SECONDS = 0.7
HELD_SKU = "HELD"

HOLD = """
CREATE FUNCTION pagefold.hold() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(4711);
    RETURN NEW;
END
$$;
CREATE TRIGGER hold BEFORE INSERT ON pagefold.stored_events
    FOR EACH ROW WHEN (NEW.originator_id LIKE 'HELD/%') EXECUTE FUNCTION pagefold.hold();
"""
"""Delays the insert of one row in the middle of its transaction, after its position was assigned."""

BARE_INSERT = """
INSERT INTO pagefold.stored_events (originator_id, originator_version, topic, state) VALUES (%s, 1, 'inventory', '{}')
"""


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with fsync."""
    with PostgresServer(fsync=True) as server:
        yield server


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A shop on the store that the test is parametrised with."""
    with Scene.of(request, tmp_path) as made:
        yield made


class Tail:
    """Reads the log twice, as events and as the windows of each domain, and never goes back."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self.seen: list[int] = []
        self.events: Counter[str] = Counter()
        self._ends = dict.fromkeys(DOMAINS, 0)

    @property
    def position(self) -> int:
        """The position up to which the events were read."""
        return self.seen[-1] if self.seen else 0

    async def read(self) -> None:
        """Reads what is new."""
        records, log = self._shop.store.records, self._shop.store.log
        while page := await records.notifications(self.position + 1, BEYOND_ALL, (), WINDOW):
            self.seen += [event.notification_id for event in page]
        for domain in DOMAINS:
            while (window := await log.touched(domain, self._ends[domain], WINDOW)).scanned:
                self._ends[domain] = window.end
                self.events[domain] += window.events

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Reads continuously, and once more at the end."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._follow)
            yield
            group.cancel_scope.cancel()
        await self.read()

    async def judge(self) -> None:
        """Nothing was skipped, and nothing was read twice."""
        log = await log_of(self._shop)
        assert self.seen == [event.notification_id for event in log]
        assert self.events == Counter(event.topic for event in log)

    async def _follow(self) -> None:
        while True:
            await self.read()
            await self._shop.store.log.wait(self.position, 0.05)


def shares_of(deliveries: list[Arrival]) -> list[list[Arrival]]:
    """A share for each appender: the events of one SKU are in one share, in order."""
    shares: list[list[Arrival]] = [[] for _ in range(APPENDERS)]
    for number, delivery in enumerate(deliveries):
        name = str(number) if delivery.event is None else delivery.event["sku"]
        shares[crc32(name.encode()) % APPENDERS].append(delivery)
    return shares


async def append_at_the_same_time(scene: Scene, processes: Processes, changes: int) -> None:
    """Eight writers append and one reader follows; every acknowledged event is in the log and was read."""
    shares = shares_of(scene.deliveries(SKUS, changes))
    async with pagefold.open(scene.config) as shop:
        tail = Tail(shop)
        async with tail.following():
            gate = scene.folder / "gate"
            options = ("--batch", "5", "--gate", str(gate))
            appenders = [
                processes.appender(
                    scene.config, scene.write(share, f"share-{number}"), scene.folder / f"results-{number}", *options
                )
                for number, share in enumerate(shares)
            ]
            await eventually(lambda: all(each.said("appending") for each in appenders), "eight appenders at the gate")
            gate.touch()
            for appender in appenders:
                assert await appender.ended(60 + changes / 100) == 0, appender
        await tail.judge()
        together: list[Arrival] = []
        results: list[Acknowledgement] = []
        for number, share in enumerate(shares):
            results += [
                each._replace(line=each.line + len(together))
                for each in acknowledged(scene.folder / f"results-{number}")
            ]
            together += share
        assert len(results) == len(together)
        judge_acknowledgements(together, results, again=False)
        judge_log(tail_log := await log_of(shop), together, results)
        assert len(tail_log) == scene.model(together).events()


@on(*STORES)
async def test_nothing_is_skipped(scene: Scene, tmp_path: Path) -> None:
    """Eight processes append at the same time; a consumer that only goes forward sees every event."""
    with Processes(tmp_path) as processes:
        await append_at_the_same_time(scene, processes, CHANGES)


@pytest.mark.soak
@on(*STORES, seed=SOAK_SEED)
async def test_nothing_is_skipped_for_long(scene: Scene, tmp_path: Path) -> None:
    """The same with many more events."""
    with Processes(tmp_path) as processes:
        await append_at_the_same_time(scene, processes, CHANGES * SOAK_ROUNDS)


# --- one insert held in the middle ----------------------------------------------------------------


def stock(sku: str) -> DomainEvent:
    """One event."""
    return DomainEvent(
        type="inventory",
        sku=sku,
        channel="*",
        source="wms-berlin",
        source_version=1,
        occurred_at=OPENING,
        payload={"available": 1},
    )


@contextmanager
def held_in_postgres(url: str) -> Iterator[Callable[[], bool]]:
    """Delays the insert of `HELD_SKU`, and returns whether it is waiting."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(4711)")

        def waits() -> bool:
            return (
                connection.execute("SELECT 1 FROM pg_locks WHERE NOT granted AND objid = 4711").fetchone() is not None
            )

        yield waits


@on("postgres")
async def test_no_position_overtakes_a_delayed_insert(scene: Scene) -> None:
    """While an insert with an assigned position is uncommitted, no later position becomes visible."""
    async with pagefold.open(scene.config) as shop, pagefold.open(scene.config) as other:
        await shop.append([stock("BEFORE")])
        with psycopg.connect(scene.url, autocommit=True) as connection:
            connection.execute(HOLD)
        results: list[AppendResult] = []

        async def append(by: Shop, sku: str) -> None:
            results.extend(await by.append([stock(sku)]))

        tail = Tail(shop)
        async with tail.following(), anyio.create_task_group() as group:
            with held_in_postgres(scene.url) as waits:
                group.start_soon(append, shop, HELD_SKU)
                await eventually(waits, "an insert that is held")
                group.start_soon(append, other, "OTHER")
                await anyio.sleep(HELD_SECONDS)
                assert tail.seen == [1]
                assert not results
        assert [result.position for result in results] == [2, 3]
        await tail.judge()


@on("postgres")
async def test_rows_outside_the_function_are_skipped(scene: Scene) -> None:
    """The control: rows that get around the log's own function are skipped, so the tests above can fail."""
    async with pagefold.open(scene.config) as shop:
        tail = Tail(shop)
        with psycopg.connect(scene.url) as slow, psycopg.connect(scene.url) as fast:
            slow.execute(BARE_INSERT, [f"{HELD_SKU}/*/inventory/wms-berlin"])
            fast.execute(BARE_INSERT, ["OTHER/*/inventory/wms-berlin"])
            fast.commit()
            await tail.read()
            slow.commit()
        await tail.read()
        assert tail.seen == [2]
        assert [event.notification_id for event in await log_of(shop)] == [1, 2]


@on("sqlite")
async def test_no_position_overtakes_a_delayed_transaction(scene: Scene) -> None:
    """While another program has inserted and not committed, appends wait, and nothing becomes visible."""
    async with pagefold.open(scene.config) as shop:
        await shop.append([stock("BEFORE")])
        tail = Tail(shop)
        held = apsw.Connection(str(scene.folder / "store" / "events.db"))
        async with tail.following(), anyio.create_task_group() as group:
            held.execute("BEGIN IMMEDIATE")
            row = (f"{HELD_SKU}/*/inventory/wms-berlin", 1, "inventory", b"{}")
            held.execute(
                "INSERT INTO stored_events (originator_id, originator_version, topic, state) VALUES (?, ?, ?, ?)", row
            )
            group.start_soon(shop.append, [stock("OTHER")])
            await anyio.sleep(HELD_SECONDS)
            assert tail.seen == [1]
            held.execute("COMMIT")
        held.close()
        await tail.judge()
        assert tail.seen == [1, 2, 3]
