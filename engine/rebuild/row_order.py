"""Puts the rows of a snapshot in the order of their streams, in bounded memory.

Snapshots in that order are used as they come. The rows of others are spilled to a temporary SQLite file, and read back
in order.
"""

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from itertools import groupby
from operator import le, lt
from typing import NamedTuple, TypeAlias

import apsw
import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.domain import JSON
from pagefold.engine.errors import Rejected, RowsOutOfOrder, SpillFailed
from pagefold.engine.events import NULL, DomainEvent, ValidatedEvent
from pagefold.engine.intake.event_parser import (
    EventEnvelope,
    canonical_json,
    parse_envelope,
    parse_event,
    parse_payload,
)
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.snapshots.snapshot import Batch, Row, Snapshot
from pagefold.engine.stores.event_state import head_content
from pagefold.engine.stores.store import SEPARATOR
from pagefold.projections.epochs import versioned
from pagefold.projections.streams import EVERY_CHANNEL, encode_part, normalise_sku

CHUNK_ROWS = 5_000

MAX_REFUSALS = 20
"""Refusals that are kept; others are counted."""

_SETUP = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -4096;
PRAGMA temp_store = FILE;
CREATE TABLE named (stream BLOB, version INTEGER, number INTEGER, event BLOB, line BLOB, entry BLOB)
"""
_INSERT = "INSERT INTO named VALUES (?, ?, ?, ?, ?, ?)"
_IN_ORDER = "SELECT number, event, line, entry FROM named ORDER BY stream, version DESC, number"

_is_plain_sku = re.compile(r"(?![0-9]\.[0-9]+[Ee]-)[0-9A-Za-z._-]{1,100}", re.ASCII).fullmatch
"""SKUs that are written in the log as they are, and are none that a spreadsheet may have made."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(DomainEvent)

_MAX_INTEGER = 2**63 - 1
"""SQLite's largest integer. A version beyond it is refused when its turn comes."""

_PARSED_ENVELOPE = b""
"""Stands in place of an event whose envelope is to be read again: its line is of no known shape."""

Progress: TypeAlias = Callable[[Batch], None]


class Refusal(NamedTuple):
    """A rejected row: its number, the path in it, and why."""

    number: int
    path: str
    reason: str


StreamRow: TypeAlias = Row
"""A row whose stream is known. Its entry begins with it, and ends there where it takes an examination to know more."""


_OUT_OF_SCOPE, _OTHER_CHANNEL = b"", b"elsewhere"
"""Stand in place of the line of a row that is passed over, whose entry is its stream and version: it is out of scope,
or of a channel that is none here."""


def _is_skipped(row: StreamRow) -> bool:
    return row.event is None and row.line in (_OUT_OF_SCOPE, _OTHER_CHANNEL)


def _row_content(row: StreamRow) -> object:
    """What is equal for rows that say the same."""
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
        case EventEnvelope() as wire:
            return parse_payload(wire, row.line)
        case Rejected() as refused:
            raise refused
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
        )


_NONE_SKIPPED = SkippedRows()


class RowChunk(NamedTuple):
    """The next rows in the order of their streams, each stream once, and what was put aside on the way there.

    `cursor` is where the snapshot goes on behind all of them, None where it can only begin anew: then a page without
    rows is the last, for whoever begins anew knows a page by its rows. `sorted` tells, of rows that had to be sorted,
    how many have come so far, and how many there are.
    """

    named: list[StreamRow]
    skipped: SkippedRows
    cursor: JSON
    sorted: tuple[int, int] | None = None


class Scope(NamedTuple):
    """Which rows of a source are looked at: not those of some domains, and those of SKUs with a prefix."""

    excluded_domains: frozenset[str]
    prefix: str


