"""Compares rows of a snapshot with heads of the log: what drifted, and the events that repair it. Pure.

Nearly all rows equal the log. They are recognised by their bytes, and not decoded.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple, TypeAlias

import msgspec

from pagefold.domains.domain import DECODE_ERRORS, JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, ValidatedEvent
from pagefold.engine.intake.bulk_validator import BulkValidator
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.rebuild.epoch_placement import PLAIN, Placement
from pagefold.engine.rebuild.row_order import Refusal, StreamRow, decode_event
from pagefold.engine.rebuild.run_aggregate import Drifted, RunCounts
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.stores.event_state import CONTENT_START, DriftKind, EventState, RepairEncoder, state_ending
from pagefold.engine.stores.store import SEPARATOR, CorrectionEvent, StoredEvent
from pagefold.projections.epochs import version_of
from pagefold.projections.field_changes import FieldChange, changes_between, flatten

_PARTS_UNCHANGED = 3
"""Parts of the entry of a stream without a later event: its name, its version, and what it says."""

_drift = attrgetter("drift")
_state = msgspec.json.Decoder(EventState)
_WITHDRAWN = state_ending(NULL)


class RepairContext(NamedTuple):
    """What every event of a rebuild has: its run, its time of recording as fixed-width UTC text, its epoch."""

    run_id: str
    recorded_at: str
    placement: Placement = PLAIN


class StreamDrift(NamedTuple):
    """A drifted stream, its kind of drift, and the fields that differ between log and snapshot."""

    stream: str
    drift: DriftKind
    changes: list[FieldChange]


class RowEvent(NamedTuple):
    """What the row of this number states."""

    number: int
    statement: ValidatedEvent


class OlderRow(NamedTuple):
    """A row's event, and the newer head of its stream."""

    number: int
    statement: ValidatedEvent
    head: StoredEvent


class PendingRepair(CorrectionEvent, frozen=True, gc=False):
    """The event that mends a stream which has drifted, and the number of the row that says so.

    `before` is the payload that the log has, as JSON, b"" for none; `content` is the canonical one of the event.
    `epoch` is the one that the row names.
    """

    number: int
    drift: DriftKind
    before: bytes
    content: bytes
    epoch: int | None = None


class Comparison(msgspec.Struct, gc=False):
    """What comparing has shown. `counts` are by name; `live` counts streams of the log with something to say.

    `pending` are to be mended; `handled` streams have been, perhaps by the same run before: then `live` counts what
    stood there before it. `absent` are heads of streams which the snapshot does not name; `older_rows` are rows older
    than what stands; `refusals` are rows that broke a rule.

    `placement` is what was known of epochs when it was made; `suspects` are those of the pending that may take
    something away, None where that has not been asked of all of them.

    Open are, until they are merged with their heads, the rows `left`, and the `unmatched` streams, which no row names.
    """

    counts: RunCounts = msgspec.field(default_factory=RunCounts)
    live: int = 0
    pending: list[PendingRepair] = []
    handled: dict[DriftKind, list[str]] = {}
    absent: list[StoredEvent] = []
    older_rows: list[OlderRow] = []
    refusals: list[Refusal] = []
    left: list[RowEvent] = []
    unmatched: list[bytes] = []
    placement: Placement = PLAIN
    suspects: list[PendingRepair] | None = None

    def refuse(self, number: int, refused: Rejected) -> None:
        """Counts a row that broke a rule."""
        self.counts.refused += 1
        self.refusals.append(Refusal(number, refused.path, refused.reason))

    def count_handled(self, repaired: Iterable[PendingRepair]) -> None:
        """Counts the pending repairs as done."""
        for drift, alike in groupby(repaired, key=_drift):
            self.handled.setdefault(drift, []).extend([each.originator_id for each in alike])

    def merge(self, heads: Sequence[StoredEvent], mark: RepairContext) -> None:
        """Compares what is open with the heads that stand by now. Then nothing is open."""
        if self.left:
            self.suspects = None
        builders = _repair_builders(mark)
        by_stream = {head.originator_id: head for head in heads}
        for stated in self.left:
            head = by_stream.pop(stated.statement.originator_id, None)
            self.live += head is not None and not _is_withdrawn(head)
            self._compare(stated, head, mark, builders)
        for head in by_stream.values():
            if not _is_withdrawn(head):
                self.live += 1
                self.absent.append(head)
        self.left, self.unmatched = [], []

    def drop_uncovered(self, coverage: Coverage, entries: Iterable[bytes]) -> None:
        """Leaves out of those that no row names the streams that none can name, and counts those that say something.

        The entries of all of them are given.
        """
        uncovered = {stream for stream in self.unmatched if not coverage.has(stream)}
        if uncovered:
            self.unmatched = [stream for stream in self.unmatched if stream not in uncovered]
            live = [entry for entry in entries if not entry.endswith(_WITHDRAWN)]
            self.counts.uncovered += sum([entry[: entry.index(SEPARATOR)] in uncovered for entry in live])

    def _compare(
        self, stated: RowEvent, head: StoredEvent | None, mark: RepairContext, builders: "_RepairBuilders"
    ) -> None:
        number = stated.number
        statement = mark.placement.placed(stated.statement, 0 if head is None else head.originator_version)
        if head is None:
            self.pending.append(builders["missing"].pending(number, statement))
        elif statement.originator_version < head.originator_version:
            self.counts.older += 1
            self.older_rows.append(OlderRow(number, stated.statement, head))
        else:
            state = decode_state(head)
            before = b"" if state is None else bytes(state.payload)
            if statement.originator_version > head.originator_version:
                self.pending.append(builders["newer"].pending(number, statement, before))
            elif not is_same_content(statement.topic, before, statement.content):
                self.pending.append(builders["changed"].pending(number, statement, before, head.revision + 1))
            elif state is not None and state.run_id == mark.run_id and state.drift is not None:
                self.handled.setdefault(state.drift, []).append(head.originator_id)
                was_live = state.drift != "missing" and not state.was_withdrawn
                self.live += was_live - (not _is_withdrawn(head))
            else:
                self.counts.equal += 1


