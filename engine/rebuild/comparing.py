"""Rows of a snapshot beside the heads of the log: what has drifted, and the events that mend it. Pure.

Of nearly all rows the log says the same. They are told by their bytes, and not examined any further.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from engine.door import NULL, Door, Drift, State, Statement, ending, state_of_drift
from engine.errors import Refused
from engine.history import FieldChange, changes_between, flatten
from engine.rebuild.ordering import Named, Refusal, event_in, stream_of
from engine.rebuild.run import Counts
from engine.stores.store import SEPARATOR, Correction, StoredEvent

_state = msgspec.json.Decoder(State)
_WITHDRAWN = ending(NULL)


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


class Divided(NamedTuple):
    """Rows and entries of one stretch of streams: how many are equal, and how many of those have something to say.

    `rows` are those for which the log has no equal entry, and `streams` those in it which no row equals.
    """

    equal: int
    live: int
    rows: list[Named]
    streams: list[bytes]


def divided(rows: Sequence[Named], entries: Sequence[bytes]) -> Divided:
    """Tells what is equal from what must be looked at. Each stream is at most once in either."""
    mine = [row[3] for row in rows]
    if mine == entries:
        return Divided(len(mine), len(mine) - _withdrawn(mine), [], [])
    known = set(entries)
    different = [row for row in rows if row[3] not in known]
    named = set(mine)
    others = [entry[: entry.find(SEPARATOR)] for entry in entries if entry not in named]
    equal = [entry for entry in mine if entry in known]
    return Divided(len(equal), len(equal) - _withdrawn(equal), different, others)


def _withdrawn(entries: Sequence[bytes]) -> int:
    return sum([entry.endswith(_WITHDRAWN) for entry in entries])


class Comparison:
    """What comparing has shown. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` were, by the same run before; `absent` are heads of streams which the snapshot
    does not name; `refusals` are rows that broke a rule.
    """

    def __init__(self, run_id: str, door: Door) -> None:
        self._run_id = run_id
        self._examine = door.examine
        self.counts = Counts()
        self.live = 0
        self.pending: list[Pending] = []
        self.handled: list[tuple[str, Drift]] = []
        self.absent: list[StoredEvent] = []
        self.refusals: list[Refusal] = []

    def merge(self, rows: Sequence[Named], heads: Sequence[StoredEvent]) -> None:
        """Compares rows with the heads of all their streams, and of others, each stream at most once in either."""
        left = {head.originator_id.encode(): head for head in heads}
        for named in rows:
            head = left.pop(stream_of(named), None)
            self.live += head is not None and not _is_withdrawn(head)
            self._compare(named, head)
        for head in left.values():
            if not _is_withdrawn(head):
                self.live += 1
                self.absent.append(head)

    def _compare(self, named: Named, head: StoredEvent | None) -> None:
        """A row that is not known to be equal, or that this run may have mended: only now it is examined."""
        try:
            statement = self._examine(event_in(named))
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
        elif state.run_id == self._run_id and state.drift is not None:
            self.handled.append((head.originator_id, state.drift))
        else:
            self.counts.equal += 1


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
    statement = Statement(stream, version, head.topic, NULL, occurred_at, None, None)
    made_id = f"{mark.run_id}-withdrawn-{head.notification_id}"
    state = state_of_drift(statement, mark.recorded_at, made_id, mark.run_id, "orphan")
    return Correction(stream, version, revision, head.topic, state)


def difference(pending: Pending) -> Difference:
    """The fields in which the snapshot differs from the log."""
    state = None if pending.head is None else decoded(pending.head)
    before = {} if state is None else flatten(msgspec.json.decode(state.payload))
    after = flatten(msgspec.json.decode(pending.statement.content))
    return Difference(stream_of(pending.named).decode(), pending.drift, changes_between(before, after))


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
