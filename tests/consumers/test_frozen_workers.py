"""A frozen worker is replaced within its lease, and cannot change anything when it resumes."""

import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.demo.reference_model import DOMAINS
from tests.support.fault_scenario import LEASE_SECONDS, SOAK_ROUNDS, SOAK_SEED, Scene, caught_up, holders, judge, on
from tests.support.postgres import PostgresServer
from tests.support.processes import Process, Processes, Worker, acknowledged, eventually

STORES = ("sqlite", "postgres")
SECONDS_TO_NOTICE = 10.0
"""Longer than the lease: the time for a standby on a busy machine to notice, and to take all domains."""

SKUS = 40
CHANGES = 1200
IN_A_TRANSACTION = "a worker is frozen inside a transaction; end it, or no worker can fold"


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


class Play:
    """A shop and its workers, with events that arrive in acts. Between the acts, workers can be frozen."""

    def __init__(self, scene: Scene, processes: Processes, shop: Shop, acts: int) -> None:
        self._scene = scene
        self._processes = processes
        self.shop = shop
        self._deliveries = scene.deliveries(SKUS, CHANGES)
        self._acts = acts
        self._played = 0
        self._end = 0
        self._results = scene.folder / "results"

    async def enter(self, *options: str) -> Worker:
        """Starts one more worker, which works or stands by."""
        worker = self._processes.worker(self._scene.config, *options)
        await eventually(lambda: bool(worker.said("working")), f"work of {worker}")
        return worker

    def begin_append(self, *options: str) -> Process:
        """Starts to append the next act."""
        self._played += 1
        start, self._end = self._end, len(self._deliveries) * self._played // self._acts
        lines = self._scene.write(self._deliveries[: self._end], "act")
        return self._processes.appender(self._scene.config, lines, self._results, "--start", str(start), *options)

    async def append(self) -> None:
        """Appends the next act."""
        appender = self.begin_append()
        assert await appender.ended() == 0, appender

    async def taken_by(self, worker: Worker, seconds: float = 20.0) -> None:
        """Waits until a worker holds every domain."""

        async def condition() -> bool:
            assert worker.alive, worker
            taken = {line["domain"] for line in worker.said("folding")}
            return taken == set(DOMAINS) and await holders(self.shop) == {worker.pid}

        await eventually(condition, f"all domains are held by {worker}", seconds)

    async def judge(self) -> None:
        """Checks that everything so far is right."""
        said = self._deliveries[: self._end]
        await judge(self.shop, self._scene.model(said), said, acknowledged(self._results))


@asynccontextmanager
async def staged(scene: Scene, folder: Path, acts: int) -> AsyncIterator[Play]:
    """A play, after which no worker runs."""
    with Processes(folder) as processes:
        async with pagefold.open(scene.config) as shop:
            yield Play(scene, processes, shop, acts)


@on(*STORES)
async def test_one_frozen_between_batches_is_replaced(scene: Scene, tmp_path: Path) -> None:
    """A frozen worker loses its domains within the lease, stands by when it wakes, and can take over again."""
    async with staged(scene, tmp_path, 4) as play:
        first = await play.enter()
        await play.append()
        await play.taken_by(first)
        await eventually(lambda: caught_up(play.shop), "lag 0")
        second = await play.enter()
        first.freeze()
        await play.taken_by(second, LEASE_SECONDS + SECONDS_TO_NOTICE)
        await play.append()
        first.wake()
        await play.append()
        await play.judge()
        await play.taken_by(second)
        second.kill()
        await play.taken_by(first)
        await play.append()
        await play.judge()


@on(*STORES)
async def test_one_frozen_before_it_folded_anything_is_replaced(scene: Scene, tmp_path: Path) -> None:
    """A worker that loses its domains before its first batch becomes a standby, too."""
    async with staged(scene, tmp_path, 2) as play:
        first = await play.enter()
        await play.taken_by(first)
        second = await play.enter()
        first.freeze()
        await play.taken_by(second, LEASE_SECONDS + SECONDS_TO_NOTICE)
        first.wake()
        await play.append()
        await play.judge()
        second.kill()
        await play.taken_by(first)
        await play.append()
        await play.judge()


@pytest.mark.parametrize("options", [(), ("--transactions",)])
@on(*STORES)
async def test_one_frozen_in_a_transaction_is_replaced(scene: Scene, tmp_path: Path, options: tuple[str, ...]) -> None:
    """It cannot keep its locks: on SQLite it is killed, on PostgreSQL it loses its session, and its batch.

    Or between the two statements of a small fold on PostgreSQL, where it holds none.
    """
    async with staged(scene, tmp_path, 4) as play:
        first = await play.enter(*options)
        await play.append()
        await play.taken_by(first)
        second = await play.enter()
        first.set_trap(signal.SIGSTOP)
        await play.append()
        await eventually(lambda: first.frozen, "a worker frozen in a transaction")
        await play.taken_by(second, LEASE_SECONDS + SECONDS_TO_NOTICE)
        if scene.on_sqlite:
            assert await first.ended() == -signal.SIGKILL
        else:
            first.wake()
        await play.append()
        await play.judge()
        await play.taken_by(second)
        assert first.alive is not scene.on_sqlite


@on("sqlite")
async def test_one_that_may_not_be_killed_is_reported(scene: Scene, tmp_path: Path) -> None:
    """A frozen process that is not killable is not killed: appends and reads continue, and it finishes later."""
    async with staged(scene, tmp_path, 3) as play:
        first = await play.enter("--keep")
        await play.append()
        await play.judge()
        keys = play.shop.store.pages.keys()
        pages = [key async for key in keys]
        second = await play.enter()
        first.set_trap(signal.SIGSTOP)
        await play.append()
        await eventually(lambda: first.frozen, "a worker frozen in a transaction")
        await eventually(lambda: bool(second.said(IN_A_TRANSACTION, pid=first.pid)), f"a report of {second}")
        for sku, channel in pages:
            assert await play.shop.pages.get_json(sku, channel, disabled=True)
        assert first.frozen
        first.wake()
        await play.append()
        await play.judge()
        assert first.alive
        assert second.alive


# --- at random ------------------------------------------------------------------------------------


async def freeze_at_random(play: Play, freezes: int, luck: random.Random) -> None:
    """Appends events while one of two workers freezes at random, for less than a lease or for more."""
    crew = [await play.enter(), await play.enter()]
    appender = play.begin_append("--pause", str(freezes / 20), "--tasks", "2")
    for _ in range(freezes):
        number = luck.randrange(2)
        if not crew[number].alive:
            crew[number] = await play.enter()
        if luck.random() < 0.5:
            crew[number].set_trap(signal.SIGSTOP)
            await anyio.sleep(luck.uniform(0, 0.5))
        else:
            crew[number].freeze()
        await anyio.sleep(luck.choice([0.1, 0.5, 1, 1.2, 2]) * LEASE_SECONDS)
        crew[number].remove_trap()
        crew[number].wake()
        await anyio.sleep(luck.uniform(0, 0.5))
    assert await appender.ended(60 + freezes * 3) == 0, appender
    for worker in crew:
        assert worker.alive or await worker.ended() == -signal.SIGKILL, worker


@pytest.mark.soak
@on(*STORES, seed=SOAK_SEED)
async def test_workers_freeze_for_long(scene: Scene, tmp_path: Path) -> None:
    """Workers freeze and wake at any moment, often: one of them is always replaced, and every page is right."""
    async with staged(scene, tmp_path, 2) as play:
        await freeze_at_random(play, SOAK_ROUNDS, random.Random(scene.seed))
        await play.enter()
        await play.append()
        await play.judge()