class _RepairBuilder:
    """Builds the repairs of one kind of drift."""

    def __init__(self, mark: RepairContext, drift: DriftKind) -> None:
        self._drift: DriftKind = drift
        self._state = RepairEncoder(mark.run_id, mark.recorded_at, drift).state
        self._state_anew = RepairEncoder(mark.run_id, mark.recorded_at, drift, was_withdrawn=True).state

    def pending(self, number: int, statement: ValidatedEvent, before: bytes = b"", revision: int = 0) -> PendingRepair:
        """For what the row of this number states. `revision` is 0 where the version is new to the log."""
        state = (self._state_anew if before == NULL else self._state)(statement, number)
        stream, version = statement.originator_id, statement.originator_version
        kind, content, epoch = statement.topic, statement.content, statement.epoch
        return PendingRepair(stream, version, revision, kind, state, number, self._drift, before, content, epoch)


_RepairBuilders: TypeAlias = dict[DriftKind, _RepairBuilder]


def _repair_builders(mark: RepairContext) -> _RepairBuilders:
    """The repair encoders by kind of drift."""
    kinds: tuple[DriftKind, ...] = ("missing", "newer", "changed")
    return {drift: _RepairBuilder(mark, drift) for drift in kinds}


def split_equal(
    rows: Sequence[StreamRow], entries: Sequence[bytes], placement: Placement = PLAIN
) -> tuple[Comparison, list[StreamRow], list[bytes]]:
    """Tells what is equal from the rows and the entries that must be looked at. A stream is at most once in either."""
    if placement.in_use:
        original = placement.comparable(entries)
        equal, different, others = split_equal(rows, [*original])
        return equal, different, [original[entry] for entry in others]
    mine = [row.entry for row in rows]
    if mine == entries:
        return _equal(mine), [], []
    known, named = set(entries), set(mine)
    different = [row for row in rows if row.entry not in known]
    others = [entry for entry in entries if entry not in named]
    return _equal([entry for entry in mine if entry in known]), different, others


def _equal(entries: Sequence[bytes]) -> Comparison:
    withdrawn = sum([entry.endswith(_WITHDRAWN) for entry in entries])
    return Comparison(RunCounts(equal=len(entries)), len(entries) - withdrawn)


