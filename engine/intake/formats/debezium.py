"""Debezium's change events: rows of a source's tables, in which the configuration says which columns count.

An envelope stands alone, beside its schema (`{"schema": …, "payload": …}`), or as the value of a record with its key
(`{"key": …, "value": …}`). `c`, `u` and `r` state the row behind the change. `d` withdraws what the row said; so does a
`u` that gives the row another SKU, channel or domain, before it states the new one. Truncations, messages, tombstones,
heartbeats and the marks of transactions say nothing about a row. A tombstone is a null in the place of an envelope:
where nothing is written, nothing was said. A row that does not count, by its table, its columns or its channel, is
passed over; one that no longer does is withdrawn.

A change's version is the column of `sourceVersion`, else its LSN. A deleted row has no version of its own: with a
column, it is the one behind the row's last; a row that is inserted again may have any, see `recreated_rows.py`. A row
is as it is since the column of `occurredAt`, else since when the database says; a deletion is always of the latter
moment. An update of a primary key comes as a deletion and a creation of one LSN: where that happens to rows that keep
their SKU, the version needs a column.
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
from pagefold.engine.errors import ConfigurationError, Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.formats.json_bodies import Headers, documents_in, read_document
from pagefold.engine.intake.formats.kafka_connect import ConnectType, kinds_in, moment_at, plain_value
from pagefold.engine.intake.formats.partial_event import PartialEvent
from pagefold.engine.intake.formats.request_parts import Delivery, Faulty, Found, Ignored, Messages, too_small
from pagefold.engine.intake.mapping.column_mapping import Columns, Naming
from pagefold.engine.intake.mapping.value_conversion import kind_of
from pagefold.engine.intake.mapping.value_filters import is_one_of, missed_header
from pagefold.engine.intake.strict_json import refusal
from pagefold.projections.streams import normalise_sku

LSN, MOMENT = "source.lsn", "source.ts_us"
"""What stands in place of the columns of `sourceVersion` and `occurredAt` where none are named."""

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
    """Where and when a change was made, as the connector says."""

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
    """The cells of a row by column, as they were sent, and what their types are."""

    cells: Row
    kinds: Kinds


class DebeziumReader:
    """Reads the changes of one source's tables. Raises `ConfigurationError` for columns that cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        self._settings = _settings(config, source)
        self._key = f"sources.{source}.cdc"
        word = self._settings.unavailable_value
        self._placeholders = (word, [word], base64.b64encode(word.encode()).decode())
        constants = self._settings.constant_of
        supplied = {"sourceVersion": LSN, "occurredAt": MOMENT}
        plain = {target: name for target, name in supplied.items() if target not in constants}
        self._column_of = plain | self._settings.column_of
        columns = Columns(config, source, Naming("cdc", "columns", self._column_of, constants))
        self._names = list(dict.fromkeys(self._column_of.values()))
        self._bound = columns.bind(self._names, self._key)
        self._texts = {name: target for target, name in self._column_of.items() if columns.is_text(target)}
        self._target_of = {name: target for target, name in self._column_of.items()}

    def passed_over(self, headers: Headers, *, partial: bool = False) -> Ignored | None:
        """Why nothing in a request counts, by its headers. `partial`: those that are not there were not kept."""
        missed = missed_header(headers, self._settings.headers_of, partial=partial)
        if missed is None:
            return None
        return Ignored("filter", f"its header {missed} is not among {self._key}.only_headers")

    def open(self, body: bytes) -> Delivery:
        """A body, message by message: one envelope, an array of them, or one a line."""
        text = body.removeprefix(BOM_UTF8)
        texts = documents_in(text)
        if (refused := too_small(len(texts), text)) is not None:
            return Delivery.unreadable(body, refused)
        messages = Messages(texts, lines=not text.lstrip().startswith(b"["))
        return Delivery(body, len(texts), lambda part: self._read(texts[part]), messages)

    def _read(self, text: bytes) -> list[Found]:
        try:
            message, schema = _unwrapped(read_document(text))
            if (ignored := _about_no_row(message)) is not None:
                return [ignored]
            return self._changes(msgspec.convert(message, _Envelope), schema)
        except msgspec.ValidationError as error:
            return [Faulty(refusal(error, b""))]
        except Rejected as refused:
            return [Faulty(refused.with_traceback(None))]

    def _changes(self, envelope: _Envelope, schema: object) -> list[Found]:
        where = envelope.source.where
        if self._settings.tables and envelope.op != "m" and where not in self._settings.tables:
            return [Ignored("table", f"the table {where} is not among {self._key}.tables")]
        match envelope.op:
            case "c" | "r":
                return [self._stated(envelope, schema)]
            case "u":
                return self._updated(envelope, schema)
            case "d":
                return [self._ended(envelope, schema)]
            case "t":
                return [
                    Ignored("message", f"the table {where} was emptied; a rebuild finds what is not there any more")
                ]
            case "m":
                return [Ignored("message", "a message in the database's log is about no row")]
            case _:
                raise Rejected("op", f"{envelope.op!r:.50} is not known; there are c, u, r, d, t and m")

    # --- rows that are there ----------------------------------------------------------------------

    def _stated(self, envelope: _Envelope, schema: object) -> Found:
        """What the row behind the change says."""
        if envelope.after is None:
            raise Rejected("after", "is required: the row behind the change")
        names = [*self._names, *self._settings.counted_by]
        after = {name: self._found(name, envelope.after, envelope.before) for name in names}
        missing = {name for name, value in after.items() if self._is_placeholder(value)}
        row = _Row({name: value for name, value in after.items() if name not in missing}, kinds_in(schema, "after"))
        if (fault := self._unknown(missing)) is not None:
            return self._faulty(fault, row, envelope.source)
        if (ignored := self._not_counted(row)) is not None:
            return ignored
        keeps = tuple(target for target, name in self._column_of.items() if name in missing)
        try:
            values = self._values(row, envelope.source)
            event = self._bound.withdrawal(values) if "payload" in keeps else self._bound.event(values)
            return PartialEvent(event, keeps, _known_moment_of(envelope.source), envelope.op in _CREATES)
        except Rejected as refused:
            return self._faulty(refused, row, envelope.source)

    def _unknown(self, missing: Collection[str]) -> Rejected | None:
        """Why a row cannot be understood without what was not sent again."""
        for target, name in self._column_of.items():
            if name in missing and target.partition(".")[0] != "payload":
                return Rejected(target, f"did not change, and so was not sent; {_FULL}")
        for name in self._settings.counted_by:
            if name in missing:
                return Rejected(f"after.{name}", f"did not change, and so was not sent; {_FULL}")
        return None

    def _found(self, name: str, after: Row, before: Row | None) -> object:
        """A column's value: where it was too large to be sent again, the one before the change, if that was sent."""
        value = after.get(name, UNSET)
        if before is not None and self._is_placeholder(value) and before.get(name) is not None:
            return before[name]
        return value

    def _updated(self, envelope: _Envelope, schema: object) -> list[Found]:
        """What the row says now; in front of that, the end of what it said under another identity, or while it counted.

        Where it cannot be told what the row says now, nothing is ended: both wait for the whole change to be mended.
        """
        stated = self._stated(envelope, schema)
        if envelope.before is None or not self._is_whole(envelope.before) or isinstance(stated, Faulty):
            return [stated]
        ended = self._ended(envelope, schema)
        if not isinstance(ended, PartialEvent):  # such a row could state nothing, or did not count
            return [stated]
        if not isinstance(stated, PartialEvent):
            return [ended, stated]
        is_same = _stream(ended.event) == _stream(stated.event)
        return [stated] if is_same else [ended, stated._replace(creates=True)]

    # --- rows that are not there any more ---------------------------------------------------------

    def _ended(self, envelope: _Envelope, schema: object) -> Found:
        """The end of what the row in front of the change said."""
        before = envelope.before
        if before is None:
            return Faulty(Rejected("before", f"is required: the row in front of the change; {_FULL}"))
        row = _Row(
            {name: value for name, value in before.items() if not self._is_placeholder(value)},
            kinds_in(schema, "before"),
        )
        if (missing := self._missing_in(before)) is not None:
            return Faulty(Rejected(missing, f"is not in the row in front of the change; {_FULL}"))
        if (ignored := self._not_counted(row)) is not None:
            return ignored
        try:
            event = self._bound.withdrawal(self._values(row, envelope.source, ended=True))
        except Rejected as refused:
            return self._faulty(refused, row, envelope.source)
        behind = int(self._column_of.get("sourceVersion", LSN) != LSN)
        event = msgspec.structs.replace(event, source_version=event.source_version + behind)
        return PartialEvent(event, (), _known_moment_of(envelope.source))

    def _missing_in(self, before: Row) -> str | None:
        """What must be known of a row that is gone, and was not sent, or perhaps not."""
        is_whole = self._is_whole(before)
        needed = _ALWAYS if is_whole else _ALWAYS | _PERHAPS
        columns = [(target, name) for target, name in self._column_of.items() if target in needed and name != LSN]
        if not is_whole:  # whether it counted is not to be guessed
            columns += [(f"before.{name}", name) for name in self._settings.counted_by]
        return next((target for target, name in columns if before.get(name) is None), None)

    def _is_whole(self, before: Row) -> bool:
        """Whether more than the row's key was sent. Of a key alone, a column that is null says nothing."""
        return any(
            before.get(name) is not None for target, name in self._column_of.items() if target.startswith("payload")
        )

    # --- values -----------------------------------------------------------------------------------

    def _not_counted(self, row: _Row) -> Ignored | None:
        """Why a row is none that this shop asks for."""
        for column, wanted in self._settings.counted_by.items():
            if not is_one_of(row.cells.get(column, UNSET), wanted):
                return Ignored("filter", f"what the column {column} has is not among {self._key}.only")
        named = self._column_of.get("channel")
        values = [self._value(name, row) if name == named else UNSET for name in self._names]
        channel = self._bound.other_channel(values)
        return None if channel is None else Ignored("channel", f"{channel!r:.50} is no channel here")

    def _faulty(self, refused: Rejected, row: _Row, origin: _Origin) -> Faulty:
        """What is wrong with a row, and where it belongs, if that can be told."""
        names = {name for target, name in self._column_of.items() if not target.startswith("payload")}
        identity = {name: value for name, value in row.cells.items() if name in names}
        try:
            place = self._bound.place(self._values(row._replace(cells=identity), origin))
        except Rejected:
            place = None
        return Faulty(refused.with_traceback(None), place)

    def _values(self, row: _Row, origin: _Origin, *, ended: bool = False) -> list[object]:
        """The values of the columns in their order. What has `ended` did so when the database says."""
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
        plain = plain_value(target, value, row.kinds.get(name))
        if name in self._texts and isinstance(plain, msgspec.Raw):
            raise Rejected(self._texts[name], f"came as {kind_of(plain)}, and is a text here; {_AS_TEXT}")
        return plain

    def _lsn_of(self, origin: _Origin) -> int:
        if origin.lsn is None:
            problem = f"the change has no {LSN}; name a column with the version in {self._key}.columns.sourceVersion"
            raise Rejected("sourceVersion", problem)
        return origin.lsn

    def _is_placeholder(self, value: object) -> bool:
        """Whether a value is the word for one that did not change: as text, in base64, or in an array."""
        return value in self._placeholders


