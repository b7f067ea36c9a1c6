"""Whether the disk of a database has room for what is appended next.

PostgreSQL tells nobody how much is free, and a small transaction fits into files that are there. A query whose rows do
not fit into memory has the server write a file, and delete it: beside the database's tables, without a word in its log
or its catalogs, and as large as the next segment of its write-ahead log.
"""

import time

import asyncpg

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.postgres.connections import Connections

ROW_BYTES = 8_000
ROWS = 16 * 1024 * 1024 // ROW_BYTES
"""Together they have what a segment has, unless the server was made for others."""

FRESH_SECONDS = 10.0
"""How long what was found counts. Where little is left, the file takes that too, for as long as it is there."""

_SETTINGS = {"work_mem": "64kB", "temp_tablespaces": ""}
"""So that it is written, and where the tables are."""


class DiskSpaceCheck:
    """Looks for room every now and then."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._full: BaseException | None = None
        self._until = 0.0

    async def check(self) -> None:
        """Raises `StoreUnavailable` when there is none. Where the server allows no such file, nobody can tell."""
        if time.monotonic() >= self._until:
            self._full = await self._measure()
            self._until = time.monotonic() + FRESH_SECONDS
        if self._full is not None:
            raise StoreUnavailable(self._connections.name, self._full) from self._full

    async def _measure(self) -> BaseException | None:
        try:
            await self._fill()
        except StoreUnavailable as error:
            if isinstance(error.__cause__, asyncpg.DiskFullError):
                return error.__cause__
            if not isinstance(error.__cause__, asyncpg.ConfigurationLimitExceededError):
                raise
        return None

    async def _fill(self) -> None:
        async with self._connections.readers.session() as session, session.transaction():
            for setting in _SETTINGS.items():
                await session.fetch("change_setting", *setting)
            await session.fetch("fill_file", ROWS, ROW_BYTES)
