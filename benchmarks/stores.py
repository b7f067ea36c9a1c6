"""Where the sides work: throwaway SQLite folders, and databases of one throwaway PostgreSQL server with fsync on."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import psycopg

import engine
from benchmarks.floors import Floor
from benchmarks.floors_postgres import PostgresFloor
from benchmarks.floors_sqlite import SQLiteFloor
from benchmarks.workload import Workload, admitted, config
from engine.door import Door
from tests.postgres import PostgresServer

SERVER_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
"""Room for a million events. The same for all sides; durability is as it should be."""


class Stores(ABC):
    """Stores of one kind."""

    name: str

    def __init__(self) -> None:
        self._logs: dict[int, str] = {}

    @abstractmethod
    async def new(self) -> str:
        """The URL of a new, empty store, its schema made."""

    @abstractmethod
    async def floor(self, url: str) -> Floor:
        """The bare use of a store."""

    @abstractmethod
    async def forget_pages(self, url: str) -> None:
        """Back to a log that nobody has folded."""

    @abstractmethod
    async def drop(self, url: str) -> None:
        """Removes a store."""

    async def log(self, events: int) -> str:
        """The URL of a store with so many events in its log, made when first asked for."""
        if events not in self._logs:
            self._logs[events] = url = await self.new()
            await self._fill(url, events)
        return self._logs[events]

    async def _fill(self, url: str, events: int) -> None:
        door, floor, workload = Door(config(url)), await self.floor(url), Workload()
        for batch in workload.batches(events):
            await floor.append(admitted(door, batch))
        await floor.close()


class SQLiteStores(Stores):
    """Folders below a temporary one."""

    name = "sqlite"

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-")))
        self._numbers = count(1)

    async def new(self) -> str:
        """A new folder."""
        folder = self.folder / f"store-{next(self._numbers)}"
        folder.mkdir()
        await _make(f"sqlite:///{folder}")
        return f"sqlite:///{folder}"

    async def floor(self, url: str) -> Floor:
        """Its files, bare."""
        return SQLiteFloor(_folder(url))

    async def forget_pages(self, url: str) -> None:
        """A new `pages.db`."""
        for file in _folder(url).glob("pages.db*"):
            file.unlink()
        await _make(url)

    async def drop(self, url: str) -> None:
        """Removes the folder."""
        shutil.rmtree(_folder(url))


class PostgresStores(Stores):
    """Databases of one server."""

    name = "postgres"

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self.server = stack.enter_context(PostgresServer(fsync=True, settings=SERVER_SETTINGS))

    async def new(self) -> str:
        """A new database."""
        url = self.server.create_database()
        await _make(url)
        return url

    async def floor(self, url: str) -> Floor:
        """Its tables, bare."""
        return await PostgresFloor.open(url)

    async def forget_pages(self, url: str) -> None:
        """Empty tables, and nothing left to be written from before."""
        self._administer(url, "TRUNCATE pagefold.sections, pagefold.checkpoints", "CHECKPOINT")

    async def drop(self, url: str) -> None:
        """Removes the database."""
        self.server.drop_database(url)

    async def _fill(self, url: str, events: int) -> None:
        await super()._fill(url, events)
        self._administer(url, "VACUUM ANALYZE", "CHECKPOINT")

    def _administer(self, url: str, *statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


async def _make(url: str) -> None:
    async with engine.open(config(url)):
        pass


def _folder(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
