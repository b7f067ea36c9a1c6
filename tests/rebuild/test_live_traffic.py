"""Rebuilds under live traffic: sources append, consumers fold, storefronts read; in the end the pages are complete.

Payloads are derived from stream and version, so a page shows from which versions it was folded.
"""

import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop, parse_event
from pagefold.engine.demo.faults import contradicted
from pagefold.engine.demo.reference_model import Document, Model, Stream, in_microseconds
from pagefold.engine.rebuild import row_order
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.replay import replayer, section_verifier
from pagefold.engine.replay.replayer import ReplayResult
from pagefold.engine.snapshots import line_rows
from pagefold.engine.stores.event_state import DriftKind
from pagefold.projections import Stream as LogStream
from pagefold.projections import stream_id
from tests.support.fault_scenario import SOAK_ROUNDS, SOAK_SEED
from tests.support.processes import Processes
from tests.support.rebuild_fixtures import Intruder, Witness, export_lines, toml_of, with_snapshots
from tests.support.small_shop import CHANNELS, assert_every_event_is_counted, pages_in, pages_of

SOURCES = ("pim", "erp", "wms-a", "wms-b", "dam")
DOMAIN_OF = {"pim": "catalog", "erp": "pricing", "wms-a": "inventory", "wms-b": "inventory", "dam": "media"}

SKUS = 120
LATE_SKUS = 5
"""Created once the snapshots are taken, before the rebuild begins."""

ROWS = 30
"""Rows of a chunk, so that a run has many."""

STATED = 9
"""The version of every row in a snapshot."""

APPENDERS = 3
AT_ONCE = 8
READERS = 2
READ = 40
"""SKUs that are read, so that each is read often."""

APPEND_SECONDS, READ_SECONDS = 0.01, 0.001
"""Pauses: without them, what a rebuild has to read and to fold grows as fast as a slow machine reads and folds it."""

NEW, TOUCHED, REPEATED = 0.02, 0.1, 0.5
LEAST = 100
"""Live events without which a test would prove nothing."""

BEGAN = datetime(2020, 1, 1, tzinfo=UTC)

Fate: TypeAlias = Literal["equal", "missing", "newer", "changed", "orphan", "touched", "older"]
FATES: Mapping[Fate, float] = {
    "equal": 0.66,
    "missing": 0.07,
    "newer": 0.08,
    "changed": 0.07,
    "orphan": 0.03,
    "touched": 0.03,
    "older": 0.06,
}
"""The results of comparing rows, with the share of streams that have each.

An orphan is in no snapshot; a touched stream gets events during the rebuild.
"""

DRIFT_OF: Mapping[Fate, DriftKind] = {
    "missing": "missing",
    "newer": "newer",
    "changed": "changed",
    "orphan": "orphan",
    "touched": "orphan",
}


# --- what sources say -------------------------------------------------------------------------------


def says(stream: Stream, version: int) -> Document:
    """A source's payload at a version: no two versions are equal."""
    name = f"{stream.sku} v{version}"
    payload: Document
    match stream.domain:
        case "catalog":
            text = {"de": f"{name} (de)", "en": f"{name} (en)"}
            payload = {"attributes": {"version": version}, "localized": {"name": text}, "enabled": version % 5 > 0}
        case "pricing":
            payload = {"currency": "EUR", "amount": f"{version}.00"}
        case "inventory":
            payload = {"available": version + 2, "safetyStock": 2}
        case _:
            payload = {"assets": [{"url": f"https://media.example/{version}.webp", "alt": {"de": name}}]}
    return {
        "type": stream.domain,
        "sku": stream.sku,
        "channel": stream.channel,
        "source": stream.source,
        "sourceVersion": version,
        "occurredAt": in_microseconds(BEGAN + timedelta(seconds=version)),
        "payload": payload,
    }


def streams_of(sku: str) -> list[Stream]:
    """All streams of a product, each for every channel."""
    return [Stream(sku, "*", DOMAIN_OF[source], source) for source in SOURCES]


