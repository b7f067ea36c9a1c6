"""Compares rows of a snapshot with heads of the log: which streams drifted, and the events that repair them. Pure.

Nearly all rows equal the log. These are recognised by their bytes, without decoding.
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
from pagefold.engine.rebuild.run_aggregate import Drifted
from pagefold.engine.rebuild.run_records import RunCounts
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.stores.event_state import CONTENT_START, DriftKind, EventState, repair_encoder, state_ending
from pagefold.engine.stores.log_records import SEPARATOR, CorrectionEvent, StoredEvent
from pagefold.projections.epochs import version_of
from pagefold.projections.field_changes import FieldChange, changes_between, flatten

_PARTS_UNCHANGED = 3
"""Parts of a head content without events since the run began: stream, version and payload."""

_drift = attrgetter("drift")
_state = msgspec.json.Decoder(EventState)
_WITHDRAWN = state_ending(NULL)


class RepairContext(NamedTuple):
    """What all repairs of a chunk share: run, time of recording as fixed-width UTC text, and epochs."""

    run_id: str
    recorded_at: str
    placement: Placement = PLAIN


class StreamDrift(NamedTuple):
    """A drifted stream, its kind of drift, and the fields that differ between log and snapshot."""

    stream: str
    drift: DriftKind
    changes: list[FieldChange]


class RowEvent(NamedTuple):
    """A row's number and event."""

    number: int
    event: ValidatedEvent


class OlderRow(NamedTuple):
    """A row's number and event, and the newer head of its stream."""

    number: int
    event: ValidatedEvent
    head: StoredEvent


class PendingRepair(CorrectionEvent, frozen=True, gc=False):
    """The event that repairs a drifted stream, and the number of its row.

    `before` is the log's payload as JSON, b"" if there is none; `content` is the event's canonical payload. `epoch` is
    the one that the row names.
    """

    number: int
    drift: DriftKind
    before: bytes
    content: bytes
    epoch: int | None = None


class Comparison(msgspec.Struct, gc=False):
    """The result of comparing rows with the log. `live` counts the log's streams that are not withdrawn.

    `pending` repairs are still to be appended; `handled` streams are repaired, perhaps earlier by the same run: `live`
    then counts their state before it. `absent` are heads of streams that the snapshot lacks; `older_rows` are rows
    older than the log; `refusals` are rows that broke a rule.

    `placement` has the epochs known at the time; `suspects` are the pending repairs that may remove a value, None if
    not all of them were checked.

    `unresolved` rows, and `unmatched` streams, which no row names, need their heads: `resolve` compares them.
    """

    counts: RunCounts = msgspec.field(default_factory=RunCounts)
    live: int = 0
    pending: list[PendingRepair] = []
    handled: dict[DriftKind, list[str]] = {}
    absent: list[StoredEvent] = []
    older_rows: list[OlderRow] = []
    refusals: list[Refusal] = []
    unresolved: list[RowEvent] = []
    unmatched: list[bytes] = []
    placement: Placement = PLAIN
    suspects: list[PendingRepair] | None = None

    def refuse(self, number: int, refused: Rejected) -> None:
        """Counts a row that broke a rule."""
        self.counts.refused += 1
        self.refusals.append(Refusal(number, refused.path, refused.reason))

    def count_handled(self, repaired: Iterable[PendingRepair]) -> None:
        """Counts these repairs as done."""
        for drift, alike in groupby(repaired, key=_drift):
            self.handled.setdefault(drift, []).extend([each.originator_id for each in alike])

    def counted(self, *, orphans: int, reset: int) -> RunCounts:
        """The numbers of what was found, after the repairs."""
        counts = self.counts + count_drifted(self.handled)
        counts.rows = counts.equal + counts.older + counts.refused + counts.deferred + counts.echoes
        counts.rows += sum(map(len, self.handled.values()))
        counts.orphans, counts.reset, counts.spared = orphans, reset, len(self.absent) - orphans
        return counts

    def resolve(self, heads: Sequence[StoredEvent], context: RepairContext) -> None:
        """Compares the unresolved rows and unmatched streams with their current heads. None remain afterwards."""
        if self.unresolved:
            self.suspects = None
        builders = _repair_builders(context)
        by_stream = {head.originator_id: head for head in heads}
        for row_event in self.unresolved:
            head = by_stream.pop(row_event.event.originator_id, None)
            self.live += head is not None and not _is_withdrawn(head)
            self._compare(row_event, head, context, builders)
        for head in by_stream.values():
            if not _is_withdrawn(head):
                self.live += 1
                self.absent.append(head)
        self.unresolved, self.unmatched = [], []

    def drop_uncovered(self, coverage: Coverage, entries: Iterable[bytes]) -> None:
        """Removes unmatched streams that the snapshot cannot name, and counts those that are not withdrawn.

        `entries` are the head contents of all unmatched streams.
        """
        uncovered = {stream for stream in self.unmatched if not coverage.has(stream)}
        if uncovered:
            self.unmatched = [stream for stream in self.unmatched if stream not in uncovered]
            live = [entry for entry in entries if not entry.endswith(_WITHDRAWN)]
            self.counts.uncovered += sum([entry[: entry.index(SEPARATOR)] in uncovered for entry in live])

    def _compare(
        self, row_event: RowEvent, head: StoredEvent | None, context: RepairContext, builders: "_RepairBuilders"
    ) -> None:
        number = row_event.number
        event = context.placement.placed(row_event.event, 0 if head is None else head.originator_version)
        if head is None:
            self.pending.append(builders["missing"].build(number, event))
        elif event.originator_version < head.originator_version:
            self.counts.older += 1
            self.older_rows.append(OlderRow(number, row_event.event, head))
        else:
            state = decode_state(head)
            before = b"" if state is None else bytes(state.payload)
            if event.originator_version > head.originator_version:
                self.pending.append(builders["newer"].build(number, event, before))
            elif not is_same_content(event.topic, before, event.content):
                self.pending.append(builders["changed"].build(number, event, before, head.revision + 1))
            elif state is not None and state.run_id == context.run_id and state.drift is not None:
                self.handled.setdefault(state.drift, []).append(head.originator_id)
                was_live = state.drift != "missing" and not state.was_withdrawn
                self.live += was_live - (not _is_withdrawn(head))
            else:
                self.counts.equal += 1


