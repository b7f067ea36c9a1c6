"""A rebuild that is killed and resumed ends like one that was not; nothing is in the log twice."""

import itertools
import random
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.rebuild import head_scan, row_order, source_rebuild
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.source_rebuild import SourceRebuild
from pagefold.engine.snapshots import line_rows
from pagefold.engine.snapshots.line_rows import LineReading
from pagefold.engine.snapshots.snapshot import Batch
from tests.support.fault_scenario import SOAK_SEED
from tests.support.postgres import PostgresServer
from tests.support.processes import Processes
from tests.support.rebuild_fixtures import Witness, counts_of, export, export_lines, toml_of, with_snapshots
from tests.support.small_shop import as_line, event, everything, pages_of, stock, withdrawn

KILLS, SKUS = 3, 1_000
SOAK_KILLS, SOAK_SKUS = 30, 3_000
ROWS = 50
"""Rows of a chunk in the killed process, so that it has many chunks."""

MOST_WRITES = 4
"""A process is killed at one of this many writes; a chunk has two or three."""


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
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A temporary folder for every process of this test, which leaves nothing in it."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    yield
    assert not list(folder.iterdir())


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
    """The results of a run: its counts, the domain events in the log without positions and times, and the pages."""

    counts: dict[str, int]
    log: list[tuple[str, int, int, bytes, str | None]]
    pages: dict[tuple[str, str], bytes | None]


def what_was_said(luck: random.Random, skus: int) -> tuple[list[DomainEvent], list[DomainEvent]]:
    """Events of the log, and rows of the snapshot: many drifts of each kind, but most rows are equal."""
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
    """Sometimes, another row of the same stream: an older, a conflicting, or an invalid one."""
    if fate < 0.01:
        return [stock(7, version=2, sku=sku)]
    if fate < 0.02:
        return [stock(1_000_000, version=5, sku=sku), stock(1_000_001, version=5, sku=sku)]
    return [event("inventory", {"available": "many"}, version=9, sku=sku)] if fate < 0.03 else []


async def prepared(url: str, folder: Path, log: Sequence[DomainEvent], rows: Sequence[DomainEvent]) -> Path:
    """A store with this log and snapshot. Returns the file of its configuration."""
    config = with_snapshots(url, folder, "wms-a")
    async with pagefold.open(config) as shop:
        await shop.append(log)
        await shop.catch_up()
    export(config, "wms-a", *rows, taken_at="2100-01-01T00:00:00Z")
    file = folder / f"{abs(hash(url))}.toml"
    file.write_text(toml_of(config), encoding="utf-8")
    return file


async def outcome(shop: Shop, report: RunReport) -> Outcome:
    """The results of a run."""
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
    """A run that is killed and resumed this many times has the same results as one that is not."""
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
        async with pagefold.open(Config.load(file)) as shop, shop.rebuilds() as office:
            [report] = await office.newest(10)
            assert (report.state, report.complete) == ("completed", True)
            outcomes.append(await outcome(shop, report))
    killed, spared = outcomes
    assert killed.counts == spared.counts
    assert killed == spared


@pytest.mark.usefixtures("temporary")
@pytest.mark.parametrize("seed", [1, 2])
async def test_a_rebuild_is_killed(
    store_urls: tuple[str, str], tmp_path: Path, processes: Processes, seed: int
) -> None:
    """Killed before or after a write and resumed, a run has the same counts, log and pages as one that was not killed.

    A run that sorts its rows leaves no file behind.
    """
    await kill_rebuilds(store_urls, tmp_path, processes, KILLS, SKUS, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [SOAK_SEED, SOAK_SEED + 1])
async def test_a_rebuild_is_killed_many_times(
    store_urls: tuple[str, str], tmp_path: Path, processes: Processes, seed: int
) -> None:
    """The same thirty times with a larger shop, with sorted and with shuffled rows."""
    await kill_rebuilds(store_urls, tmp_path, processes, SOAK_KILLS, SOAK_SKUS, seed)


class Died(Exception):
    """The process is killed before its next write."""


DEATHS: Sequence[Sequence[int]] = ([], [1], [2], [3], [5], [1, 1], [2, 1, 1])