class World:
    """The events before, during and after a rebuild. `versions` are the current newest of each stream.

    `log` has the events that the shop received before the snapshots, and `rows` the snapshots' rows by source.
    """

    def __init__(self, config: Config, seed: int) -> None:
        self.config = config
        self.tables: Document = msgspec.to_builtins(config)
        self.taken_at = BEGAN
        self.fates: dict[Stream, Fate] = {}
        self.versions: dict[Stream, int] = {}
        self.log: list[Document] = []
        self.rows: dict[str, list[Document]] = {source: [] for source in SOURCES}
        self._spoken: set[Stream] = set()
        self._luck = random.Random(f"{seed} world")
        self._new = itertools.count()
        for stream in [stream for number in range(SKUS) for stream in streams_of(f"SKU-{number:04}")]:
            [self.fates[stream]] = self._luck.choices(list(FATES), list(FATES.values()))
            self._begin(stream)
        self._to_touch = [stream for stream, fate in self.fates.items() if fate == "touched"]

    def _begin(self, stream: Stream) -> None:
        fate = self.fates[stream]
        self.versions[stream] = STATED
        known = says(stream, STATED - 3 if fate == "newer" else STATED)
        if fate != "missing":
            self.log.append(contradicted(known) if fate == "changed" else known)
        if fate not in ("orphan", "touched"):
            self.rows[stream.source].append(says(stream, STATED))

    def late(self) -> list[Document]:
        """Events between the snapshots and the rebuild."""
        news = [event for stream, fate in self.fates.items() if fate == "older" for event in self._next(stream)]
        return news + [event for _ in range(LATE_SKUS) for event in self._creates()]

    def happens(self) -> list[Document]:
        """Events of a busy shop: newer versions, not always in order."""
        chance = self._luck.random()
        if chance < NEW:
            return self._creates()
        if self._to_touch and chance < TOUCHED:
            return self._next(self._to_touch.pop())
        stream = self._luck.choice(list(self.versions))
        fate = self.fates.get(stream)
        if fate in ("orphan", "touched") and stream not in self._spoken:
            return []
        if fate in ("missing", "newer") and chance < REPEATED and self.versions[stream] == STATED:
            self._spoken.add(stream)
            return [says(stream, STATED)]  # as the rebuild is about to
        return [event for _ in range(self._luck.choice((1, 1, 2))) for event in self._next(stream)][::-1]

    def _creates(self) -> list[Document]:
        """A new product."""
        return [event for stream in streams_of(f"NEW-{next(self._new):04}") for event in self._next(stream)]

    def _next(self, stream: Stream) -> list[Document]:
        self._spoken.add(stream)
        version = self.versions[stream] = self.versions.get(stream, 0) + 1
        return [says(stream, version)]

    def statements(self, stream: Stream, version: int) -> list[Document | None]:
        """The payloads from which a page with these versions may be folded; None is a withdrawal."""
        said: list[Document | None] = [says(stream, version)]
        fate = self.fates.get(stream) if version == STATED else None
        if fate == "changed":
            said.append(contradicted(says(stream, version)))
        if fate in ("orphan", "touched"):
            said.append(None)
        return said

    def pages(self, sku: str, channel: str, versions: Mapping[str, int]) -> Iterator[bytes | None]:
        """Every possible page of these versions; nearly always one."""
        streams = {Stream(sku, "*", *label.split("/")): version for label, version in versions.items()}
        for said in itertools.product(*itertools.starmap(self.statements, streams.items())):
            yield self._model(zip(streams.items(), said, strict=True)).page(sku, channel, disabled=True)

    def model(self) -> Model:
        """The final state of every page."""
        silent = {stream for stream, fate in self.fates.items() if fate == "orphan" and stream not in self._spoken}
        last = {stream: None if stream in silent else says(stream, self.versions[stream]) for stream in self.versions}
        return self._model(((stream, self.versions[stream]), said) for stream, said in last.items())

    def _model(self, said: Iterable[tuple[tuple[Stream, int], Document | None]]) -> Model:
        model = Model(self.tables)
        for (stream, version), statement in said:
            model.submit(statement or says(stream, version))
            if statement is None:
                model.withdraw(stream, self.taken_at)
        return model

    def drifted(self, *, quiet: bool) -> dict[str, DriftKind]:
        """The drifted streams by name; or only those without events since."""
        return {
            stream_id(LogStream(*stream)): DRIFT_OF[fate]
            for stream, fate in self.fates.items()
            if fate in DRIFT_OF and not (quiet and stream in self._spoken)
        }


