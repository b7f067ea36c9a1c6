"""What a saga has done with a page, as an aggregate of the `eventsourcing` library, in the shop's own log.

One for each page of a saga, from its first version on. A *version* is the page as it is folded up to a position of the
log, so that its documents are the same bytes whenever they are made. Every step is an event: another process can
continue after a crash.

    idle      nothing is under way: `started`, or `agreed` if all targets hold the version already
    forward   `taken` by one target after another; `completed` by the last, or `refused`
    backward  `reverted` by one target after another, in reverse order; `compensated` by the last

A target that has refused for good after the pivot, or while a version is taken back, is `stuck`: a person has to
decide, `resumed`, `reversed` or `settled`. A newer version of the page decides, too: it is `started` over it.

`position` orders what targets get of a page: it rises with every run, and when one turns. It is part of the idempotency
key, so that a version that is delivered a second time is another delivery.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias
from urllib.parse import quote

from eventsourcing.domain import (
    BaseAggregate,
    CanInitAggregate,
    CanMutateAggregate,
    CanSnapshotAggregate,
    MetaDomainEvent,
)

from pagefold.domains.values import format_timestamp
from pagefold.engine.runtime.clock import now
from pagefold.engine.sagas.saga_errors import SagaStateError

Phase: TypeAlias = Literal["idle", "forward", "backward"]
SagaState: TypeAlias = Literal["idle", "running", "compensating", "needs a person"]
Result: TypeAlias = Literal["", "completed", "refused", "settled"]
"""How the newest version that has ended did: taken by all, taken back from all, or settled by a person."""

MAX_REASON_LENGTH = 300


class PageName(NamedTuple):
    """A page of a saga."""

    saga: str
    sku: str
    channel: str

    def __str__(self) -> str:
        return f"{self.saga} {self.sku} {self.channel}"

    @property
    def stream(self) -> str:
        """The id of its aggregate, which is no stream of the shop's: it has no slash."""
        return f"saga:{self.saga}:{self.channel}:{quote(self.sku, safe='')}"


class SagaEvent(CanMutateAggregate[str], metaclass=MetaDomainEvent):
    """An event of a page's saga."""

    originator_id: str
    originator_version: int
    timestamp: datetime

    @staticmethod
    def create_timestamp() -> datetime:
        """The current time in UTC, whatever time zone is configured for the library."""
        return datetime.fromisoformat(now())


