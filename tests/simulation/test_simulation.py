"""The whole of Pagefold on a simulated machine, seed by seed; a failing seed is named, and fails again."""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import apsw
import pytest

from pagefold.engine.stores.sqlite import connections
from tests.simulation.machine import Failed, simulate
from tests.simulation.servers import Servers
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.postgres import PostgresServer
from tests.support.processes import Processes

SEEDS, CHUNK = 160, 20
SEEDS_A_ROUND = 250
"""With it, the 40 rounds of a soak are 10,000 seeds."""

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    """Crashes at every await, power failures, failing disks, clock jumps: every invariant holds in the end."""
    for seed in range(first, first + CHUNK):
        simulate(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED])
@pytest.mark.parametrize("number", range(SOAK_ROUNDS))
def test_every_invariant_holds_for_long(number: int, seed: int) -> None:
    """The same for thousands of seeds: in separate processes, since the objects of a run stay in memory."""
    first = seed + number * SEEDS_A_ROUND
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(first), "--count", str(SEEDS_A_ROUND)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if ": Outcome(" not in line)
    assert done.stdout.count(": Outcome(") == SEEDS_A_ROUND


def test_a_seed_is_reproducible() -> None:
    """In two processes with other hash seeds, the same happens, step by step and byte by byte."""
    first, second = (shown(7, 6, hash_seed) for hash_seed in ("1", "2"))
    assert len(first) == 6
    assert first == second


def shown(seed: int, count: int, hash_seed: str) -> list[str]:
    """The command's output for some seeds, without durations."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(seed), "--count", str(count)]
    environment = os.environ | {"PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=120)
    return [line.rpartition(" in ")[0] for line in done.stdout.splitlines()]


# --- real processes -------------------------------------------------------------------------------


async def run_servers(server: PostgresServer, folder: Path, seed: int) -> None:
    """One seed, in a database of its own."""
    url = server.create_database()
    await anyio.Path(folder).mkdir()
    with Processes(folder) as processes:
        await Servers(seed, url, folder, processes).run()
    server.drop_database(url)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_invariant_holds_on_postgres(postgres_server: PostgresServer, tmp_path: Path, seed: int) -> None:
    """Workers killed and frozen, connections cut, concurrent rebuilds: every invariant holds in the end."""
    await run_servers(postgres_server, tmp_path / "shop", seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED])
async def test_every_invariant_holds_on_postgres_for_long(
    postgres_server: PostgresServer, tmp_path: Path, seed: int
) -> None:
    """The same, for many seeds."""
    for each in range(seed, seed + 10 * SOAK_ROUNDS):
        await run_servers(postgres_server, tmp_path / str(each), each)


# --- it can fail ----------------------------------------------------------------------------------


def fails(seeds: int) -> Failed:
    """The first failure among that many seeds."""
    for seed in range(1, seeds + 1):
        try:
            simulate(seed)
        except Failed as failed:
            return failed
    pytest.fail("every seed has passed")


def test_an_unsynced_log_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that is not synced with every commit loses acknowledged events: a check or the product itself finds it."""
    connect = connections.connect

    def carelessly(file: Path, *, synchronous: str, cache_kib: int) -> apsw.Connection:
        return connect(file, synchronous="NORMAL", cache_kib=cache_kib)

    monkeypatch.setattr(connections, "connect", carelessly)
    failed = fails(40)
    lost = ("AssertionError: I", "LogReplaced: the log is not the one that was folded: events were acknowledged")
    assert str(failed).startswith(tuple(f"seed {failed.seed}: {each}" for each in lost))
    assert str(failed).endswith(f"(python -m tests.simulation --seed {failed.seed})")
    with pytest.raises(Failed) as again:
        simulate(failed.seed)
    assert str(again.value) == str(failed)
