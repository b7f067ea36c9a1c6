"""Yields the rows of a snapshot in the order of their streams, in bounded memory.

A snapshot in that order is streamed. The rows of any other are spilled to a temporary SQLite file and read back sorted.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from itertools import groupby
from operator import le, lt
from typing import NamedTuple, Self, TypeAlias, cast

import apsw
import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected, RowsOutOfOrder, SpillFailed
from pagefold.engine.events import NULL, DomainEvent, ValidatedEvent
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.engine.intake.contracts.source_contracts import contract_key
from pagefold.engine.intake.event_parser import (
    EventEnvelope,
    canonical_json,
    parse_envelope,
    parse_event,
    parse_payload,
)
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.spill_file import open_spill_file
from pagefold.engine.snapshots.row import RefusedStatement, Row
from pagefold.engine.snapshots.snapshot import Batch, Snapshot
from pagefold.engine.stores.event_state import head_content
from pagefold.engine.stores.log_records import SEPARATOR
from pagefold.projections.epochs import versioned
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, normalise_sku

CHUNK_ROWS = 5_000

MAX_REFUSALS = 20
"""Maximum refusals that are kept; the others are only counted."""

_TABLES = """
CREATE TABLE named (stream BLOB, version INTEGER, number INTEGER, event BLOB, line BLOB, entry BLOB);
CREATE TABLE identities (identity INTEGER)
"""
_INSERT = "INSERT INTO named VALUES (?, ?, ?, ?, ?, ?)"
_INSERT_IDENTITY = "INSERT INTO identities VALUES (?)"
_REPETITIONS = "SELECT count(*) - count(DISTINCT identity) FROM identities"
_IN_ORDER = "SELECT number, event, line, entry FROM named ORDER BY stream, version DESC, number"

_is_plain_sku = re.compile(r"(?![0-9]\.[0-9]+[Ee]-)[0-9A-Za-z._-]{1,100}", re.ASCII).fullmatch
"""Matches SKUs that need no encoding in the log and do not look like a spreadsheet's number."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DomainEvent)
_refused_decoder = msgspec.msgpack.Decoder(RefusedStatement)

_MAX_INTEGER = 2**63 - 1
"""SQLite's largest integer. A larger version is rejected when its row is compared."""

_PARSED_ENVELOPE = b""
"""Stored instead of an event whose envelope is parsed again from its line."""

_REFUSED = b"refused"
"""Stored instead of an event: the line has a statement that was refused."""

Progress: TypeAlias = Callable[[Batch], Awaitable[None]]
Resolve: TypeAlias = Callable[[list[Row]], Awaitable[list[Row]]]


class Refusal(NamedTuple):
    """A rejected row: its number, the path in it, and why."""

    number: int
    path: str
    reason: str


StreamRow: TypeAlias = Row
"""A row whose stream is known. Its entry is the stream alone if the event must be validated to know more."""


_OUT_OF_SCOPE, _OTHER_CHANNEL = b"", b"elsewhere"
"""The line of a skipped row is replaced by the reason: it is out of scope, or of an unknown channel. The row's entry is
its stream and version."""


def _is_skipped(row: StreamRow) -> bool:
    return row.event is None and row.line in (_OUT_OF_SCOPE, _OTHER_CHANNEL)


def _row_content(row: StreamRow) -> object:
    """Equal for rows with equal contents."""
    return row.entry if _is_skipped(row) else row.line or row.event


def stream_of(row: StreamRow) -> bytes:
    """The stream that a row names, in UTF-8."""
    head_content = row.entry
    return head_content[: head_content.index(SEPARATOR)]


def decode_event(row: StreamRow) -> DomainEvent:
    """Decodes a row's event, without validating it. Raises `Rejected`."""
    match row.event:
        case None:
            return parse_event(row.line)
        case EventEnvelope() as envelope:
            return parse_payload(envelope, row.line)
        case RefusedStatement() as refused:
            raise refused.rejected
        case Rejected() as rejected:
            raise rejected
        case event:
            return event


class SkippedRows(NamedTuple):
    """Rows that are not compared."""

    refused: int = 0
    unreadable: int = 0
    repeated: int = 0
    refusals: tuple[Refusal, ...] = ()
    elsewhere: int = 0
    repetitions: int = 0
    left_out: int = 0

    def __add__(self, other: object) -> "SkippedRows":
        """Both together."""
        if not isinstance(other, SkippedRows):
            return NotImplemented
        return SkippedRows(
            self.refused + other.refused,
            self.unreadable + other.unreadable,
            self.repeated + other.repeated,
            (self.refusals + other.refusals)[:MAX_REFUSALS],
            self.elsewhere + other.elsewhere,
            self.repetitions + other.repetitions,
            self.left_out + other.left_out,
        )