class _RepairBuilder:
    """Builds the repairs of one kind of drift."""

    def __init__(self, context: RepairContext, drift: DriftKind) -> None:
        self._drift: DriftKind = drift
        self._state = repair_encoder(context.run_id, context.recorded_at, drift).state
        self._state_if_withdrawn = repair_encoder(context.run_id, context.recorded_at, drift, was_withdrawn=True).state

    def build(self, number: int, event: ValidatedEvent, before: bytes = b"", revision: int = 0) -> PendingRepair:
        """The repair by the row of this number. `revision` is 0 if the log does not have the version."""
        state = (self._state_if_withdrawn if before == NULL else self._state)(event, number)
        stream, version = event.originator_id, event.originator_version
        kind, content, epoch = event.topic, event.content, event.epoch
        return PendingRepair(stream, version, revision, kind, state, number, self._drift, before, content, epoch)


_RepairBuilders: TypeAlias = dict[DriftKind, _RepairBuilder]


def _repair_builders(context: RepairContext) -> _RepairBuilders:
    """The repair encoders by kind of drift."""
    kinds: tuple[DriftKind, ...] = ("missing", "newer", "changed")
    return {drift: _RepairBuilder(context, drift) for drift in kinds}


def split_equal(
    rows: Sequence[StreamRow], entries: Sequence[bytes], placement: Placement = PLAIN
) -> tuple[Comparison, list[StreamRow], list[bytes]]:
    """Splits off what is equal; returns its comparison, and the other rows and head contents.

    Neither `rows` nor `entries` may have a stream twice.
    """
    if placement.in_use:
        original = placement.comparable(entries)
        equal, different, others = split_equal(rows, [*original])
        return equal, different, [original[entry] for entry in others]
    row_entries = [row.entry for row in rows]
    if row_entries == entries:
        return _equal(row_entries), [], []
    in_log, in_rows = set(entries), set(row_entries)
    different = [row for row in rows if row.entry not in in_log]
    others = [entry for entry in entries if entry not in in_rows]
    return _equal([entry for entry in row_entries if entry in in_log]), different, others


def _equal(entries: Sequence[bytes]) -> Comparison:
    withdrawn = sum([entry.endswith(_WITHDRAWN) for entry in entries])
    return Comparison(RunCounts(equal=len(entries)), len(entries) - withdrawn)


