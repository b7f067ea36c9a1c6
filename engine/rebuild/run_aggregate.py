"""A rebuild's run, as an aggregate of the `eventsourcing` library: what it compared, what it found, and how it ended.

A run rebuilds one source. It compares a snapshot of the source with the log, chunk by chunk; then it withdraws, chunk
by chunk, what the snapshot lacks. Every step is an event, so another process can resume after a crash.

    comparing    chunk_compared, repeatedly; start_over if the snapshot is not in order
    withdrawing  from `compared` on: withdraw, repeatedly; hold if it would remove too much, until resume, and then
                 compare_again if corrections were withheld
    done         from `complete` on

A run that is held waits for a decision: `approve`, and a worker resumes it, or `refuse`, which ends it.

The lists of streams are only in the events: a run may find millions. `run_repository.py` reads them.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

import msgspec
from eventsourcing.domain import (
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    CanSnapshotAggregate,
    MetaDomainEvent,
)

from pagefold.domains.domain import JSON
from pagefold.domains.values import format_timestamp
from pagefold.engine.errors import RunStateError
from pagefold.engine.rebuild.excerpts import MAX_EXAMPLES, MAX_REASON_LENGTH, clean, shorten, shorten_json
from pagefold.engine.rebuild.run_records import Cursor, RunCounts, RunSpec
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.event_state import DriftKind

Drifted: TypeAlias = Mapping[DriftKind, Sequence[str]]
"""The drifted streams, by kind of drift."""

RunState: TypeAlias = Literal["running", "held", "approved", "refused", "completed", "failed"]
Phase: TypeAlias = Literal["comparing", "withdrawing", "done"]

NOTHING_DRIFTED: Final[Drifted] = {}

MAX_LISTED_STREAMS = 50_000
"""Maximum streams in a list of an event, which keeps an event below a few megabytes."""


class RunEvent(CanMutateAggregate[str], metaclass=MetaDomainEvent):
    """An event of a run."""

    originator_id: str
    originator_version: int
    timestamp: datetime

    @staticmethod
    def create_timestamp() -> datetime:
        """The current time in UTC, whatever time zone is configured for the library."""
        return datetime.fromisoformat(now())


class RebuildRun(BaseAggregate[str]):
    """A run. A method raises `RunStateError`, and changes nothing, if the state does not allow it.

    A run that is `running` need not have a live process: the claim on its source shows that.
    """

    TOPIC = "engine.rebuild.run:Rebuild"  # topics are stored: they stay when a class is renamed

    def __init__(  # noqa: PLR0913  # the fields of `RunSpec`, which the event `Started` has by these names
        self,
        *,
        source: str,
        domains: list[str],
        start_position: int,
        snapshot: str,
        identity: str,
        process: str,
        prefix: str,
        max_orphans: JSON,
        written_at: str | None,
        settle: float,
        baseline: int | None,
        keeps_absent: bool,
        first: str,
    ) -> None:
        self.source = source
        self.domains = domains
        self.start_position = start_position
        self.snapshot = snapshot
        self.identity = identity
        self.process = process
        self.prefix = prefix
        self.max_orphans = max_orphans
        self.written_at = written_at
        self.settle = settle
        self.baseline = baseline
        self.keeps_absent = keeps_absent
        self.first = first
        self.state: RunState = "running"
        self.spilled = False
        self.complete_snapshot = False
        self.incomplete_because = ""
        self.held_orphans = 0
        self.held_limit = 0
        self.losses: list[JSON] = []
        self.confirmed = False
        self.decided_by = ""
        self.decided_because = ""
        self.withdrawn_after = ""
        self.recreated_after = ""
        self.recreated: list[str] = []
        self.epoch = 0
        self.failed_because = ""
        self.superseded_by = ""
        self.restart_comparison(self.INITIAL_VERSION)

    def restart_comparison(self, version: int) -> None:
        """Discards the results of all events before this version."""
        self.since = version
        self.phase: Phase = "comparing"
        self.cursor: Cursor = {"snapshot": None, "stream": ""}
        self.counts = RunCounts()
        self.live = 0
        self.repetitions = 0
        self.withheld = 0
        self.older: list[str] = []
        self.samples: list[JSON] = []
        self.refusals: list[JSON] = []
        self.taken_at: str | None = None

    class Event(RunEvent):
        """An event of a run."""

    class Started(CanInitAggregate[str], Event):
        """The run began. `process` is `host:pid`."""

        TOPIC = "engine.rebuild.run:Rebuild.Started"
        originator_topic: str
        source: str
        domains: list[str]
        start_position: int
        snapshot: str
        identity: str
        process: str
        prefix: str
        max_orphans: JSON
        written_at: str | None
        settle: float
        baseline: int | None
        keeps_absent: bool
        first: str

    class ChunkCompared(Event):
        """A chunk was compared, and its drift repaired, except for corrections that are withheld."""

        TOPIC = "engine.rebuild.run:Rebuild.PageDone"
        cursor: Cursor
        counts: dict[str, int]
        live: int
        repetitions: int
        withheld: int
        drifted: dict[DriftKind, list[str]]
        orphans: list[str]
        samples: list[JSON]
        refusals: list[JSON]
        taken_at: str | None

        def apply(self, run: "RebuildRun") -> None:
            """Adds the chunk to the earlier ones."""
            run.cursor = self.cursor
            run.counts += RunCounts.of(self.counts)
            run.live += self.live
            run.repetitions += self.repetitions
            run.withheld += self.withheld
            run.samples += self.samples
            run.refusals += self.refusals
            run.taken_at = self.taken_at or run.taken_at

    class StartedOver(Event):
        """The snapshot is read again, sorted first if its streams are not in order. Repairs stay."""

        TOPIC = "engine.rebuild.run:Rebuild.StartedOver"
        reason: str
        spilled: bool

        def apply(self, run: "RebuildRun") -> None:
            """Discards the earlier chunks."""
            run.restart_comparison(self.originator_version)
            run.spilled = self.spilled

    class Compared(Event):
        """The snapshot was read as far as possible. If it is not complete, `reason` says why."""

        TOPIC = "engine.rebuild.run:Rebuild.Compared"
        complete: bool
        reason: str
        taken_at: str | None
        baseline: int | None
        withheld: int

        def apply(self, run: "RebuildRun") -> None:
            """Orphans may be withdrawn if it was complete."""
            run.phase = "withdrawing"
            run.baseline = self.baseline
            run.withheld = self.withheld
            run.complete_snapshot = self.complete
            run.incomplete_because = self.reason
            run.taken_at = self.taken_at or run.taken_at

    class Held(Event):
        """The run would remove more than is allowed without confirmation, by orphans or corrections."""

        TOPIC = "engine.rebuild.run:Rebuild.Held"
        orphans: int
        limit: int
        losses: list[JSON]

        def apply(self, run: "RebuildRun") -> None:
            """The run waits for confirmation."""
            run.state = "held"
            run.held_orphans = self.orphans
            run.held_limit = self.limit
            run.losses = self.losses

    class Approved(Event):
        """An operator allows what the run would remove. A worker resumes it."""

        TOPIC = "engine.rebuild.run:Rebuild.Approved"
        by: str
        reason: str

        def apply(self, run: "RebuildRun") -> None:
            """The run waits for a worker."""
            run.state = "approved"
            run.confirmed = True
            run.decided_by, run.decided_because = self.by, self.reason

    class Refused(Event):
        """An operator refuses what the run would remove."""

        TOPIC = "engine.rebuild.run:Rebuild.Refused"
        by: str
        reason: str

        def apply(self, run: "RebuildRun") -> None:
            """No more events can follow: another snapshot is another run."""
            run.state = "refused"
            run.decided_by, run.decided_because = self.by, self.reason

    class Resumed(Event):
        """A process resumes the run."""

        TOPIC = "engine.rebuild.run:Rebuild.Resumed"
        process: str
        confirmed: bool

        def apply(self, run: "RebuildRun") -> None:
            """The run continues where it was."""
            run.state = "running"
            run.process = self.process
            run.confirmed = run.confirmed or self.confirmed
            run.failed_because = ""

    class Withdrawn(Event):
        """The orphans up to a stream were withdrawn, except those with newer events."""

        TOPIC = "engine.rebuild.run:Rebuild.Withdrawn"
        streams: list[str]
        spared: int
        after: str

        def apply(self, run: "RebuildRun") -> None:
            """Counts them."""
            run.counts += RunCounts(withdrawn=len(self.streams), spared=self.spared)
            run.withdrawn_after = self.after

    class Completed(Event):
        """The run is complete."""

        TOPIC = "engine.rebuild.run:Rebuild.Completed"

        def apply(self, run: "RebuildRun") -> None:
            """No more events can follow."""
            run.state = "completed"
            run.phase = "done"

    class Failed(Event):
        """The run ended early, for a reason. A superseded run cannot be resumed."""

        TOPIC = "engine.rebuild.run:Rebuild.Failed"
        reason: str
        superseded_by: str

        def apply(self, run: "RebuildRun") -> None:
            """The run keeps its position."""
            run.state = "failed"
            run.failed_because = self.reason
            run.superseded_by = self.superseded_by

    class Snapshot(CanSnapshotAggregate[str], metaclass=MetaDomainEvent):
        """An aggregate snapshot of the run, so that not all of its events need to be read."""

        TOPIC = "engine.rebuild.run:Rebuild.Snapshot"
        originator_id: str
        originator_version: int
        timestamp: datetime
        topic: str
        state: dict[str, Any]

    @classmethod
    def start(cls, spec: RunSpec) -> "RebuildRun":
        """Creates a run. Ids of a source's runs sort by the second of their start."""
        started_at = RunEvent.create_timestamp()
        run_id = f"{spec.source}-{started_at:%Y%m%dT%H%M%S}-{secrets.token_hex(2)}"
        fields = msgspec.structs.asdict(spec)
        fields |= {"snapshot": clean(spec.snapshot), "identity": clean(spec.identity), "domains": list(spec.domains)}
        return cls._create(cls.Started, id=run_id, timestamp=started_at, **fields)

    @property
    def started_at(self) -> str:
        """When the run started, as fixed-width UTC text."""
        return format_timestamp(self.created_on)

    @property
    def changed_at(self) -> str:
        """The time of the run's last event, as fixed-width UTC text."""
        return format_timestamp(self.modified_on)

    @property
    def resumable(self) -> bool:
        """Whether the run is unfinished, not refused and not superseded."""
        return self.state not in ("completed", "refused") and not self.superseded_by

    @property
    def removals(self) -> int:
        """How many orphans a held run would withdraw, and how many streams would lose values."""
        return self.held_orphans + (self.withheld if self.losses else 0)

    def chunk_compared(  # noqa: PLR0913  # the event's own fields, by name
        self,
        *,
        cursor: Cursor,
        counts: RunCounts,
        live: int = 0,
        repetitions: int = 0,
        withheld: int = 0,
        drifted: Drifted = NOTHING_DRIFTED,
        orphans: Sequence[str] = (),
        samples: Sequence[JSON] = (),
        refusals: Sequence[JSON] = (),
        taken_at: str | None = None,
    ) -> None:
        """Records that a chunk of rows was compared, with all streams up to the last row.

        `counts` and `live` are of this chunk alone; `live` counts its streams in the log that are not withdrawn.
        `repetitions` are rows that repeat an earlier one. `drifted` are the streams that were repaired, or would be in
        a dry run; `withheld` of them wait until it is known how much all corrections would remove. `samples` are
        (stream, drift, (path, before, after) of each field that differs), `refusals` (number of the row, path, reason);
        of both, up to `MAX_EXAMPLES` are kept.
        """
        self._check("compare a chunk", holds=self._runs_in("comparing"))
        _check_length(*drifted.values(), orphans)
        self.trigger_event(
            self.ChunkCompared,
            cursor=cursor,
            counts=counts.as_dict(),
            live=live,
            repetitions=repetitions,
            withheld=withheld,
            drifted={drift: list(streams) for drift, streams in drifted.items()},
            orphans=list(orphans),
            samples=[shorten_json(each) for each in samples[: MAX_EXAMPLES - len(self.samples)]],
            refusals=[shorten_json(each) for each in refusals[: MAX_EXAMPLES - len(self.refusals)]],
            taken_at=taken_at,
        )

    def start_over(self, reason: str) -> None:
        """Starts over with sorting; the chunks so far are discarded."""
        self._check("start over", holds=self._runs_in("comparing"))
        self.trigger_event(self.StartedOver, reason=shorten(reason, MAX_REASON_LENGTH), spilled=True)

    def compare_again(self) -> None:
        """Starts over: withheld corrections are not stored, and must be found again."""
        self._check("compare again", holds=self.state == "running" and self.withheld > 0)
        self.trigger_event(self.StartedOver, reason="withheld corrections are found again", spilled=self.spilled)

    def compared(  # the event's own fields, by name
        self,
        *,
        complete: bool,
        reason: str = "",
        taken_at: str | None = None,
        baseline: int | None = None,
        withheld: int = 0,
    ) -> None:
        """Records that the snapshot was read as far as possible. If it is not complete, `reason` says why.

        The corrections of `withheld` streams are not appended yet; those of the others are.
        """
        self._check("end the comparison", holds=self._runs_in("comparing"))
        self.trigger_event(
            self.Compared,
            complete=complete,
            reason=shorten(reason, MAX_REASON_LENGTH),
            taken_at=taken_at,
            baseline=baseline,
            withheld=withheld,
        )

    def hold(self, orphans: int, limit: int, losses: Sequence[JSON] = ()) -> None:
        """Holds the run until an operator confirms removals: orphans, and (path, streams, samples) of corrections."""
        self._check("be held", holds=self._runs_in("withdrawing") and not self.confirmed)
        examples = [shorten_json(each) for each in losses[:MAX_EXAMPLES]]
        self.trigger_event(self.Held, orphans=orphans, limit=limit, losses=examples)

    def approve(self, by: str, reason: str) -> None:
        """Allows what a held run would remove."""
        self._check("be approved", holds=self.state == "held")
        self.trigger_event(self.Approved, by=by, reason=reason)

    def refuse(self, by: str, reason: str) -> None:
        """Ends a held run. Nothing is removed."""
        self._check("be refused", holds=self.state == "held")
        self.trigger_event(self.Refused, by=by, reason=reason)

    def resume(self, process: str, *, confirmed: bool = False) -> None:
        """Resumes a run that was interrupted, held, approved, or failed."""
        self._check("be resumed", holds=self.resumable)
        self.trigger_event(self.Resumed, process=process, confirmed=confirmed)

    def withdraw(self, streams: Sequence[str], *, spared: int, after: str) -> None:
        """Records withdrawn orphans: these `streams`; with those spared, all up to and including `after`."""
        self._check("withdraw", holds=self._runs_in("withdrawing") and self.complete_snapshot)
        _check_length(streams)
        self.trigger_event(self.Withdrawn, streams=list(streams), spared=spared, after=after)

    def complete(self) -> None:
        """Completes the run."""
        self._check("be completed", holds=self._runs_in("withdrawing"))
        self.trigger_event(self.Completed)

    def fail(self, reason: str) -> None:
        """Ends the run early, until it is resumed."""
        self._check("fail", holds=self.state in ("running", "held", "approved"))
        self.trigger_event(self.Failed, reason=shorten(reason, MAX_REASON_LENGTH), superseded_by="")

    def supersede(self, run_id: str) -> None:
        """Lets another run replace this one, which was not completed."""
        self._check("be superseded", holds=self.resumable)
        self.trigger_event(self.Failed, reason=f"superseded by {run_id}", superseded_by=run_id)

    def _runs_in(self, phase: Phase) -> bool:
        return self.state == "running" and self.phase == phase

    def _check(self, what: str, *, holds: bool) -> None:
        if not holds:
            where = f"in phase {self.phase}" if self.state == "running" else self.state
            by = f", superseded by {self.superseded_by}" if self.superseded_by else ""
            raise RunStateError(self.id, what, where + by)


def _check_length(*lists: Sequence[object]) -> None:
    if any(len(each) > MAX_LISTED_STREAMS for each in lists):
        problem = f"an event of a run names at most {MAX_LISTED_STREAMS} streams in a list"
        raise ValueError(problem)