# --- who is at work ---------------------------------------------------------------------------------


class Reader:
    """Reads one page at a time and checks it. `seen` has all states of a page, in order."""

    def __init__(self, shop: Shop, world: World, seed: int) -> None:
        self.seen: defaultdict[tuple[str, str], list[bytes]] = defaultdict(list)
        self._shop = shop
        self._world = world
        self._luck = random.Random(f"{seed} reader")

    async def read(self) -> None:
        """Reads until it is cancelled."""
        skus = [*(f"SKU-{number:04}" for number in range(READ)), *(f"NEW-{number:04}" for number in range(LATE_SKUS))]
        while True:
            sku, channel = self._luck.choice(skus), self._luck.choice(CHANNELS)
            self._judge(sku, channel, await self._shop.pages.get_json(sku, channel, disabled=True))
            await anyio.sleep(READ_SECONDS)

    def _judge(self, sku: str, channel: str, text: bytes | None) -> None:
        """The page matches its versions, none of them older than before, and does not return to an earlier state."""
        seen = self.seen[sku, channel]
        if text is None:
            assert not seen, f"{sku} {channel} was there before"
            return
        if seen and text == seen[-1]:
            return
        versions = orjson.loads(text)["sourceVersions"]
        before = orjson.loads(seen[-1])["sourceVersions"] if seen else {}
        assert all(versions[source] >= version for source, version in before.items()), (seen[-1], text)
        assert text not in seen, f"{text!r} is back"
        assert text in self._world.pages(sku, channel, versions), text
        seen.append(text)


class Traffic:
    """Appenders, consumers, and readers with connections of their own."""

    def __init__(self, shop: Shop, storefront: Shop, world: World) -> None:
        self.readers = [Reader(storefront, world, number) for number in range(READERS)]
        self.appended = 0
        self._shop = shop
        self._world = world
        self._over = anyio.Event()

    @asynccontextmanager
    async def flowing(self, work: Callable[[], Coroutine[object, object, None]]) -> AsyncIterator[None]:
        """Runs for the length of a block, with consumers that do `work` until everything is folded."""
        async with anyio.create_task_group() as group:
            group.start_soon(work)
            for reader in self.readers:
                group.start_soon(reader.read)
            async with anyio.create_task_group() as appenders:
                for _ in range(APPENDERS):
                    appenders.start_soon(self._append)
                yield
                self._over.set()
            await self._shop.catch_up()
            group.cancel_scope.cancel()

    async def _append(self) -> None:
        while not self._over.is_set():
            self.appended += await tell(self._shop, [event for _ in range(AT_ONCE) for event in self._world.happens()])
            await anyio.sleep(APPEND_SECONDS)


async def tell(shop: Shop, said: Sequence[Document]) -> int:
    """Appends events and returns the number of new ones. A rebuild may have appended the others before."""
    results = await shop.append([parse_event(orjson.dumps(event)) for event in said])
    outcomes = Counter(result.outcome for result in results)
    assert outcomes.keys() <= {"appended", "duplicate"}, results
    return outcomes["appended"]


# --- the rebuild ------------------------------------------------------------------------------------


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, where every source with events has a snapshot."""
    return with_snapshots(store_url, tmp_path, *SOURCES)


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs have many chunks, and pages are replayed in many transactions."""
    monkeypatch.setattr(line_rows, "BATCH_ROWS", ROWS)
    monkeypatch.setattr(row_order, "CHUNK_ROWS", ROWS)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 10 * ROWS)
    monkeypatch.setattr(replayer, "MAX_TRANSACTION_SECONDS", 0.0)