@pytest.mark.parametrize("deaths", DEATHS)
@pytest.mark.parametrize("streams", [1, 10_000])
@pytest.mark.parametrize("comes", ["in order", "in order, always anew", "in no order"])
async def test_what_was_found_is_counted_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[int], streams: int, comes: str
) -> None:
    """Chunks of unreadable rows between orphans: whenever a run is killed, the resumed run counts the same.

    This holds wherever the snapshot resumes, and however many streams are read from the log at a time.
    """
    config = with_snapshots(shop.config.store.url, tmp_path, "wms-a")
    monkeypatch.setattr(head_scan, "STREAMS_PER_READ", streams)
    monkeypatch.setattr(source_rebuild, "RECORD_SECONDS", 0.0)
    for module, name in ((line_rows, "BATCH_ROWS"), (line_rows, "MAX_RUN_LINES"), (row_order, "CHUNK_ROWS")):
        monkeypatch.setattr(module, name, 1)
    if comes == "in order, always anew":
        forget_cursors(monkeypatch)
    skus = [f"SKU-{number}" for number in range(8)]
    await shop.append([stock(1, version=5, sku=sku) for sku in skus])
    kept = [as_line(stock(1, version=5, sku=skus[number])) for number in (1, 4, 6)]
    if comes == "in no order":
        kept.reverse()
    export_lines(config, "wms-a", [b"{", kept[0], b"[", b"nothing", kept[1], kept[2], b"]"])
    report = await rebuilt(config, deaths, monkeypatch)
    assert counts_of(report) == {"rows": 7, "equal": 3, "refused": 4, "unreadable": 4, "orphans": 5}


@pytest.mark.parametrize("deaths", DEATHS)
async def test_what_was_mended_is_counted_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    """Missing, older, and withdrawn streams: `live` counts the state before the run, whenever it is killed.

    While a chunk is recorded, the next may be repaired already.
    """
    config = with_snapshots(shop.config.store.url, tmp_path, "wms-a")
    for module, name in ((line_rows, "BATCH_ROWS"), (line_rows, "MAX_RUN_LINES")):
        monkeypatch.setattr(module, name, 1)
    said = {"A": 6, "B": 6, "C": 6, "D": 5, "E": 6, "F": 5, "X": 1, "Y": 1}  # the versions of the snapshot
    taken_back = {"C", "F"}
    orphans = ["P", "Q", "R", "S"]
    await shop.append([statement(sku, 5, None if sku in taken_back else 1) for sku in [*"ABCDEF", *orphans]])
    rows = [statement(sku, version, None if sku == "E" else 2) for sku, version in said.items()]
    export_lines(config, "wms-a", map(as_line, rows))
    report = await rebuilt(config, deaths, monkeypatch)
    found = {"rows": 8, "missing": 2, "newer": 4, "changed": 2, "orphans": 4, "withdrawn": 4}
    assert (counts_of(report), report.live) == (found, 8)


@pytest.mark.parametrize("deaths", DEATHS)
async def test_a_snapshot_of_nothing_readable_is_counted_once(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: list[int]
) -> None:
    """The log is empty too, so that no stream shows how far the run came."""
    config = with_snapshots(shop.config.store.url, tmp_path, "wms-a")
    monkeypatch.setattr(line_rows, "BATCH_ROWS", 1)
    monkeypatch.setattr(line_rows, "MAX_RUN_LINES", 1)
    monkeypatch.setattr(source_rebuild, "RECORD_SECONDS", 0.0)
    forget_cursors(monkeypatch)
    export_lines(config, "wms-a", [b"{", b"[", b"]"])
    report = await rebuilt(config, deaths, monkeypatch)
    assert counts_of(report) == {"rows": 3, "refused": 3, "unreadable": 3}


def forget_cursors(patch: pytest.MonkeyPatch) -> None:
    """Makes every snapshot unresumable, like a query."""
    make = LineReading._batch

    def batch(self: LineReading, *read: Any) -> Batch:  # noqa: ANN401  # as it is
        return make(self, *read)._replace(cursor=None)

    patch.setattr(LineReading, "_batch", batch)


def statement(sku: str, version: int, available: int | None) -> DomainEvent:
    """A product's stock; None is a withdrawal."""
    if available is None:
        return withdrawn("inventory", version=version, sku=sku, source="wms-a")
    return stock(available, version=version, sku=sku)


async def rebuilt(config: Config, deaths: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> RunReport:
    """A run that is killed after these numbers of saves, and finally resumed to its end."""
    async with pagefold.open(config) as shop:
        for saves in deaths:
            with monkeypatch.context() as patch:
                die_after(saves, patch)
                await live_or_die(shop)
        return await go_on(shop)


def die_after(saves: int, patch: pytest.MonkeyPatch) -> None:
    """Kills a run after this many saves."""
    save, calls = SourceRebuild._save, itertools.count(1)

    async def die(self: SourceRebuild) -> None:
        await save(self)
        if next(calls) == saves:
            raise Died

    patch.setattr(SourceRebuild, "_save", die)


async def live_or_die(shop: Shop) -> None:
    """A run that is killed, unless it finishes first."""
    with suppress(Died):
        await go_on(shop)


async def go_on(shop: Shop) -> RunReport:
    """Starts a run, or resumes the killed one."""
    async with shop.rebuilds() as office:
        run = await office.runs.latest("wms-a")
        if run is None:
            return await office.rebuild("wms-a", RebuildRequest(max_orphans="100%"), Witness())
        return await office.resume(run.id, Witness(), confirmed=True)
