"""The simulated machine is like a real one, and its checks know what was true when something happened."""

import random
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import anyio
import apsw
import pytest

import pagefold
from pagefold import Shop
from pagefold.engine.errors import StoreError
from pagefold.engine.stores.sqlite import connections
from pagefold.engine.stores.sqlite.worker_threads import in_thread
from tests.simulation.checks import Files
from tests.simulation.disk import DATABASES, Faults
from tests.simulation.machine import Machine, empty_store
from tests.simulation.model import Row
from tests.simulation.rebuilds import check_rebuilds
from tests.simulation.scheduler import Process, Scheduler, discard
from tests.simulation.snapshots import Kind, Snapshots
from tests.simulation.sources import Fact, Sources
from tests.simulation.trace import Trace
from tests.support.small_shop import price

BEGINNING = datetime(2026, 3, 1, 8, tzinfo=UTC)
CATALOG = {"attributes": {"size": "S"}}


# --- time -----------------------------------------------------------------------------------------


async def end_in_time(seconds: float) -> None:
    """A program that finishes its work when it is cancelled."""
    with anyio.CancelScope(shield=True):
        await anyio.sleep(seconds)


async def in_scope(process: Process, seconds: float) -> None:
    """The main program of a process."""
    with process.scope:
        async with anyio.create_task_group() as group:
            group.start_soon(end_in_time, seconds)


@pytest.mark.parametrize("dies", [True, False])
def test_a_terminated_process_does_not_stop_the_clock(*, dies: bool) -> None:
    """Neither while it finishes what it does nor when it is killed meanwhile."""
    scheduler = Scheduler(random.Random(1), Trace())

    async def run() -> None:
        process = Process("worker", 1)
        scheduler.start(process, in_scope(process, 30.0))
        await anyio.sleep(1.0)
        process.terminate()
        if dies:
            scheduler.kill(process)
        await anyio.sleep(60.0)
        assert not process.alive
        discard([process])

    scheduler.run_until_complete(run())
    scheduler.close()
    assert scheduler.time() >= 61.0
    assert scheduler.steps < 1_000


def test_a_writer_waits_for_the_lock_of_another(tmp_path: Path) -> None:
    """As long as SQLite's busy timeout lets a thread wait, and no longer."""
    machine = Machine(1, tmp_path)
    tries: list[float] = []

    def locked_until(seconds: float) -> None:
        tries.append(machine.scheduler.time())
        if tries[-1] < seconds:
            raise apsw.BusyError

    with machine.environment.entered():
        machine.scheduler.run_until_complete(in_thread(lambda: locked_until(5.0)))
        assert tries[-1] >= 5.0
        with pytest.raises(apsw.BusyError):
            machine.scheduler.run_until_complete(in_thread(lambda: locked_until(100.0)))
        machine.scheduler.close()


# --- disks ----------------------------------------------------------------------------------------


async def opened_while_full(machine: Machine, said: list[str]) -> None:
    """A process that begins when its disk is full, and appends when there is room again."""
    machine.disk.faults = Faults(full=1.0)
    async with pagefold.open(machine.config) as shop:
        machine.disk.faults = Faults()
        connection = shop.store._connections.events_on_loop.connection  # type: ignore[attr-defined]  # of SQLite's
        said.append(f"without an index: {connection.is_fallback}")
        await anyio.sleep(1.0)
        said.append(await outcome_of(shop, 2))


async def opened_later(machine: Machine, said: list[str]) -> None:
    """Another process, which appends when there is room."""
    await anyio.sleep(0.5)
    async with pagefold.open(machine.config) as shop:
        said.append(await outcome_of(shop, 1))


async def outcome_of(shop: Shop, version: int) -> str:
    """What becomes of an event, or the error."""
    try:
        return (await shop.append([price("1.00", version=version)]))[0].outcome
    except StoreError as error:
        return type(error).__name__


@pytest.mark.parametrize("careless", [False, True])
def test_a_process_without_an_index_keeps_only_itself_from_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, careless: bool
) -> None:
    """Until it opens its files as usual, which it must do before it writes."""
    if careless:
        monkeypatch.setattr(connections.Connections, "uses_fallback", False)
    machine, said = Machine(1, tmp_path), list[str]()
    for name in DATABASES:
        shutil.copy(empty_store() / name, machine.disk.folder / name)

    async def run() -> None:
        machine.scheduler.start(Process("first", 1), opened_while_full(machine, said))
        machine.scheduler.start(Process("second", 2), opened_later(machine, said))
        await anyio.sleep(10.0)

    with machine.environment.entered():
        machine.scheduler.run_until_complete(run())
        machine.scheduler.close()
    assert said == ["without an index: True", "appended", "StoreReadOnly" if careless else "appended"]


# --- snapshots ------------------------------------------------------------------------------------


def snapshots_of(folder: Path, rows: int, seed: int = 4) -> Snapshots:
    """Snapshots of sources of which the first has so many rows."""
    sources = Sources(random.Random(3), lambda: BEGINNING)
    for number in range(rows):
        sources.facts[f"S{number}", "*", "catalog", "pim"] = Fact(9, BEGINNING, CATALOG)
    return Snapshots(folder, random.Random(seed), sources)


@pytest.mark.parametrize(("kind", "rows"), [("shifted", 1), ("shifted", 0), ("count 0", 0)])
def test_a_snapshot_with_too_few_rows_to_be_wrong_is_right(tmp_path: Path, kind: Kind, rows: int) -> None:
    """A single row cannot take the place of another one, and no rows are counted rightly by 0."""
    assert snapshots_of(tmp_path, rows).take("pim", kind, confirmed=False).kind == "whole"
    assert snapshots_of(tmp_path, 2).take("pim", kind, confirmed=False).kind == kind


@pytest.mark.parametrize("seed", range(10))
def test_a_wrong_count_is_wrong(tmp_path: Path, seed: int) -> None:
    """Of no rows, too."""
    snapshots = snapshots_of(tmp_path, 0, seed)
    snapshots.write(snapshots.take("pim", "wrong count", confirmed=False))
    assert re.search(r"[1-9]\W*$", snapshots.file("pim").read_text())


# --- checks ---------------------------------------------------------------------------------------


def emptied(number: int, late: int) -> list[Row]:
    """A stream that a run corrects at the position 20 to no content; its version 5 came at the position `late`."""
    stream = f"S{number}/*/catalog/pim"
    return [
        Row(10, stream, 1, 0, "catalog", {"payload": None}),
        Row(20, stream, 9, 0, "catalog", {"payload": {}, "runId": "run", "drift": "newer"}),
        Row(late, stream, 5, 0, "catalog", {"payload": CATALOG}),
    ]


def test_a_repair_takes_nothing_of_what_arrived_after_it(tmp_path: Path) -> None:
    """Versions that are older than a correction, and came later, were not there to be lost."""
    taken = snapshots_of(tmp_path, 10).take("pim", "emptied", confirmed=False)
    for late in (30, 15):
        log = [row for number in range(10) for row in emptied(number, late)]
        files = Files(log, 30, [], set(), [])
        if late > 20:
            check_rebuilds(files, {"run": taken})
        else:
            with pytest.raises(AssertionError, match="I14: 10 of 10 streams of pim lose everything unconfirmed"):
                check_rebuilds(files, {"run": taken})
