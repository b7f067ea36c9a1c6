"""Debezium change events as domain events: rows of a source's tables, read by its contract.

A message is an envelope, an envelope with its schema (`{"schema": …, "payload": …}`), or a record with its key
(`{"key": …, "value": …}`). `c`, `u` and `r` give the row after the change. `d` withdraws what the row said; so does a
`u` after which the row says nothing of a stream any more, because it has another SKU, channel or source, or no longer
counts. Truncations, messages, tombstones (null instead of an envelope), heartbeats and transaction markers are ignored.
A row excluded by its table, its values or its channel is ignored.

A change's version is what the contract reads, or else its LSN. A deleted row has no version: with a column, it is the
row's last one plus 1. A row that is inserted again may have any version, see `recreated_rows.py`. `occurredAt` is what
the contract reads, or else the database's time of the change; withdrawals always have the latter. An update of a
primary key arrives as a deletion and a creation with one LSN: if rows keep their SKU while their key changes, the
version needs a column.
"""

import base64
import json
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.configuration.cdc_config import CdcConfig
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.contracts.source_contracts import required_contract
from pagefold.engine.intake.contracts.statement_mapping import (
    UNSENT,
    StatementMapping,
    UnknownChannel,
    Unsent,
    no_paths,
)
from pagefold.engine.intake.formats.header_filter import HeaderFilter
from pagefold.engine.intake.formats.json_bodies import documents_in, messages_in, read_document
from pagefold.engine.intake.formats.kafka_connect import column_types, decode_value, timestamp_at
from pagefold.engine.intake.formats.request_parts import (
    IgnoredMessage,
    MessagesBody,
    ReadPart,
    RejectedPart,
    RequestParts,
    part_size_error,
)
from pagefold.engine.intake.mapping.value_conversion import describe_type
from pagefold.engine.intake.readers.contract_columns import Cells, ContractColumns
from pagefold.engine.intake.readers.contract_parts import left_out, unknown_channel, whole_parts
from pagefold.engine.intake.statement import Statement, Whole
from pagefold.engine.intake.strict_json import decode_rejection
from pagefold.projections.streams import normalise_sku
from pagefold.projections.transforms import InvalidValue

_FULL = "with ALTER TABLE … REPLICA IDENTITY FULL the database sends it"
_MISSING = f"is not in the row before the change; {_FULL}"
_NO_LSN = "the change has no source.lsn: let the contract name a column with the version in sourceVersion"
_CREATES = frozenset({"c", "r"})
_WRAPPED = frozenset({"schema", "payload"})
_RECORD = frozenset({"key", "value"})
_OF_A_RECORD = _RECORD | {"topic", "partition", "offset", "timestamp", "headers"}

Facts: TypeAlias = Mapping[str, object]
_Stream: TypeAlias = tuple[str, str, str, str]


class _Origin(msgspec.Struct, frozen=True):
    """Where and when a change was made, as reported by the connector."""

    schema: str | None = None
    db: str | None = None
    table: str | None = None
    lsn: int | None = None
    ts_ms: int | None = None
    ts_us: int | None = None

    @property
    def where(self) -> str:
        return f"{self.schema or self.db or ''}.{self.table or ''}"


class _Envelope(msgspec.Struct, frozen=True):
    """One change."""

    op: str
    source: _Origin
    before: Any = None  # the rows are not copied: `_checked` says what they are
    after: Any = None


class _Change(NamedTuple):
    """A change, its schema, its facts and moment; whether some of its columns may not have been sent, see `_found`."""

    envelope: _Envelope
    schema: object
    facts: Facts
    moment: datetime | None
    may_lack: bool


