"""What an operator can ask a worker for, as it is stored; and what was found."""

from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.delivery.target_verifier import TargetVerification
from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.replay.replayer import SectionDrift
from pagefold.engine.runtime.origin import Via
from pagefold.engine.stores.schedule_records import ScheduledRun, sync_task

MAX_SAMPLE = 10_000
"""SKUs of a verification that is asked for."""

VERIFICATION = "verify a sample"
"""The name under which verifications are recorded that were asked for. No task of the configuration can have it."""

SyncDecision: TypeAlias = Literal["append", "leave-out"]
"""What becomes of what a sync holds: it is appended, or left out and not asked for again."""

SampleSize = Annotated[int, msgspec.Meta(ge=1, le=MAX_SAMPLE)]
SourceName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
TargetName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
ReadBackSize = Annotated[int, msgspec.Meta(ge=0, le=MAX_SAMPLE)]
StreamCount = Annotated[int, msgspec.Meta(ge=0)]


class RebuildWork(msgspec.Struct, frozen=True, tag="rebuild", tag_field="run", rename="camel", omit_defaults=True):
    """A rebuild of a source; a `dry_run` writes nothing. `of` is the number of the dry run that was seen before."""

    source: SourceName
    dry_run: bool = False
    of: int | None = None

    @property
    def task(self) -> str:
        """The name under which it is recorded: one of a name at a time."""
        return f"rebuild {self.source}"


class VerifyWork(msgspec.Struct, frozen=True, tag="verify", tag_field="run"):
    """A comparison of some SKUs with the log, chosen at random."""

    sample: SampleSize

    @property
    def task(self) -> str:
        """The name under which it is recorded: one of a name at a time."""
        return VERIFICATION


class TargetVerifyWork(msgspec.Struct, frozen=True, tag="verify-target", tag_field="run"):
    """A comparison of a target's receipts with the pages, and of some pages with what it holds."""

    target: TargetName
    sample: ReadBackSize

    @property
    def task(self) -> str:
        """The name under which it is recorded: one of a name at a time."""
        return f"verify the target {self.target}"


class SyncWork(msgspec.Struct, frozen=True, tag="sync", tag_field="run"):
    """A sync of a source that decides about what is held: removals from an `expected` number of streams."""

    source: SourceName
    decision: SyncDecision
    expected: StreamCount

    @property
    def task(self) -> str:
        """The name under which it is recorded: that of every sync of the source."""
        return sync_task(self.source)


Work: TypeAlias = RebuildWork | VerifyWork | TargetVerifyWork | SyncWork


class WorkRequest(msgspec.Struct, frozen=True):
    """What is to be done, who has asked for it, why, and by which way."""

    work: Work
    by: str
    reason: str
    via: Via


class VerifyResult(msgspec.Struct, frozen=True):
    """What a comparison of pages with the log found, with some of the sections that had drifted."""

    sections: int
    changed: int
    behind: int
    differences: list[SectionDrift]


class RebuildResult(msgspec.Struct, frozen=True):
    """The report of a rebuild, and some of the streams that its snapshot lacks."""

    report: RunReport
    orphans: list[str]


class Request(NamedTuple):
    """A request: the record of its run, what was asked for, and what was found, as JSON."""

    run: ScheduledRun
    asked: WorkRequest
    result: str | None

    @property
    def number(self) -> int:
        """Its number."""
        return self.run.number

    @property
    def is_open(self) -> bool:
        """Whether it has not ended."""
        return self.run.ended_at is None

    @property
    def has_begun(self) -> bool:
        """Whether a worker has taken it up; until then, it is recorded as if it had begun when it was asked for."""
        return self.run.started_at != self.run.due

    def rebuilt(self) -> RebuildResult | None:
        """What a rebuild found; None if it is another request, or has found nothing."""
        if self.result is None or not isinstance(self.asked.work, RebuildWork):
            return None
        return msgspec.json.decode(self.result, type=RebuildResult)

    def comparison(self) -> VerifyResult | None:
        """What a verification found; None likewise."""
        if self.result is None or not isinstance(self.asked.work, VerifyWork):
            return None
        return msgspec.json.decode(self.result, type=VerifyResult)

    def target_comparison(self) -> TargetVerification | None:
        """What a verification of a target found; None likewise."""
        if self.result is None or not isinstance(self.asked.work, TargetVerifyWork):
            return None
        return msgspec.json.decode(self.result, type=TargetVerification)

    def document(self) -> JSON:
        """What was found, as JSON."""
        found: JSON = None if self.result is None else msgspec.json.decode(self.result)
        return found


def command_of_work(work: Work) -> list[str]:
    """The command that does the same, in its words."""
    match work:
        case RebuildWork(source=source, dry_run=dry_run):
            return ["rebuild", "--source", source, *(["--dry-run"] if dry_run else [])]
        case VerifyWork(sample=sample):
            return ["verify", "--sample", str(sample)]
        case TargetVerifyWork(target=target, sample=sample):
            return ["targets", "verify", target, "--sample", str(sample)]
        case SyncWork(source=source, decision=decision, expected=expected):
            way = "--yes" if decision == "append" else "--leave-out"
            return ["sync", source, way, "--expect", str(expected)]
