"""Starts, resumes and reports rebuilds."""

import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Literal, TypeAlias

import msgspec

from pagefold.domains.values import format_timestamp
from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError, CountChanged, RebuildInProgress, RunNotResumable, SourceFailed
from pagefold.engine.folding.source_resets import RESET_THRESHOLD
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.epoch_service import EpochService
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.rebuild.excerpts import clean
from pagefold.engine.rebuild.failed_rebuilds import FailedRebuilds
from pagefold.engine.rebuild.older_rows import record_epoch
from pagefold.engine.rebuild.repair_priority import EVERYTHING, RepairPriority
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_observer import Finding, RunObserver
from pagefold.engine.rebuild.run_records import RunCounts, RunSpec
from pagefold.engine.rebuild.run_repository import RunRepository
from pagefold.engine.rebuild.source_rebuild import SourceRebuild
from pagefold.engine.runtime.counters import Counters
from pagefold.engine.snapshots import open_snapshot
from pagefold.engine.snapshots.request_limiter import RequestLimiter
from pagefold.engine.snapshots.snapshot import Snapshot
from pagefold.engine.stores.schedule_records import rebuild_claim
from pagefold.engine.stores.store import Store
from pagefold.projections.field_changes import AnyJSON

ReportedRunState: TypeAlias = Literal["running", "interrupted", "held", "approved", "refused", "completed", "failed"]
"""The state of a run; an interrupted run is recorded as running, but its process is gone.

`held` runs wait for an operator, `approved` ones for a worker.
"""


class RebuildRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a rebuild should do.

    `domains` limits it, None for all that the source may write; `prefix` is a prefix of SKUs; `max_orphans` overrides
    the configuration; `confirmed` allows any number of withdrawals; a `dry_run` writes nothing. `new_epoch` declares
    the snapshot the truth: the source's epoch is raised, and every row enters the new one. `rows_per_second` is how
    fast the snapshot is read at most, None for as fast as possible. `keeps_absent`: what the snapshot lacks is not
    withdrawn, as when it is read often, between complete rebuilds. `first` is what alone is repaired, and then nothing
    is withdrawn: a complete run should follow.
    """

    domains: Collection[str] | None = None
    prefix: str = ""
    max_orphans: int | str | None = None
    confirmed: bool = False
    dry_run: bool = False
    new_epoch: bool = False
    rows_per_second: float | None = None
    keeps_absent: bool = False
    first: RepairPriority = EVERYTHING


DEFAULT_REQUEST = RebuildRequest()
NO_OBSERVER = RunObserver()


class RunReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A run: its scope, state and findings.

    `run` is None for a dry run. `complete`: the snapshot proves what it lacks; `reason` says why not, or why the run
    failed; `superseded_by` names the run that replaced it. `live` streams of the source were in the log. More than
    `held_limit` removals need confirmation; `losses` are what corrections would remove from more: (path, streams,
    (stream, value) samples). `removals` of a held run are the orphans that it would withdraw, and the streams that
    would lose values; `decided_by` is who approved or refused them, and `decided_because` why. `looks_reset`:
    everything in the snapshot is older than the log, or some of it although the snapshot was taken later; `older`
    names some of it. `recreated` names some recreated records. `epoch` is the one that the run started, 0 for none.
    `lasted` is the time in seconds from its start to its last event, `seconds` the time this process worked on it.
    `samples` are (stream, drift, (path, log, snapshot) of each field that differs); `refusals` (row, path, reason).
    """

    run: str | None
    source: str
    domains: list[str]
    prefix: str
    first: str
    snapshot: str
    dry_run: bool
    state: ReportedRunState
    complete: bool
    reason: str
    superseded_by: str
    started_at: str
    counts: RunCounts
    live: int
    held_limit: int
    losses: list[AnyJSON]
    removals: int
    decided_by: str
    decided_because: str
    looks_reset: bool
    lasted: float
    seconds: float
    samples: list[AnyJSON]
    refusals: list[AnyJSON]
    epoch: int
    older: list[str]
    recreated: list[str]

    @property
    def drifted(self) -> int:
        """Streams whose head differs from the snapshot, without orphans."""
        return self.counts.missing + self.counts.newer + self.counts.changed + self.counts.recreated


