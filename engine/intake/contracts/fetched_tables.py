"""Tables of contracts that are fetched from endpoints: contracts are compiled with them before they have any rows."""

from collections.abc import Mapping

import anyio

from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.lookup_config import LookupConfig
from pagefold.projections.transforms import InvalidValue, LookupTable


class FetchedTable(LookupTable):
    """A table whose rows are replaced whenever they are fetched. Until then, no value can be looked up.

    `fetched_at` and `tried_at` are moments of the monotonic clock, in seconds; who fetches holds the `lock`. Several
    threads may look up.
    """

    def __init__(self, name: str, settings: LookupConfig) -> None:
        super().__init__(name, (), locales=tuple(settings.values))
        self.settings = settings
        self.fetched_at: float | None = None
        self.tried_at: float | None = None
        self.lock = anyio.Lock()
        self._rows: LookupTable | None = None

    def replace(self, rows: LookupTable, at: float) -> None:
        """Has other rows from now on."""
        self._rows = rows
        self.fetched_at = at

    def find(self, value: object) -> object:
        """The value under a key; UNSET if there is none. Raises `InvalidValue` if the table was not fetched."""
        rows = self._rows
        if rows is None:
            raise InvalidValue("unmapped", value, f"cannot be looked up: the table {self.name!r} was not fetched")
        return rows.find(value)

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)


def fetched_tables(config: Config, source: str) -> Mapping[str, FetchedTable]:
    """The tables of a source, by name: the same for all copies of a configuration in a process."""
    settings = config.sources[source]
    tables = config.shared.setdefault(source, {})
    for name, lookup in settings.lookups.items():
        if name not in tables:
            tables[name] = FetchedTable(name, lookup)
    return {name: table for name, table in tables.items() if isinstance(table, FetchedTable)}
