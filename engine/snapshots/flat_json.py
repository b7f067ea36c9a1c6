"""The columns of snapshots, and rows that are flat JSON objects."""

from collections.abc import Sequence

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.mapping.column_mapping import BoundColumns, ColumnMapping, ColumnNames
from pagefold.engine.intake.mapping.value_conversion import member_value
from pagefold.engine.intake.strict_json import check_repeated_keys, decode_rejection
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import Found, members_of, read_marker

_encoder = msgspec.json.Encoder()


def columns_of(config: Config, source: str) -> ColumnMapping:
    """The columns of a source's snapshot. Raises `ConfigurationError`."""
    settings = config.sources[source].snapshot or SnapshotConfig()
    return ColumnMapping(config, source, ColumnNames("snapshot", "columns", settings.column_of, settings.constant_of))


class Binding:
    """The columns of a source's snapshot in a table. Raises `ConfigurationError`."""

    def __init__(self, config: Config, source: str, where: str) -> None:
        self._config = config
        self._source = source
        self._where = where
        self._columns = columns_of(config, source)

    def of(self, names: Sequence[str]) -> tuple[BoundColumns, Coverage]:
        """The columns among these names, and their coverage. Raises `SourceFailed`."""
        bound = self._columns.bind(names, self._where)
        return bound, Coverage.of(self._config, self._source, bound.fixed)


class FlatJSON:
    """Reads rows that are JSON objects whose members are the columns. `fixed` as in `BoundColumns`."""

    def __init__(self, columns: ColumnMapping, where: str) -> None:
        self._names = list(dict.fromkeys(columns.by_target.values()))
        self._bound = columns.bind(self._names, where)
        self.fixed = self._bound.fixed

    def read(self, text: bytes) -> Found:
        """The content of one object."""
        if "snapshot" not in self._names and (marker := read_marker(text)) is not None:
            return marker
        try:
            members = members_of(text)
            if text.count(b":") != _encoder.encode(members).count(b":"):  # a repeated key is dropped with its colon
                check_repeated_keys(text)
            return self._bound.event([member_value(members.get(name)) for name in self._names])
        except DECODE_ERRORS as error:
            return decode_rejection(error, text)
        except Rejected as refused:
            return refused.with_traceback(None)
