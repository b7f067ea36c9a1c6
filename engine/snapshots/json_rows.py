"""Rows of a snapshot in JSON: events, which may omit defaults, and markers.

A snapshot may start with `{"snapshot":"begin","takenAt":"…"}`, and is complete if it ends with
`{"snapshot":"end","count":…}`, where the count is the number of rows in between.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.values import NonNegative, Timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.contracts.export_rows import decode_record
from pagefold.engine.intake.contracts.source_contracts import contract_key
from pagefold.engine.intake.event_parser import EventEnvelope, parse_envelope, parse_event
from pagefold.engine.intake.strict_json import check_repeated_keys, decode_rejection
from pagefold.engine.snapshots.contract_rows import ContractRows, Record
from pagefold.engine.snapshots.coverage import NOTHING_FIXED
from pagefold.engine.snapshots.json_paths import members_of
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import End
from pagefold.projections.streams import EVERY_CHANNEL

_MAX_MARKER_BYTES = 4_096
"""Bytes. A longer text is a row, even if it looks like a marker."""


class BeginMarker(NamedTuple):
    """The marker before the rows, and when the source began to write them."""

    taken_at: datetime | None


class EndMarker(NamedTuple):
    """The marker after the rows, and their number."""

    rows: int
    taken_at: datetime | None


Found: TypeAlias = DomainEvent | Record | Rejected | BeginMarker | EndMarker
"""The content of one place of a snapshot: an event, or a record that a contract reads."""


class _Marker(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    snapshot: Literal["begin", "end"]
    count: NonNegative | None = None
    taken_at: Timestamp | None = None


class _Given(msgspec.Struct):
    """The optional parts that are present."""

    type: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    channel: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    source: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_marker = msgspec.json.Decoder(_Marker)
_given = msgspec.json.Decoder(_Given)


class JSONRows:
    """Reads rows that are JSON.

    Rows that omit parts are alike: the parts filled in for one are tried for the next. `fixed` are the configured
    constants, which are filled in, and from which no row may differ.
    """

    def __init__(self, config: Config, source: str) -> None:
        self.fixed = fixed_parts(config, source)
        plain = default_values(config, source) | self.fixed
        self._plain = {name: msgspec.json.encode(value) for name, value in plain.items()}
        self._filled_in = b""
        self._names_filled_in: list[bytes] = []

    def open(self, text: bytes) -> tuple[EventEnvelope, bytes] | None:
        """The envelope of an event that omits parts, and its full text; None if it needs a closer look."""
        if not (self._filled_in and text.startswith(b"{")):
            return None
        if b"\\u" in text or any(name in text for name in self._names_filled_in):
            return None  # it may contain a filled-in part itself, and the repetition would be found too late
        text = self._filled_in + text[1:]
        try:
            return parse_envelope(text), text
        except DECODE_ERRORS:
            return None

    def read(self, text: bytes) -> Found:
        """Parses one JSON document."""
        try:
            if self._filled_in and text.startswith(b"{"):
                return parse_event(self._filled_in + text[1:])
            return parse_event(text)
        except Rejected as refused:
            return self._again(text, refused)

    def _again(self, text: bytes, refused: Rejected) -> Found:
        if self._filled_in:
            try:
                event = parse_event(text)
            except Rejected as plain:
                refused = plain
            else:
                self._filled_in = b""
                return event
        if (marker := read_marker(text)) is not None:
            return marker
        if not (left_out := self._left_out(text)):
            return refused.with_traceback(None)
        filled_in = b"{" + b"".join(b"%s:%s," % pair for pair in left_out.items())
        try:
            event = parse_event(filled_in + text.lstrip()[1:])
        except Rejected as still:
            return still.with_traceback(None)
        self._filled_in, self._names_filled_in = filled_in, list(left_out)
        return event

    def _left_out(self, text: bytes) -> dict[bytes, bytes]:
        """The parts that `text` omits, as JSON; empty if `text` is not an object, or one without keys."""
        try:
            given = _given.decode(text)
        except DECODE_ERRORS:
            return {}
        if not text.lstrip()[1:].lstrip().startswith(b'"'):
            return {}
        return {
            msgspec.json.encode(name): value
            for name, value in self._plain.items()
            if getattr(given, name) is msgspec.UNSET
        }


class ContractJSON:
    """Reads rows that are JSON in the source's own form."""

    def __init__(self, records: ContractRows) -> None:
        self._records = records
        self._has_markers = not any(path.split(".")[0] == "snapshot" for path in records.contract.paths)

    def read(self, text: bytes) -> Found:
        """Parses one JSON document. It is a marker only if the contract does not read `snapshot`."""
        if self._has_markers and (marker := read_marker(text)) is not None:
            return marker
        try:
            return Record(decode_record(text), hash(text))
        except Rejected as refused:
            return refused.with_traceback(None)

    def divide(self, text: bytes) -> Iterator[Found]:
        """The records in one JSON document, by the contract's `items`."""
        found = self.read(text)
        if isinstance(found, Record):
            yield from self._records.items(found.value)
        else:
            yield found


def default_values(config: Config, source: str) -> dict[str, str]:
    """The parts that a row of a source may leave out, and their values then."""
    domains = config.sources[source].domains
    defaults = {"source": source, "channel": EVERY_CHANNEL}
    return defaults | {"type": domains[0]} if len(domains) == 1 else defaults


