"""Snapshots in files: NDJSON, CSV and JSON, plain or compressed."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from anyio.abc import TaskGroup

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.csv_records import CSVForm
from pagefold.engine.intake.input_files import file_size
from pagefold.engine.snapshots.contract_rows import ContractRows, contract_rows
from pagefold.engine.snapshots.csv_rows import CSVReading
from pagefold.engine.snapshots.json_document import DocumentReading, holds_lines
from pagefold.engine.snapshots.json_rows import ContractJSON, RowCounter
from pagefold.engine.snapshots.line_rows import (
    FileToRead,
    JSONLines,
    LineCursor,
    LineReading,
    NDJSONReading,
    RecordReading,
)
from pagefold.engine.snapshots.own_columns import EventColumns
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass


class FileSnapshot(ReadAhead):
    """A file. Raises `SourceFailed` if it does not exist or cannot be read twice."""

    unit = "bytes"

    def __init__(self, config: Config, source: str, group: TaskGroup) -> None:
        super().__init__(group)
        self._config = config
        self._settings = config.sources[source].snapshot or SnapshotConfig()
        self._csv = CSVForm(self._settings.delimiter, self._settings.encoding)
        self._source = source
        self.name = self._settings.file or ""
        self.records = contract_rows(config, source, self.name, "content")
        self.identity, self.written_at = _identify(self.name)

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over the file, from the start or after a line."""
        place = LineCursor() if cursor is None else msgspec.convert(cursor, LineCursor)
        file = FileToRead(self.name, self._check, by_size=self._settings.ends == "file")
        if self.records is not None:
            self.records.begin(place.taken_at or self.written_at)
            counter = RowCounter(self._source, place.rows, place.taken_at, records=self.records)
            reading = self._records_reading(file, place, counter, self.records)
            reading.coverage = self.records.coverage
            return reading
        return self._events_reading(file, place)

    def _records_reading(
        self, file: FileToRead, place: LineCursor, counter: RowCounter, records: ContractRows
    ) -> LineReading:
        """A pass over rows in the source's own form."""
        match self._settings.file_format:
            case "csv":
                return CSVReading(file, place, counter, records, self._csv)
            case "json" if not holds_lines(self.name):
                return DocumentReading(file, place, counter, ContractJSON(records))
            case _:
                return RecordReading(file, place, counter, records)

    def _events_reading(self, file: FileToRead, place: LineCursor) -> LineReading:
        """A pass over rows that are events."""
        if self._settings.file_format == "csv":
            counter = RowCounter(self._source, place.rows, place.taken_at)
            columns = EventColumns(self._config, self._source, self.name)
            return CSVReading(file, place, counter, columns, self._csv)
        lines = JSONLines.of(self._config, self._source)
        counter = RowCounter(self._source, place.rows, place.taken_at, lines.rows.fixed)
        if self._settings.file_format == "json" and not holds_lines(self.name):
            reading = DocumentReading(file, place, counter, lines.rows)
            reading.coverage = lines.coverage
            return reading
        return NDJSONReading(file, place, counter, lines)

    def _check(self) -> None:
        if _identify(self.name)[0] != self.identity:
            raise SourceFailed(self.name, "was replaced after the snapshot was opened")


def _identify(name: str) -> tuple[str, datetime]:
    """The file's identity, and when it was written."""
    if file_size(name) is None:
        raise SourceFailed(name, "is not a regular file; a snapshot may have to be read twice")
    path = Path(name).resolve()
    found = path.stat()
    return f"{path}:{found.st_size}:{found.st_mtime_ns}", datetime.fromtimestamp(found.st_mtime, UTC)
