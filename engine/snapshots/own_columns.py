"""Columns that are named like the fields of an event: tables in Pagefold's own form, which need no contract.

They are no contract: Pagefold's own form is strict, so what other systems mean with a value does not count. Only text
becomes the type that its field expects.
"""

from collections.abc import Sequence

from pagefold.engine.configuration.config import Config
from pagefold.engine.intake.mapping.column_mapping import BoundColumns, ColumnMapping, ColumnNames
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import fixed_parts


class Binding:
    """The columns of a source's snapshot in a table, which `where` names. Raises `ConfigurationError`."""

    def __init__(self, config: Config, source: str, where: str) -> None:
        self._config = config
        self._source = source
        self._where = where
        naming = ColumnNames("snapshot", "contract", {}, fixed_parts(config, source))
        self._columns = ColumnMapping(config, source, naming)

    def of(self, names: Sequence[str]) -> tuple[BoundColumns, Coverage]:
        """The columns among these names, and their coverage. Raises `SourceFailed`."""
        bound = self._columns.bind(names, self._where)
        return bound, Coverage.of_events(self._config, self._source, bound.fixed)
