"""Snapshots read by line: NDJSON, and what other file formats share with it."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from typing import NamedTuple, Self

import msgspec
from anyio.to_thread import run_sync

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.values import NonNegative, Timestamp
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceIncomplete
from pagefold.engine.intake.contracts.export_rows import MAX_ROW_BYTES
from pagefold.engine.intake.event_parser import EventEnvelope, parse_envelope
from pagefold.engine.intake.input_files import InputFile, LineSplitter, OversizedLine, decompress
from pagefold.engine.intake.ndjson_reader import MAX_LINE_BYTES, oversized_line_error, strip_line
from pagefold.engine.snapshots.contract_rows import ContractRows
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import ContractJSON, Found, JSONRows, RowCounter
from pagefold.engine.snapshots.line_templates import LineTemplates
from pagefold.engine.snapshots.read_ahead import SnapshotPass
from pagefold.engine.snapshots.row import Row
from pagefold.engine.snapshots.snapshot import BATCH_ROWS, Batch, End

MAX_BATCH_BYTES = 8 * 1024 * 1024
"""Bytes of a batch, uncompressed; its last row may exceed them."""

MAX_RUN_LINES = 250
"""Lines that are read together if none needs a closer look."""

STEP_LINES = 50_000
"""Lines that are skipped per step. Cancellation takes effect between steps."""


class LineCursor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Where reading resumes: after this many lines, with this many rows in them."""

    line: NonNegative = 0
    rows: NonNegative = 0
    taken_at: Timestamp | None = None


class FileToRead(NamedTuple):
    """A file, and a check that raises `SourceFailed` if it was replaced.

    `by_size`: it may end without a marker.
    """

    name: str
    check: Callable[[], None]
    by_size: bool = False


class JSONLines(NamedTuple):
    """How lines of NDJSON are read, also by known templates, and which streams they can name."""

    rows: JSONRows
    shapes: LineTemplates
    coverage: Coverage

    @classmethod
    def of(cls, config: Config, source: str) -> Self:
        """Those of a source. Raises `ConfigurationError`."""
        rows = JSONRows(config, source)
        return cls(rows, LineTemplates(config, source, rows.fixed), Coverage.of_events(config, source, rows.fixed))


