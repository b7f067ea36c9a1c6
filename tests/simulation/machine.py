"""One run of the simulation: a machine with a store, its processes, their clients, and the faults."""

import gc
import random
import shutil
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import chdir
from contextvars import Context
from functools import cache
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import anyio
import apsw
import orjson

import pagefold
from pagefold import Config, PagefoldError, Shop, StoreUnavailable
from pagefold.engine.errors import LogReplaced, PagesUnfolded
from tests.simulation import checks
from tests.simulation.checks import Files
from tests.simulation.clients import append_documents, observe
from tests.simulation.disk import DATABASES, Disk
from tests.simulation.environment import Environment, silence
from tests.simulation.epochs import check_epochs
from tests.simulation.journal import Journal, Moment, stream_of
from tests.simulation.model import Fold, Shown
from tests.simulation.nemesis import Nemesis
from tests.simulation.operators import EpochRaiser, Rebuilder, recover
from tests.simulation.rebuilds import check_healing, check_rebuilds, check_repaired
from tests.simulation.scheduler import PROCESS, Process, Scheduler, discard
from tests.simulation.snapshots import KINDS, Snapshots
from tests.simulation.sources import CHANNELS, SOURCES, Sent, Sources
from tests.simulation.trace import Trace

REBUILDING, RAISING = 0.4, 0.25
"""The shares of runs with rebuilds, and with raised epochs."""

NOT_NOW = (StoreUnavailable, LogReplaced, PagesUnfolded)
"""The errors that senders and readers get while the store is unavailable."""

SECONDS_TO_SEND = 300.0
SECONDS_TO_CATCH_UP = 120.0
"""Seconds of simulated time that the workers have once all faults have ended."""


class Failed(AssertionError):
    """An invariant does not hold; with the seed that reproduces it."""

    def __init__(self, seed: int, error: BaseException, trace: Trace) -> None:
        lines = "\n".join(trace.lines[-40:])
        problem = f"{type(error).__name__}: {error}"
        super().__init__(f"seed {seed}: {problem}\n{lines}\n(python -m tests.simulation --seed {seed})")
        self.seed = seed
        self.problem = problem


class Outcome(NamedTuple):
    """The end of a run: the digest of the trace, and the numbers of what happened."""

    digest: str
    steps: int
    events: int
    deaths: int
    errors: int
    seconds: float


class Backup(NamedTuple):
    """Copies of both files, and the number of answers until then."""

    events: bytes
    pages: bytes
    answers: int


class Refusing(NamedTuple):
    """The state of a store whose log was replaced: it stays refused until it is recovered."""

    end: int
    folded: dict[str, int]

    @classmethod
    def of(cls, files: Files) -> "Refusing":
        """According to the files. A checkpoint at 0 proves nothing."""
        return cls(files.end, {each.domain: each.position for each in files.checkpoints if each.position})


