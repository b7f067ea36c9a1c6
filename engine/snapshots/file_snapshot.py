"""Snapshots in files: NDJSON and CSV, plain or compressed."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from anyio.abc import TaskGroup

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.input_files import file_size
from pagefold.engine.snapshots.csv_rows import CSVReading
from pagefold.engine.snapshots.flat_json import Binding
from pagefold.engine.snapshots.json_rows import RowCounter
from pagefold.engine.snapshots.line_rows import FileToRead, JSONLines, LineCursor, NDJSONReading
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass


class FileSnapshot(ReadAhead):
    """A file. Raises `SourceFailed` if it does not exist or cannot be read twice."""

    unit = "bytes"

    def __init__(self, config: Config, source: str, group: TaskGroup) -> None:
        super().__init__(group)
        self._settings = config.sources[source].snapshot or SnapshotConfig()
        self._source = source
        self.name = self._settings.file or ""
        self._lines = JSONLines.of(config, source)
        self._binding = Binding(config, source, self.name)
        self.identity, self.written_at = _identify(self.name)

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over the file, from the start or after a line."""
        place = LineCursor() if cursor is None else msgspec.convert(cursor, LineCursor)
        file = FileToRead(self.name, self._check, by_size=self._settings.ends == "file")
        if self._settings.file_format == "csv":
            tally = RowCounter(self._source, place.rows, place.taken_at)
            return CSVReading(file, place, tally, self._binding, self._settings.delimiter)
        tally = RowCounter(self._source, place.rows, place.taken_at, self._lines.rows.fixed)
        return NDJSONReading(file, place, tally, self._lines)

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