class PageSaga(BaseAggregate[str]):
    """What a saga has done with a page. A method raises `SagaStateError`, and changes nothing, if it is not allowed.

    `common` is the version that all targets had last, None if they never had one; `common_tag` is its tag. `upto`,
    `tag`, `targets` and `pivot` are those of the newest run, `done` its targets that have taken or reverted it.
    `ahead`: targets held another version before the first one, which is not known. `uncertain`: a target may hold the
    version that was refused. `given_up` is the tag of a version that is not tried again by itself. `left`: a person has
    left the targets as they are.
    """

    TOPIC = "engine.sagas.saga:PageSaga"  # topics are stored: they stay when a class is renamed

    def __init__(self, *, saga: str, sku: str, channel: str) -> None:
        self.saga = saga
        self.sku = sku
        self.channel = channel
        self.phase: Phase = "idle"
        self.result: Result = ""
        self.common: int | None = None
        self.common_tag = ""
        self.upto = self.position = 0
        self.tag = ""
        self.targets: list[str] = []
        self.pivot = ""
        self.done: list[str] = []
        self.ahead = self.left = self.uncertain = False
        self.given_up: str | None = None
        self.failed_target = self.stuck_target = ""
        self.reason = ""

    class Event(SagaEvent):
        """An event of a page's saga."""

    class Created(CanInitAggregate[str], Event):
        """The saga has met the page for the first time."""

        TOPIC = "engine.sagas.saga:PageSaga.Created"
        originator_topic: str
        saga: str
        sku: str
        channel: str

    class Started(Event):
        """A version is to be taken by all targets, in their order."""

        TOPIC = "engine.sagas.saga:PageSaga.Started"
        upto: int
        position: int
        tag: str
        targets: list[str]
        pivot: str
        ahead: bool

        def apply(self, saga: "PageSaga") -> None:
            """The run begins."""
            saga.upto, saga.position = self.upto, self.position
            saga.tag = self.tag
            saga.targets, saga.pivot = list(self.targets), self.pivot
            saga.ahead = self.ahead
            saga.turn("forward")
            saga.failed_target = saga.reason = ""
            saga.left = saga.uncertain = False
            saga.given_up = None

    class Agreed(Event):
        """All targets hold this version already."""

        TOPIC = "engine.sagas.saga:PageSaga.Agreed"
        upto: int
        position: int
        tag: str

        def apply(self, saga: "PageSaga") -> None:
            """It is what all have."""
            saga.upto, saga.position = self.upto, self.position
            saga.tag = self.tag
            saga.ahead = saga.left = False
            saga.end("completed")

    class Taken(Event):
        """A target, which is not the last one, has taken the version."""

        TOPIC = "engine.sagas.saga:PageSaga.Taken"
        target: str

        def apply(self, saga: "PageSaga") -> None:
            """The next one follows."""
            saga.done.append(self.target)
            saga.stuck_target = ""

    class Completed(Event):
        """The last target has taken the version: all have it."""

        TOPIC = "engine.sagas.saga:PageSaga.Completed"

        def apply(self, saga: "PageSaga") -> None:
            """It is what all have."""
            saga.end("completed")

    class Refused(Event):
        """A target up to the pivot has refused the version for good: it is taken back."""

        TOPIC = "engine.sagas.saga:PageSaga.Refused"
        target: str
        reason: str
        position: int
        uncertain: bool

        def apply(self, saga: "PageSaga") -> None:
            """The run turns."""
            saga.uncertain = bool(saga.done) or self.uncertain
            saga.turn("backward")
            saga.position = self.position
            saga.failed_target, saga.reason = self.target, self.reason

    class Reverted(Event):
        """A target holds what all had before."""

        TOPIC = "engine.sagas.saga:PageSaga.Reverted"
        target: str

        def apply(self, saga: "PageSaga") -> None:
            """The one before follows."""
            saga.done.append(self.target)
            saga.stuck_target = ""

    class Compensated(Event):
        """All targets hold what all had before."""

        TOPIC = "engine.sagas.saga:PageSaga.Compensated"

        def apply(self, saga: "PageSaga") -> None:
            """The version is given up."""
            saga.end("refused")

    class Stuck(Event):
        """A target has refused for good what it must take: a person has to decide."""

        TOPIC = "engine.sagas.saga:PageSaga.Stuck"
        target: str
        reason: str

        def apply(self, saga: "PageSaga") -> None:
            """Nothing is done until a decision, or a newer version."""
            saga.stuck_target, saga.reason = self.target, self.reason

    class Resumed(Event):
        """A person has it tried again: what a target has refused, or a version that was given up."""

        TOPIC = "engine.sagas.saga:PageSaga.Resumed"
        by: str
        reason: str
        position: int

        def apply(self, saga: "PageSaga") -> None:
            """It is another delivery."""
            saga.stuck_target = ""
            saga.given_up = None
            saga.left = False
            saga.position = self.position
            if saga.phase == "backward" and saga.ahead:  # nothing is known to go back to
                saga.turn("idle")

    class Reversed(Event):
        """A person has a version taken back that not all targets have."""

        TOPIC = "engine.sagas.saga:PageSaga.Reversed"
        by: str
        reason: str
        position: int

        def apply(self, saga: "PageSaga") -> None:
            """The run turns."""
            saga.turn("backward")
            saga.position = self.position
            saga.failed_target, saga.reason = "", f"{self.by}: {self.reason}"

    class Settled(Event):
        """A person has ended the run. `taken`: all targets hold its version; else they are left as they are."""

        TOPIC = "engine.sagas.saga:PageSaga.Settled"
        by: str
        reason: str
        taken: bool

        def apply(self, saga: "PageSaga") -> None:
            """It is not tried again by itself."""
            saga.end("completed" if self.taken else "settled")
            saga.left = True
            saga.reason = f"{self.by}: {self.reason}"

    class Snapshot(CanSnapshotAggregate[str], metaclass=MetaDomainEvent):
        """An aggregate snapshot, so that not all events need to be read."""

        TOPIC = "engine.sagas.saga:PageSaga.Snapshot"
        originator_id: str
        originator_version: int
        timestamp: datetime
        topic: str
        state: dict[str, Any]

    # --- what events share -------------------------------------------------------------------------------

    def turn(self, phase: Phase) -> None:
        """Begins a phase."""
        self.phase = phase
        self.done = []
        self.stuck_target = ""

    def end(self, result: Result) -> None:
        """Ends a run."""
        self.turn("idle")
        self.result = result
        if result == "completed":
            self.common, self.common_tag = self.upto, self.tag
            self.given_up = None
            self.failed_target = self.reason = ""
        else:
            self.given_up = self.tag

    # --- what is asked -----------------------------------------------------------------------------------

    @classmethod
    def create(cls, page: PageName) -> "PageSaga":
        """The saga of a page that it has not met."""
        return cls._create(cls.Created, id=page.stream, saga=page.saga, sku=page.sku, channel=page.channel)

    @property
    def name(self) -> PageName:
        """The page."""
        return PageName(self.saga, self.sku, self.channel)

    @property
    def state(self) -> SagaState:
        """What it does."""
        if self.stuck_target:
            return "needs a person"
        return {"idle": "idle", "forward": "running", "backward": "compensating"}[self.phase]  # type: ignore[return-value]  # the states by phase

    @property
    def changed_at(self) -> str:
        """The time of its last event, as fixed-width UTC text."""
        return format_timestamp(self.modified_on)

    # --- steps -------------------------------------------------------------------------------------------

    def start(  # the event's own fields, by name
        self, *, upto: int, position: int, tag: str, targets: Sequence[str], pivot: str, ahead: bool = False
    ) -> None:
        """Begins with a version. The one that a person had to decide about is over."""
        self._check("start", holds=self.phase == "idle" or bool(self.stuck_target))
        self._check_position("start", position)
        self.trigger_event(
            self.Started,
            upto=upto,
            position=position,
            tag=tag,
            targets=list(targets),
            pivot=pivot,
            ahead=ahead,
        )

    def agree(self, *, upto: int, position: int, tag: str) -> None:
        """Records that all targets hold a version already."""
        self._check("agree", holds=self.phase == "idle")
        self._check_position("agree", position)
        self.trigger_event(self.Agreed, upto=upto, position=position, tag=tag)

    def take(self, target: str) -> None:
        """Records that a target has taken the version."""
        self._check("go forward", holds=self.phase == "forward" and target in self.targets and target not in self.done)
        self.trigger_event(self.Taken, target=target)

    def complete(self) -> None:
        """Records that all have taken it."""
        self._check("be completed", holds=self.phase == "forward")
        self.trigger_event(self.Completed)

    def refuse(self, target: str, reason: str, position: int, *, uncertain: bool = False) -> None:
        """Records that a target up to the pivot has refused the version for good.

        `uncertain`: it may hold the version all the same, such as after an attempt without an answer.
        """
        decided = self.targets.index(self.pivot) if self.pivot in self.targets else len(self.targets)
        early = target in self.targets and self.targets.index(target) <= decided
        self._check("go back", holds=self.phase == "forward" and early and not self.stuck_target)
        self._check_position("go back", position)
        self.trigger_event(
            self.Refused, target=target, reason=_shortened(reason), position=position, uncertain=uncertain
        )

    def revert(self, target: str) -> None:
        """Records that a target holds again what all had before."""
        self._check("be taken back", holds=self.phase == "backward" and target not in self.done)
        self.trigger_event(self.Reverted, target=target)

    def compensate(self) -> None:
        """Records that all hold what all had before."""
        self._check("be compensated", holds=self.phase == "backward" or bool(self.stuck_target))
        self.trigger_event(self.Compensated)

    def stick(self, target: str, reason: str) -> None:
        """Records that a person has to decide."""
        self._check("need a person", holds=not self.stuck_target)
        self.trigger_event(self.Stuck, target=target, reason=_shortened(reason))

    # --- decisions ---------------------------------------------------------------------------------------

    def resume(self, by: str, reason: str, position: int) -> None:
        """Has what was refused tried again."""
        self._check("be resumed", holds=bool(self.stuck_target) or self.given_up is not None)
        self._check_position("be resumed", position)
        self.trigger_event(self.Resumed, by=by, reason=reason, position=position)

    def reverse(self, by: str, reason: str, position: int) -> None:
        """Has a version taken back that not all targets have."""
        self._check("be compensated", holds=self.phase == "forward" and not self.ahead)
        self._check_position("be compensated", position)
        self.trigger_event(self.Reversed, by=by, reason=reason, position=position)

    def settle(self, by: str, reason: str, *, taken: bool) -> None:
        """Ends a run. `taken`: all targets hold its version; else they are left as they are."""
        self._check("be settled", holds=bool(self.stuck_target) or self.phase != "idle")
        self.trigger_event(self.Settled, by=by, reason=reason, taken=taken)

    def _check(self, what: str, *, holds: bool) -> None:
        if not holds:
            raise SagaStateError(str(self.name), what, self.state if self.phase != "idle" else "not under way")

    def _check_position(self, what: str, position: int) -> None:
        if position <= self.position:
            raise SagaStateError(str(self.name), what, f"at position {self.position}, not before {position}")


def _shortened(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()[:MAX_REASON_LENGTH]