class RowComparer:
    """Compares rows with head contents under one configuration."""

    def __init__(self, config: Config) -> None:
        self._validator = EventValidator(config)
        self._bulk = BulkValidator(config)

    def compare(self, rows: Sequence[StreamRow], entries: Iterable[bytes], mark: RepairContext) -> Comparison:
        """What can be told of rows by the entries of their streams, and of others. A stream is at most once in either.

        To mend a version a second time its head must be known, and when one was said that is newer than a row; where
        an event was appended since the run began, it may be of this run: that is left.
        """
        found = Comparison()
        builders = _repair_builders(mark)
        missing, newer = builders["missing"].pending, builders["newer"].pending
        placed, in_use = mark.placement.placed, mark.placement.in_use
        live = equal = 0
        pending, left = found.pending.append, found.left.append
        known = {parts[0]: parts for parts in [entry.split(SEPARATOR) for entry in entries]}
        streams = [entry[: entry.index(SEPARATOR)] for entry in [row.entry for row in rows]]
        for row, stream, statement in zip(rows, streams, self._validated_events(rows, streams, found), strict=True):
            stands = known.pop(stream, None)
            if stands is None:
                if statement is not None:
                    pending(missing(row.number, placed(statement) if in_use else statement))
                continue
            said = stands[2]
            if statement is None:
                live += said != _WITHDRAWN
                continue
            if len(stands) > _PARTS_UNCHANGED or not stands[1].isdigit():  # applications may use any names
                left(RowEvent(row.number, statement))
                continue
            before, newest = said[CONTENT_START:-1], int(stands[1])
            stated = placed(statement, newest) if in_use else statement
            ahead = stated.originator_version - newest
            if ahead < 0 or (ahead == 0 and statement.content != before):
                left(RowEvent(row.number, statement))
                continue
            live += said != _WITHDRAWN
            if ahead > 0:
                pending(newer(row.number, stated, before))
            else:
                equal += 1
        found.live, found.counts.equal = live, equal
        found.unmatched = list(known)
        return found

    def _validated_events(
        self, rows: Sequence[StreamRow], streams: Sequence[bytes], found: Comparison
    ) -> Sequence[ValidatedEvent | None]:
        """The event of each row; None where it is rejected."""
        told = [row.line for row in rows if row.event is None]
        if len(told) == len(rows):
            validated = self._bulk.validate(told, streams)
            if None not in validated:
                return validated
        else:
            named = [stream for row, stream in zip(rows, streams, strict=True) if row.event is None]
            validated = self._bulk.validate(told, named)
        statements = iter(validated)
        return [(next(statements) if row.event is None else None) or self._validate(row, found) for row in rows]

    def _validate(self, row: StreamRow, found: Comparison) -> ValidatedEvent | None:
        try:
            return self._validator.validate(decode_event(row))
        except Rejected as refused:
            found.refuse(row.number, refused)
            return None


def row_event_of(pending: PendingRepair) -> RowEvent:
    """The row's event, which now has an id."""
    state = _state.decode(pending.state)
    content, occurred_at = bytes(state.payload), state.occurred_at
    stream, version = pending.originator_id, pending.originator_version
    version = version_of(version) if pending.epoch is None else version
    statement = ValidatedEvent(
        stream, version, pending.topic, content, occurred_at, state.id, state.correlation_id, pending.epoch
    )
    return RowEvent(pending.number, statement)


def _is_withdrawn(head: StoredEvent) -> bool:
    return head[5].endswith(_WITHDRAWN)


def decode_state(event: StoredEvent) -> EventState | None:
    """The state of a domain event; None for one that another application wrote."""
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def withdrawn(head: StoredEvent, occurred_at: str, mark: RepairContext) -> CorrectionEvent:
    """The event that withdraws a stream's head: the next revision of its version. Any newer version wins over it."""
    stream, version, revision = head.originator_id, head.originator_version, head.revision + 1
    statement = ValidatedEvent(stream, version, head.topic, NULL, occurred_at, None, None)
    state = RepairEncoder(mark.run_id, mark.recorded_at, "orphan").state(statement, head.notification_id)
    return CorrectionEvent(stream, version, revision, head.topic, state)


def drift_details(pending: PendingRepair) -> StreamDrift:
    """The fields in which the snapshot differs from the log."""
    changes = changes_between(_flatten_json(pending.before), _flatten_json(pending.content))
    return StreamDrift(pending.originator_id, pending.drift, changes)


def sample_of(found: StreamDrift) -> JSON:
    """The differences as a run records them."""
    return [found.stream, found.drift, [[each.path, each.before, each.after] for each in found.changes]]


def _flatten_json(payload: bytes) -> dict[str, JSON]:
    """Those of JSON; none in what an application may have written."""
    try:
        return flatten(msgspec.json.decode(payload))
    except DECODE_ERRORS:
        return {}


def count_drifted(drifted: Drifted) -> RunCounts:
    """The number of each."""
    return RunCounts(
        missing=len(drifted.get("missing", ())),
        newer=len(drifted.get("newer", ())),
        changed=len(drifted.get("changed", ())),
        withdrawn=len(drifted.get("orphan", ())),
    )
