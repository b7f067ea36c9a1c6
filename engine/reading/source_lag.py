"""Since when the sources that are asked are in sync: by a delta, or by scheduled polls and rebuilds."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.schedule_config import TaskConfig
from pagefold.engine.reading.snapshot_runs import SnapshotRun, SnapshotRuns
from pagefold.engine.runtime.clock import moment
from pagefold.engine.stores.schedule_records import KEPT_RUNS, sync_task
from pagefold.engine.stores.store import Store
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes

FRESH_SECONDS = 10.0
"""How long the lag of sources is shown again."""

MAX_RUN = timedelta(hours=6)
"""How long a run may take until its source counts as overdue, if the next one is not due before that."""


class SourceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """One source that is asked. What it changed before `synced_at` was read; None before the first complete run.

    With a delta, `behind_seconds` is how long ago the time is since which the next run asks; without changes it grows.
    `held` says what its newest sync would have removed.
    `overdue` names what did not complete in time, "sync" or a scheduled task; `overdue_seconds` is for how long.
    """

    source: str
    synced_at: str | None
    behind_seconds: float | None = None
    overdue_seconds: float = 0.0
    overdue: list[str] = []
    held: str = ""


Following: TypeAlias = Callable[[datetime], datetime | None]
"""When a run is due after one that began at a time; None for never."""


class _Duty(NamedTuple):
    """What keeps a source in sync. `task` is its name in the records of the schedule."""

    name: str
    task: str
    synced_at: datetime | None
    following: Following


class SourceLag:
    """The lag of the sources of one shop, up to `FRESH_SECONDS` old in `known`."""

    def __init__(self, store: Store, config: Config, clock: Callable[[], datetime] = moment) -> None:
        self._store = store
        self._config = config
        self._clock = clock
        self.runs = SnapshotRuns(store.records)
        """The rebuilds of the sources."""
        self._known: list[SourceStatus] = []
        self._read_at: datetime | None = None

    async def known(self) -> list[SourceStatus]:
        """As `sources`. Raises `StoreUnavailable`."""
        at = self._clock()
        if self._read_at is None or abs((at - self._read_at).total_seconds()) >= FRESH_SECONDS:
            await self.refresh()
        return self._known

    async def refresh(self) -> None:
        """Reads it now. Raises `StoreUnavailable`."""
        self._known, self._read_at = await self.sources(), self._clock()

    async def sources(self) -> list[SourceStatus]:
        """Every source that has a delta, or a snapshot that a scheduled task reads."""
        found: list[SourceStatus] = []
        runs = await self.runs.newest() if self._config.schedule.tasks else []
        for name, source in self._config.sources.items():
            duties = [*self._tasks(name, runs)]
            note = None
            if source.delta is not None:
                note = await SyncNotes(self._store, name).newest()
                synced_at = _moment(note.synced) if note is not None else None
                duties.append(_Duty("sync", sync_task(name), synced_at, _every(source.delta.every_seconds)))
            if duties:
                found.append(await self._status(name, duties, note))
        return found

    async def _status(self, source: str, duties: Sequence[_Duty], note: SyncNote | None) -> SourceStatus:
        at = self._clock()
        overdue = {duty.name: seconds for duty in duties if (seconds := await self._overdue(duty, at))}
        synced = [duty.synced_at for duty in duties if duty.synced_at is not None]
        return SourceStatus(
            source=source,
            synced_at=format_timestamp(max(synced)) if synced else None,
            behind_seconds=None if note is None else _seconds(at - datetime.fromisoformat(note.following)),
            overdue_seconds=max(overdue.values(), default=0.0),
            overdue=sorted(overdue),
            held="" if note is None else note.held,
        )

    async def _overdue(self, duty: _Duty, at: datetime) -> float:
        """For how many seconds a complete run has been missing; 0 while one may still be going on."""
        since = duty.synced_at or await self._first_attempt(duty.task)
        due = None if since is None else duty.following(since)
        if due is None:
            return 0.0
        allowed = min(duty.following(due) or due + MAX_RUN, due + MAX_RUN)
        return _seconds(at - due) if at > allowed else 0.0

    async def _first_attempt(self, task: str) -> datetime | None:
        """When the oldest known run was due of a task that never completed."""
        runs = await self._store.schedule.newest(KEPT_RUNS, task)
        return datetime.fromisoformat(runs[-1].due) if runs else None

    def _tasks(self, source: str, runs: Sequence[SnapshotRun]) -> Iterator[_Duty]:
        """The scheduled tasks that read the snapshot of a source."""
        settings = self._config.sources[source]
        for name, task in self._config.schedule.tasks.items():
            domains = [each for each in settings.domains if each in (task.domains or settings.domains)]
            is_read = source in task.sources if task.sources else settings.snapshot is not None
            if task.run in ("rebuild", "poll") and is_read and domains:
                following = _timetable(task, self._config)
                yield _Duty(name, name, _newest(source, domains, task, runs), following)


def _newest(source: str, domains: Sequence[str], task: TaskConfig, runs: Sequence[SnapshotRun]) -> datetime | None:
    """When the newest complete runs began, of all parts of a task the one that is longest ago."""
    parts: list[datetime] = []
    for prefix in task.prefixes or [""]:
        for domain in domains:
            fitting = (run for run in runs if run.source == source and run.covers(domain, prefix))
            newest = next((run for run in fitting if task.run == "poll" or run.withdraws), None)
            if newest is None:
                return None
            parts.append(newest.began_at)
    return min(parts)


def _every(seconds: float) -> Following:
    return lambda since: since + timedelta(seconds=seconds)


def _timetable(task: TaskConfig, config: Config) -> Following:
    """The times of a task; none where the package is not installed that knows them, as nothing runs tasks there."""
    try:
        from pagefold.engine.runtime.timetable import Timetable  # noqa: PLC0415  # the extra `rebuild` brings cronsim
    except ModuleNotFoundError:
        return lambda _since: None
    return Timetable(task.cron, config.schedule.time_zone).next_after


def _moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _seconds(lapse: timedelta) -> float:
    return round(max(lapse.total_seconds(), 0.0), 3)
