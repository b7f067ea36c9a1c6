"""Processes and servers are killed during appends and folds: nothing acknowledged is lost, and pages are right."""

import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

import pagefold
from pagefold.engine.demo.faults import Arrival
from tests.support.fault_scenario import (
    SOAK_ROUNDS,
    SOAK_SEED,
    Scene,
    judge,
    judge_acknowledgements,
    judge_log,
    log_of,
    on,
)
from tests.support.postgres import PostgresServer
from tests.support.processes import Processes, acknowledged, eventually

STORES = ("sqlite", "postgres")
KILLS = 3
SKUS = 150
CHANGES_A_ROUND = 900


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with fsync, which tests may stop and start."""
    with PostgresServer(fsync=True) as server:
        yield server


@pytest.fixture
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    """A shop on the store that the test is parametrised with."""
    with Scene.of(request, tmp_path) as made:
        yield made


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes of this test, all of which end with it."""
    with Processes(tmp_path) as started:
        yield started


# --- workers --------------------------------------------------------------------------------------


class Crew:
    """Two workers on one store. A killed worker is replaced."""

    def __init__(self, scene: Scene, processes: Processes) -> None:
        self._scene = scene
        self._processes = processes
        self.luck = random.Random(f"{scene.seed} crew")
        self.members = [processes.worker(scene.config), processes.worker(scene.config)]

    async def lose_one_in_a_transaction(self) -> None:
        """The next worker to fold dies with a written, uncommitted batch."""
        for worker in self.members:
            worker.set_trap(signal.SIGKILL)
        await eventually(lambda: not all(worker.alive for worker in self.members), "a death in a transaction")
        self.replace_the_dead()

    async def lose_one_anywhere(self) -> None:
        """Kills one of them at any point."""
        await anyio.sleep(self.luck.uniform(0.1, 0.6))
        self.luck.choice(self.members).kill()
        self.replace_the_dead()

    def replace_the_dead(self) -> None:
        """Every dead worker died of the injected fault; a new one replaces it."""
        for number, worker in enumerate(self.members):
            worker.remove_trap()
            if not worker.alive:
                assert worker.exit_code == -signal.SIGKILL, worker
                self.members[number] = self._processes.worker(self._scene.config)


async def kill_workers(scene: Scene, processes: Processes, kills: int) -> None:
    """Two fold, one dies again and again, a third appends; then everything must be right."""
    deliveries = scene.deliveries(SKUS, CHANGES_A_ROUND * kills)
    lines, results = scene.write(deliveries), scene.folder / "results"
    crew = Crew(scene, processes)
    appender = processes.appender(scene.config, lines, results, "--pause", "0.12")
    for number in range(kills):
        await (crew.lose_one_anywhere() if number % 3 == 2 else crew.lose_one_in_a_transaction())
    assert await appender.ended(60 + kills * 2) == 0, appender
    crew.replace_the_dead()
    judge_acknowledgements(deliveries, acknowledged(results), again=False)
    assert len(acknowledged(results)) == len(deliveries)
    async with pagefold.open(scene.config) as shop:
        await judge(shop, scene.model(deliveries), deliveries, acknowledged(results))


@on(*STORES)
async def test_workers_are_killed(scene: Scene, processes: Processes) -> None:
    """Two processes fold, one is killed again and again, mid-batch, while a third appends: every page is right."""
    await kill_workers(scene, processes, KILLS)


@pytest.mark.soak
@on(*STORES, seed=SOAK_SEED)
async def test_workers_are_killed_for_long(scene: Scene, processes: Processes) -> None:
    """The same, many times over."""
    await kill_workers(scene, processes, SOAK_ROUNDS)


# --- appenders ------------------------------------------------------------------------------------