def fixed_parts(config: Config, source: str) -> dict[str, str]:
    """What is the same in every row, according to the configuration. Raises `ConfigurationError` for invalid parts."""
    settings = config.sources[source].snapshot or SnapshotConfig()
    fixed = settings.constants
    if fixed and contract_key(config, source, "snapshot") is not None:
        problem = "goes with rows that are events; a contract says what its rows have"
        raise config.error(f"sources.{source}.snapshot.constants", problem)
    allowed = {"type": config.sources[source].domains, "channel": [EVERY_CHANNEL, *config.channels]}
    for target, value in fixed.items():
        if value not in allowed[target]:
            problem = f"{value!r} is not allowed; use one of {', '.join(allowed[target])}"
            raise config.error(f"sources.{source}.snapshot.constants.{target}", problem)
    return fixed


def read_marker(text: bytes) -> BeginMarker | EndMarker | Rejected | None:
    """The marker in a row, or what is wrong with it; None if it is not a marker."""
    if b'"snapshot"' not in text or len(text) > _MAX_MARKER_BYTES:
        return None
    try:
        if "snapshot" not in members_of(text):
            return None
        check_repeated_keys(text)
        marker = _marker.decode(text)
    except DECODE_ERRORS as error:
        return decode_rejection(error, text)
    except Rejected as refused:
        return refused.with_traceback(None)
    if marker.snapshot == "begin":
        return BeginMarker(marker.taken_at) if marker.count is None else Rejected("count", "belongs to the end marker")
    return Rejected("count", "is required") if marker.count is None else EndMarker(marker.count, marker.taken_at)


class RowCounter:
    """Numbers the rows of a source's snapshot, and determines at the end whether it was complete.

    `rows` were numbered so far; `taken_at` comes from markers. Once it is `over`, nothing more may come. `fixed` are
    parts that every row must have. `records` makes rows of those in the source's own form.
    """

    def __init__(
        self,
        source: str,
        rows: int = 0,
        taken_at: datetime | None = None,
        fixed: Mapping[str, str] = NOTHING_FIXED,
        records: ContractRows | None = None,
    ) -> None:
        self._source = source
        self._records = records
        self._type, self._channel = fixed.get("type"), fixed.get("channel")
        self._count: int | None = None
        self._fault = ""
        self.rows = rows
        self.taken_at = taken_at

    @property
    def over(self) -> bool:
        """Whether something followed the end marker, so that reading on is pointless."""
        return bool(self._fault)

    @property
    def marked(self) -> bool:
        """Whether the end marker was read."""
        return self._count is not None

    def rows_of(
        self, wires: Sequence[EventEnvelope | None], lines: Sequence[bytes], entries: Sequence[bytes]
    ) -> list[Row] | None:
        """The next rows, whose envelopes were parsed; None if `row` must decide each.

        A row without a parsed envelope is of this source.
        """
        if self._count is not None or [wire for wire in wires if wire is not None and not self._fits(wire)]:
            return None
        first, self.rows = self.rows + 1, self.rows + len(wires)
        return list(map(Row, range(first, self.rows + 1), wires, lines, entries))

    def take(self, found: Found) -> list[Row] | None:
        """The next row, or all that a contract makes of it; None for a marker, or after the end marker."""
        if self._count is not None:
            self._fault = "continues after its end marker"
            return None
        if isinstance(found, DomainEvent):
            self.rows += 1
            return [Row(self.rows, found if self._fits(found) else self._misfit(found))]
        if isinstance(found, Record):
            self.rows += 1
            return [] if self._records is None else self._records.rows(self.rows, found)
        if isinstance(found, EndMarker):
            self._count = found.rows
            self.taken_at = self.taken_at or found.taken_at
            return None
        if isinstance(found, BeginMarker):
            if self.rows == 0:
                self._begin(found)
                return None
            found = Rejected("", "is a begin marker, which must come before the first row")
        self.rows += 1
        return [Row(self.rows, found)]

    def take_identities(self) -> Sequence[int]:
        """The identities of the records since the last call, as in `ContractRows`."""
        return () if self._records is None else self._records.take_identities()

    def _begin(self, marker: BeginMarker) -> None:
        self.taken_at = marker.taken_at
        if self._records is not None and marker.taken_at is not None:
            self._records.taken(marker.taken_at)

    @property
    def surplus(self) -> int | None:
        """How many more rows there are than the end marker counts: it does not count repetitions."""
        return None if self._count is None or self._fault else max(self.rows - self._count, 0)

    def end(self) -> End:
        """How the snapshot ended, when nothing more comes."""
        if self._fault:
            return End(complete=False, reason=self._fault)
        if self._count is None:
            return End(complete=False, reason="has no end marker")
        if self._count != self.rows:
            return End(complete=False, reason=f"its end marker counts {self._count:,} rows; it has {self.rows:,}")
        return End(complete=True)

    def _fits(self, said: EventEnvelope | DomainEvent) -> bool:
        """Whether a row has the source and the fixed parts."""
        return said.source == self._source and self._type in (None, said.type) and self._channel in (None, said.channel)

    def _misfit(self, event: DomainEvent) -> Rejected:
        if event.source != self._source:
            return Rejected("source", f"{event.source!r}: this is the snapshot of {self._source!r}")
        name = "channel" if self._type in (None, event.type) else "type"
        said, fixed = (event.channel, self._channel) if name == "channel" else (event.type, self._type)
        return Rejected(name, f"{said!r}: the snapshot's constants say {fixed!r}")
