"""Snapshots in CSV files: RFC 4180, in UTF-8, with a header.

The first record after the header may be `#begin,2026-11-23T02:00:00Z`; the last one is `#end,102`.
"""

import csv
from collections.abc import Iterator, Sequence
from typing import Self

from msgspec import UNSET

from pagefold.engine.errors import Rejected, SourceFailed, SourceIncomplete
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.input_files import OversizedLine, single_lines
from pagefold.engine.intake.mapping.column_mapping import BoundColumns
from pagefold.engine.intake.mapping.value_conversion import parse_timestamp
from pagefold.engine.intake.ndjson_reader import MAX_LINE_BYTES
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.snapshots.flat_json import Binding
from pagefold.engine.snapshots.json_rows import BeginMarker, EndMarker, Found, RowCounter
from pagefold.engine.snapshots.line_rows import STEP_LINES, Bunches, FileToRead, LineCursor, LineReading

_MAX_COUNT_DIGITS = 16
"""Digits."""


class CSVReading(LineReading):
    """Reads one row per record."""

    def __init__(
        self, file: FileToRead, place: LineCursor, tally: RowCounter, binding: Binding, delimiter: str
    ) -> None:
        super().__init__(file, place, tally)
        self._binding = binding
        self._delimiter = delimiter

    def found(self, bunches: Bunches) -> Iterator[Found | None]:
        """The content of each record."""
        if csv.field_size_limit() < MAX_LINE_BYTES:  # it is the whole process's: never made smaller
            csv.field_size_limit(MAX_LINE_BYTES)
        texts = _Texts(single_lines(bunches))
        records = _records(texts, self._delimiter)
        header = self._header(records)
        bound, self.coverage = self._binding.of(header)
        while texts.line < self.place.line and texts.skip():
            if texts.line % STEP_LINES == 0:
                yield None
        for record in records:
            self.line = texts.line
            self.size += texts.size
            yield record if isinstance(record, Rejected) else _found(record, bound, len(header))

    def _header(self, records: Iterator[list[str] | Rejected]) -> list[str]:
        header = next(records, None)
        if header is None:
            raise SourceIncomplete(self.name, "is empty: it needs a header")
        if isinstance(header, Rejected):
            raise SourceFailed(self.name, f"its header cannot be read: {header}")
        return header


def _records(texts: "_Texts", delimiter: str) -> Iterator[list[str] | Rejected]:
    """Every record that is not blank, or why it cannot be read."""
    records = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        texts.begin_record()
        try:
            record = next(records)
        except StopIteration:
            return
        except _TooLongError:
            yield Rejected("", f"has {texts.pass_over()} bytes; at most {MAX_EVENT_BYTES} are allowed")
        except csv.Error as error:
            yield Rejected("", f"is not CSV: {error}")
        else:
            if texts.damaged:
                yield Rejected("", "is not UTF-8")
            elif record:
                yield record


class _TooLongError(Exception):  # carries nothing, never seen outside
    pass


class _Texts:
    """Lines for the CSV parser, which takes as many as a record needs, within bounds.

    `line` counts all of them, `size` the bytes of one record, and `damaged` whether some of those were not valid text.
    """

    def __init__(self, lines: Iterator[bytes | OversizedLine | None]) -> None:
        self._lines = lines
        self._quotes = 0
        self.line = 0
        self.size = 0
        self.damaged = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        held = self._next()
        if self.size > MAX_LINE_BYTES or not isinstance(held, bytes):
            raise _TooLongError
        if self.line == 1:
            held = held.removeprefix(BYTE_ORDER_MARK)
        try:
            return held.decode() + "\n"
        except UnicodeDecodeError:
            self.damaged = True
            return held.decode(errors="replace") + "\n"

    def begin_record(self) -> None:
        """What comes next is another record."""
        self._quotes = self.size = 0
        self.damaged = False

    def skip(self) -> bool:
        """Leaves a line out. False when there is none."""
        self.line += 1
        return next(self._lines, self) is not self

    def pass_over(self) -> int:
        """Leaves out the rest of a record, which ends where every quotation mark is closed; gives its bytes."""
        while self._quotes % 2:
            try:
                self._next()
            except StopIteration:
                break
        return self.size

    def _next(self) -> bytes | OversizedLine | None:
        held = next(self._lines)
        self.line += 1
        if isinstance(held, OversizedLine):
            self.size += held.size + 1
            self._quotes += held.quotes
        elif held is not None:
            self.size += len(held) + 1
            self._quotes += held.count(b'"')
        return held


def _found(cells: list[str], bound: BoundColumns, columns: int) -> Found:
    if cells[0].startswith("#") and (marker := _marker(cells)) is not None:
        return marker
    if len(cells) != columns:
        return Rejected("", f"has {len(cells):,} cells; the header has {columns:,}")
    try:
        return bound.event([cell or UNSET for cell in cells])
    except Rejected as refused:
        return refused.with_traceback(None)


def _marker(cells: Sequence[str]) -> Found | None:
    """The marker in a record, or what is wrong with it; None if it is not a marker.

    It may have commas where the cells have another delimiter, and empty cells may follow.
    """
    name, *given = [part.strip() for cell in cells for part in cell.split(",")]
    if name not in {"#begin", "#end"}:
        return None
    while given and not given[-1]:
        given.pop()
    count = given.pop(0) if name == "#end" and given else ""
    try:
        taken_at = parse_timestamp(given.pop(0), "takenAt") if given else None
    except Rejected as refused:
        return refused.with_traceback(None)
    if given:
        return Rejected("", f"has more cells than belong to {name}")
    if name == "#begin":
        return BeginMarker(taken_at)
    if not (count.isascii() and count.isdecimal() and len(count) < _MAX_COUNT_DIGITS):
        return Rejected("count", f"expected the number of rows, got {count!r:.50}")
    return EndMarker(int(count), taken_at)
