"""What a request to workers says to people. Pure."""

from typing import NamedTuple, assert_never

from pagefold.engine.dashboard.formats import plural
from pagefold.engine.dashboard.run_summary import SCHEDULED_STATES, Sample, samples_of
from pagefold.engine.dashboard.screen import State
from pagefold.engine.delivery.target_verifier import TargetVerification
from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.requests.request_service import changes_of
from pagefold.engine.requests.work_request import RebuildWork, Request, SyncWork, TargetVerifyWork, VerifyWork, Work


class RequestVerdict(NamedTuple):
    """One sentence, and what follows from it."""

    state: State
    title: str
    text: str


class DryRun(NamedTuple):
    """What a rebuild would change: its report, some streams that differ, and some that the snapshot lacks."""

    report: RunReport
    changes: int
    samples: list[Sample]
    orphans: list[str]


def title_of(work: Work) -> str:
    """What is asked for."""
    match work:
        case RebuildWork(source=source, dry_run=dry_run):
            return f"{'Dry run of a rebuild' if dry_run else 'Rebuild'} of {source}"
        case VerifyWork(sample=sample):
            return f"Comparison of {plural(sample, 'product')} with the log"
        case TargetVerifyWork(target=target):
            return f"Comparison of the target {target} with the pages"
        case SyncWork(source=source, decision="append"):
            return f"Sync of {source}, with what it holds"
        case SyncWork(source=source):
            return f"Sync of {source}, without what it holds"
        case _ as never:
            assert_never(never)


def verdict_of(request: Request) -> RequestVerdict:
    """How it is, and once it has ended, what was found."""
    run, state = request.run, SCHEDULED_STATES[request.run.state][0]
    if run.state == "requested":
        text = "A process of `pagefold work` or `pagefold serve --work` takes it up within seconds."
        return RequestVerdict(state, "It waits for a worker", text)
    if run.state == "running":
        return RequestVerdict(state, "A worker is at it", "This page follows, and says what comes of it.")
    if run.state in ("failed", "stopped"):
        return RequestVerdict(state, "It has failed" if run.state == "failed" else "It was not done", run.detail)
    return RequestVerdict(state, _found(request), run.detail)


def _found(request: Request) -> str:
    """The result of a request that was done, in one sentence."""
    if (rebuilt := request.rebuilt()) is not None:
        return _rebuild_words(rebuilt.report)
    if (found := request.comparison()) is not None:
        sections = plural(found.sections, "section")
        if not found.sections:
            return "There is nothing to compare"
        return (
            f"{found.changed:,} of {sections} differ from the log"
            if found.changed
            else f"{sections} are as the log says"
        )
    if (target := request.target_comparison()) is not None:
        return _target_words(target)
    return "It needs attention" if request.run.state == "attention" else "It is done"


def _target_words(found: TargetVerification) -> str:
    if found.differing:
        return f"{found.differing:,} of {plural(found.read or 0, 'page')} that were read back are not as acknowledged"
    if found.unmarked:
        return f"{plural(found.unmarked, 'page')} had not been noted"
    if found.current == found.pages:
        return f"The target holds {plural(found.pages, 'page')} as they are"
    return f"{plural(found.pages - found.current, 'page')} of {found.pages:,} are still to be delivered, as it is known"


def _rebuild_words(report: RunReport) -> str:
    changes = changes_of(report)
    if report.dry_run:
        held = ", and would be held" if report.state == "held" else ""
        return f"It would change {plural(changes, 'stream')}{held}" if changes else "It would change nothing"
    if report.state == "held":
        return f"It is held: it would withdraw or empty {plural(report.removals, 'stream')}"
    return f"It has changed {plural(report.drifted + report.counts.withdrawn, 'stream')}"


def dry_run_of(request: Request) -> DryRun | None:
    """What a dry run found; None if it is another request, or found nothing."""
    rebuilt = request.rebuilt()
    if rebuilt is None or not rebuilt.report.dry_run:
        return None
    report = rebuilt.report
    return DryRun(report, changes_of(report), samples_of(report), rebuilt.orphans)
