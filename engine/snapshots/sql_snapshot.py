"""Snapshots by a query against the source's own database: one transaction, which sees one moment."""

import os
from collections.abc import Mapping
from hashlib import sha256

from anyio.abc import TaskGroup

from pagefold.domains.domain import JSON
from pagefold.engine.configuration.addresses import MYSQL_SCHEMES, database_url_error, scheme_of
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.configuration.toml_tables import redacted
from pagefold.engine.errors import SourceFailed
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.snapshots.contract_rows import contract_rows
from pagefold.engine.snapshots.json_rows import RowCounter
from pagefold.engine.snapshots.own_columns import EventColumns
from pagefold.engine.snapshots.query_reading import QueryReading
from pagefold.engine.snapshots.read_ahead import ReadAhead, SnapshotPass


class SQLSnapshot(ReadAhead):
    """The rows of a query. Raises `ConfigurationError` if the environment has no URL of the database."""

    unit = "rows"

    def __init__(self, config: Config, source: str, group: TaskGroup) -> None:
        super().__init__(group)
        settings = config.sources[source].snapshot or SnapshotConfig()
        self._source = source
        self._database = database_url(config, source, os.environ)
        self._query = settings.query or ""
        self.name = redacted(self._database)
        self.records = contract_rows(config, source, self.name, None)
        self._columns = self.records or EventColumns(config, source, self.name)
        self.identity = f"{self.name}:{sha256(self._query.encode()).hexdigest()}"

    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over the current rows. Raises `SourceFailed` for a cursor: a query cannot be resumed."""
        if cursor is not None:
            raise SourceFailed(self.name, "a query cannot be resumed; it starts over")
        if self.records is not None:
            self.records.begin(None)
        counter = RowCounter(self._source, records=self.records)
        return _reading_of(self._database)(self.name, self._database, self._query, self._columns, counter)


def _reading_of(database: str) -> type[QueryReading]:
    """What knows the database of a URL. Raises `ExtraMissing`."""
    if scheme_of(database) in MYSQL_SCHEMES:
        with needs_extra("a query against MySQL or MariaDB", "mysql"):
            from pagefold.engine.snapshots.mysql_query import MySQLQuery  # noqa: PLC0415  # few shops have one
        return MySQLQuery
    from pagefold.engine.snapshots.postgres_query import PostgresQuery  # noqa: PLC0415  # likewise

    return PostgresQuery


def database_url(config: Config, source: str, environment: Mapping[str, str]) -> str:
    """The URL of a source's database, from the file or the environment; "" if it needs none.

    Raises `ConfigurationError`, which never shows it.
    """
    settings = config.sources[source].snapshot or SnapshotConfig()
    variable = settings.database_variable
    if settings.database is not None or variable is None:
        return settings.database or ""
    key = f"sources.{source}.snapshot.database_variable"
    url = environment.get(variable, "").strip()
    if not url:
        raise config.error(key, f"the environment variable {variable} is not set or empty")
    if (fault := database_url_error(url)) is not None:
        raise config.error(key, f"the URL in {variable} {fault}")
    return url