class RowComparer:
    """Compares rows with head contents under one configuration."""

    def __init__(self, config: Config) -> None:
        self._validator = EventValidator(config)
        self._bulk = BulkValidator(config)

    def compare(self, rows: Sequence[StreamRow], entries: Iterable[bytes], context: RepairContext) -> Comparison:
        """Compares rows with head contents, as far as these suffice. Neither may have a stream twice.

        A row stays unresolved if it needs its stream's head: because it is older, or differs at the same version, or
        because the stream has events since the run began, which may be the run's own.
        """
        found = Comparison()
        builders = _repair_builders(context)
        missing, newer = builders["missing"].build, builders["newer"].build
        placed, in_use = context.placement.placed, context.placement.in_use
        live = equal = 0
        pending, unresolved = found.pending.append, found.unresolved.append
        by_stream = {parts[0]: parts for parts in [entry.split(SEPARATOR) for entry in entries]}
        streams = [entry[: entry.index(SEPARATOR)] for entry in [row.entry for row in rows]]
        for row, stream, event in zip(rows, streams, self._validated_events(rows, streams, found), strict=True):
            logged = by_stream.pop(stream, None)
            if logged is None:
                if event is not None:
                    pending(missing(row.number, placed(event) if in_use else event))
                continue
            ending = logged[2]
            if event is None:
                live += ending != _WITHDRAWN
                continue
            if len(logged) > _PARTS_UNCHANGED or not logged[1].isdigit():  # others may have streams of any name
                unresolved(RowEvent(row.number, event))
                continue
            before, newest = ending[CONTENT_START:-1], int(logged[1])
            placed_event = placed(event, newest) if in_use else event
            ahead = placed_event.originator_version - newest
            if ahead < 0 or (ahead == 0 and event.content != before):
                unresolved(RowEvent(row.number, event))
                continue
            live += ending != _WITHDRAWN
            if ahead > 0:
                pending(newer(row.number, placed_event, before))
            else:
                equal += 1
        found.live, found.counts.equal = live, equal
        found.unmatched = list(by_stream)
        return found

    def _validated_events(
        self, rows: Sequence[StreamRow], streams: Sequence[bytes], found: Comparison
    ) -> Sequence[ValidatedEvent | None]:
        """The event of each row; None where it is rejected."""
        lines = [row.line for row in rows if row.event is None]
        if len(lines) == len(rows):
            validated = self._bulk.validate(lines, streams)
            if None not in validated:
                return validated
        else:
            line_streams = [stream for row, stream in zip(rows, streams, strict=True) if row.event is None]
            validated = self._bulk.validate(lines, line_streams)
        events = iter(validated)
        return [(next(events) if row.event is None else None) or self._validate(row, found) for row in rows]

    def _validate(self, row: StreamRow, found: Comparison) -> ValidatedEvent | None:
        try:
            return self._validator.validate(decode_event(row))
        except Rejected as refused:
            found.refuse(row.number, refused)
            return None


def row_event_of(pending: PendingRepair) -> RowEvent:
    """The row's event, with the id that its repair was given."""
    state = _state.decode(pending.state)
    content, occurred_at = bytes(state.payload), state.occurred_at
    stream, version = pending.originator_id, pending.originator_version
    version = version_of(version) if pending.epoch is None else version
    event = ValidatedEvent(
        stream, version, pending.topic, content, occurred_at, state.id, state.correlation_id, pending.epoch
    )
    return RowEvent(pending.number, event)


def _is_withdrawn(head: StoredEvent) -> bool:
    return head[5].endswith(_WITHDRAWN)


def decode_state(event: StoredEvent) -> EventState | None:
    """The state of a domain event; None for one that another application wrote."""
    try:
        return _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def withdrawal_of(head: StoredEvent, occurred_at: str, context: RepairContext) -> CorrectionEvent:
    """The event that withdraws a stream's head: the next revision of its version. Newer versions take precedence."""
    stream, version, revision = head.originator_id, head.originator_version, head.revision + 1
    event = ValidatedEvent(stream, version, head.topic, NULL, occurred_at, None, None)
    state = repair_encoder(context.run_id, context.recorded_at, "orphan").state(event, head.notification_id)
    return CorrectionEvent(stream, version, revision, head.topic, state)


def drift_details(pending: PendingRepair) -> StreamDrift:
    """The fields in which the snapshot differs from the log."""
    changes = changes_between(_flatten_json(pending.before), _flatten_json(pending.content))
    return StreamDrift(pending.originator_id, pending.drift, changes)


def sample_of(found: StreamDrift) -> JSON:
    """The differences as a run records them."""
    return [found.stream, found.drift, [[each.path, each.before, each.after] for each in found.changes]]


def _flatten_json(payload: bytes) -> dict[str, JSON]:
    """The fields of a JSON payload; none if another application wrote something else."""
    try:
        return flatten(msgspec.json.decode(payload))
    except DECODE_ERRORS:
        return {}


def count_drifted(drifted: Drifted) -> RunCounts:
    """The number of streams of each kind."""
    return RunCounts(
        missing=len(drifted.get("missing", ())),
        newer=len(drifted.get("newer", ())),
        changed=len(drifted.get("changed", ())),
        withdrawn=len(drifted.get("orphan", ())),
    )