def report_of(run: RebuildRun, *, dry_run: bool = False, seconds: float = 0.0, alive: bool = True) -> RunReport:
    """The report of a run. `alive`: its process is still working on it."""
    counts = run.counts
    all_older = counts.older >= RESET_THRESHOLD and not counts.equal + counts.newer + counts.changed
    return RunReport(
        run=None if dry_run else run.id,
        source=run.source,
        domains=list(run.domains),
        prefix=run.prefix,
        first=run.first,
        snapshot=run.snapshot,
        dry_run=dry_run,
        state="interrupted" if run.state == "running" and not alive else run.state,
        complete=run.complete_snapshot,
        reason=run.failed_because or run.incomplete_because,
        superseded_by=run.superseded_by,
        started_at=run.started_at,
        counts=counts,
        live=run.live,
        held_limit=run.held_limit,
        losses=run.losses if run.state in ("held", "approved", "refused") else [],
        removals=run.removals,
        decided_by=run.decided_by,
        decided_because=run.decided_because,
        looks_reset=all_older or counts.reset > 0,
        lasted=seconds if dry_run else (run.modified_on - run.created_on).total_seconds(),
        seconds=seconds,
        samples=run.samples,
        refusals=run.refusals,
        epoch=run.epoch,
        older=run.older,
        recreated=run.recreated,
    )


