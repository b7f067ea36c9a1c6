"""What is done at certain times: rebuilds and comparisons, one part after the other, and syncs."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.engine.configuration.schedule_config import TaskConfig, Work
from pagefold.engine.delivery.target_errors import TargetUnreadable
from pagefold.engine.delivery.target_verifier import TargetVerification
from pagefold.engine.errors import (
    ConfigurationError,
    ExtraMissing,
    RebuildInProgress,
    RunNotResumable,
    SourceFailed,
    SyncInProgress,
)
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RebuildService, RunReport
from pagefold.engine.rebuild.repair_priority import EVERYTHING, RepairPriority
from pagefold.engine.replay.replayer import ReplayResult
from pagefold.engine.shop import Shop
from pagefold.engine.stores.schedule_records import RunState
from pagefold.engine.sync.delta_sync import DeltaSync
from pagefold.engine.sync.removal_brake import HeldDecision
from pagefold.engine.sync.sync_report import SyncReport


class TaskOutcome(NamedTuple):
    """How a run of a task ended, and what an operator should know of it."""

    state: RunState
    detail: str


Parts: TypeAlias = list[TaskOutcome]

_SEVERITY: Mapping[RunState, int] = {"done": 0, "attention": 1, "failed": 2}


async def run_task(shop: Shop, task: TaskConfig) -> TaskOutcome:
    """Does what a task says. Errors of one source or target do not keep the others from their turn.

    Raises `StoreError`.
    """
    parts = await _WORK[task.run](shop, task)
    states = [part.state for part in parts]
    return TaskOutcome(
        max(states, key=_SEVERITY.__getitem__) if states else "done",
        "; ".join(part.detail for part in parts) or "nothing to do",
    )


async def sync_source(
    shop: Shop, source: str, clock: Callable[[], datetime], decision: HeldDecision | None = None
) -> TaskOutcome:
    """Asks a source for changes. Raises `StoreError`."""
    try:
        return outcome_of_sync(await DeltaSync(shop, clock).run(source, decision))
    except SyncInProgress as error:
        return TaskOutcome("attention", str(error))
    except (SourceFailed, ConfigurationError) as error:
        return TaskOutcome("failed", str(error))


def outcome_of_sync(report: SyncReport) -> TaskOutcome:
    """How a sync ended."""
    numbers = ("appended", "duplicate", "echo", "conflict", "wanted", "refused")
    counts = [f"{number:,} {name}" for name in numbers if (number := getattr(report, name))]
    detail = ", ".join([f"{report.records:,} records since {report.since[:19]}Z", *counts])
    if report.left_out:
        detail += f", from {report.left_out:,} streams nothing is removed"
    held = f"; held: {report.held}: `pagefold sync {report.source} --yes` appends it" if report.held else ""
    first = f"; {report.refusals[0]}" if report.refusals else ""
    return TaskOutcome("attention" if report.needs_attention else "done", detail + held + first)


async def _rebuild(shop: Shop, task: TaskConfig) -> Parts:
    async with shop.rebuilds() as service:
        names = service.sources(task.sources or None, task.domains or None)
        in_order = sorted(names, key=task.sources.index) if task.sources else names
        return [
            await _rebuild_part(service, name, request)
            for name in in_order
            for request in _requests(task, shop.config.sources[name].domains)
        ]


def _requests(task: TaskConfig, domains: list[str]) -> Iterator[RebuildRequest]:
    """A run for what is risky; then for each domain that the task names and the source has, and each prefix of SKUs."""
    every = RebuildRequest(rows_per_second=task.rows_per_second or None, keeps_absent=task.run == "poll")
    for first in task.first:
        risky = RepairPriority(first.channel or "", first.attribute or "")
        some = [first.domain] if first.domain else task.domains or None
        if some is None or not frozenset(some).isdisjoint(domains):
            yield msgspec.structs.replace(every, domains=some, first=risky)
    for each in [[name] for name in task.domains if name in domains] if task.domains else [None]:
        for prefix in task.prefixes or [""]:
            yield msgspec.structs.replace(every, domains=each, prefix=prefix)


async def _rebuild_part(service: RebuildService, source: str, request: RebuildRequest) -> TaskOutcome:
    """One run. An interrupted run of the same part is resumed."""
    name = f"{source} {request.prefix}*" if request.prefix else source
    name = f"{name}, first {request.first.text}" if request.first != EVERYTHING else name
    try:
        report = await _resumed(service, source, request) or await service.rebuild(source, request)
    except RebuildInProgress as error:
        return TaskOutcome("attention", f"{name}: {error}")
    except (SourceFailed, ConfigurationError) as error:
        return TaskOutcome("failed", f"{name}: {error}")
    return outcome_of_rebuild(name, report)


async def _resumed(service: RebuildService, source: str, request: RebuildRequest) -> RunReport | None:
    for report in await service.newest(1, source):
        is_part = report.prefix == request.prefix and report.first == request.first.text
        is_same = is_part and (request.domains is None or report.domains == request.domains)
        if report.state == "interrupted" and report.run is not None and is_same:
            try:
                return await service.resume(report.run, rows_per_second=request.rows_per_second)
            except RunNotResumable:  # the snapshot is another one now
                return None
    return None


async def resume_approved(service: RebuildService, source: str) -> TaskOutcome:
    """Resumes the rebuild of a source that is approved. Raises `StoreError`."""
    try:
        report = await service.resume_approved(source)
    except RebuildInProgress as error:
        return TaskOutcome("attention", f"{source}: {error}")
    except (SourceFailed, ConfigurationError, RunNotResumable) as error:
        return TaskOutcome("failed", f"{source}: {error}")
    return TaskOutcome("done", "nothing to do") if report is None else outcome_of_rebuild(source, report)


def outcome_of_rebuild(name: str, report: RunReport) -> TaskOutcome:
    """How a rebuild ended."""
    counts = report.counts
    numbers = {"drifted": report.drifted, "withdrawn": counts.withdrawn, "refused": counts.refused}
    found = f"{name}: " + ", ".join(
        [f"{counts.rows:,} rows", *(f"{number:,} {what}" for what, number in numbers.items())]
    )
    if report.state == "held":
        held = "it would be held" if report.dry_run else f"held: `pagefold rebuilds show {report.run}` says why"
        return TaskOutcome("attention", f"{found}; {held}")
    if not report.complete:
        return TaskOutcome("attention", f"{found}; incomplete: {report.reason}")
    return TaskOutcome("attention" if counts.refused or report.looks_reset else "done", found)


async def _verify(shop: Shop, task: TaskConfig) -> Parts:
    return [outcome_of_verify(await shop.verify(task.domains or None, sample=task.sample or None))]


def outcome_of_verify(found: ReplayResult) -> TaskOutcome:
    """How a comparison of pages with the log ended."""
    detail = f"{found.sections:,} sections, {found.changed:,} drifted"
    return TaskOutcome("attention" if found.changed else "done", detail)


async def _verify_targets(shop: Shop, task: TaskConfig) -> Parts:
    return [await _verify_target(shop, name, task.sample) for name in task.targets or shop.targets.configs]


async def _verify_target(shop: Shop, name: str, sample: int) -> TaskOutcome:
    try:
        state, detail = outcome_of_target(await shop.targets.verify(name, sample))
    except (TargetUnreadable, ConfigurationError, ExtraMissing) as error:  # each names the target
        return TaskOutcome("failed", str(error))
    return TaskOutcome(state, f"target {name}: {detail}")


def outcome_of_target(found: TargetVerification) -> TaskOutcome:
    """How a comparison of a target with the pages ended."""
    detail = f"{found.pages:,} pages, {found.unmarked:,} not noted"
    if found.read is not None:
        detail += f"; {found.read:,} read back, {found.differing:,} not as acknowledged"
    return TaskOutcome("attention" if found.unmarked or found.differing else "done", detail)


_WORK: Mapping[Work, Callable[[Shop, TaskConfig], Awaitable[Parts]]] = {
    "rebuild": _rebuild,
    "poll": _rebuild,
    "verify": _verify,
    "verify-targets": _verify_targets,
}
