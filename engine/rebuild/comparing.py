"""Rows of a snapshot beside the heads of the log: what has drifted, and the events that mend it. Pure.

Of nearly all rows the log says the same. They are told by their bytes, and not examined any further.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from domains.domain import JSON
from engine.bulk_door import BulkDoor
from engine.config import Config
from engine.door import NULL, UNREADABLE, Door, Drift, State, Statement, content_in_ending, ending, state_of_drift
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
    """A stream that has drifted, the number of its row in the snapshot, and the event that mends it.

    `before` is the payload that the log has, as JSON, b"" for none.
    """

    number: int
    drift: Drift
    before: bytes
    event: Correction

    @property
    def stream(self) -> str:
        """Its name."""
        return self[3][0]


class Comparison(msgspec.Struct, gc=False):
    """What comparing has shown. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` were, by the same run before; `absent` are heads of streams which the snapshot
    does not name; `refusals` are rows that broke a rule.

    Open are, until they are merged with their heads, the rows `left`, and the `unnamed` streams, which no row names.
    """

    counts: Counts = msgspec.field(default_factory=Counts)
    live: int = 0
    pending: list[Pending] = []
    handled: list[tuple[str, Drift]] = []
    absent: list[StoredEvent] = []
    refusals: list[Refusal] = []
    left: list[Stated] = []
    unnamed: list[bytes] = []

    def refuse(self, number: int, refused: Refused) -> None:
        """A row broke a rule."""
        self.counts.refused += 1
        self.refusals.append(Refusal(number, refused.path, refused.reason))

    def merge(self, heads: Sequence[StoredEvent], mark: Mark) -> None:
        """Compares what is open with the heads that stand by now. Then nothing is open."""
        by_stream = {head.originator_id: head for head in heads}
        for stated in self.left:
            head = by_stream.pop(stated.statement.originator_id, None)
            self.live += head is not None and not _is_withdrawn(head)
            self._compare(stated, head, mark)
        for head in by_stream.values():
            if not _is_withdrawn(head):
                self.live += 1
                self.absent.append(head)
        self.left, self.unnamed = [], []

    def _compare(self, stated: Stated, head: StoredEvent | None, mark: Mark) -> None:
        statement = stated.statement
        if head is None:
            self.pending.append(_pending(stated, "missing", mark))
        elif statement.originator_version < head.originator_version:
            self.counts.older += 1
        else:
            state = decoded(head)
            before = b"" if state is None else bytes(state.payload)
            if statement.originator_version > head.originator_version:
                self.pending.append(_pending(stated, "newer", mark, before))
            elif before != statement.content:
                self.pending.append(_pending(stated, "changed", mark, before, head.revision + 1))
            elif state is not None and state.run_id == mark.run_id and state.drift is not None:
                self.handled.append((head.originator_id, state.drift))
            else:
                self.counts.equal += 1


def divided(rows: Sequence[Named], entries: Sequence[bytes]) -> tuple[Comparison, list[Named], list[bytes]]:
    """Tells what is equal from the rows and the entries that must be looked at. A stream is at most once in either."""
    mine = [row[3] for row in rows]
    if mine == entries:
        return _equal(mine), [], []
    known, named = set(entries), set(mine)
    different = [row for row in rows if row[3] not in known]
    others = [entry for entry in entries if entry not in named]
    return _equal([entry for entry in mine if entry in known]), different, others


def _equal(entries: Sequence[bytes]) -> Comparison:
    withdrawn = sum([entry.endswith(_WITHDRAWN) for entry in entries])
    return Comparison(Counts(equal=len(entries)), len(entries) - withdrawn)


class Comparer:
    """Compares rows with entries under one configuration."""

    def __init__(self, config: Config) -> None:
        self._door = Door(config)
        self._bulk = BulkDoor(config)

    def compare(self, rows: Sequence[Named], entries: Iterable[bytes], mark: Mark) -> Comparison:
        """What can be told of rows by the entries of their streams, and of others. A stream is at most once in either.

        To mend a version a second time its head must be known, and where the log was spoken to since the run began, it
        may have been by this run: that is left.
        """
        found = Comparison()
        counts, pending, left = found.counts, found.pending.append, found.left.append
        known = {entry[: entry.index(SEPARATOR)]: entry for entry in entries}
        for row, statement in zip(rows, self._examined(rows, found), strict=True):
            entry = known.pop(stream_of(row), None)
            if entry is None:
                if statement is not None:
                    pending(_pending(Stated(row[0], statement), "missing", mark))
                continue
            _, version, said, *since = entry.split(SEPARATOR, 3)
            if statement is not None and (since or not version.isdigit()):  # applications may use any names
                left(Stated(row[0], statement))
                continue
            before = content_in_ending(said)
            if statement is not None and statement[1] == int(version) and statement[3] != before:
                left(Stated(row[0], statement))
                continue
            found.live += said != _WITHDRAWN
            if statement is None:
                continue
            if statement[1] > int(version):
                pending(_pending(Stated(row[0], statement), "newer", mark, before))
            elif statement[1] < int(version):
                counts.older += 1
            else:
                counts.equal += 1
        found.unnamed = list(known)
        return found

    def _examined(self, rows: Sequence[Named], found: Comparison) -> list[Statement | None]:
        """What each row states; None where it is refused."""
        told = [row for row in rows if row[1] is None]
        statements = iter(self._bulk.examine([row[2] for row in told], [row[3] for row in told]))
        return [(next(statements) if row[1] is None else None) or self._examine(row, found) for row in rows]

    def _examine(self, row: Named, found: Comparison) -> Statement | None:
        try:
            return self._door.examine(event_in(row))
        except Refused as refused:
            found.refuse(row.number, refused)
            return None


def _pending(stated: Stated, drift: Drift, mark: Mark, before: bytes = b"", revision: int = 0) -> Pending:
    """A stream that has drifted; `revision` is 0 where the version is new to the log."""
    number, statement = stated
    stream, version, topic, *_ = statement
    state = state_of_drift(statement, mark.recorded_at, f"{mark.run_id}-{number}", mark.run_id, drift)
    return Pending(number, drift, before, Correction(stream, version, revision, topic, state))


def stated_again(pending: Pending) -> Stated:
    """What the row had stated, but that it has an id now."""
    event = pending.event
    state = _state.decode(event.state)
    content, occurred_at = bytes(state.payload), state.occurred_at
    statement = Statement(*event[:2], event.topic, content, occurred_at, state.id, state.correlation_id)
    return Stated(pending.number, statement)


def _is_withdrawn(head: StoredEvent) -> bool:
    return head[5].endswith(_WITHDRAWN)


def decoded(event: StoredEvent) -> State | None:
    """The state of a domain event; None for what an application wrote under its name."""
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def withdrawn(head: StoredEvent, occurred_at: str, mark: Mark) -> Correction:
    """The event that takes a stream's last word back: the next revision of its version. Any newer version counts."""
    stream, version, revision = head.originator_id, head.originator_version, head.revision + 1
    statement = Statement(stream, version, head.topic, NULL, occurred_at, None, None)
    made_id = f"{mark.run_id}-withdrawn-{head.notification_id}"
    state = state_of_drift(statement, mark.recorded_at, made_id, mark.run_id, "orphan")
    return Correction(stream, version, revision, head.topic, state)


def difference(pending: Pending) -> Difference:
    """The fields in which the snapshot differs from the log."""
    content = stated_again(pending).statement.content
    return Difference(pending.stream, pending.drift, changes_between(_leaves(pending.before), _leaves(content)))


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