def _settings(config: Config, source: str) -> CdcConfig:
    settings = config.sources[source].cdc
    if settings is None:
        raise ConfigurationError(f"sources.{source}.cdc", "is required: without it, changes of tables cannot be read")
    return settings


def _unwrapped(document: object) -> tuple[object, object]:
    """A message and its schema, or None in its place; of a record with its key, those of the value."""
    if isinstance(document, dict) and document.keys() >= _RECORD and document.keys() <= _OF_A_RECORD:
        document = document["value"]
    if isinstance(document, dict) and document.keys() == _WRAPPED:
        return document["payload"], document["schema"]
    return document, None


def _about_no_row(message: object) -> Ignored | None:
    """Why a message has no envelope, when there is nothing wrong with that."""
    if message is None:
        return Ignored("message", "a tombstone only says that a row is gone, which its deletion said")
    if isinstance(message, dict) and "op" not in message:
        if "ts_ms" in message and message.keys() <= {"ts_ms", "ts_us", "ts_ns"}:
            return Ignored("message", "a heartbeat is about no row")
        if message.get("status") in ("BEGIN", "END"):
            return Ignored("message", "the mark of a transaction is about no row")
    return None


def _known_moment_of(origin: _Origin) -> datetime | None:
    moment = _moment_of(origin)
    return moment if isinstance(moment, datetime) else None


def _moment_of(origin: _Origin) -> object:
    if origin.ts_us is not None:
        return moment_at("source.ts_us", origin.ts_us)
    return UNSET if origin.ts_ms is None else moment_at("source.ts_ms", origin.ts_ms * 1_000)


def _stream(event: DomainEvent) -> tuple[str, str, str]:
    return normalise_sku(event.sku), event.channel, event.type
