"""Rows of a snapshot beside the heads of the log: what has drifted, and the events that mend it. Pure.

Of nearly all rows the log says the same. They are told by their bytes, and not examined any further.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import msgspec

from domains.domain import JSON
from engine.bulk_door import BulkDoor
from engine.config import Config
from engine.door import NULL, UNREADABLE, Door, Drift, State, Statement, content_of, ending, state_of_drift
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


class Stated(NamedTuple):
    """What the row of this number states."""

    number: int
    statement: Statement


class Pending(NamedTuple):
    """A stream that has drifted, the number of its row in the snapshot, and what that states.

    `before` is the payload that the log has, as JSON, b"" for none, and `revision` is the one to be appended.
    """

    number: int
    statement: Statement
    drift: Drift
    before: bytes = b""
    revision: int = 0


class Divided(NamedTuple):
    """Rows and entries of one stretch of streams: how many are equal, and how many of those have something to say.

    `rows` are those for which the log has no equal entry, and `entries` those of the log, by their streams, which no
    row equals.
    """

    equal: int
    live: int
    rows: list[Named]
    entries: dict[bytes, bytes]


def divided(rows: Sequence[Named], entries: Sequence[bytes]) -> Divided:
    """Tells what is equal from what must be looked at. Each stream is at most once in either."""
    mine = [row[3] for row in rows]
    if mine == entries:
        return Divided(len(mine), len(mine) - _withdrawn(mine), [], {})
    known, named = set(entries), set(mine)
    different = [row for row in rows if row[3] not in known]
    others = {entry[: entry.find(SEPARATOR)]: entry for entry in entries if entry not in named}
    equal = [entry for entry in mine if entry in known]
    return Divided(len(equal), len(equal) - _withdrawn(equal), different, others)


def _withdrawn(entries: Sequence[bytes]) -> int:
    return sum([entry.endswith(_WITHDRAWN) for entry in entries])


class Doors(NamedTuple):
    """Whoever examines rows: one of them, or many of them whose entries are known to be what they say."""

    one: Door
    bulk: BulkDoor

    @classmethod
    def of(cls, config: Config) -> Self:
        """Those of a configuration."""
        return cls(Door(config), BulkDoor(config))


class Comparison:
    """What comparing has shown. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` were, by the same run before; `absent` are heads of streams which the snapshot
    does not name; `refusals` are rows that broke a rule.
    """

    def __init__(self, run_id: str, doors: Doors) -> None:
        self._run_id = run_id
        self._doors = doors
        self.counts = Counts()
        self.live = 0
        self.pending: list[Pending] = []
        self.handled: list[tuple[str, Drift]] = []
        self.absent: list[StoredEvent] = []
        self.refusals: list[Refusal] = []

    def compare(self, rows: Sequence[Named], entries: dict[bytes, bytes]) -> list[Stated]:
        """Compares rows with the entries of their streams, each stream at most once, and leaves only other entries.

        Gives what stays open: to mend a version a second time its head must be known, and where the log was spoken to
        since the run began, it may have been by this run.
        """
        left: list[Stated] = []
        for row, statement in zip(rows, self._examined(rows), strict=True):
            entry = entries.pop(stream_of(row), None)
            if entry is None:
                if statement is not None:
                    self.pending.append(Pending(row[0], statement, "missing"))
                continue
            _, version, said, *since = entry.split(SEPARATOR, 3)
            if statement is not None and since:
                left.append(Stated(row[0], statement))
                continue
            self.live += said != _WITHDRAWN
            if statement is None:
                continue
            if statement[1] > int(version):
                self.pending.append(Pending(row[0], statement, "newer", content_of(said)))
            elif statement[1] < int(version):
                self.counts.older += 1
            elif statement[3] == content_of(said):
                self.counts.equal += 1
            else:
                self.live -= said != _WITHDRAWN  # its head is counted
                left.append(Stated(row[0], statement))
        return left

    def _examined(self, rows: Sequence[Named]) -> list[Statement | None]:
        """What each row states; None where it is refused."""
        told = [row for row in rows if row[1] is None]
        statements = iter(self._doors.bulk.examine([row[2] for row in told], [row[3] for row in told]))
        return [(next(statements) if row[1] is None else None) or self._examine(row) for row in rows]

    def _examine(self, row: Named) -> Statement | None:
        try:
            return self._doors.one.examine(event_in(row))
        except Refused as refused:
            self.counts.refused += 1
            self.refusals.append(Refusal(row.number, refused.path, refused.reason))
            return None

    def merge(self, rows: Iterable[Stated], heads: Sequence[StoredEvent]) -> None:
        """Compares rows with the heads of all their streams, and of others, each stream at most once in either."""
        left = {head.originator_id: head for head in heads}
        for number, statement in rows:
            head = left.pop(statement.originator_id, None)
            self.live += head is not None and not _is_withdrawn(head)
            if head is None:
                self.pending.append(Pending(number, statement, "missing"))
            elif statement.originator_version > head.originator_version:
                self.pending.append(Pending(number, statement, "newer", _payload(decoded(head))))
            elif statement.originator_version < head.originator_version:
                self.counts.older += 1
            else:
                self._compare_content(number, statement, head)
        for head in left.values():
            if not _is_withdrawn(head):
                self.live += 1
                self.absent.append(head)

    def _compare_content(self, number: int, statement: Statement, head: StoredEvent) -> None:
        state = decoded(head)
        if state is None or bytes(state.payload) != statement.content:
            self.pending.append(Pending(number, statement, "changed", _payload(state), head.revision + 1))
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


def _payload(state: State | None) -> bytes:
    return b"" if state is None else bytes(state.payload)


def mended(pending: Pending, mark: Mark) -> Correction:
    """The event that mends a stream; of revision 0 where its version is new to the log."""
    number, statement, drift, _, revision = pending
    state = state_of_drift(statement, mark.recorded_at, f"{mark.run_id}-{number}", mark.run_id, drift)
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
    statement = pending.statement
    changes = changes_between(_leaves(pending.before), _leaves(statement.content))
    return Difference(statement.originator_id, pending.drift, changes)


def _leaves(payload: bytes) -> dict[str, JSON]:
    """Those of JSON; none in what an application may have written."""
    try:
        return flatten(msgspec.json.decode(payload))
    except UNREADABLE:
        return {}


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