class DebeziumReader(HeaderFilter):
    """Reads the changes of one source's tables. Raises `ConfigurationError` for a contract that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        self._settings = _settings(config, source)
        self._key = f"sources.{source}.cdc"
        placeholder = self._settings.unavailable_value
        self._placeholders = (placeholder, [placeholder], base64.b64encode(placeholder.encode()).decode())
        self._is_escaped = json.dumps(placeholder) != f'"{placeholder}"'  # then it may be written in several ways
        self._marks = [each.encode() for each in self._placeholders if isinstance(each, str)]
        self.contract = required_contract(config, source, "cdc")
        super().__init__(self._settings.headers_of, self._key, self.contract.headers)
        self._reads_facts = bool(self.contract.facts)
        self._columns = ContractColumns(self.contract)

    def parse(self, body: bytes, facts: Mapping[str, object]) -> RequestParts:
        """A body, message by message: one envelope, an array of them, or one per line."""
        text = body.removeprefix(BOM_UTF8)
        together = messages_in(text)
        texts = documents_in(text) if together is None else ()
        number = len(texts) if together is None else len(together)
        if (rejection := part_size_error(number, text)) is not None:
            return RequestParts.unreadable(body, rejection)
        divisible = partial(_divisible, text)
        if together is None:
            return RequestParts(body, number, lambda part: self._read(texts[part], facts), divisible)
        may_lack = self._may_lack(text)
        return RequestParts(body, number, lambda part: self._changes(together[part], facts, may_lack), divisible)

    def _read(self, text: bytes, facts: Facts) -> Sequence[ReadPart]:
        try:
            message = read_document(text)
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]
        return self._changes(message, facts, self._may_lack(text))

    def _may_lack(self, text: bytes) -> bool:
        """Whether a text may have a placeholder of a column that was not sent. Most have none, and need no search."""
        return self._is_escaped or any(mark in text for mark in self._marks)

    def _changes(self, document: object, facts: Facts, may_lack: bool) -> Sequence[ReadPart]:  # noqa: FBT001  # see `_Change`
        try:
            message, schema = _unwrapped(document)
            if (ignored := _ignored_message(message)) is not None:
                return [ignored]
            row = _checked(msgspec.convert(message, _Envelope))
            moment = _moment_of(row.source)
            if self._reads_facts:
                facts = {**facts, **_facts(row.source, moment)}
            return self._parts(_Change(row, schema, facts, moment, may_lack))
        except msgspec.ValidationError as error:
            return [RejectedPart(decode_rejection(error, b""))]
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]

    def _parts(self, change: _Change) -> Sequence[ReadPart]:
        envelope = change.envelope
        if self._settings.tables and envelope.op != "m" and envelope.source.where not in self._settings.tables:
            return [IgnoredMessage("table", f"the table {envelope.source.where} is not among {self._key}.tables")]
        match envelope.op:
            case "c" | "r":
                return self._stated(change)
            case "u":
                return self._updated(change)
            case "d":
                return self._ended(change)
            case "t":
                where = envelope.source.where
                return [IgnoredMessage("message", f"the table {where} was truncated; a rebuild withdraws its rows")]
            case "m":
                return [IgnoredMessage("message", "a logical decoding message is not about a row")]
            case _:
                raise Rejected("op", f"{envelope.op!r:.50} is unknown; the operations are c, u, r, d, t and m")

    # --- rows that are there ----------------------------------------------------------------------

    def _stated(self, change: _Change) -> list[ReadPart]:
        """What the row says after the change."""
        envelope, facts = change.envelope, change.facts
        if envelope.after is None:
            raise Rejected("after", "is required: the row after the change")
        after: Cells = envelope.after
        unsent: Unsent = no_paths
        if change.may_lack:
            after = {name: self._found(name, value, envelope.before) for name, value in after.items()}
            unsent = self._columns.unsent(name for name, value in after.items() if self._is_placeholder(value))
        row, fault = self._row(after, change, "after")
        for path in unsent(self._columns.whole, ()):
            fault = fault or Rejected(f"after.{path}", UNSENT)
        if fault is not None:
            return [RejectedPart(fault, self._place(row, facts))]
        creates = envelope.op in _CREATES
        return [
            each._replace(moment=change.moment, creates=creates)
            if isinstance(each, Statement)
            else _explained(each, envelope)
            for each in whole_parts(self.contract, row, facts, unsent)
            if not isinstance(each, Whole)  # a row has no group
        ]

    def _found(self, name: str, value: object, before: Cells | None) -> object:
        """A column's value: if it was too large to be sent again, the one from before the change, if that was sent."""
        if before is not None and self._is_placeholder(value) and before.get(name) is not None:
            return before[name]
        return value

    def _updated(self, change: _Change) -> list[ReadPart]:
        """Withdraws what the row said and says no longer; then what it says.

        If the row cannot be read, nothing is withdrawn either: the whole change waits in dead letters.
        """
        current, envelope = self._stated(change), change.envelope
        is_read = not any(isinstance(each, RejectedPart) for each in current)
        if envelope.before is None or not self._columns.is_full(envelope.before) or not is_read:
            return current
        ended = [each for each in self._ended(change) if isinstance(each, Statement)]
        before, after = (
            {_stream(each.event) for each in some if isinstance(each, Statement)} for some in (ended, current)
        )
        gone = [each for each in ended if _stream(each.event) not in after]
        return [*gone, *(_created(each, before) for each in current)] if gone else current

    # --- rows that are not there any more ---------------------------------------------------------

    def _ended(self, change: _Change) -> list[ReadPart]:
        """The withdrawals of what the row said before the change."""
        envelope, facts = change.envelope, change.facts
        if envelope.before is None:
            return [RejectedPart(Rejected("before", f"is required: the row before the change; {_FULL}"))]
        row, fault = self._row(envelope.before, change, "before")
        is_full = self._columns.is_full(envelope.before)
        needed = () if is_full else self._columns.whole
        if (missing := self._columns.missing(needed, row)) is not None:
            fault = fault or Rejected(f"before.{missing}", _MISSING)
        if fault is not None:
            return [RejectedPart(fault, self._place(row, facts))]
        if not self.contract.counts(row, facts):
            return [left_out(self.contract)]
        parts = self.contract.parts(row, facts)
        return [self._withdrawal(table, record, row if not is_full else None, change) for table, record in parts]

    def _withdrawal(self, table: StatementMapping, record: object, key: Cells | None, change: _Change) -> ReadPart:
        """The withdrawal of one of the statements that a row made. `key` is the row if only its key was sent."""
        missing = None if key is None else self._columns.missing(self._columns.deciding(table), key)
        if missing is not None:
            return RejectedPart(Rejected(f"before.{missing}", _MISSING))
        if not table.counts(record):
            return left_out(self.contract)
        try:
            event = table.withdrawal(record, change.moment)
        except InvalidValue as error:
            known = self.contract.rejected(error, table.sku(record))
            lacks = error.code == "blank" and not error.key.endswith("occurredAt")
            part = RejectedPart(Rejected(known.path, _MISSING) if lacks else known, table.place(record))
            return _explained(part, change.envelope)
        if isinstance(event, UnknownChannel):
            return unknown_channel(event.name)
        if table.reads_version:
            event = msgspec.structs.replace(event, source_version=event.source_version + 1)
        return Statement(event, moment=change.moment)

    # --- values -----------------------------------------------------------------------------------

    def _row(self, cells: Cells, change: _Change, part: str) -> tuple[Cells, Rejected | None]:
        """The cells that were sent, by the types of their columns; and why one that the contract reads cannot be."""
        if change.schema is None and not change.may_lack:
            return cells, None
        types, row, fault = column_types(change.schema, part), dict[str, object](), None
        for name, value in cells.items():
            if self._is_placeholder(value):
                continue
            kind = types.get(name)
            if kind is None or not self._columns.has(name):
                row[name] = value
                continue
            try:
                row[name] = decode_value(f"{part}.{name}", value, kind)
            except Rejected as rejection:
                fault = fault or rejection.with_traceback(None)
        return row, fault

    def _place(self, row: Cells, facts: Facts) -> DomainEvent | None:
        """The event of a row without its payload, if its stream and its version are known."""
        parts = self.contract.parts(row, facts)
        return next((event for table, record in parts if (event := table.place(record)) is not None), None)

    def _is_placeholder(self, value: object) -> bool:
        """Whether a value is the placeholder for an unchanged one: as text, in base64, or in an array."""
        return value in self._placeholders


