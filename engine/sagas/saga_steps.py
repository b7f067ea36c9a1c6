"""What a saga does next with a page: a pure function of its record in the log, and of the receipts of its targets.

Nothing else decides. So a process that ends between any two steps leaves nothing behind that the next one has to know.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pagefold.engine.sagas.page_saga import PageSaga
from pagefold.engine.stores.delivery_records import UNKNOWN, WITHDRAWN, StoredDelivery

Rows: TypeAlias = Mapping[str, StoredDelivery]
"""The receipts of a page, by target."""

NOT_KNOWN = "what the targets had before this version is not known"


class Version(NamedTuple):
    """A version of a page: the position up to which it is folded, its tag, and the tag of each target's document."""

    position: int
    tag: str
    tags: Mapping[str, str]

    def tag_for(self, target: str) -> str:
        """The tag of a target's document; that of a withdrawal if it has none."""
        return self.tags.get(target, WITHDRAWN)


ABSENT = Version(0, WITHDRAWN, {})
"""What all targets had of a page before its first version."""


class Look(NamedTuple):
    """The newest version has to be known first."""


class Place(NamedTuple):
    """A target is to get its document of the goal. `again`: as another delivery, outside of a run."""

    target: str
    again: bool = False


class Wait(NamedTuple):
    """A target has the word."""

    target: str


class Record(NamedTuple):
    """An event is to be recorded: a method of the aggregate, and about which target, and why."""

    what: Literal["start", "agree", "take", "complete", "refuse", "revert", "compensate", "stick"]
    target: str = ""
    reason: str = ""
    flag: bool = False


class End(NamedTuple):
    """Nothing is to be done: all targets have the newest version, or none has, or a person has to decide."""

    how: Literal["delivered", "discarded", "dead"]


Action: TypeAlias = Look | Place | Wait | Record | End


def next_action(saga: PageSaga, rows: Rows, goal: Version, newest: Version | None, targets: Sequence[str]) -> Action:
    """What is next. `goal` is the version of `goal_of`; `targets` those of the configuration, in their order."""
    if saga.phase == "forward":
        action = _forward(saga, rows, goal, targets)
    elif saga.phase == "backward":
        action = _backward(saga, rows, goal, targets)
    else:
        action = Look() if newest is None else _idle(saga, rows, goal, newest, targets)
    if not (isinstance(action, Record) and action.what == "stick" and saga.stuck_target):
        return action
    if newest is None:
        return Look()
    is_newer = newest.tag != (saga.tag if saga.phase != "idle" else newest.tag)
    return _start(saga, rows, targets) if is_newer else End("dead")


def goal_of(saga: PageSaga, newest: Version | None) -> int | None:
    """The position of the version that targets are to hold now; None for none, as before a page's first version."""
    if saga.phase == "forward":
        return saga.upto
    if saga.phase == "backward" or newest is None or newest.tag == saga.given_up:
        return saga.common
    return newest.position


def holds(row: StoredDelivery | None, tag: str) -> bool:
    """Whether a target holds a document, by its receipt, or what a person had it sent in its place.

    One that never got anything holds nothing.
    """
    if row is None or row.state != "current":
        return False
    return tag in ((row.acked_tag or WITHDRAWN), row.wanted_tag)


def _start(saga: PageSaga, rows: Rows, targets: Sequence[str]) -> Record:
    """The flag: a target holds what no version of the saga explains, so that there is nothing to go back to."""
    if saga.common is not None:
        return Record("start")
    if saga.phase != "idle" or saga.result == "refused":
        return Record("start", flag=saga.ahead)
    held = any(row.acked_tag not in (None, WITHDRAWN) for name, row in rows.items() if name in targets)
    return Record("start", flag=held)


def _forward(saga: PageSaga, rows: Rows, goal: Version, targets: Sequence[str]) -> Action:
    for name in _remaining(saga, saga.targets, targets):
        row = rows.get(name)
        if row is not None and row.wanted_position == saga.position:
            if row.state == "current":
                return Record("complete") if name == saga.targets[-1] else Record("take", name)
            if row.state in ("dead", "discarded"):
                return _refused(saga, name, row)
            return Wait(name) if _is_sent(row) else Place(name)
        if not holds(row, goal.tag_for(name)):
            return Place(name)
    return Record("complete")


def _refused(saga: PageSaga, name: str, row: StoredDelivery) -> Record:
    """A refusal for good: up to the pivot, the version is given up; after it, a person has to look."""
    order = saga.targets
    decides = order.index(saga.pivot) if saga.pivot in order else len(order)
    if order.index(name) > decides or saga.stuck_target:
        return Record("stick", name, row.answer)
    return Record("refuse", name, row.answer, flag=row.acked_tag == UNKNOWN)


def _backward(saga: PageSaga, rows: Rows, goal: Version, targets: Sequence[str]) -> Action:
    if saga.ahead and saga.common is None:
        return Record("stick", saga.failed_target, NOT_KNOWN) if saga.uncertain else Record("compensate")
    failed = saga.targets.index(saga.failed_target) if saga.failed_target in saga.targets else len(saga.targets)
    for name in _remaining(saga, saga.targets[::-1], targets):
        row = rows.get(name)
        if row is not None and row.wanted_position == saga.position:
            if row.state == "current":
                return Record("revert", name)
            if row.state in ("dead", "discarded"):
                return Record("stick", name, row.answer)
            return Wait(name) if _is_sent(row) else Place(name)
        never = row is None and goal.tag_for(name) == WITHDRAWN and saga.targets.index(name) > failed
        if not (never or holds(row, goal.tag_for(name))):
            return Place(name)
    return Record("compensate")


def _idle(saga: PageSaga, rows: Rows, goal: Version, newest: Version, targets: Sequence[str]) -> Action:
    """Begins with a newer version; else has targets hold what they had, such as one that was emptied."""
    is_given_up = newest.tag == saga.given_up
    if not is_given_up and not (saga.common is not None and newest.tag == saga.common_tag):
        if all(holds(rows.get(name), newest.tag_for(name)) for name in targets):
            return Record("agree")
        return _start(saga, rows, targets)
    if not saga.left and not (is_given_up and saga.ahead and saga.common is None):
        for name in targets:
            if (action := _kept(saga, name, rows.get(name), goal)) is not None:
                return action
    if saga.stuck_target:
        return Record("compensate") if is_given_up else Record("agree")
    return End("discarded") if is_given_up else End("delivered")


def _kept(saga: PageSaga, name: str, row: StoredDelivery | None, goal: Version) -> Action | None:
    """What makes a target hold the goal, outside of a run; None if it does."""
    tag = goal.tag_for(name)
    if holds(row, tag) or (row is None and tag == WITHDRAWN):
        return None
    if row is not None and row.wanted_tag == tag:
        if row.state in ("dead", "discarded") and row.wanted_position > saga.position:
            return Record("stick", name, row.answer)
        if _is_sent(row):
            return Wait(name)
    return Place(name, again=True)


def _is_sent(row: StoredDelivery) -> bool:
    """Whether a deliverer has a document to send, or is sending it."""
    return row.state == "waiting" and row.is_edited


def _remaining(saga: PageSaga, order: Sequence[str], targets: Sequence[str]) -> Iterator[str]:
    """The targets of a run that are not done. One that the configuration has no more cannot be asked."""
    return (name for name in order if name in targets and name not in saga.done)
