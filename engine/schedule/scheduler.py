"""Runs the tasks of a shop's schedule at their times, in one of its processes."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeAlias

import anyio

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.schedule_config import TaskConfig
from pagefold.engine.errors import PagefoldError, StoreError
from pagefold.engine.runtime.clock import moment, now
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.runtime.timetable import Timetable
from pagefold.engine.schedule.requested_runs import RequestedRuns
from pagefold.engine.schedule.tasks import TaskOutcome, resume_approved, run_task, sync_source
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import APPROVED, sync_task
from pagefold.engine.sync.removal_brake import HeldDecision

CLAIM = "schedule"

POLL_SECONDS = 10.0
"""How often the time is looked at: a clock that is set, or a machine that slept, is noticed by then."""

RETRY_SECONDS = 5.0
"""Until the claim, or a store that failed, is tried again."""

MAX_ATTEMPTS = 3
"""How often a run is begun for one time, if its process dies each time."""

ENDED_EARLY = "its process ended"

log = Logger(__name__)


def timetables(config: Config) -> dict[str, Timetable]:
    """The times of every task. Raises `ConfigurationError` for a cron line that is none."""
    found: dict[str, Timetable] = {}
    for name, task in config.schedule.all_tasks.items():
        try:
            found[name] = Timetable(task.cron, config.schedule.time_zone)
        except ValueError as error:
            raise config.error(f"schedule.tasks.{name}.cron", str(error)) from None
    return found


Work: TypeAlias = Callable[[], Awaitable[TaskOutcome]]


class Scheduler:
    """Runs the tasks of one shop. Of several processes, one does; another takes over when it dies.

    Raises `ConfigurationError` for a cron line that is none.
    """

    def __init__(self, shop: Shop, clock: Callable[[], datetime] = moment) -> None:
        self._shop = shop
        self._clock = clock
        self._records = shop.store.schedule
        self._requests = RequestedRuns(shop, clock)
        self._timetables: Mapping[str, Timetable] = timetables(shop.config)

    async def run(self) -> None:
        """Runs every task at its times, and what operators ask for, until it is cancelled.

        A task never runs twice at a time.
        """
        while True:
            try:
                async with self._shop.store.coordination.claim(CLAIM) as claimed:
                    if claimed:
                        await self._close_abandoned()
                        deltas = [name for name, source in self._shop.config.sources.items() if source.delta]
                        syncs = [partial(self._keep_synced, name) for name in deltas]
                        tasks = (partial(self._keep, name) for name in self._timetables)
                        await run_together(*syncs, *tasks, self._keep_approved, self._requests.run)
            except StoreError as error:
                log.warning("the schedule waits for the store", error=str(error))
            await anyio.sleep(RETRY_SECONDS)

    async def run_now(self, name: str) -> TaskOutcome:
        """Runs a task now, whatever its times, and records it. Raises what the task raises."""
        return await self._recorded(name, self._clock(), partial(self._within_window, self._task(name)))

    async def sync_now(self, source: str, decision: HeldDecision | None = None) -> TaskOutcome:
        """Asks a source for changes now, and records it; `decision` as in `DeltaSync.run`. Raises what that raises."""
        work = partial(sync_source, self._shop, source, self._clock, decision)
        return await self._recorded(sync_task(source), self._clock(), work)

    async def _keep(self, name: str) -> None:
        """Runs one task at its times."""
        while True:
            at = self._clock()
            last = datetime.fromisoformat(await self._records.known(name, format_timestamp(at)))
            due = self._timetables[name].due(last, at)
            if due is None:
                due = await self._abandoned(name, last)
            if due is not None:
                await self._logged(name, due, partial(self._within_window, self._task(name)))
                continue
            following = self._timetables[name].next_after(at)
            seconds = POLL_SECONDS if following is None else (following - at).total_seconds()
            await anyio.sleep(min(max(seconds, 0.0), POLL_SECONDS))

    async def _keep_synced(self, source: str) -> None:
        """Asks one source for changes, as often as its configuration says, since the beginning of the last run."""
        delta = self._shop.config.sources[source].delta
        every = timedelta(seconds=delta.every_seconds if delta is not None else 0.0)
        name = sync_task(source)
        while True:
            at = self._clock()
            runs = await self._records.newest(1, name)
            due = at if not runs else datetime.fromisoformat(runs[0].due) + every
            if due > at + every:  # the clock was set back
                due = at
            if due > at:
                await anyio.sleep(min((due - at).total_seconds(), POLL_SECONDS))
                continue
            await self._logged(name, at, partial(sync_source, self._shop, source, self._clock))

    async def _keep_approved(self) -> None:
        """Resumes the rebuilds that were held and are approved by now."""
        sources = [name for name, source in self._shop.config.sources.items() if source.snapshot is not None]
        if not sources:
            return
        async with self._shop.rebuilds() as service:
            while True:
                for source in sources:
                    if await service.approved(source) is not None:
                        await self._logged(APPROVED, self._clock(), partial(resume_approved, service, source))
                await anyio.sleep(POLL_SECONDS)

    async def _abandoned(self, name: str, last: datetime) -> datetime | None:
        """The time of the newest run if its process ended, and it was not begun too often."""
        newest = [run for run in await self._records.newest(MAX_ATTEMPTS, name) if run.due == format_timestamp(last)]
        ended_early = [run for run in newest if run.state == "failed" and run.detail == ENDED_EARLY]
        return last if newest and newest[0] in ended_early and len(ended_early) < MAX_ATTEMPTS else None

    async def _close_abandoned(self) -> None:
        """Notes the runs whose process has ended: this process has the claim, and none of its own yet."""
        for name in (APPROVED, *self._timetables, *map(sync_task, self._shop.config.sources)):
            for run in await self._records.newest(1, name):
                if run.state == "running":
                    await self._records.end(run.number, "failed", ENDED_EARLY, now())
        await self._requests.close_abandoned(ENDED_EARLY)

    def _task(self, name: str) -> TaskConfig:
        return self._shop.config.schedule.all_tasks[name]

    async def _logged(self, name: str, due: datetime, work: Work) -> None:
        """Does something, and logs how it went. Raises `StoreError` only."""
        try:
            with acting(Origin("schedule", name)):
                outcome = await self._recorded(name, due, work)
        except StoreError:
            raise
        except PagefoldError as error:
            log.warning("a scheduled task failed", task=name, error=str(error))
        except Exception as error:  # the consumers beside it must not stop for it
            log.error("a scheduled task failed", task=name, exc_info=error)  # noqa: TRY400  # ours has no other
        else:
            write = log.info if outcome.state == "done" else log.warning
            write("a scheduled task ended", task=name, state=outcome.state, detail=outcome.detail)

    async def _recorded(self, name: str, due: datetime, work: Work) -> TaskOutcome:
        """Does something, and records how it went."""
        number = await self._records.begin(name, format_timestamp(due), now())
        outcome = TaskOutcome("stopped", "it was stopped")
        try:
            outcome = await work()
        except Exception as error:
            outcome = TaskOutcome("failed", f"{type(error).__name__}: {error}")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                await self._records.end(number, outcome.state, outcome.detail, now())
        return outcome

    async def _within_window(self, task: TaskConfig) -> TaskOutcome:
        with anyio.move_on_after(task.window_seconds):
            return await run_task(self._shop, task)
        return TaskOutcome("stopped", f"its window of {task.window} has ended; the next run resumes it")
