"""Debezium change events as domain events: rows of a source's tables, by the configured columns.

A message is an envelope, an envelope with its schema (`{"schema": …, "payload": …}`), or a record with its key
(`{"key": …, "value": …}`). `c`, `u` and `r` give the row after the change. `d` withdraws the row; so does a `u` that
gives the row another SKU, channel or domain, before the new row follows. Truncations, messages, tombstones (null
instead of an envelope), heartbeats and transaction markers are ignored. A row excluded by its table, its columns or its
channel is ignored; one that becomes excluded is withdrawn.

A change's version is the column of `sourceVersion`, or else its LSN. A deleted row has no version: with a column, it is
the row's last one plus 1. A row that is inserted again may have any version, see `recreated_rows.py`. `occurredAt` is
its column, or else the database's time of the change; deletions always use the latter. An update of a primary key
arrives as a deletion and a creation with one LSN: if rows keep their SKU while their key changes, the version needs a
column.
"""

import base64
from codecs import BOM_UTF8
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.engine.configuration.cdc_config import CdcConfig
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.formats.json_bodies import Headers, documents_in, read_document
from pagefold.engine.intake.formats.kafka_connect import ConnectType, column_types, decode_value, timestamp_at
from pagefold.engine.intake.formats.request_parts import (
    IgnoredMessage,
    MessagesBody,
    ParsedPart,
    RejectedPart,
    RequestParts,
    part_size_error,
)
from pagefold.engine.intake.mapping.column_mapping import ColumnMapping, ColumnNames
from pagefold.engine.intake.mapping.value_conversion import describe_type
from pagefold.engine.intake.mapping.value_filters import is_one_of, unmatched_header
from pagefold.engine.intake.statement import Statement
from pagefold.engine.intake.strict_json import decode_rejection
from pagefold.projections.streams import normalise_sku

LSN, MOMENT = "source.lsn", "source.ts_us"
"""The source of `sourceVersion` and `occurredAt` when no columns are named for them."""

_ALWAYS, _PERHAPS = frozenset({"sku", "sourceVersion"}), frozenset({"channel", "type"})
_FULL = "with ALTER TABLE … REPLICA IDENTITY FULL the database sends it"
_AS_TEXT = "with decimal.handling.mode=string a decimal is sent as text, which is exact"
_CREATES = frozenset({"c", "r"})
_WRAPPED = frozenset({"schema", "payload"})
_RECORD = frozenset({"key", "value"})
_OF_A_RECORD = _RECORD | {"topic", "partition", "offset", "timestamp", "headers"}

Row: TypeAlias = Mapping[str, object]
Kinds: TypeAlias = Mapping[str, ConnectType]


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
    before: dict[str, object] | None = None
    after: dict[str, object] | None = None


class _Row(NamedTuple):
    """The cells of a row by column, as sent, and their types."""

    cells: Row
    kinds: Kinds