_NONE_SKIPPED = SkippedRows()


class RowChunk(NamedTuple):
    """The next rows in the order of their streams, one per stream, and the rows skipped before and among them.

    `cursor` is where the snapshot resumes after them, None if it can only start over; in that case only the last chunk
    may be without rows. `sort_progress` is, if the rows were sorted, the number of rows so far and in all.
    """

    rows: list[StreamRow]
    skipped: SkippedRows
    cursor: JSON
    sort_progress: tuple[int, int] | None = None


class Scope(NamedTuple):
    """The scope of a run: all domains of the source but the excluded ones, and SKUs with a prefix."""

    excluded_domains: frozenset[str]
    prefix: str


class StreamAssigner:
    """Assigns the rows of a source to streams.

    A row is a repetition if an earlier one names the same stream; with `exact`, only if its content is equal, too. With
    `by_row`, rows have several streams: what repeats is counted elsewhere, by their identities.

    Rows that are skipped, because they are out of scope or of an unknown channel, get a stream as well: repetitions
    among them count. `compared_rows` removes them.
    """

    def __init__(self, validator: EventValidator, scope: Scope, *, exact: bool = False, by_row: bool = False) -> None:
        self._exact = exact
        self._by_row = by_row
        self._stream_of = validator.stream_of
        self._validate = validator.validate
        self._excluded_domains, self._prefix = scope
        self._stream_suffixes: dict[tuple[str, str, str], str] = {}
        self._elsewhere: set[tuple[str, str, str]] = set()
        self._channels = validator.channels
        self._known = {channel.strip().casefold() for channel in validator.channels}
        self._has_skipped = False

    @classmethod
    def of(cls, config: Config, source: str, scope: Scope) -> Self:
        """That of the rows of a source's snapshot."""
        snapshot = config.sources[source].snapshot
        return cls(
            EventValidator(config),
            scope,
            exact=snapshot is not None and snapshot.kind == "file",
            by_row=contract_key(config, source, "snapshot") is not None,
        )

    def is_needed(self, rows: Iterable[Row]) -> bool:
        """Whether rows lack a stream, or may be out of scope."""
        return bool(self._excluded_domains or self._prefix) or b"" in [row.entry for row in rows]

    def assign(self, rows: list[Row]) -> tuple[list[StreamRow], SkippedRows]:
        """The rows with their streams, in the given order, and the rows that cannot have one."""
        if not self.is_needed(rows):
            return rows, _NONE_SKIPPED
        assigned: list[StreamRow] = []
        refusals: list[Refusal] = []
        for row in rows:
            try:
                assigned.append(self._assigned(row))
            except Rejected as refused:
                refusals.append(Refusal(row.number, refused.path, refused.reason))
        return assigned, SkippedRows(len(refusals), len(refusals), 0, tuple(refusals[:MAX_REFUSALS]))

    def compared_rows(self, assigned: list[StreamRow]) -> tuple[list[StreamRow], SkippedRows]:
        """Rows of distinct streams, without those that are skipped."""
        if not self._has_skipped:
            return assigned, _NONE_SKIPPED
        elsewhere = sum([row.event is None and row.line == _OTHER_CHANNEL for row in assigned])
        return [row for row in assigned if not _is_skipped(row)], SkippedRows(elsewhere=elsewhere)

    def _assigned(self, row: Row) -> StreamRow:
        """The row with its stream. Raises `Rejected`."""
        event = row.event or parse_event(row.line)
        if isinstance(event, Rejected):
            raise event
        if isinstance(event, RefusedStatement):
            event = event.event
        if event.type in self._excluded_domains or not normalise_sku(event.sku).startswith(self._prefix):
            return self._skipped(row.number, event, _OUT_OF_SCOPE)
        if event.channel not in self._channels and self._names_other_channel(event):
            return self._skipped(row.number, event, _OTHER_CHANNEL)
        return row if row.entry else Row(row.number, row.event, row.line, _entry(self._stream(event), event))

    def _skipped(self, number: int, event: DomainEvent | EventEnvelope, reason: bytes) -> StreamRow:
        self._has_skipped = True
        sku, channel, source = map(encode_part, (normalise_sku(event.sku), event.channel, event.source))
        stream = f"{sku}/{channel}/{event.type}/{source}".encode()
        return Row(number, None, reason, b"%b%b%d" % (stream, SEPARATOR, event.source_version))

    def _names_other_channel(self, event: DomainEvent | EventEnvelope) -> bool:
        """Whether the channel is unknown, and not a misspelling of a configured one.

        Raises `Rejected` if anything else about the event's stream is wrong.
        """
        kind = (event.type, event.channel, event.source)
        if kind not in self._elsewhere:
            channel = event.channel.strip().casefold()
            if not channel or channel in self._known:
                return False
            self._stream_of(msgspec.structs.replace(event, channel=EVERY_CHANNEL, sku="-"))
            self._elsewhere.add(kind)
        return True

    def _stream(self, event: DomainEvent | EventEnvelope) -> str:
        """The stream of an event. Its suffix is cached: there are few."""
        suffix = self._stream_suffixes.get((event.channel, event.type, event.source))
        if suffix is not None and _is_plain_sku(event.sku):
            return event.sku + suffix
        stream = self._stream_of(event)
        self._stream_suffixes[event.channel, event.type, event.source] = stream[stream.index("/") :]
        return stream

    def distinct(self, rows: Iterable[StreamRow]) -> Iterator[tuple[StreamRow, SkippedRows]]:
        """The row that counts for each stream, and the others as skipped. `rows` are in the order of their streams."""
        for _, group in groupby(rows, key=stream_of):
            first, *others = group
            yield self._choose([first, *others]) if others else (first, _NONE_SKIPPED)

    def _repetitions(self, rows: Sequence[StreamRow]) -> int:
        """How many of the rows of one stream repeat an earlier one."""
        return len(rows) - (len(set(map(_row_content, rows))) if self._exact else 1)

    def _choose(self, rows: Sequence[StreamRow]) -> tuple[StreamRow, SkippedRows]:
        """The row that counts, of several rows of one stream, and the others as skipped.

        Either all of them are to be skipped, or none. The first row of the highest version counts; other content at
        that version is rejected, unless the contract's tie rule lets the last one count. A row that breaks a rule
        counts only if all do.
        """
        others = len(rows) - 1
        repetitions = 0 if self._by_row else self._repetitions(rows)
        if _is_skipped(rows[0]):
            repeated = others if rows[0].line == _OTHER_CHANNEL else 0
            return rows[0], SkippedRows(repeated=repeated, repetitions=repetitions)
        refusals: list[Refusal] = []
        valid: list[tuple[StreamRow, ValidatedEvent]] = []
        for row in rows:
            try:
                valid.append((row, self._validate(decode_event(row))))
            except Rejected as refused:
                refusals.append(Refusal(row.number, refused.path, refused.reason))
        if not valid:
            return rows[0], SkippedRows(others, refusals=tuple(refusals[1 : MAX_REFUSALS + 1]), repetitions=repetitions)
        later = self._by_row and any(decode_event(row).tie == "replace" for row, _ in valid)
        order = -1 if later else 1
        chosen, newest = min(valid, key=lambda each: (-each[1].originator_version, order * each[0].number))
        for row, event in valid:
            same = event.originator_version == newest.originator_version
            if same and event.content != newest.content and not later:
                reason = (
                    f"row {chosen.number:,} has another payload of {stream_of(chosen).decode()} at the same version"
                )
                refusals.append(Refusal(row.number, "payload", reason))
        kept = tuple(refusals[:MAX_REFUSALS])
        return chosen, SkippedRows(
            len(refusals), repeated=others - len(refusals), refusals=kept, repetitions=repetitions
        )


