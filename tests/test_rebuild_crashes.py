"""A rebuild is killed again and again: resumed, it ends as if nothing had happened, and nothing is in the log twice."""

import random
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

import engine
from engine import Config, DomainEvent, Shop
from engine.rebuild.office import RunReport
from tests.postgres import PostgresServer
from tests.processes import Processes
from tests.rebuilds import export, toml_of, with_snapshots
from tests.scenes import SOAK_SEED
from tests.shops import event, everything, pages_of, stock

KILLS, SKUS = 3, 1_000
SOAK_KILLS, SOAK_SKUS = 30, 3_000
ROWS = 50
"""Rows of a page in the process that is killed, so that there are many pages."""

MOST_WRITES = 4
"""A process is killed at one of its first so many writes: a page has two or three."""


@pytest.fixture(scope="module")
def durable_server() -> Iterator[PostgresServer]:
    """A PostgreSQL server with fsync."""
    with PostgresServer(fsync=True) as server:
        yield server


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes of this test, all of which end with it."""
    with Processes(tmp_path) as started:
        yield started


@pytest.fixture
def store_urls(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two stores of a kind: one for the run that is killed, one for the run that is not."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'killed'}", f"sqlite:///{tmp_path / 'spared'}"
        return
    server: PostgresServer = request.getfixturevalue("durable_server")
    urls = (server.create_database(), server.create_database())
    yield urls
    for url in urls:
        server.drop_database(url)


class Outcome(NamedTuple):
    """What a run has left: its counts, the domain events in the log but for positions and moments, and the pages."""

    counts: dict[str, int]
    log: list[tuple[str, int, int, bytes, str | None]]
    pages: dict[tuple[str, str], bytes | None]


def what_was_said(luck: random.Random, skus: int) -> tuple[list[DomainEvent], list[DomainEvent]]:
    """What the log has, and what the snapshot says: of each kind of drift there is plenty, and most is equal."""
    log: list[DomainEvent] = []
    rows: list[DomainEvent] = []
    for number in range(skus):
        sku, fate = f"SKU-{number:05}", luck.random()
        if fate > 0.05:  # else it is missing
            log.append(stock(number, version=5, sku=sku))
        if fate < 0.97:  # else it is an orphan
            newer, changed = fate < 0.12, fate < 0.16
            rows.append(stock(number + changed, version=6 if newer else 5, sku=sku))
            rows += what_is_put_aside(sku, luck.random())
    return log, rows


def what_is_put_aside(sku: str, fate: float) -> list[DomainEvent]:
    """Now and then, another row of the same stream: an older one, one that contradicts it, one that breaks a rule."""
    if fate < 0.01:
        return [stock(7, version=2, sku=sku)]
    if fate < 0.02:
        return [stock(1_000_000, version=5, sku=sku), stock(1_000_001, version=5, sku=sku)]
    return [event("inventory", {"available": "many"}, version=9, sku=sku)] if fate < 0.03 else []


async def prepared(url: str, folder: Path, log: Sequence[DomainEvent], rows: Sequence[DomainEvent]) -> Path:
    """A store with that log and that snapshot. Gives the file of its configuration."""
    config = with_snapshots(url, folder, "wms-a")
    async with engine.open(config) as shop:
        await shop.append(log)
        await shop.catch_up()
    export(config, "wms-a", *rows, taken_at="2100-01-01T00:00:00Z")
    file = folder / f"{abs(hash(url))}.toml"
    file.write_text(toml_of(config), encoding="utf-8")
    return file


async def outcome(shop: Shop, report: RunReport) -> Outcome:
    """What a run has left."""
    await shop.catch_up()
    log = [
        (each.originator_id, each.originator_version, each.revision, *_said(each.state))
        for each in await everything(shop.store)
        if each.topic == "inventory"
    ]
    return Outcome(report.counts.as_dict(), sorted(log), await pages_of(shop))


def _said(state: bytes) -> tuple[bytes, str | None]:
    said = msgspec.json.decode(state)
    return msgspec.json.encode(said["payload"]), said.get("drift")


async def kill_rebuilds(
    urls: tuple[str, str], folder: Path, processes: Processes, kills: int, skus: int, seed: int
) -> None:
    """A run is killed so many times and resumed, another is not: they leave the same."""
    luck = random.Random(seed)
    log, rows = what_was_said(luck, skus)
    if seed % 2:
        luck.shuffle(rows)
    outcomes: list[Outcome] = []
    for url, deaths in zip(urls, (kills, 0), strict=True):
        file = await prepared(url, folder, log, rows)
        options = ["--rows", str(ROWS)]
        for _ in range(deaths):
            trap = luck.randint(2, MOST_WRITES)
            process = processes.rebuilder(file, "wms-a", *options, "--trap", str(trap))
            assert await process.ended() == -signal.SIGKILL, process
            options = ["--rows", str(ROWS), "--resume"]
        process = processes.rebuilder(file, "wms-a", *options)
        assert await process.ended() == 0, process
        async with engine.open(Config.load(file)) as shop, shop.rebuilds() as office:
            [report] = await office.newest(10)
            assert (report.state, report.complete) == ("completed", True)
            outcomes.append(await outcome(shop, report))
    killed, spared = outcomes
    assert killed.counts == spared.counts
    assert killed == spared


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_rebuild_is_killed(
    store_urls: tuple[str, str], tmp_path: Path, processes: Processes, seed: int
) -> None:
    """Killed before or behind a write, and resumed: the same counts, log and pages as of a run that was not."""
    await kill_rebuilds(store_urls, tmp_path, processes, KILLS, SKUS, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED, SOAK_SEED + 1])
async def test_a_rebuild_is_killed_many_times(
    store_urls: tuple[str, str], tmp_path: Path, processes: Processes, seed: int
) -> None:
    """The same thirty times, of a larger shop, with rows in order and in none."""
    await kill_rebuilds(store_urls, tmp_path, processes, SOAK_KILLS, SOAK_SKUS, seed)
