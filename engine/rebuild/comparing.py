"""Rows of a snapshot beside the heads of the log: what has drifted, and the events that mend it. Pure.

Of nearly all rows the log says the same. They are told by their bytes, and not examined any further.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from engine.door import Door, Drift, State, Statement, ending, state_of_drift
from engine.errors import Refused
from engine.history import FieldChange, changes_between, flatten
from engine.rebuild.endings import Endings
from engine.rebuild.ordering import Named, Refusal
from engine.rebuild.run import Counts
from engine.stores.store import Correction, StoredEvent

_state = msgspec.json.Decoder(State)
_NULL = b"null"
_WITHDRAWN = ending(_NULL)
_WRITTEN = (msgspec.Raw, bytes)
"""Types of payloads that are JSON."""


class Mark(NamedTuple):
    """What every event of a rebuild bears: its run, and when it was recorded, as fixed-width UTC text."""

    run_id: str
    recorded_at: str


class Difference(NamedTuple):
    """A stream that has drifted, how, and the fields that differ: what the log has, what the snapshot says."""

    stream: str
    drift: Drift
    changes: list[FieldChange]


class Pending(NamedTuple):
    """A stream that has drifted, its row in the snapshot and what that states, and the head in the log, if any."""

    named: Named
    statement: Statement
    drift: Drift
    head: StoredEvent | None


class Comparer:
    """Compares pages of one run's snapshot with the log, which has not seen the run before a position."""

    def __init__(self, run_id: str, since: int, door: Door) -> None:
        self.run_id = run_id
        self.since = since
        self.examine = door.examine
        self._endings = Endings()

    def compare(self, rows: Sequence[Named], heads: Sequence[StoredEvent]) -> "Comparison":
        """Compares rows with heads, both in the order of their streams, and each stream at most once in either."""
        comparison = Comparison(self)
        comparison.merge(rows, heads)
        return comparison

    def endings(self, rows: Sequence[Named]) -> list[bytes]:
        """How the state ends of whatever event says the same as a row; empty where the row must be examined to know.

        What is in the log was let in through the door. A payload whose JSON with sorted keys is the same is as good.
        """
        payloads = [named[2].payload for named in rows]
        return self._endings.of([each if isinstance(each, _WRITTEN) else _unwritten(each) for each in payloads])


def _unwritten(payload: Mapping[str, object] | None) -> bytes:
    return _NULL if payload is None else b""


class Comparison:
    """What comparing has shown. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` were, by the same run before; `absent` are heads of streams which the snapshot
    does not name; `refusals` are rows that broke a rule.
    """

    def __init__(self, comparer: Comparer) -> None:
        self._comparer = comparer
        self.counts = Counts()
        self.live = 0
        self.pending: list[Pending] = []
        self.handled: list[tuple[str, Drift]] = []
        self.absent: list[StoredEvent] = []
        self.refusals: list[Refusal] = []

    def merge(self, rows: Sequence[Named], heads: Sequence[StoredEvent]) -> None:
        """Compares rows with heads, both in the order of their streams, and each stream at most once in either."""
        heads_of = self._heads_of(rows, heads)
        since, equal, withdrawn = self._comparer.since, 0, 0
        for named, head, end in zip(rows, heads_of, self._comparer.endings(rows), strict=True):
            if head is None:
                self._compare(named, None)
            elif end and head[5].endswith(end) and named[2].source_version == head[2] and head[0] <= since:
                equal += 1
                withdrawn += end == _WITHDRAWN
            else:
                self.live += not _is_withdrawn(head)
                self._compare(named, head)
        self.counts.equal += equal
        self.live += equal - withdrawn

    def _heads_of(self, rows: Sequence[Named], heads: Sequence[StoredEvent]) -> Sequence[StoredEvent | None]:
        """The head of each row's stream. The others are absent from the snapshot."""
        if [row[0] for row in rows] == [head[1] for head in heads]:
            return heads
        found: list[StoredEvent | None] = []
        position, total = 0, len(heads)
        for row in rows:
            stream = row[0]
            while position < total and heads[position][1] < stream:
                self._miss(heads[position])
                position += 1
            if position < total and heads[position][1] == stream:
                found.append(heads[position])
                position += 1
            else:
                found.append(None)
        for head in heads[position:]:
            self._miss(head)
        return found

    def _compare(self, named: Named, head: StoredEvent | None) -> None:
        """A row that is not known to be equal, or that this run may have mended: only now it is examined."""
        try:
            statement = self._comparer.examine(named.whole())
        except Refused as refused:
            self.counts.refused += 1
            self.refusals.append(Refusal(named.number, refused.path, refused.reason))
            return
        if head is None:
            self.pending.append(Pending(named, statement, "missing", None))
        elif statement.originator_version > head.originator_version:
            self.pending.append(Pending(named, statement, "newer", head))
        elif statement.originator_version < head.originator_version:
            self.counts.older += 1
        else:
            self._compare_content(named, statement, head)

    def _compare_content(self, named: Named, statement: Statement, head: StoredEvent) -> None:
        state = decoded(head)
        if state is None or bytes(state.payload) != statement.content:
            self.pending.append(Pending(named, statement, "changed", head))
        elif state.run_id == self._comparer.run_id and state.drift is not None:
            self.handled.append((head.originator_id, state.drift))
        else:
            self.counts.equal += 1

    def _miss(self, head: StoredEvent) -> None:
        if not _is_withdrawn(head):
            self.live += 1
            self.absent.append(head)


def _is_withdrawn(head: StoredEvent) -> bool:
    return head[5].endswith(_WITHDRAWN)


def decoded(event: StoredEvent) -> State | None:
    """The state of a domain event; None for what an application wrote under its name."""
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def mended(pending: Pending, mark: Mark) -> Correction:
    """The event that mends a stream; of revision 0 where its version is new to the log."""
    named, statement, drift, head = pending
    state = state_of_drift(statement, mark.recorded_at, f"{mark.run_id}-{named.number}", mark.run_id, drift)
    revision = head.revision + 1 if drift == "changed" and head is not None else 0
    return Correction(statement.originator_id, statement.originator_version, revision, statement.topic, state)


def withdrawn(head: StoredEvent, occurred_at: str, mark: Mark) -> Correction:
    """The event that takes a stream's last word back: the next revision of its version. Any newer version counts."""
    stream, version, revision = head.originator_id, head.originator_version, head.revision + 1
    statement = Statement(stream, version, head.topic, _NULL, occurred_at, None, None)
    made_id = f"{mark.run_id}-withdrawn-{head.notification_id}"
    state = state_of_drift(statement, mark.recorded_at, made_id, mark.run_id, "orphan")
    return Correction(stream, version, revision, head.topic, state)


def difference(pending: Pending) -> Difference:
    """The fields in which the snapshot differs from the log."""
    state = None if pending.head is None else decoded(pending.head)
    before = {} if state is None else flatten(msgspec.json.decode(state.payload))
    after = flatten(msgspec.json.decode(pending.statement.content))
    return Difference(pending.named.stream, pending.drift, changes_between(before, after))


def counted(drifts: Iterable[Drift]) -> Counts:
    """How many of each."""
    counts = Counts()
    for drift in drifts:
        match drift:
            case "missing":
                counts.missing += 1
            case "newer":
                counts.newer += 1
            case "changed":
                counts.changed += 1
            case "orphan":
                counts.withdrawn += 1
    return counts