class DebeziumReader:
    """Reads the changes of one source's tables. Raises `ConfigurationError` for columns that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        self._settings = _settings(config, source)
        self._key = f"sources.{source}.cdc"
        placeholder = self._settings.unavailable_value
        self._placeholders = (placeholder, [placeholder], base64.b64encode(placeholder.encode()).decode())
        constants = self._settings.constant_of
        supplied = {"sourceVersion": LSN, "occurredAt": MOMENT}
        plain = {target: name for target, name in supplied.items() if target not in constants}
        self._column_of = plain | self._settings.column_of
        columns = ColumnMapping(config, source, ColumnNames("cdc", "columns", self._column_of, constants))
        self._names = list(dict.fromkeys(self._column_of.values()))
        self._bound = columns.bind(self._names, self._key)
        self._texts = {name: target for target, name in self._column_of.items() if columns.is_text(target)}
        self._target_of = {name: target for target, name in self._column_of.items()}

    def ignored_by_headers(self, headers: Headers, *, partial: bool = False) -> IgnoredMessage | None:
        """Why the headers exclude a request. With `partial`, headers that are absent may not have been stored."""
        unmatched = unmatched_header(headers, self._settings.headers_of, partial=partial)
        if unmatched is None:
            return None
        return IgnoredMessage("filter", f"the value of header {unmatched} is not among {self._key}.only_headers")

    def parse(self, body: bytes) -> RequestParts:
        """A body, message by message: one envelope, an array of them, or one per line."""
        text = body.removeprefix(BOM_UTF8)
        texts = documents_in(text)
        if (rejection := part_size_error(len(texts), text)) is not None:
            return RequestParts.unreadable(body, rejection)
        messages = MessagesBody(texts, lines=not text.lstrip().startswith(b"["))
        return RequestParts(body, len(texts), lambda part: self._read(texts[part]), messages)

    def _read(self, text: bytes) -> list[ParsedPart]:
        try:
            message, schema = _unwrapped(read_document(text))
            if (ignored := _ignored_message(message)) is not None:
                return [ignored]
            return self._changes(msgspec.convert(message, _Envelope), schema)
        except msgspec.ValidationError as error:
            return [RejectedPart(decode_rejection(error, b""))]
        except Rejected as rejection:
            return [RejectedPart(rejection.with_traceback(None))]

    def _changes(self, envelope: _Envelope, schema: object) -> list[ParsedPart]:
        where = envelope.source.where
        if self._settings.tables and envelope.op != "m" and where not in self._settings.tables:
            return [IgnoredMessage("table", f"the table {where} is not among {self._key}.tables")]
        match envelope.op:
            case "c" | "r":
                return [self._row_event(envelope, schema)]
            case "u":
                return self._updated(envelope, schema)
            case "d":
                return [self._row_withdrawal(envelope, schema)]
            case "t":
                return [IgnoredMessage("message", f"the table {where} was truncated; a rebuild withdraws its rows")]
            case "m":
                return [IgnoredMessage("message", "a logical decoding message is not about a row")]
            case _:
                raise Rejected("op", f"{envelope.op!r:.50} is unknown; the operations are c, u, r, d, t and m")

    # --- rows that are there ----------------------------------------------------------------------

    def _row_event(self, envelope: _Envelope, schema: object) -> ParsedPart:
        """The event of the row after the change."""
        if envelope.after is None:
            raise Rejected("after", "is required: the row after the change")
        names = [*self._names, *self._settings.counted_by]
        after = {name: self._found(name, envelope.after, envelope.before) for name in names}
        missing = {name for name, value in after.items() if self._is_placeholder(value)}
        row = _Row({name: value for name, value in after.items() if name not in missing}, column_types(schema, "after"))
        if (fault := self._missing_column(missing)) is not None:
            return self._rejected_part(fault, row, envelope.source)
        if (ignored := self._excluded(row)) is not None:
            return ignored
        unchanged = tuple(target for target, name in self._column_of.items() if name in missing)
        try:
            values = self._values(row, envelope.source)
            event = self._bound.withdrawal(values) if "payload" in unchanged else self._bound.event(values)
            return Statement(event, unchanged, _known_moment_of(envelope.source), envelope.op in _CREATES)
        except Rejected as rejection:
            return self._rejected_part(rejection, row, envelope.source)

    def _missing_column(self, missing: Collection[str]) -> Rejected | None:
        """Why a row cannot be read without the columns that were not sent."""
        for target, name in self._column_of.items():
            if name in missing and target.partition(".")[0] != "payload":
                return Rejected(target, f"was not sent, because it did not change; {_FULL}")
        for name in self._settings.counted_by:
            if name in missing:
                return Rejected(f"after.{name}", f"was not sent, because it did not change; {_FULL}")
        return None

    def _found(self, name: str, after: Row, before: Row | None) -> object:
        """A column's value: if it was too large to be sent again, the one from before the change, if that was sent."""
        value = after.get(name, UNSET)
        if before is not None and self._is_placeholder(value) and before.get(name) is not None:
            return before[name]
        return value

    def _updated(self, envelope: _Envelope, schema: object) -> list[ParsedPart]:
        """Withdraws what the row was under another identity, or before it was excluded; then states the row.

        If the row cannot be read, nothing is withdrawn either: the whole change waits in dead letters.
        """
        current = self._row_event(envelope, schema)
        if envelope.before is None or not self._is_full_row(envelope.before) or isinstance(current, RejectedPart):
            return [current]
        ended = self._row_withdrawal(envelope, schema)
        if not isinstance(ended, Statement):  # the row was excluded, or unreadable
            return [current]
        if not isinstance(current, Statement):
            return [ended, current]
        is_same = _stream(ended.event) == _stream(current.event)
        return [current] if is_same else [ended, current._replace(creates=True)]

    # --- rows that are not there any more ---------------------------------------------------------

    def _row_withdrawal(self, envelope: _Envelope, schema: object) -> ParsedPart:
        """The withdrawal of the row before the change."""
        before = envelope.before
        if before is None:
            return RejectedPart(Rejected("before", f"is required: the row before the change; {_FULL}"))
        row = _Row(
            {name: value for name, value in before.items() if not self._is_placeholder(value)},
            column_types(schema, "before"),
        )
        if (missing := self._missing_in(before)) is not None:
            return RejectedPart(Rejected(missing, f"is not in the row before the change; {_FULL}"))
        if (ignored := self._excluded(row)) is not None:
            return ignored
        try:
            event = self._bound.withdrawal(self._values(row, envelope.source, ended=True))
        except Rejected as rejection:
            return self._rejected_part(rejection, row, envelope.source)
        increment = int(self._column_of.get("sourceVersion", LSN) != LSN)
        event = msgspec.structs.replace(event, source_version=event.source_version + increment)
        return Statement(event, (), _known_moment_of(envelope.source))

    def _missing_in(self, before: Row) -> str | None:
        """The first field that a deletion needs and that was not sent."""
        is_full_row = self._is_full_row(before)
        needed = _ALWAYS if is_full_row else _ALWAYS | _PERHAPS
        columns = [(target, name) for target, name in self._column_of.items() if target in needed and name != LSN]
        if not is_full_row:  # an exclusion filter needs its column
            columns += [(f"before.{name}", name) for name in self._settings.counted_by]
        return next((target for target, name in columns if before.get(name) is None), None)

    def _is_full_row(self, before: Row) -> bool:
        """Whether more than the row's key was sent. In a row of the key alone, a null column means nothing."""
        return any(
            before.get(name) is not None for target, name in self._column_of.items() if target.startswith("payload")
        )

    # --- values -----------------------------------------------------------------------------------

    def _excluded(self, row: _Row) -> IgnoredMessage | None:
        """Why a row is excluded by a filter or its channel; None if it is not."""
        for column, allowed in self._settings.counted_by.items():
            if not is_one_of(row.cells.get(column, UNSET), allowed):
                return IgnoredMessage("filter", f"the value of column {column} is not among {self._key}.only")
        named = self._column_of.get("channel")
        values = [self._value(name, row) if name == named else UNSET for name in self._names]
        channel = self._bound.unknown_channel(values)
        return (
            None
            if channel is None
            else IgnoredMessage("channel", f"{channel!r:.50} is not a channel of the configuration")
        )

    def _rejected_part(self, rejection: Rejected, row: _Row, origin: _Origin) -> RejectedPart:
        """A rejected row, with its stream if that is known."""
        names = {name for target, name in self._column_of.items() if not target.startswith("payload")}
        identity = {name: value for name, value in row.cells.items() if name in names}
        try:
            place = self._bound.place(self._values(row._replace(cells=identity), origin))
        except Rejected:
            place = None
        return RejectedPart(rejection.with_traceback(None), place)

    def _values(self, row: _Row, origin: _Origin, *, ended: bool = False) -> list[object]:
        """The values of the columns in order. With `ended`, `occurredAt` is the database's time."""
        moment = _moment_of(origin)
        values = [self._value(name, row) for name in self._names]
        for index, name in enumerate(self._names):
            if name == MOMENT or (ended and moment is not UNSET and name == self._column_of.get("occurredAt")):
                values[index] = moment
            if name == LSN:
                values[index] = self._lsn_of(origin)
        return values

    def _value(self, name: str, row: _Row) -> object:
        value = row.cells.get(name, UNSET)
        if value is UNSET:
            return UNSET
        target = self._target_of[name]
        plain = decode_value(target, value, row.kinds.get(name))
        if name in self._texts and isinstance(plain, msgspec.Raw):
            raise Rejected(self._texts[name], f"came as {describe_type(plain)}, not as text; {_AS_TEXT}")
        return plain

    def _lsn_of(self, origin: _Origin) -> int:
        if origin.lsn is None:
            problem = f"the change has no {LSN}; name a column with the version in {self._key}.columns.sourceVersion"
            raise Rejected("sourceVersion", problem)
        return origin.lsn

    def _is_placeholder(self, value: object) -> bool:
        """Whether a value is the placeholder for an unchanged one: as text, in base64, or in an array."""
        return value in self._placeholders


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


def _known_moment_of(origin: _Origin) -> datetime | None:
    moment = _moment_of(origin)
    return moment if isinstance(moment, datetime) else None


def _moment_of(origin: _Origin) -> object:
    if origin.ts_us is not None:
        return timestamp_at("source.ts_us", origin.ts_us)
    return UNSET if origin.ts_ms is None else timestamp_at("source.ts_ms", origin.ts_ms * 1_000)


def _stream(event: DomainEvent) -> tuple[str, str, str]:
    return normalise_sku(event.sku), event.channel, event.type