class LineReading(SnapshotPass):
    """A pass over the lines of a file. It holds one batch, one chunk, and up to `MAX_LINE_BYTES` of a line.

    `line` is the number of lines read, `size` the bytes of the current batch.
    """

    def __init__(self, file: FileToRead, place: LineCursor, counter: RowCounter) -> None:
        self.name = file.name
        self.place = place
        self.line = 0
        self.size = 0
        self._file = file
        self._counter = counter

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        return self._counter.rows

    @abstractmethod
    def found(self, chunks: Iterator[bytes | None]) -> Iterator[Found | list[Row] | None]:
        """The content of the lines after `place`, or rows; None now and then if there are none.

        Raises `SourceIncomplete` if the file is truncated.
        """

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Every batch, decoded in a thread."""
        with InputFile(self.name) as file:
            self._file.check()
            steps = self._steps(file)
            while (batch := await run_sync(next, steps, None)) is not None:
                if batch.rows or batch.identities:
                    yield batch

    def _steps(self, file: InputFile) -> Iterator[Batch]:
        """Every batch; one without rows now and then when there are none."""
        rows: list[Row] = []
        counter, line, first = self._counter, 0, self._counter.rows
        try:
            for found in self.found(decompress(file.chunks(), self.name)):
                more = found if found is None or isinstance(found, list) else counter.take(found)
                if more is not None:
                    rows += more
                    line = self.line  # not the end marker's line: a resumed pass must read it again
                    most = max(len(rows), counter.rows - first)
                    if most <= BATCH_ROWS - MAX_RUN_LINES and self.size < MAX_BATCH_BYTES:
                        continue
                elif counter.over:
                    break
                elif found is not None:
                    continue
                yield self._batch(rows, line, file)
                rows, self.size, first = [], 0, counter.rows
            self._end()
        except SourceIncomplete as incomplete:
            self.end = End(complete=False, reason=incomplete.problem)
        yield self._batch(rows, line, file)

    def _end(self) -> None:
        """Determines the end after the last line."""
        self.end, self.surplus = self._counter.end(), self._counter.surplus
        if self._file.by_size and not (self._counter.marked or self._counter.over):
            self.end, self.by_size = End(complete=True), True

    def _batch(self, rows: list[Row], line: int, file: InputFile) -> Batch:
        self.taken_at = self._counter.taken_at
        place = LineCursor(line, self._counter.rows, self.taken_at)
        identities = self._counter.take_identities()
        return Batch(rows, msgspec.to_builtins(place), file.position, file.size, identities)


class NDJSONReading(LineReading):
    """Reads one row per line. Skips a byte order mark and blank lines."""

    def __init__(self, file: FileToRead, place: LineCursor, counter: RowCounter, read: JSONLines) -> None:
        super().__init__(file, place, counter)
        self._rows, self._shapes, self.coverage = read

    def found(self, chunks: Iterator[bytes | None]) -> Iterator[Found | list[Row] | None]:
        """The content of the lines."""
        for bunch in LineSplitter(MAX_LINE_BYTES).line_batches(chunks):
            for start in range(0, len(bunch or ()), MAX_RUN_LINES):
                run = (bunch or [])[start : start + MAX_RUN_LINES]
                if self.line >= self.place.line and (rows := self._run(run)) is not None:
                    yield rows
                else:
                    yield from self._one_by_one(run)

    def _run(self, lines: Sequence[bytes | OversizedLine]) -> list[Row] | None:
        """The rows of lines of which at most the envelopes are parsed; None if a line needs a closer look."""
        texts = [line for line in lines if not isinstance(line, OversizedLine)]
        size = sum(map(len, texts))
        if len(texts) < len(lines) or self.size + size > MAX_BATCH_BYTES:
            return None
        entries = self._shapes.entries(texts)
        try:
            wires: list[EventEnvelope | None] = [None] * len(texts)
            if b"" in entries:
                wires = [None if entry else parse_envelope(text) for entry, text in zip(entries, texts, strict=True)]
        except DECODE_ERRORS:
            return None
        if (rows := self._counter.rows_of(wires, texts, entries)) is None:
            return None
        if b"" in entries:
            self._learn(rows)
        self.line += len(rows)
        self.size += size
        return rows

    def _learn(self, rows: Sequence[Row]) -> None:
        """Learns the template of the first line that has none."""
        for row in rows:
            if isinstance(row.event, EventEnvelope):
                return self._shapes.learn(row.event, row.line)
        return None

    def _one_by_one(self, lines: Sequence[bytes | OversizedLine]) -> Iterator[Found | list[Row] | None]:
        read, rows_of, skipped = self._rows.read, self._counter.rows_of, self.place.line
        for held in lines:
            self.line += 1
            if self.line <= skipped:
                if self.line % STEP_LINES == 0:
                    yield None
            elif isinstance(held, OversizedLine):
                yield oversized_line_error(held.size)
            else:
                self.size += len(held)
                text = held if self.line > 1 else strip_line(1, held)
                if (opened := self._open(text)) and (rows := rows_of([opened[0]], [opened[1]], [b""])):
                    yield rows
                elif text and not text.isspace():
                    yield read(text.removesuffix(b"\r"))

    def _open(self, text: bytes) -> tuple[EventEnvelope, bytes] | None:
        """The envelope of an event, and its full text; None if it needs a closer look."""
        try:
            return parse_envelope(text), text
        except DECODE_ERRORS:
            return self._rows.open(text)


class RecordReading(LineReading):
    """Reads one record per line, for a contract. Skips a byte order mark and blank lines."""

    def __init__(self, file: FileToRead, place: LineCursor, counter: RowCounter, records: ContractRows) -> None:
        super().__init__(file, place, counter)
        self._read = ContractJSON(records).read

    def found(self, chunks: Iterator[bytes | None]) -> Iterator[Found | None]:
        """The content of the lines."""
        for held in LineSplitter(MAX_ROW_BYTES).lines(chunks):
            self.line += 1
            if self.line <= self.place.line or held is None:
                yield None
            elif isinstance(held, OversizedLine):
                yield oversized_line_error(held.size, MAX_ROW_BYTES)
            else:
                self.size += len(held)
                text = strip_line(self.line, held)
                if text and not text.isspace():
                    yield self._read(text)