class Machine:
    """A machine with a store. `run` does everything."""

    def __init__(self, seed: int, folder: Path, *, verbose: bool = False) -> None:
        self.seed = seed
        self.folder = folder
        luck = random.Random(f"simulation {seed}")
        self.luck = random.Random(luck.randbytes(8))
        self.trace = Trace(verbose=verbose)
        self.scheduler = Scheduler(random.Random(luck.randbytes(8)), self.trace)
        self.disk = Disk(folder, random.Random(luck.randbytes(8)), self.trace)
        self.environment = Environment(self.scheduler, self.disk, random.Random(luck.randbytes(8)))
        self.nemesis = Nemesis(
            random.Random(luck.randbytes(8)), self.trace, self.scheduler, self.disk, self.environment
        )
        families = seed % 4 == 0
        self.sources = Sources(random.Random(luck.randbytes(8)), self.environment.clock.wall, families=families)
        self.snapshots = Snapshots(folder, random.Random(luck.randbytes(8)), self.sources)
        self.rebuilder = Rebuilder(self.luck, self.trace, self.snapshots, lambda: self.config)
        self.raiser = EpochRaiser(self.trace, lambda: self.config)
        self.repaired: tuple[str, ...] = ()
        """The sources of which a complete snapshot repairs everything in the end."""
        self.restarting = self.luck.choice([0.0, 0.0, 0.05])
        """How often the counter of a source restarts."""
        self.journal = Journal()
        self.fold = Fold(SOURCES, CHANNELS, self.sources.inheriting)
        self.outbox: deque[list[Sent]] = deque()
        self.under_way: dict[Process, list[list[Sent]]] = {}
        self.observations: list[dict[tuple[str, str, str], list[Shown]]] = []
        self.programs: dict[str, Callable[[], Awaitable[None]]] = {}
        self.everybody: list[Process] = []
        self.failures: list[BaseException] = []
        self.ending = False
        self.backup: Backup | None = None
        self.refusing: Refusing | None = None

    # --- the run

    def run(self) -> Outcome:
        """The complete run of this seed. Raises `Failed`."""
        try:
            with chdir(self.folder), self.environment.entered(), silence():
                try:
                    self._run()
                finally:
                    self.scheduler.close()
                    _discard_quietly(self.everybody)
        except Exception as error:
            raise Failed(self.seed, error, self.trace) from error
        deaths = len([process for process in self.everybody if not process.alive])
        return Outcome(
            self.trace.digest,
            self.scheduler.steps,
            len(self.journal.answers),
            deaths,
            self.disk.errors,
            self.scheduler.time(),
        )

    def _run(self) -> None:
        if self.luck.random() < 0.9:
            for name in DATABASES:
                shutil.copy(empty_store() / name, self.disk.folder / name)
        self.scheduler.on_step = self.nemesis.tick
        self.scheduler.on_death = self._after_death
        self.nemesis.lose_power = lambda: self.restart(power_lost=True)
        self.nemesis.back_up = self._back_up
        self.nemesis.put_back = self._put_back
        self.scheduler.run_until_complete(self._live())
        self.restart(power_lost=self.luck.random() < 0.5)
        pages = self.scheduler.run_until_complete(self._finish())
        self._judge(pages)

    async def _live(self) -> None:
        """Everything is sent, with faults; then the faults end, and the workers catch up."""
        self.start("server", self._serve)
        for number in range(self.luck.choice([1, 2])):
            self.start(f"worker-{number}", self._work)
        if self.luck.random() < REBUILDING:
            self.start("rebuilder", self.rebuilder.run)
        if self.luck.random() < RAISING:
            self.start("raiser", self.raiser.run)
        await self._send_changes(self.luck.choice([5, 30, 60, 120]))
        await self._until(self._all_is_sent, SECONDS_TO_SEND, "everything is sent")
        await self._until(self.nemesis.has_let_go, SECONDS_TO_SEND, "every process to run")
        self.nemesis.rest()
        await self._send_changes(10)
        await self._until(lambda: not self.raiser.waiting, SECONDS_TO_SEND, "every epoch is raised")
        if "rebuilder" in self.programs:
            self.repaired = tuple(SOURCES)
            for source in SOURCES:
                snapshot = self.snapshots.take(source, "whole", confirmed=True, new_epoch=self.luck.random() < 0.1)
                self.rebuilder.orders.append(snapshot)
        await self._until(self._all_is_sent, SECONDS_TO_SEND, "everything is sent")
        await self._until(self._is_caught_up, SECONDS_TO_CATCH_UP, "I11: lag is 0")
        self.ending = True

    async def _send_changes(self, changes: int) -> None:
        """Changes that many facts in the sources, and sends them."""
        traffic = deque(self.sources.traffic(changes))
        while traffic:
            size = min(len(traffic), self.luck.choice([1, 2, 5, 20, 60]))
            self.outbox.append([traffic.popleft() for _ in range(size)])
            self._happen()
            await anyio.sleep(self.luck.expovariate(1 / 0.05))

    async def _finish(self) -> dict[tuple[str, str], bytes]:
        """After the last start, without faults: folds the rest, and reads every page."""
        self.trace.note("the end")
        async with pagefold.open(self.config) as shop:
            await shop.catch_up()
            found = await shop.verify()
            assert found.changed == found.behind == 0, f"verify has found {found}"
            keys = [key async for key in shop.store.pages.keys()]  # noqa: SIM118  # it is no dictionary
            pages = {key: await shop.pages.get_json(*key, disabled=True) for key in keys}
        return {key: page for key, page in pages.items() if page is not None}

    def _judge(self, pages: dict[tuple[str, str], bytes]) -> None:
        if self.failures:
            raise self.failures[0]
        checks.check_whole(self.disk.folder)
        files = Files.read(self.disk.folder)
        checks.check_checkpoints(files)
        checks.check_origin(files, self.journal)
        check_epochs(files, self.journal, self.snapshots.of_run, self.raiser.asked)
        check_rebuilds(files, self.snapshots.of_run)
        check_healing(files, self.journal)
        check_repaired(files, [self.snapshots.latest[source] for source in self.repaired])
        checks.check_answers(files, self.journal)
        checks.check_pages(files, self.fold, pages)
        checks.check_counts(files)
        checks.check_readers(files, self.fold, self.observations)

    async def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        deadline = self.scheduler.time() + seconds
        while not condition():
            assert self.scheduler.time() < deadline, f"not after {seconds} s: {what}"
            if self.failures:
                raise self.failures[0]
            await anyio.sleep(0.1)

    def _happen(self) -> None:
        """A source loses a record or restarts its counter; a rebuild or a raise of an epoch is requested."""
        self._happen_to_counters()
        if "rebuilder" not in self.programs:
            return
        if self.luck.random() < 0.3:
            self.sources.forget()
        if self.luck.random() < 0.3:
            source, kind = self.luck.choice(tuple(SOURCES)), self.luck.choice(KINDS)
            confirmed, new_epoch = self.luck.random() < 0.5, self.luck.random() < 0.1
            self.rebuilder.orders.append(self.snapshots.take(source, kind, confirmed=confirmed, new_epoch=new_epoch))

    def _happen_to_counters(self) -> None:
        source = self.luck.choice(tuple(SOURCES))
        if self.luck.random() < self.restarting:
            self.sources.restart(source)
        if "raiser" in self.programs and self.luck.random() < 0.1:
            streams = [stream_of(key) for key in self.sources.of(source)]
            self.raiser.waiting.append(self.luck.choice([source, source, *streams]))

    def _all_is_sent(self) -> bool:
        waiting = self.outbox or any(self.under_way.values()) or self.rebuilder.orders or self.raiser.waiting
        return not waiting and "operator" not in self.programs

    def _is_caught_up(self) -> bool:
        return self._has_store() and checks.is_up_to_date(self.disk.folder)

    def _end_of_log(self) -> int:
        """The end of the log, if a rebuild may withdraw something."""
        return checks.end_of_log(self.disk.folder) if "rebuilder" in self.programs else 0

    # --- the machine

    @property
    def config(self) -> Config:
        """The shop's, on the disk of the current start."""
        return Config.parse(
            {
                "store": {"url": f"sqlite:///{self.disk.folder}"},
                "sources": self.snapshots.config(),
                "channels": CHANNELS,
                "work": {"batch": self._batch, "poll_seconds": 0.5, "lease_seconds": 1.0},
            },
            store=f"sqlite:///{self.disk.folder}",
        )

    @property
    def _batch(self) -> int:
        return random.Random(self.seed).choice([2, 10, 8_000, 8_000])

    def start(self, name: str, program: Callable[[], Awaitable[None]]) -> None:
        """Starts a process, which is restarted whenever it ends."""
        self.programs[name] = program
        process = Process(name, len(self.everybody) + 1)
        self.everybody.append(process)
        self.nemesis.processes[name] = process
        self.under_way[process] = []
        self.trace.note(f"{name} starts")
        self.scheduler.start(process, self._main(process, program))

    async def _main(self, process: Process, program: Callable[[], Awaitable[None]]) -> None:
        try:
            with process.scope:
                await program()
        except PagefoldError as error:
            self._note_failure(process, error)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is no error that may happen
            self._note_failure(process, error)
            self.failures.append(error)

    def _note_failure(self, process: Process, error: Exception) -> None:
        text = str(error).replace(str(self.folder), "~")
        self.trace.note(f"{process.name} has failed: {type(error).__name__}: {text}")

    def _after_death(self, process: Process) -> None:
        """The senders send again, and the process is restarted."""
        self.outbox.extendleft(self.under_way.pop(process, []))
        if self.nemesis.processes.get(process.name) is process and not self.ending:
            self.scheduler.call_later(self.luck.choice([0.0, 0.1, 1.0]), self._start_again, process, context=Context())

    def _start_again(self, process: Process) -> None:
        newest = self.nemesis.processes.get(process.name) is process
        if newest and not self.ending and process.name in self.programs:
            self.start(process.name, self.programs[process.name])

    def restart(self, *, power_lost: bool) -> None:
        """All processes end together, and the machine restarts."""
        self.trace.note("the power is lost" if power_lost else "everything is killed")
        self._kill_all()
        self.disk.restart(power_lost=power_lost)
        if power_lost:  # and with it, perhaps, the proof that the log was replaced
            self.refusing = None
        if self._has_store() and "operator" not in self.programs:  # with another log, checkpoints prove nothing
            self._check_after_restart()
        self.observations.append({})

    def _back_up(self) -> None:
        if self._has_store():
            self.trace.note("a backup is made")
            events, pages = (checks.copied(self.disk.folder / name) for name in DATABASES)
            self.backup = Backup(events, pages, len(self.journal.answers))

    def _put_back(self) -> None:
        """The log is restored from a backup, alone or with its pages, and possibly recovered."""
        if self.backup is None or not self._has_store():
            return
        self.trace.note("the log is put back")
        self._kill_all()
        checks.check_readers(Files.read(self.disk.folder), self.fold, self.observations)
        self.observations.clear()
        with_pages = self.luck.random() < 0.5
        self.disk.put_back(self.backup.events, self.backup.pages if with_pages else None)
        self.journal.forget_since(self.backup.answers)
        files = Files.read(self.disk.folder)
        if max(self.disk.tip(), *(each.position for each in files.checkpoints), 0) > files.end:
            self.refusing = Refusing.of(files)
        self.start("operator", self._recover)

    async def _recover(self) -> None:
        await anyio.sleep(self.luck.choice([0.0, 0.5, 2.0]))
        self._check_refused()
        await recover(self.config, self.trace)
        for seen in self.observations:  # until now, readers saw the pages of the other log
            seen.clear()
        del self.programs["operator"]

    def _check_refused(self) -> None:
        """I5: nothing was appended or folded in the meantime."""
        if self.refusing is not None:
            now = Refusing.of(Files.read(self.disk.folder))
            assert now == self.refusing, f"I5: {now} with a log that was put back; it was {self.refusing}"
            self.refusing = None

    def _has_store(self) -> bool:
        return all((self.disk.folder / name).exists() for name in DATABASES)

    def _kill_all(self) -> None:
        for process in [process for process in self.nemesis.processes.values() if process.alive]:
            self.scheduler.kill(process)

    def _check_after_restart(self) -> None:
        try:
            files = Files.read(self.disk.folder)
        except apsw.SQLError:  # it has no tables yet
            return
        checks.check_checkpoints(files)
        checks.check_folded(files, self.fold)

    # --- programs

    async def _serve(self) -> None:
        """Appends what is sent, and serves pages."""
        process = PROCESS.get()
        assert process is not None
        async with pagefold.open(self.config) as shop, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(self._send, shop, process)
            group.start_soon(self._look, shop)

    async def _work(self) -> None:
        """Folds new events."""
        async with pagefold.open(self.config) as shop:
            await shop.work()

    async def _send(self, shop: Shop, process: Process) -> None:
        mine = self.under_way[process]
        while True:
            if not self.outbox:
                await anyio.sleep(0.03)
                continue
            batch = self.outbox.popleft()
            mine.append(batch)
            self.journal.send(batch)
            since = Moment(self._end_of_log(), self.environment.clock.wall())
            try:
                results = await append_documents(shop, [each.event for each in batch])
            except NOT_NOW as error:
                self.trace.note(f"not taken: {type(error).__name__}")
                self.outbox.appendleft(batch)
                await anyio.sleep(0.1)
            else:
                self.journal.record(batch, results, since, self.environment.clock.wall())
            mine.remove(batch)

    async def _look(self, shop: Shop) -> None:
        """Reads pages repeatedly."""
        seen: dict[tuple[str, str, str], list[Shown]] = {}
        self.observations.append(seen)
        while True:
            await anyio.sleep(self.luck.expovariate(1 / 0.05))
            sku, channel = self.luck.choice(self.sources.skus), self.luck.choice(tuple(CHANNELS))
            try:
                text = await shop.pages.get_json(sku, channel, disabled=True)
            except NOT_NOW:
                continue
            if text is not None:
                observe(seen, orjson.loads(text))


@cache
def empty_store() -> Path:
    """A folder with a new store, the same bytes each time."""
    machine = Machine(0, Path(tempfile.mkdtemp(prefix="pagefold-simulation-")))

    async def make() -> None:
        async with pagefold.open(machine.config):
            pass

    with machine.environment.entered(), silence():
        machine.scheduler.run_until_complete(make())
        machine.scheduler.close()
    return machine.disk.folder


def _discard_quietly(processes: list[Process]) -> None:
    """Ignores errors of a discarded coroutine."""
    with patch.object(sys, "unraisablehook", lambda _: None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        discard(processes)


def simulate(seed: int, *, verbose: bool = False) -> Outcome:
    """Runs one seed in a folder of its own. Raises `Failed`."""
    try:
        empty_store()
    except Exception as error:
        raise Failed(seed, error, Trace()) from error
    gc.freeze()  # existing objects stay, and need no garbage collection after the run
    try:
        with tempfile.TemporaryDirectory(prefix="pagefold-seed-") as folder:
            return Machine(seed, Path(folder), verbose=verbose).run()
    finally:
        gc.unfreeze()