async def streamed_rows(
    snapshot: Snapshot, assigner: StreamAssigner, cursor: JSON, progress: Progress
) -> AsyncGenerator[RowChunk, None]:
    """Yields the rows after a cursor, one chunk per batch. Raises `RowsOutOfOrder` at the first row out of order.

    If the snapshot is not resumable, no chunk has a cursor: rows may have moved, so a resumed run must see all of them.
    """
    last, before = b"", _NONE_SKIPPED
    async with aclosing(snapshot.batches(cursor)) as batches:
        async for batch in batches:
            rows = batch.rows
            assigned, skipped = (
                await run_sync(assigner.assign, rows) if assigner.is_needed(rows) else (rows, _NONE_SKIPPED)
            )
            streams = [row.entry[: row.entry.index(SEPARATOR)] for row in assigned]
            ascending = all(map(lt, streams, streams[1:]))
            if streams and (streams[0] <= last or not (ascending or all(map(le, streams, streams[1:])))):
                raise RowsOutOfOrder
            if not ascending:
                pairs = list(assigner.distinct(assigned))
                assigned, skipped = [each for each, _ in pairs], sum((more for _, more in pairs), skipped)
            last = streams[-1] if streams else last
            await progress(batch)
            compared, dropped = assigner.compared_rows(assigned)
            before += skipped + dropped
            cursor = batch.cursor if snapshot.resumable else None
            if compared or cursor is not None:
                yield RowChunk(compared, before, cursor)
                before = _NONE_SKIPPED
    if before != _NONE_SKIPPED:
        yield RowChunk([], before, None)


