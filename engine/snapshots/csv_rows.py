"""Snapshots in CSV files: RFC 4180, with a header, in UTF-8 unless the encoding is given.

The first record after the header may be `#begin,2026-11-23T02:00:00Z`; the last one is `#end,102`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from msgspec import UNSET

from pagefold.engine.errors import Rejected
from pagefold.engine.intake.contracts.export_rows import MAX_ROW_BYTES, check_width
from pagefold.engine.intake.csv_records import CSVForm, CSVRecords
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES
from pagefold.engine.intake.mapping.value_conversion import parse_timestamp
from pagefold.engine.snapshots.contract_rows import ContractRows, Record
from pagefold.engine.snapshots.json_rows import BeginMarker, EndMarker, Found, RowCounter
from pagefold.engine.snapshots.line_rows import STEP_LINES, FileToRead, LineCursor, LineReading
from pagefold.engine.snapshots.own_columns import EventColumns

_MAX_COUNT_DIGITS = 16
"""Digits."""

ReadCells: TypeAlias = Callable[[list[str]], Found]
"""The content of a record that is no marker and has as many cells as the header. Raises `Rejected`."""


class CSVReading(LineReading):
    """Reads one row per record: events with columns named like their fields, or records of a contract."""

    def __init__(
        self,
        file: FileToRead,
        place: LineCursor,
        counter: RowCounter,
        rows: EventColumns | ContractRows,
        form: CSVForm,
    ) -> None:
        super().__init__(file, place, counter)
        self._rows = rows
        self._form = form

    def found(self, chunks: Iterator[bytes | None]) -> Iterator[Found | None]:
        """The content of each record."""
        most = MAX_ROW_BYTES if isinstance(self._rows, ContractRows) else MAX_EVENT_BYTES
        records = CSVRecords(self.name, chunks, form=self._form, max_bytes=most)
        read = self._reader(records)
        while records.texts.line < self.place.line and records.skip_line():
            if records.texts.line % STEP_LINES == 0:
                yield None
        columns, texts = len(records.header), records.texts
        for record in records:
            self.line = texts.line
            self.size += texts.size
            yield record if isinstance(record, Rejected) else _found(record, read, columns)

    def _reader(self, records: CSVRecords) -> ReadCells:
        """How records under a header are read. Raises `SourceFailed` if it lacks what is needed."""
        header = records.header
        if isinstance(self._rows, ContractRows):
            self._rows.check_columns(header)
            return lambda cells: Record(dict(zip(header, cells, strict=True)), records.content)
        bound, self.coverage = self._rows.bind(header)
        return lambda cells: bound.event([cell or UNSET for cell in cells])


def _found(cells: list[str], read: ReadCells, columns: int) -> Found:
    if cells[0].startswith("#") and (marker := _marker(cells)) is not None:
        return marker
    try:
        if len(cells) != columns:
            check_width(cells, columns)
        return read(cells)
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