class StreamAssigner:
    """Gives the rows of a source their places.

    A row repeats when it names again what an earlier one named; when `exact`, only if it says the same of it.

    Rows that are passed over, because they are out of scope or of a channel that is none here, have places, too: it
    matters whether one of them comes twice. `kept` leaves them out.
    """

    def __init__(self, validator: EventValidator, scope: Scope, *, exact: bool = False) -> None:
        self._exact = exact
        self._stream_of = validator.stream_of
        self._validate = validator.validate
        self._excluded_domains, self._prefix = scope
        self._stream_suffixes: dict[tuple[str, str, str], str] = {}
        self._elsewhere: set[tuple[str, str, str]] = set()
        self._channels = validator.channels
        self._known = {channel.strip().casefold() for channel in validator.channels}
        self._has_skipped = False

    def needs_placing(self, rows: Iterable[Row]) -> bool:
        """Whether there is more to do than to take the rows as they are."""
        return bool(self._excluded_domains or self._prefix) or b"" in [row.entry for row in rows]

    def place(self, rows: list[Row]) -> tuple[list[StreamRow], SkippedRows]:
        """The rows with their streams, as they come, and what cannot have one."""
        if not self.needs_placing(rows):
            return rows, _NONE_SKIPPED
        named: list[StreamRow] = []
        refusals: list[Refusal] = []
        for row in rows:
            try:
                named.append(self._placed(row))
            except Rejected as refused:
                refusals.append(Refusal(row.number, refused.path, refused.reason))
        return named, SkippedRows(len(refusals), len(refusals), 0, tuple(refusals[:MAX_REFUSALS]))

    def kept(self, named: list[StreamRow]) -> tuple[list[StreamRow], SkippedRows]:
        """Rows of which each has a stream of its own, without those that are passed over."""
        if not self._has_skipped:
            return named, _NONE_SKIPPED
        elsewhere = sum([row.event is None and row.line == _OTHER_CHANNEL for row in named])
        return [row for row in named if not _is_skipped(row)], SkippedRows(elsewhere=elsewhere)

    def _placed(self, row: Row) -> StreamRow:
        """The row with its stream. Raises `Rejected`."""
        event = row.event or parse_event(row.line)
        if isinstance(event, Rejected):
            raise event
        if event.type in self._excluded_domains or not normalise_sku(event.sku).startswith(self._prefix):
            return self._skipped(row.number, event, _OUT_OF_SCOPE)
        if event.channel not in self._channels and self._names_other_channel(event):
            return self._skipped(row.number, event, _OTHER_CHANNEL)
        return row if row.entry else Row(row.number, row.event, row.line, _entry(self._stream(event), event))

    def _skipped(self, number: int, event: DomainEvent | EventEnvelope, why: bytes) -> StreamRow:
        self._has_skipped = True
        sku, channel, source = map(encode_part, (normalise_sku(event.sku), event.channel, event.source))
        stream = f"{sku}/{channel}/{event.type}/{source}".encode()
        return Row(number, None, why, b"%b%b%d" % (stream, SEPARATOR, event.source_version))

    def _names_other_channel(self, event: DomainEvent | EventEnvelope) -> bool:
        """Whether all is well but for the channel, which is none here, and is not one here that is written otherwise.

        Raises `Rejected` for what is not well.
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
        """The stream of an event, when there is such a one. Its end is remembered: there are few."""
        end = self._stream_suffixes.get((event.channel, event.type, event.source))
        if end is not None and _is_plain_sku(event.sku):
            return event.sku + end
        stream = self._stream_of(event)
        self._stream_suffixes[event.channel, event.type, event.source] = stream[stream.index("/") :]
        return stream

    def distinct(self, rows: Iterable[StreamRow]) -> Iterator[tuple[StreamRow, SkippedRows]]:
        """Rows in the order of their streams: of each stream the one that counts, and what becomes of the others."""
        for _, group in groupby(rows, key=stream_of):
            first, *others = group
            yield self._choose([first, *others]) if others else (first, _NONE_SKIPPED)

    def _choose(self, rows: Sequence[StreamRow]) -> tuple[StreamRow, SkippedRows]:
        """Of several rows of one stream, the one that counts, and what becomes of the others.

        All of them are passed over, or none. The highest version counts, and of several rows of that version the first;
        another content at the same version is refused. Rows that break a rule count only where there is no other.
        """
        again = len(rows) - 1
        repetitions = len(rows) - len(set(map(_row_content, rows))) if self._exact else again
        if _is_skipped(rows[0]):
            return rows[0], SkippedRows(
                repeated=again if rows[0].line == _OTHER_CHANNEL else 0, repetitions=repetitions
            )
        refusals: list[Refusal] = []
        fine: list[tuple[StreamRow, ValidatedEvent]] = []
        for named in rows:
            try:
                fine.append((named, self._validate(decode_event(named))))
            except Rejected as refused:
                refusals.append(Refusal(named.number, refused.path, refused.reason))
        if not fine:
            return rows[0], SkippedRows(again, refusals=tuple(refusals[1 : MAX_REFUSALS + 1]), repetitions=repetitions)
        chosen, stands = min(fine, key=lambda each: (-each[1].originator_version, each[0].number))
        for named, statement in fine:
            same = statement.originator_version == stands.originator_version
            if same and statement.content != stands.content:
                reason = (
                    f"row {chosen.number:,} says something else of {stream_of(chosen).decode()} at the same version"
                )
                refusals.append(Refusal(named.number, "payload", reason))
        shown = tuple(refusals[:MAX_REFUSALS])
        return chosen, SkippedRows(
            len(refusals), repeated=again - len(refusals), refusals=shown, repetitions=repetitions
        )


async def streamed_rows(
    snapshot: Snapshot, assigner: StreamAssigner, cursor: JSON, progress: Progress
) -> AsyncGenerator[RowChunk, None]:
    """The rows behind a cursor, a page a batch. Raises `RowsOutOfOrder` before it would give a row too late.

    Of a snapshot that is not resumable, no page has a cursor: who goes on must see all rows, those that moved as well.
    """
    last, before = b"", _NONE_SKIPPED
    async with aclosing(snapshot.batches(cursor)) as batches:
        async for batch in batches:
            rows = batch.rows
            named, skipped = (
                await run_sync(assigner.place, rows) if assigner.needs_placing(rows) else (rows, _NONE_SKIPPED)
            )
            streams = [row.entry[: row.entry.index(SEPARATOR)] for row in named]
            ascending = all(map(lt, streams, streams[1:]))
            if streams and (streams[0] <= last or not (ascending or all(map(le, streams, streams[1:])))):
                raise RowsOutOfOrder
            if not ascending:
                pairs = list(assigner.distinct(named))
                named, skipped = [each for each, _ in pairs], sum((more for _, more in pairs), skipped)
            last = streams[-1] if streams else last
            progress(batch)
            named, passed = assigner.kept(named)
            before += skipped + passed
            place = batch.cursor if snapshot.resumable else None
            if named or place is not None:
                yield RowChunk(named, before, place)
                before = _NONE_SKIPPED
    if before != _NONE_SKIPPED:
        yield RowChunk([], before, None)


async def sorted_rows(
    snapshot: Snapshot, assigner: StreamAssigner, progress: Progress
) -> AsyncGenerator[RowChunk, None]:
    """All rows, in order, once the snapshot has been read. What was put aside until then is with the first page."""
    before = _NONE_SKIPPED
    with closing(_Spill()) as spill:
        async with aclosing(snapshot.batches()) as batches:
            async for batch in batches:
                before += await run_sync(spill.add, assigner, batch.rows)
                progress(batch)
        pages = spill.pages(assigner)
        while (page := await run_sync(next, pages, None)) is not None:
            yield page._replace(skipped=before + page.skipped)
            before = _NONE_SKIPPED
        if before != _NONE_SKIPPED:
            yield RowChunk([], before, None)


class _Spill:
    """Rows in a temporary file, which has no name, so that it goes with the process, however that ends."""

    def __init__(self) -> None:
        self._kept = 0
        self._connection = apsw.Connection("")
        for _ in self._connection.execute(_SETUP):
            pass

    def add(self, assigner: StreamAssigner, rows: list[Row]) -> SkippedRows:
        """Keeps what has a place, and gives what has none."""
        named, skipped = assigner.place(rows)
        try:
            self._connection.execute("BEGIN")
            self._connection.executemany(_INSERT, map(_to_spilled, named))
            self._connection.execute("COMMIT")
        except apsw.Error as error:
            raise SpillFailed(error) from error
        self._kept += len(named)
        return skipped

    def pages(self, assigner: StreamAssigner) -> Iterator[RowChunk]:
        """Everything that was kept, in order, each stream once. The last page may have no rows."""
        page: list[StreamRow] = []
        skipped = _NONE_SKIPPED
        come = 0
        try:
            rows = map(_from_spilled, self._connection.execute(_IN_ORDER))
            for named, more in assigner.distinct(rows):
                page.append(named)
                skipped = skipped if more is _NONE_SKIPPED else skipped + more
                if len(page) == CHUNK_ROWS:
                    come += len(page)
                    kept, passed = assigner.kept(page)
                    skipped += passed
                    if kept:
                        yield RowChunk(kept, skipped, None, (come, self._kept))
                        skipped = _NONE_SKIPPED
                    page = []
        except apsw.Error as error:
            raise SpillFailed(error) from error
        kept, passed = assigner.kept(page)
        if kept or skipped + passed != _NONE_SKIPPED:
            yield RowChunk(kept, skipped + passed, None, (self._kept, self._kept))

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()


def _to_spilled(row: StreamRow) -> tuple[bytes, int, int, bytes | None, bytes, bytes]:
    event, head_content = row.event, row.entry
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
