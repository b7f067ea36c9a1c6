"""The same choices on PostgreSQL with real processes: one run of workers, senders, readers and rebuilds."""

import json
import random
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import orjson
import psycopg

import pagefold
from pagefold import Config, Shop, SourceFailed, StoreUnavailable
from pagefold.engine.errors import LeaseLost, RebuildInProgress, RunTakenOver
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from tests.simulation import checks
from tests.simulation.checks import Counted, Files
from tests.simulation.clients import SnapshotRecorder, append_documents, observe
from tests.simulation.epochs import check_epochs
from tests.simulation.journal import Journal, Moment
from tests.simulation.model import Fold, Shown
from tests.simulation.rebuilds import check_healing, check_rebuilds, check_repaired
from tests.simulation.snapshots import KINDS, Snapshots
from tests.simulation.sources import CHANNELS, SOURCES, Document, Sent, Sources
from tests.support.processes import Processes, Worker, eventually

WORKERS = 2
SECONDS_TO_CATCH_UP = 60.0

_LOG = (
    "SELECT notification_id, originator_id, originator_version, revision, topic, state FROM pagefold.stored_events "
    "ORDER BY notification_id"
)
_CHECKPOINTS = "SELECT domain, position, applied, stale, dead FROM pagefold.checkpoints"
_KEPT = "SELECT domain, state, originator_id, originator_version FROM pagefold.dead_letters WHERE kind = 'ingest'"
_SECTIONS = "SELECT sku, domain, channels, flags, layout, contents FROM pagefold.sections"
_END = "SELECT coalesce(max(notification_id), 0) FROM pagefold.stored_events"
_CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() AND random() < %s"
)