async def kill_appenders(scene: Scene, processes: Processes, kills: int) -> None:
    """An appender dies again and again; the next one starts a little before its last line. A worker folds."""
    luck = random.Random(f"{scene.seed} appenders")
    deliveries = scene.deliveries(SKUS, CHANGES_A_ROUND * kills)
    lines, results = scene.write(deliveries), scene.folder / "results"
    processes.worker(scene.config)
    for _ in range(kills):
        start = max(0, _first_without_result(results) - luck.randint(0, 300))
        appender = processes.appender(scene.config, lines, results, "--start", str(start), "--batch", "10")
        before = len(acknowledged(results))
        await eventually(lambda: len(acknowledged(results)) > before or not appender.alive, "an acknowledgement")  # noqa: B023
        await anyio.sleep(luck.uniform(0, 0.15))
        appender.kill()
    async with pagefold.open(scene.config) as shop:
        judge_log(await log_of(shop), deliveries, acknowledged(results))
        last = processes.appender(scene.config, lines, results, "--start", str(_first_without_result(results)))
        assert await last.ended() == 0, last
        log = await log_of(shop)
        judge_acknowledgements(deliveries, acknowledged(results), again=True)
        await send_all_again(scene, processes, deliveries)
        assert await log_of(shop) == log
        await judge(shop, scene.model(deliveries), deliveries, acknowledged(results))


async def send_all_again(scene: Scene, processes: Processes, deliveries: Sequence[Arrival]) -> None:
    """Every event is known: no true event conflicts with itself."""
    results = scene.folder / "results-again"
    again = processes.appender(scene.config, scene.folder / "lines.ndjson", results, "--batch", "500")
    assert await again.ended() == 0, again
    judge_acknowledgements(deliveries, acknowledged(results), again=True)
    outcomes = {each.line: each.outcome for each in acknowledged(results)}
    for line, delivery in enumerate(deliveries):
        assert outcomes[line] == ("duplicate" if delivery.expected == "appended" else delivery.expected)


def _first_without_result(results: Path) -> int:
    """The first line without a result."""
    lines = {each.line for each in acknowledged(results)}
    return next(number for number in range(len(lines) + 1) if number not in lines)


@on(*STORES)
async def test_appenders_are_killed(scene: Scene, processes: Processes) -> None:
    """Results that a killed appender received are in the log, and sending everything again changes nothing."""
    await kill_appenders(scene, processes, KILLS)


@pytest.mark.soak
@on(*STORES, seed=SOAK_SEED)
async def test_appenders_are_killed_for_long(scene: Scene, processes: Processes) -> None:
    """The same, many times over."""
    await kill_appenders(scene, processes, SOAK_ROUNDS)


# --- the server -----------------------------------------------------------------------------------


async def stop_the_server(scene: Scene, processes: Processes, server: PostgresServer, stops: int) -> None:
    """The server stops without notice and restarts, immediately or after longer than an append is retried."""
    luck = random.Random(f"{scene.seed} server")
    deliveries = scene.deliveries(SKUS, CHANGES_A_ROUND * stops)
    lines, results = scene.write(deliveries), scene.folder / "results"
    workers = [processes.worker(scene.config), processes.worker(scene.config)]
    await eventually(lambda: all(worker.said("working") for worker in workers), "they work")  # else they may not begin
    appender = processes.appender(scene.config, lines, results, "--pause", "0.03", "--patience", "0.5")
    for number in range(stops):
        before = len(acknowledged(results))
        await eventually(lambda: len(acknowledged(results)) > before, f"appends after {number} stops of {appender}")  # noqa: B023
        await anyio.sleep(luck.uniform(0, 0.3))
        server.stop("immediate")
        await anyio.sleep(1.5 if number % 2 else luck.uniform(0, 0.3))
        server.start()
    assert await appender.ended(60 + stops * 5) == 0, appender
    assert appender.said("sending again") or stops < 2
    judge_acknowledgements(deliveries, acknowledged(results), again=True)
    async with pagefold.open(scene.config) as shop:
        await judge(shop, scene.model(deliveries), deliveries, acknowledged(results))
    for worker in workers:
        assert worker.alive, worker
    assert any(
        line for worker in workers for line in (*worker.said("interrupted"), *worker.said("retrying after an error"))
    )


@on("postgres")
async def test_the_server_is_stopped(scene: Scene, processes: Processes, durable_server: PostgresServer) -> None:
    """The server is stopped in immediate mode under appends and folds: everything recovers by itself, and logs it."""
    await stop_the_server(scene, processes, durable_server, KILLS - 1)


@pytest.mark.soak
@on("postgres", seed=SOAK_SEED)
async def test_the_server_is_stopped_for_long(
    scene: Scene, processes: Processes, durable_server: PostgresServer
) -> None:
    """The same, many times over."""
    await stop_the_server(scene, processes, durable_server, max(2, SOAK_ROUNDS // 4))
