"""Rows of a snapshot beside the heads of the log: what has drifted, and the events that mend it. Pure.

Of nearly all rows the log says the same. They are told by their bytes, and not examined any further.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from engine.door import Door, Drift, State, Statement, state_of_drift
from engine.errors import Refused
from engine.history import FieldChange, changes_between, flatten
from engine.rebuild.ordering import Named, Refusal
from engine.rebuild.run import Counts
from engine.stores.store import Correction, StoredEvent

_state = msgspec.json.Decoder(State)
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode

_NULL = b"null"
SHORT = 512
"""Payloads of so many bytes, at most, are remembered: longer ones are hardly ever the same."""

_PAYLOAD = b'"payload":'
_ESCAPED_COLON = b"\\u003"
"""How one begins, in small letters or capitals."""


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


class Comparison:
    """What comparing has shown so far. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` were, by the same run before; `absent` are heads of streams which the snapshot
    does not name; `refusals` are rows that broke a rule.
    """

    def __init__(self, run_id: str, door: Door) -> None:
        self._run_id = run_id
        self._mark = f'"runId":"{run_id}"'.encode()
        self._examine = door.examine
        self.counts = Counts()
        self.live = 0
        self.pending: list[Pending] = []
        self.handled: list[tuple[str, Drift]] = []
        self.absent: list[StoredEvent] = []
        self.refusals: list[Refusal] = []

    def merge(self, rows: Sequence[Named], heads: Sequence[StoredEvent]) -> None:
        """Compares rows with heads, both in the order of their streams, and each stream at most once in either."""
        position, total, equal, live = 0, len(heads), 0, 0
        for named in rows:
            stream = named[0]
            while position < total and heads[position][1] < stream:
                self._miss(heads[position])
                position += 1
            if position == total or heads[position][1] != stream:
                self._compare(named, None)
                continue
            head = heads[position]
            position += 1
            event, state = named[2], head[5]
            if event.source_version == head[2]:
                end = end_of_the_same(event.payload, state)
                if end and (end == len(state) - 1 or self._mark not in state):
                    equal += 1
                    live += not state.startswith(_NULL, end - len(_NULL))
                    continue
            self.live += not _is_withdrawn(head)
            self._compare(named, head)
        self.counts.equal += equal
        self.live += live
        for head in heads[position:]:
            self._miss(head)

    def _compare(self, named: Named, head: StoredEvent | None) -> None:
        """A row that is not known to be equal, or that this run may have mended: only now it is examined."""
        try:
            statement = self._examine(named.whole())
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

    def _miss(self, head: StoredEvent) -> None:
        if not _is_withdrawn(head):
            self.live += 1
            self.absent.append(head)


def end_of_the_same(payload: msgspec.Raw | Mapping[str, object] | bytes | None, state: bytes) -> int:
    """Where a state's payload ends, when it is plainly this one; 0 when the row must be examined to know.

    What is in the log was let in through the door. A payload whose JSON with sorted keys is the same is as good.

    The first `"payload":` of a state is its key: the texts before it have their quotes escaped. And no JSON object is
    the beginning of another one.
    """
    begin = state.find(_PAYLOAD) + len(_PAYLOAD)
    if payload is None:
        return begin + len(_NULL) if state.startswith(_NULL, begin) else 0
    if isinstance(payload, Mapping):
        return 0
    text = bytes(payload)
    if state.startswith(text, begin):
        return begin + len(text)
    canonical = _remembered(text) if len(text) <= SHORT else _canonical(text)
    return begin + len(canonical) if canonical and state.startswith(canonical, begin) else 0


def _canonical(text: bytes) -> bytes:
    """The same JSON with its keys sorted; empty for what must be looked at closer."""
    try:
        canonical = _encode(_decode(text))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return b""
    # a key that stands twice takes its colon along when it is dropped, unless an escape hides one
    whole = text.count(b":") == canonical.count(b":") and _ESCAPED_COLON not in text
    return canonical if whole else b""


_remembered = lru_cache(4_096)(_canonical)
"""Prices and stocks repeat themselves."""


def _is_withdrawn(head: StoredEvent) -> bool:
    return end_of_the_same(None, head[5]) > 0


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