class Servers:
    """A database, workers that fold it, and a shop of this process that appends, reads and rebuilds."""

    def __init__(self, seed: int, url: str, folder: Path, processes: Processes) -> None:
        luck = random.Random(f"servers {seed}")
        self._luck = random.Random(luck.randbytes(8))
        self._url = url
        self._processes = processes
        families = seed % 2 == 0
        self._sources = Sources(random.Random(luck.randbytes(8)), lambda: datetime.now(UTC), families=families)
        self._snapshots = Snapshots(folder, random.Random(luck.randbytes(8)), self._sources, f"{folder}/")
        self._journal = Journal()
        self._outbox: deque[list[Sent]] = deque()
        self._seen: dict[tuple[str, str, str], list[Shown]] = {}
        self._asked: set[str] = set()
        """The sources whose epochs an operator wants to raise."""
        self._workers: list[Worker] = []
        self._config = folder / "pagefold.toml"
        self._config.write_bytes(self._toml())

    async def run(self) -> None:
        """The complete run of this seed, with its checks."""
        async with pagefold.open(Config.load(self._config)) as shop:
            self._workers = [self._processes.worker(self._config) for _ in range(WORKERS)]
            async with self._beside(shop):
                await self._send_changes()
                await self._inject_faults()
                await eventually(lambda: not self._outbox, "everything is sent", SECONDS_TO_CATCH_UP)
            self._revive()
            await self._repair(shop)
            await eventually(lambda: self._read().up_to_date(), "I11: lag is 0", SECONDS_TO_CATCH_UP)
            await self._judge(shop)

    @asynccontextmanager
    async def _beside(self, shop: Shop) -> AsyncIterator[None]:
        """Senders, a reader and rebuilds, for the length of the block."""
        async with anyio.create_task_group() as group:
            stop = anyio.Event()
            for _ in range(3):
                group.start_soon(self._send, shop, stop)
            group.start_soon(self._look, shop, stop)
            group.start_soon(self._rebuild, shop, stop)
            yield
            stop.set()

    async def _send_changes(self) -> None:
        traffic = deque(self._sources.traffic(200))
        while traffic:
            size = min(len(traffic), self._luck.choice([1, 5, 20]))
            self._outbox.append([traffic.popleft() for _ in range(size)])

    async def _inject_faults(self) -> None:
        """The faults, one after the other."""
        faults = [self._kill, self._freeze, self._cut, self._cut]
        for _ in range(self._luck.choice([2, 4, 6])):
            await anyio.sleep(self._luck.uniform(0.0, 0.3))
            self._luck.choice(faults)()
            if self._luck.random() < 0.5:
                self._revive()

    def _kill(self) -> None:
        self._luck.choice(self._workers).kill()

    def _freeze(self) -> None:
        victim = self._luck.choice(self._workers)
        if victim.alive:
            victim.freeze()

    def _cut(self) -> None:
        """Ends connections, as a server or a network does."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute(_CUT, (self._luck.choice([0.3, 1.0]),))

    def _revive(self) -> None:
        for place, worker in enumerate(self._workers):
            if worker.alive:
                worker.wake()
            else:
                self._workers[place] = self._processes.worker(self._config)

    # --- clients

    async def _send(self, shop: Shop, stop: anyio.Event) -> None:
        while self._outbox or not stop.is_set():
            if not self._outbox:
                await anyio.sleep(0.01)
                continue
            batch = self._outbox.popleft()
            self._journal.send(batch)
            since = Moment(self._end_of_log(), datetime.now(UTC))
            try:
                results = await append_documents(shop, [each.event for each in batch])
            except StoreUnavailable:
                self._outbox.append(batch)
            else:
                self._journal.record(batch, results, since, datetime.now(UTC))

    async def _look(self, shop: Shop, stop: anyio.Event) -> None:
        while not stop.is_set():
            await anyio.sleep(0.005)
            sku, channel = self._luck.choice(self._sources.skus), self._luck.choice(tuple(CHANNELS))
            try:
                text = await shop.pages.get_json(sku, channel, disabled=True)
            except StoreUnavailable:
                continue
            if text is not None:
                observe(self._seen, orjson.loads(text))

    async def _rebuild(self, shop: Shop, stop: anyio.Event) -> None:
        async with shop.rebuilds() as rebuilds:
            while not stop.is_set():
                await anyio.sleep(self._luck.uniform(0.05, 0.3))
                source = self._luck.choice(tuple(SOURCES))
                self._sources.forget()
                if self._luck.random() < 0.1:
                    self._sources.restart(source)
                confirmed, new_epoch = self._luck.random() < 0.5, self._luck.random() < 0.1
                snapshot = self._snapshots.take(
                    source, self._luck.choice(KINDS), confirmed=confirmed, new_epoch=new_epoch
                )
                self._snapshots.write(snapshot)
                order = RebuildRequest(confirmed=confirmed, new_epoch=new_epoch)
                try:
                    if self._luck.random() < 0.1:
                        self._asked.add(source)
                        await shop.epochs.raise_epoch(source, reason="restored", operator="somebody")
                    await rebuilds.rebuild(source, order, SnapshotRecorder(self._snapshots, source))
                except (StoreUnavailable, SourceFailed, RebuildInProgress, RunTakenOver, LeaseLost):
                    continue

    async def _repair(self, shop: Shop) -> None:
        """Rebuilds every source from a complete snapshot, after all faults."""
        async with shop.rebuilds() as rebuilds:
            for source in SOURCES:
                self._snapshots.write(self._snapshots.take(source, "whole", confirmed=True))
                await rebuilds.rebuild(
                    source, RebuildRequest(confirmed=True), SnapshotRecorder(self._snapshots, source)
                )

    # --- the checks

    def _read(self) -> Files:
        """The content of the database, read without the program."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            rows = connection.execute(_LOG).fetchall()
            log = [checks.row_of(*row) for row in rows]
            kept = connection.execute(_KEPT).fetchall()
            return Files(
                log,
                max((row.position for row in log), default=0),
                [Counted(*row) for row in connection.execute(_CHECKPOINTS).fetchall()],
                {checks.kept_of(*row) for row in kept},
                checks.kept_sections(connection.execute(_SECTIONS).fetchall()),
            )

    def _end_of_log(self) -> int:
        with psycopg.connect(self._url, autocommit=True) as connection:
            [(end,)] = connection.execute(_END).fetchall()
            return int(end)

    async def _judge(self, shop: Shop) -> None:
        files, fold = self._read(), Fold(SOURCES, CHANNELS, self._sources.inheriting)
        keys = [key async for key in shop.store.pages.keys()]  # noqa: SIM118  # it is no dictionary
        pages = {key: await shop.pages.get_json(*key, disabled=True) for key in keys}
        checks.check_checkpoints(files)
        checks.check_origin(files, self._journal)
        checks.check_folded(files, fold)
        check_epochs(files, self._journal, self._snapshots.of_run, self._asked)
        check_rebuilds(files, self._snapshots.of_run)
        check_healing(files, self._journal)
        check_repaired(files, list(self._snapshots.latest.values()))
        checks.check_answers(files, self._journal)
        checks.check_pages(files, fold, {key: page for key, page in pages.items() if page is not None})
        checks.check_counts(files)
        checks.check_readers(files, fold, [self._seen])

    def _toml(self) -> bytes:
        document = {
            "store": {"url": self._url},
            "sources": self._snapshots.config(),
            "channels": CHANNELS,
            "work": {"batch": self._luck.choice([3, 20, 8_000]), "poll_seconds": 0.05, "lease_seconds": 1.0},
        }
        return toml(document)


def toml(document: Document, key: str = "") -> bytes:
    """Nested tables of plain values, as TOML: JSON has the same strings, numbers and arrays."""
    plain = {name: value for name, value in document.items() if not isinstance(value, dict)}
    lines = [f"[{key}]"] if key and plain else []
    lines += [f"{name} = {json.dumps(value)}" for name, value in plain.items()]
    text = "\n".join(lines).encode() + b"\n"
    for name, value in document.items():
        if isinstance(value, dict):
            text += toml(value, f"{key}.{name}" if key else name)
    return text
