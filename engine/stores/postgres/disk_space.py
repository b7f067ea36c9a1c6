"""Checks whether the disk of a database has space for the next appends.

PostgreSQL does not report free space, and a small transaction fits into existing files. A query whose rows do not fit
into memory makes the server write a temporary file next to the database's tables, without entries in its log or
catalogs. Here, it is as large as the next segment of the write-ahead log.
"""

import time

import asyncpg

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.stores.postgres.connections import Connections

ROW_BYTES = 8_000
ROWS = 16 * 1024 * 1024 // ROW_BYTES
"""Together as large as a segment of the write-ahead log, at its default size."""

FRESH_SECONDS = 10.0
"""How long a result counts. On a nearly full disk, the file itself takes space while it exists."""

_SETTINGS = {"work_mem": "64kB", "temp_tablespaces": ""}
"""Settings that make the server write the file, and where the tables are."""


class DiskSpaceCheck:
    """Checks for disk space at intervals."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._full: BaseException | None = None
        self._until = 0.0

    async def check(self) -> None:
        """Raises `StoreUnavailable` if the disk is full. If the server allows no temporary files, space is unknown."""
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