async def sorted_rows(
    snapshot: Snapshot, assigner: StreamAssigner, resolve: Resolve, progress: Progress
) -> AsyncGenerator[RowChunk, None]:
    """Yields all rows, sorted, once the snapshot is read. The first chunk reports the rows skipped until then.

    `resolve` finds the SKUs of rows that name them by a reference. Raises `SourceFailed` if no record has a path that
    the contract reads: nothing was compared then.
    """
    before = _NONE_SKIPPED
    with closing(_Spill()) as spill:
        async with aclosing(snapshot.batches()) as batches:
            async for batch in batches:
                before += await run_sync(spill.add, assigner, batch._replace(rows=await resolve(batch.rows)))
                await progress(batch)
        if snapshot.records is not None:
            snapshot.records.check_paths()
            before += await run_sync(spill.counted, snapshot.records.reading)
        chunks = spill.chunks(assigner)
        while (chunk := await run_sync(next, chunks, None)) is not None:
            yield chunk._replace(skipped=before + chunk.skipped)
            before = _NONE_SKIPPED
        if before != _NONE_SKIPPED:
            yield RowChunk([], before, None)


class _Spill:
    """Rows in an unlinked temporary file, which is gone when the process ends, however that happens."""

    def __init__(self) -> None:
        self._stored = 0
        self._connection = open_spill_file(_TABLES)

    def add(self, assigner: StreamAssigner, batch: Batch) -> SkippedRows:
        """Stores the rows that have a stream; returns the others."""
        assigned, skipped = assigner.assign(batch.rows)
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(_INSERT, map(_to_spilled, assigned))
            self._connection.executemany(_INSERT_IDENTITY, zip(batch.identities))
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            raise SpillFailed(error) from error
        self._stored += len(assigned)
        return skipped

    def counted(self, reading: Reading) -> SkippedRows:
        """What a contract left out of the rows that were added, and how many of those repeat an earlier one."""
        repetitions = self._connection.execute(_REPETITIONS).get
        return SkippedRows(
            elsewhere=sum(reading.channels.values()), repetitions=cast("int", repetitions), left_out=reading.left_out
        )

    def chunks(self, assigner: StreamAssigner) -> Iterator[RowChunk]:
        """All stored rows in order, one per stream. The last chunk may have no rows."""
        chunk: list[StreamRow] = []
        skipped = _NONE_SKIPPED
        done = 0
        try:
            rows = map(_from_spilled, self._connection.execute(_IN_ORDER))
            for row, more in assigner.distinct(rows):
                chunk.append(row)
                skipped = skipped if more is _NONE_SKIPPED else skipped + more
                if len(chunk) == CHUNK_ROWS:
                    done += len(chunk)
                    compared, dropped = assigner.compared_rows(chunk)
                    skipped += dropped
                    if compared:
                        yield RowChunk(compared, skipped, None, (done, self._stored))
                        skipped = _NONE_SKIPPED
                    chunk = []
        except apsw.Error as error:
            raise SpillFailed(error) from error
        compared, dropped = assigner.compared_rows(chunk)
        if compared or skipped + dropped != _NONE_SKIPPED:
            yield RowChunk(compared, skipped + dropped, None, (self._stored, self._stored))

    def close(self) -> None:
        """Deletes the file."""
        self._connection.close()


def _to_spilled(row: StreamRow) -> tuple[bytes, int, int, bytes | None, bytes, bytes]:
    event, head_content = row.event, row.entry
    if isinstance(event, RefusedStatement):
        return stream_of(row), 0, row.number, _REFUSED, _encoder.encode(event), head_content
    version = 0
    if isinstance(event, DomainEvent | EventEnvelope):
        version = versioned(event.epoch or 0, event.source_version)
    elif event is None:
        version = 0 if _is_skipped(row) else int(head_content.split(SEPARATOR, 2)[1])
    packed = (
        _encoder.encode(event)
        if isinstance(event, DomainEvent)
        else _PARSED_ENVELOPE
        if isinstance(event, EventEnvelope)
        else None
    )
    return stream_of(row), max(-_MAX_INTEGER, min(version, _MAX_INTEGER)), row.number, packed, row.line, head_content


def _from_spilled(row: tuple[int, bytes | None, bytes, bytes]) -> StreamRow:
    number, packed, line, head_content = row
    if packed == _REFUSED:
        return Row(number, _refused_decoder.decode(line), b"", head_content)
    if packed == _PARSED_ENVELOPE:
        return Row(number, parse_envelope(line), line, head_content)
    return Row(number, None if packed is None else _decoder.decode(packed), line, head_content)


def _entry(stream: str, event: DomainEvent | EventEnvelope) -> bytes:
    payload = event.payload
    content = b""
    if not isinstance(payload, Mapping):
        content = NULL if payload is None else canonical_json(bytes(payload))
    if not content or event.epoch is not None:
        return stream.encode() + SEPARATOR
    return head_content(stream, event.source_version, content)
