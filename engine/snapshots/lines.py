"""Snapshots that are read by line: NDJSON, and what every other format of files has in common with it."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import NamedTuple

import msgspec
from anyio.to_thread import run_sync

from domains.values import Count, Moment
from engine.door import UNREADABLE, Wire, read_wire
from engine.errors import SourceIncomplete
from engine.files import InputFile, Overlong, Splitter, unpack
from engine.ndjson import LONGEST_LINE, bare, too_long
from engine.snapshots.ahead import Reading
from engine.snapshots.rows import Found, JSONRows, Tally
from engine.snapshots.snapshot import BATCH_ROWS, Batch, End, Row

BATCH_BYTES = 8 * 1024 * 1024
"""A batch has at most so many bytes, unpacked; its last row may go beyond."""

STEP_LINES = 50_000
"""So many lines are passed over in one step. Between two steps a cancellation is heeded."""


class Place(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where reading goes on: behind so many lines, with so many rows in them."""

    line: Count = 0
    rows: Count = 0
    taken_at: Moment | None = None


class FileToRead(NamedTuple):
    """A file, and what raises `SourceFailed` when it is not the one that was meant."""

    name: str
    check: Callable[[], None]


class LineReading(Reading):
    """A pass over the lines of a file. It holds a batch and a chunk, and of a line at most `LONGEST_LINE`.

    `line` counts the lines that were read, `size` the bytes of those that count for the batch.
    """

    def __init__(self, file: FileToRead, place: Place, source: str) -> None:
        self.name = file.name
        self.place = place
        self.line = 0
        self.size = 0
        self._check = file.check
        self._tally = Tally(source, place.rows, place.taken_at)

    @abstractmethod
    def found(self, lines: Iterator[bytes | Overlong | None]) -> Iterator[Found | Row | None]:
        """What stands in the lines behind `place`, as a row where it is one; None now and then where that is nothing.

        Raises `SourceIncomplete` when there can be no more.
        """

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every batch, decoded in a thread."""
        with InputFile(self.name) as file:
            self._check()
            steps = self._steps(file)
            while (batch := await run_sync(next, steps, None)) is not None:
                if batch.rows:
                    yield batch

    def _steps(self, file: InputFile) -> Iterator[Batch]:
        """Every batch; one without rows now and then where there are none."""
        rows: list[Row] = []
        tally, line = self._tally, 0
        lines = Splitter(LONGEST_LINE).lines(unpack(file.pieces(), self.name))
        try:
            for found in self.found(lines):
                row = found if found is None or isinstance(found, Row) else tally.row(found)
                if row is not None:
                    rows.append(row)
                    line = self.line  # not that of the end marker: who goes on from here must see it again
                    if len(rows) < BATCH_ROWS and self.size < BATCH_BYTES:
                        continue
                elif tally.over:
                    break
                elif found is not None:
                    continue
                yield self._batch(rows, line, file)
                rows, self.size = [], 0
            self.end = tally.end()
        except SourceIncomplete as incomplete:
            self.end = End(complete=False, reason=incomplete.problem)
        yield self._batch(rows, line, file)

    def _batch(self, rows: list[Row], line: int, file: InputFile) -> Batch:
        self.taken_at = self._tally.taken_at
        place = Place(line, self._tally.rows, self.taken_at)
        return Batch(rows, msgspec.to_builtins(place), file.position, file.size)


class NDJSONReading(LineReading):
    """A row a line. A byte order mark and blank lines are skipped."""

    def __init__(self, file: FileToRead, place: Place, source: str, rows: JSONRows) -> None:
        super().__init__(file, place, source)
        self._rows = rows

    def found(self, lines: Iterator[bytes | Overlong | None]) -> Iterator[Found | Row | None]:
        """What each line says."""
        read, row_of, behind = self._rows.read, self._tally.row_of, self.place.line
        for self.line, held in enumerate(lines, 1):
            if self.line <= behind:
                if self.line % STEP_LINES == 0:
                    yield None
            elif not isinstance(held, bytes):
                yield too_long(held.size if held else 0)
            else:
                self.size += len(held)
                text = held if self.line > 1 else bare(1, held)
                if (row := self._row(text, row_of)) is not None:
                    yield row
                elif text and not text.isspace():
                    yield read(text.removesuffix(b"\r"))

    def _row(self, text: bytes, row_of: Callable[[Wire, bytes], Row | None]) -> Row | None:
        """The row in a line, of which only the envelope is read; None for what must be looked at closer."""
        try:
            return row_of(read_wire(text), text)
        except UNREADABLE:
            opened = self._rows.open(text)
            return None if opened is None else row_of(*opened)