class RebuildService:
    """Rebuilds the sources of one shop, one run per source. `counters` are those of this process."""

    def __init__(self, store: Store, config: Config, runs: RunRepository, counters: Counters) -> None:
        self._audit = AuditLog(store.audit)
        self._store = store
        self._config = config
        self._traffic = RequestLimiter(counters)
        self._epochs = EpochRegistry(store.log)
        self._epoch_service = EpochService(store, config, EventValidator(config), self._epochs)
        self._failed_rebuilds = FailedRebuilds(store.kpis)
        self.runs = runs

    def sources(self, names: Collection[str] | None, domains: Collection[str] | None) -> list[str]:
        """The sources to rebuild: the named ones, else all with a snapshot; limited to those with any of the domains.

        Raises `ConfigurationError` for a named source that is unknown or has no snapshot.
        """
        configured = self._config.sources
        for name in names or ():
            if name not in configured:
                raise ConfigurationError(
                    "--source", f"unknown source {name!r}; {suggestion(name, configured, 'sources')}"
                )
            if configured[name].snapshot is None:
                raise self._config.error(f"sources.{name}.snapshot", "is required: configure the source's snapshot")
        return [
            name
            for name, source in configured.items()
            if (name in names if names else source.snapshot is not None)
            and (domains is None or not frozenset(domains).isdisjoint(source.domains))
        ]

    async def rebuild(
        self, source: str, request: RebuildRequest = DEFAULT_REQUEST, observer: RunObserver = NO_OBSERVER
    ) -> RunReport:
        """Starts a run. Supersedes an unfinished run of the same source whose process is gone."""
        async with self._audited("rebuild --dry-run" if request.dry_run else "rebuild", source) as note:
            if request.dry_run:
                return note(await self._begin(source, request, observer))
            async with self._claimed(source), self._failed_rebuilds.noting(source) as ended:
                report = note(await self._begin(source, request, observer))
                ended.append(report)
                return report

    async def resume(
        self,
        run_id: str,
        observer: RunObserver = NO_OBSERVER,
        *,
        confirmed: bool = False,
        rows_per_second: float | None = None,
    ) -> RunReport:
        """Resumes a run; `confirmed` allows a held run any number of removals. A completed run is only reported.

        `rows_per_second` as in `RebuildRequest`.

        Raises `UnknownRun`, `RunNotResumable`, and what `rebuild` raises.
        """
        await self._store.proof.prove()
        run = await self.runs.get(run_id)
        if run.state == "completed" or (run.state == "held" and not confirmed):
            return report_of(run)
        async with (
            self._audited("rebuild --resume", run.source, run_id) as note,
            self._failed_rebuilds.noting(run.source) as ended,
        ):
            report = note(await self._resumed(run, observer, rows_per_second, confirmed=confirmed))
            ended.append(report)
            return report

    async def _resumed(
        self, run: RebuildRun, observer: RunObserver, rows_per_second: float | None, *, confirmed: bool
    ) -> RunReport:
        run_id = run.id
        async with self._claimed(run.source):
            run = await self.runs.get(run_id)
            if not run.resumable:
                raise RunNotResumable(run.id, run.source, run.failed_because or f"it is {run.state}")
            if run.source not in self._config.sources or self._config.sources[run.source].snapshot is None:
                raise RunNotResumable(run.id, run.source, f"the configuration no longer has a snapshot of {run.source}")
            run.resume(_process(), confirmed=confirmed)
            if run.withheld:
                run.compare_again()
            if run.phase == "comparing":
                async with open_snapshot(self._config, run.source, traffic=self._traffic) as snapshot:
                    if clean(snapshot.identity) != run.identity:
                        raise RunNotResumable(
                            run.id, run.source, f"the snapshot {snapshot.name} is not the one that the run began with"
                        )
                    return await self._continue(run, snapshot, observer, rows_per_second)
            return await self._continue(run, None, observer)

    async def approve(self, run_id: str, *, by: str, reason: str, expected: int | None = None) -> RunReport:
        """Allows what a held run would remove: a worker resumes it, or a call of `resume`.

        Raises `UnknownRun`, `RunStateError` if it is not held, `CountChanged` if it would remove another number than
        `expected`, `Rejected` for a name or reason that is blank or no text, and `RunTakenOver`.
        """
        return await self._decided("approve", run_id, RebuildRun.approve, by, reason, expected)

    async def refuse(self, run_id: str, *, by: str, reason: str) -> RunReport:
        """Ends a held run, which removes nothing. Raises what `approve` raises."""
        return await self._decided("refuse", run_id, RebuildRun.refuse, by, reason, None)

    async def approved(self, source: str) -> str | None:
        """The newest run of a source if it is approved, or was and its process ended."""
        newest = next(iter(await self.newest(1, source)), None)
        if newest is None or not newest.decided_by or newest.state not in ("approved", "interrupted"):
            return None
        return newest.run

    async def resume_approved(self, source: str) -> RunReport | None:
        """Resumes the run that is `approved`, if there is one. One that cannot be resumed has failed.

        Raises what `resume` raises.
        """
        run_id = await self.approved(source)
        if run_id is None:
            return None
        try:
            return await self.resume(run_id)
        except RunNotResumable as error:  # or a worker would try again for ever
            await self._failed_rebuilds.add(source)
            run = await self.runs.get(run_id)
            run.fail(str(error))
            await self.runs.save(run)
            raise

    async def report(self, run_id: str) -> RunReport:
        """The report of a run."""
        return await self._reported(await self.runs.get(run_id))

    async def newest(self, limit: int, source: str | None = None) -> list[RunReport]:
        """The reports of the newest runs, newest first."""
        return [await self._reported(run) for run in await self.runs.list(limit, source)]

    async def drifted(self, run_id: str) -> AsyncIterator[tuple[str, Finding]]:
        """Every stream with a finding of a run, in order, then every orphan, in order."""
        async for streams_with_drift in self.runs.drifted(run_id):
            for stream, drift in streams_with_drift:
                yield stream, drift
        async for streams in self.runs.orphans(run_id):
            for stream in streams:
                yield stream, "orphan"

    async def _decided(
        self,
        verb: str,
        run_id: str,
        decide: Callable[[RebuildRun, str, str], None],
        by: str,
        reason: str,
        expected: int | None,
    ) -> RunReport:
        check_operator(by)
        check_reason(reason)
        await self._store.proof.prove()
        run = await self.runs.get(run_id)
        async with self._audit.action(f"rebuilds {verb}", run_id, by=by, reason=reason) as action:
            action.details |= {"source": run.source, "removals": run.removals}
            if expected is not None and run.state == "held" and run.removals != expected:
                raise CountChanged(expected, run.removals)
            decide(run, by, reason)
            await self.runs.save(run)
        return report_of(run)

    @asynccontextmanager
    async def _audited(
        self, action: str, source: str, run: str | None = None
    ) -> AsyncGenerator[Callable[[RunReport], RunReport], None]:
        """Records a run, with what its report counts, once that is noted; `rebuilds show` has its differences."""
        async with self._audit.action(action, source) as current:
            current.details |= {} if run is None else {"run": run}

            def note(report: RunReport) -> RunReport:
                counts = {name: count for name, count in msgspec.structs.asdict(report.counts).items() if count}
                current.details |= {"run": report.run, "state": report.state, **counts}
                for sample in report.samples:
                    current.sample(msgspec.json.encode(sample).decode())
                return report

            yield note

    async def _reported(self, run: RebuildRun) -> RunReport:
        alive = True
        if run.state == "running":
            async with self._store.coordination.claim(rebuild_claim(run.source)) as free:
                alive = not free
                if free and run.id:  # it may have ended since it was read, and cannot now
                    run = await self.runs.get(run.id)
        return report_of(run, alive=alive)

    async def _begin(self, source: str, request: RebuildRequest, observer: RunObserver) -> RunReport:
        await self._store.proof.prove()
        start = await self._store.log.end()  # before the snapshot is opened: later events are not part of the run
        async with open_snapshot(self._config, source, traffic=self._traffic) as snapshot:
            previous = await self.runs.latest(source)
            spec = self._spec_of(source, request, snapshot, start)
            spec = msgspec.structs.replace(spec, baseline=None if previous is None else previous.baseline)
            epoch = await self._epoch_service.next_epoch(source) if request.new_epoch else 0
            if request.dry_run:
                run = RebuildRun.start(spec)
                record_epoch(run, epoch)
                return await self._execute(run, snapshot, None, observer, request)
            run = await self.runs.start(spec)
            record_epoch(run, epoch)
            await self.runs.save(run)
            observer.begun(run.id)
            if previous is not None and previous.resumable:
                previous.supersede(run.id)
                await self.runs.save(previous)
            return await self._execute(run, snapshot, self.runs, observer, request)

    def _spec_of(self, source: str, request: RebuildRequest, snapshot: Snapshot, start: int) -> RunSpec:
        settings = self._config.sources[source]
        declared = settings.snapshot or SnapshotConfig()
        began_at = snapshot.written_at and snapshot.written_at - timedelta(seconds=declared.duration_seconds)
        default = msgspec.to_builtins(declared)["max_orphans"]
        return RunSpec(
            source=source,
            domains=[name for name in settings.domains if request.domains is None or name in request.domains],
            start_position=start,
            snapshot=snapshot.name,
            identity=snapshot.identity,
            process=_process(),
            prefix=request.prefix,
            max_orphans=default if request.max_orphans is None else request.max_orphans,
            written_at=None if began_at is None else format_timestamp(began_at),
            settle=declared.settle_seconds,
            keeps_absent=request.keeps_absent or request.first != EVERYTHING,
            first=request.first.text,
        )

    async def _continue(
        self, run: RebuildRun, snapshot: Snapshot | None, observer: RunObserver, rows_per_second: float | None = None
    ) -> RunReport:
        await self.runs.save(run)
        observer.begun(run.id)
        return await self._execute(run, snapshot, self.runs, observer, RebuildRequest(rows_per_second=rows_per_second))

    async def _execute(
        self,
        run: RebuildRun,
        snapshot: Snapshot | None,
        runs: RunRepository | None,
        observer: RunObserver,
        request: RebuildRequest,
    ) -> RunReport:
        started = time.monotonic()
        if run.epoch and runs is not None:
            await self._epoch_service.ensure_epoch(run.source, run.epoch, run.id)
        rebuild = SourceRebuild(
            self._store,
            self._config,
            run,
            runs,
            observer,
            epochs=self._epochs,
            confirmed=request.confirmed,
            rows_per_second=request.rows_per_second,
        )
        try:
            await rebuild.run(snapshot)
        except SourceFailed as error:
            if runs is not None:
                run.fail(str(error))
                await runs.save(run)
            raise
        return report_of(run, dry_run=runs is None, seconds=time.monotonic() - started)

    @asynccontextmanager
    async def _claimed(self, source: str) -> AsyncIterator[None]:
        async with self._store.coordination.claim(rebuild_claim(source)) as claimed:
            if not claimed:
                raise RebuildInProgress(source, _describe_holder(await self.runs.latest(source)))
            yield


def _describe_holder(run: RebuildRun | None) -> str:
    return f"{run.id}, in {run.process}, since {run.started_at}" if run else "another process"


def _process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