def _divisible(text: bytes) -> MessagesBody:
    return MessagesBody(documents_in(text), lines=not text.lstrip().startswith(b"["))


def _settings(config: Config, source: str) -> CdcConfig:
    settings = config.sources[source].cdc
    if settings is None:
        raise config.error(f"sources.{source}.cdc", "is required: without it, changes of tables cannot be read")
    return settings


def _unwrapped(document: object) -> tuple[object, object]:
    """A message and its schema, or None; the value of a record that has a key."""
    if isinstance(document, dict) and document.keys() >= _RECORD and document.keys() <= _OF_A_RECORD:
        document = document["value"]
    if isinstance(document, dict) and document.keys() == _WRAPPED:
        return document["payload"], document["schema"]
    return document, None


def _checked(envelope: _Envelope) -> _Envelope:
    """The change, whose rows are objects. Raises `Rejected`."""
    for name, row in (("before", envelope.before), ("after", envelope.after)):
        if row is not None and type(row) is not dict:
            raise Rejected(name, f"expected `object | null`, got {describe_type(row)}")
    return envelope


def _ignored_message(message: object) -> IgnoredMessage | None:
    """Why a message without an envelope is ignored; None if it should have one."""
    if message is None:
        return IgnoredMessage("message", "a tombstone repeats a deletion")
    if isinstance(message, dict) and "op" not in message:
        if "ts_ms" in message and message.keys() <= {"ts_ms", "ts_us", "ts_ns"}:
            return IgnoredMessage("message", "a heartbeat is not about a row")
        if message.get("status") in ("BEGIN", "END"):
            return IgnoredMessage("message", "a transaction marker is not about a row")
    return None


def _facts(origin: _Origin, moment: datetime | None) -> Facts:
    """What a contract may read of a change besides its row."""
    facts: dict[str, object] = {"@table": origin.where}
    if origin.lsn is not None:
        facts["@lsn"] = origin.lsn
    if moment is not None:
        facts["@committed"] = moment
    return facts


def _moment_of(origin: _Origin) -> datetime | None:
    """When the database made a change. Raises `Rejected`."""
    if origin.ts_us is not None:
        return timestamp_at("source.ts_us", origin.ts_us)
    return None if origin.ts_ms is None else timestamp_at("source.ts_ms", origin.ts_ms * 1_000)


def _explained(part: ReadPart, envelope: _Envelope) -> ReadPart:
    """A rejected part; where a version is missing because the change has no LSN, with that reason."""
    if not isinstance(part, RejectedPart) or envelope.source.lsn is not None:
        return part
    if not part.rejection.path.endswith("sourceVersion"):
        return part
    return part._replace(rejection=Rejected(part.rejection.path, _NO_LSN))


def _created(part: ReadPart, before: Collection[_Stream]) -> ReadPart:
    """A statement of a stream that the row was not about before may be of a row that was there earlier."""
    is_new = isinstance(part, Statement) and _stream(part.event) not in before
    return part._replace(creates=True) if isinstance(part, Statement) and is_new else part


def _stream(event: DomainEvent) -> _Stream:
    return normalise_sku(event.sku), event.channel, event.type, event.source
