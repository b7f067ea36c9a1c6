"""Power failures: SQLite's acknowledged events are on the disk, and the pages are complete or can be folded again."""

from collections.abc import Sequence
from pathlib import Path

import apsw
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.demo.faults import Arrival, Faults
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from pagefold.engine.stores.log_records import StoredEvent
from tests.support.fault_scenario import (
    READ_AT_ONCE,
    SOAK_ROUNDS,
    SOAK_SEED,
    Scene,
    judge_acknowledgements,
    judge_counters,
    judge_log,
    judge_pages,
    key_of,
    log_of,
)
from tests.support.power_loss import POWER_LOST
from tests.support.processes import Acknowledgement, Processes, acknowledged

SKUS = 40
CHANGES = 2500
FAULTS = Faults(broken=0)

ANY_MOMENT = ("--changes", "20", "900")
"""From before the tables exist to well into the appends; a complete run makes more changes."""

LATE = ("--changes", "600", "900")


class Machine:
    """A machine that restarts after power failures. Its disk is a new folder each time."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        self._folder = folder
        self._processes = processes
        self._generation = 0
        self.disk = folder / "disk-0"
        self.disk.mkdir()

    def scene(self, seed: int) -> Scene:
        """The shop on its disk."""
        folder = self._folder / f"generation-{self._generation}"
        folder.mkdir(exist_ok=True)
        return Scene(folder, f"sqlite:///{self.disk}", seed=seed)

    async def run(self, scene: Scene, deliveries: Sequence[Arrival], *options: str) -> list[Acknowledgement]:
        """Appends until the power fails, and returns the acknowledged events."""
        self._generation += 1
        disk = self._folder / f"disk-{self._generation}"
        disk.mkdir()
        results = scene.folder / "results"
        seed = str(scene.seed + self._generation)
        lines = scene.write(deliveries)
        process = self._processes.machine(scene.config, lines, results, disk, "--seed", seed, *options)
        assert await process.ended() == POWER_LOST, process
        self.disk = disk
        return acknowledged(results)


def judge_files(disk: Path) -> None:
    """Neither file is corrupt."""
    for file in sorted(disk.glob("*.db")):
        connection = apsw.Connection(str(file))
        assert connection.pragma("integrity_check") == "ok", file
        connection.close()


async def judge_machine(machine: Machine, deliveries: Sequence[Arrival], results: Sequence[Acknowledgement]) -> None:
    """Every acknowledged event is there, and the pages follow from the log."""
    judge_files(machine.disk)
    scene = machine.scene(seed=1)
    async with pagefold.open(scene.config) as shop:
        log = await log_of(shop)
        judge_log(log, deliveries, results)
        await judge_kept_conflicts(shop, deliveries, results)
        end = await shop.store.log.end()
        for each in await shop.store.coordination.checkpoints():
            assert each.position <= end, f"{each} is beyond the log"
        await shop.catch_up()
        model = scene.model(standing(deliveries, log))
        await judge_counters(shop, model)
        await judge_pages(shop, model)


async def judge_kept_conflicts(shop: Shop, deliveries: Sequence[Arrival], results: Sequence[Acknowledgement]) -> None:
    """Every acknowledged conflict is in dead letters."""
    dead_letters = await shop.store.dead_letters.newest(DeadLetterFilter("ingest"), limit=READ_AT_ONCE)
    kept = {(each.originator_id, each.originator_version) for each in dead_letters}
    for line, outcome, _ in results:
        event = deliveries[line].event
        assert outcome != "conflict" or (event is not None and key_of(event) in kept), f"{event} is not in dead letters"


def standing(deliveries: Sequence[Arrival], log: Sequence[StoredEvent]) -> list[Arrival]:
    """The deliveries in the log."""
    keys = {(event.originator_id, event.originator_version) for event in log}
    first = [each for each in deliveries if each.expected == "appended"]
    return [each for each in first if each.event is not None and key_of(each.event) in keys]


async def lose_power(folder: Path, seed: int, *options: str, times: int = 2) -> None:
    """Power failures, after each of which everything is sent again and the disk is checked."""
    with Processes(folder) as processes:
        machine = Machine(folder, processes)
        for _ in range(times):
            scene = machine.scene(seed)
            deliveries = scene.deliveries(SKUS, CHANGES, FAULTS)
            results = await machine.run(scene, deliveries, *options)
            judge_acknowledgements(deliveries, results, again=True)
            await judge_machine(machine, deliveries, results)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_acknowledged_events_are_on_the_disk(tmp_path: Path, seed: int) -> None:
    """After a power failure, whichever unsynced writes the disk kept, the log has every acknowledged event."""
    await lose_power(tmp_path, seed, *ANY_MOMENT)


async def test_an_unsynced_log_loses_acknowledged_events(tmp_path: Path) -> None:
    """The control: with `synchronous = NORMAL`, a power failure loses acknowledged events, sooner or later."""
    with pytest.raises(AssertionError, match=r"is not in the log|is not in dead letters|is beyond the log"):
        await lose_power(tmp_path, 1, *LATE, "--careless", times=10)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED])
async def test_acknowledged_events_are_on_the_disk_for_long(tmp_path: Path, seed: int) -> None:
    """The same, many times over."""
    for number in range(SOAK_ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        await lose_power(folder, seed + number * 1000, *ANY_MOMENT, times=3)
