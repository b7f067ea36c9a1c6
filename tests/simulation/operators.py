"""The operators of a simulated shop: they rebuild sources, raise epochs, and recover a store whose log was restored."""

import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable

import anyio

import pagefold
from pagefold import Config, SourceFailed
from pagefold.engine.errors import RebuildInProgress, RunNotResumable, RunTakenOver, UnknownRun
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RebuildService, RunReport
from tests.simulation.clients import SnapshotRecorder
from tests.simulation.snapshots import Snapshot, Snapshots
from tests.simulation.trace import Trace


class Rebuilder:
    """Runs the rebuilds in `orders`, and resumes interrupted ones."""

    def __init__(self, luck: random.Random, trace: Trace, snapshots: Snapshots, config: Callable[[], Config]) -> None:
        self._luck = luck
        self._trace = trace
        self._snapshots = snapshots
        self._config = config
        self.orders: deque[Snapshot] = deque()

    async def run(self) -> None:
        """Runs forever."""
        async with pagefold.open(self._config()) as shop, shop.rebuilds() as rebuilds:
            for report in await rebuilds.newest(3):
                if report.state == "interrupted" and report.run is not None and self._luck.random() < 0.7:
                    await self._tried(rebuilds.resume(report.run, SnapshotRecorder(self._snapshots)))
            while True:
                if self.orders:
                    await self._rebuild(rebuilds, self.orders[0])
                    self.orders.popleft()
                await anyio.sleep(0.05)

    async def _rebuild(self, rebuilds: RebuildService, snapshot: Snapshot) -> None:
        self._snapshots.write(snapshot)
        new_epoch = " in a new epoch" * snapshot.new_epoch
        self._trace.note(f"rebuild of {snapshot.source}{new_epoch}: {snapshot.kind}, {len(snapshot.rows)} rows")
        order = RebuildRequest(confirmed=snapshot.confirmed, new_epoch=snapshot.new_epoch)
        await self._tried(rebuilds.rebuild(snapshot.source, order, SnapshotRecorder(self._snapshots, snapshot.source)))

    async def _tried(self, rebuild: Awaitable[RunReport]) -> None:
        """An invalid snapshot, or an error of a run, ends only that run."""
        try:
            report = await rebuild
        except (SourceFailed, RunNotResumable, RunTakenOver, RebuildInProgress, UnknownRun) as error:
            self._trace.note(f"no rebuild: {type(error).__name__}")
        else:
            self._trace.note(f"rebuild of {report.source} {report.state}: {report.counts.as_dict()}")


class EpochRaiser:
    """Raises the epochs of the sources and streams in `waiting`. `asked` counts the attempts for each."""

    def __init__(self, trace: Trace, config: Callable[[], Config]) -> None:
        self._trace = trace
        self._config = config
        self.waiting: deque[str] = deque()
        self.asked: Counter[str] = Counter()

    async def run(self) -> None:
        """Runs forever."""
        async with pagefold.open(self._config()) as shop:
            while True:
                if self.waiting:
                    self.asked[self.waiting[0]] += 1
                    note = await shop.epochs.raise_epoch(self.waiting[0], reason="restored", operator="somebody")
                    self._trace.note(f"{note.scope} is in epoch {note.epoch}")
                    self.waiting.popleft()
                await anyio.sleep(0.05)


async def recover(config: Config, trace: Trace) -> None:
    """Recovers the store with its current log."""
    async with pagefold.open(config) as shop:
        found = await shop.recover(confirmed=True)
    trace.note(f"recovered up to {found.position}: {found.changed} of {found.sections} sections changed")