async def prepared(shop: Shop, seed: int) -> World:
    """A shop that has drifted, and snapshots that are slightly out of date."""
    world = World(shop.config, seed)
    await tell(shop, world.log)
    await shop.catch_up()
    world.taken_at = datetime.now(UTC)
    for source, rows in world.rows.items():
        export_lines(shop.config, source, map(orjson.dumps, rows), taken_at=in_microseconds(world.taken_at))
    await tell(shop, world.late())
    return world


async def judge(shop: Shop, world: World, traffic: Traffic) -> None:
    """Nothing is lost or added, and the runs found all drift that newer events did not repair."""
    assert await pages_of(shop) == pages_in(world.model())
    assert await shop.replay(write=False) == ReplayResult(sections=len(Intruder(shop.config.store.url).sections()))
    await assert_every_event_is_counted(shop.store)
    assert await shop.dead_letters.newest() == []
    found: dict[str, Finding] = {}
    async with shop.rebuilds() as office:
        reports = await office.newest(len(SOURCES) + 1)
        assert {report.source: (report.state, report.complete) for report in reports} == dict.fromkeys(
            SOURCES, ("completed", True)
        )
        for report in reports:
            assert report.counts.spared >= LATE_SKUS
            assert report.counts.rows == len(world.rows[report.source]) == accounted_for(report)
            assert report.run is not None
            found |= {stream: drift async for stream, drift in office.drifted(report.run)}
    assert world.drifted(quiet=True).items() <= found.items() <= world.drifted(quiet=False).items()
    assert traffic.appended > LEAST
    for reader in traffic.readers:
        assert sum(map(len, reader.seen.values())) > len(reader.seen) > READ


def accounted_for(report: RunReport) -> int:
    """The rows with a known result, despite concurrent events."""
    return report.counts.equal + report.counts.older + report.drifted


async def rebuild_beside_traffic(shop: Shop, seed: int) -> None:
    """Rebuilds one source at a time, then replays all pages, under live traffic."""
    world = await prepared(shop, seed)
    async with pagefold.open(shop.config) as storefront, shop.rebuilds() as office:
        traffic = Traffic(shop, storefront, world)
        async with traffic.flowing(shop.work):
            for source in SOURCES:
                await office.rebuild(source, RebuildRequest(max_orphans="100%"), Witness())
            await shop.catch_up()
            assert (await shop.replay()).changed == 0  # what is new is no drift
    await judge(shop, world, traffic)


async def test_a_rebuild_beside_appends_consumers_and_readers(shop: Shop) -> None:
    """The newest events win, no reader sees an older or torn page, and the pages equal the model's."""
    await rebuild_beside_traffic(shop, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(SOAK_SEED, SOAK_SEED + SOAK_ROUNDS))
async def test_rebuilds_beside_traffic_for_long(shop: Shop, seed: int) -> None:
    """The same, many times."""
    await rebuild_beside_traffic(shop, seed)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """The processes of this test, all of which end with it."""
    with Processes(tmp_path) as started:
        yield started


async def test_rebuilds_in_processes_of_their_own(shop: Shop, processes: Processes, tmp_path: Path) -> None:
    """The same if each source is rebuilt by its own process, concurrently, and the consumers run in another one."""
    world = await prepared(shop, seed=8)
    file = tmp_path / "pagefold.toml"
    file.write_text(toml_of(shop.config), encoding="utf-8")
    async with pagefold.open(shop.config) as storefront:
        traffic = Traffic(shop, storefront, world)
        worker = processes.worker(file)
        async with traffic.flowing(anyio.sleep_forever):
            running = [processes.rebuilder(file, source, "--rows", str(ROWS)) for source in SOURCES]
            for process in running:
                assert await process.ended() == 0, process
        assert worker.terminate() == 0, worker
    await judge(shop, world, traffic)
