"""Where the sides work: throwaway SQLite folders, and databases of one throwaway PostgreSQL server with fsync on."""

import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, count, islice
from pathlib import Path

import psycopg

import pagefold
from benchmarks import price_workload
from benchmarks.baseline import Floor
from benchmarks.baseline_postgres import PostgresFloor
from benchmarks.baseline_sqlite import SQLiteFloor
from benchmarks.workload import BATCH, Workload, admitted, config
from pagefold import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from tests.support.postgres import PostgresServer, name_of

SERVER_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
"""Room for a million events. The same for all sides; durability is as it should be."""


class Stores(ABC):
    """Stores of one kind."""

    name: str

    def __init__(self) -> None:
        self._logs: dict[int, str] = {}
        self._prices: dict[int, str] = {}

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
    async def copy(self, url: str) -> str:
        """The URL of another store with the same in it. Nobody may be at the first one meanwhile."""

    @abstractmethod
    async def drop(self, url: str) -> None:
        """Removes a store."""

    async def log(self, events: int) -> str:
        """The URL of a store with so many events in its log, made when first asked for."""
        if events not in self._logs:
            self._logs[events] = url = await self.new()
            await self.fill(url, chain.from_iterable(Workload().batches(events)))
        return self._logs[events]

    async def prices(self, rows: int) -> str:
        """The URL of a store with the prices of so many SKUs in its log, made when first asked for."""
        if rows not in self._prices:
            self._prices[rows] = url = await self.new()
            await self.fill(url, price_workload.events(rows))
        return self._prices[rows]

    async def fill(self, url: str, events: Iterator[DomainEvent]) -> None:
        """Appends events that come through the door."""
        validator, floor = EventValidator(config(url)), await self.floor(url)
        while batch := list(islice(events, BATCH)):
            await floor.append(admitted(validator, batch))
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
        folder = self._folder()
        folder.mkdir()
        await _make(_url(folder))
        return _url(folder)

    async def floor(self, url: str) -> Floor:
        """Its files, bare."""
        return SQLiteFloor(_folder(url))

    async def forget_pages(self, url: str) -> None:
        """A new `pages.db`."""
        for file in _folder(url).glob("pages.db*"):
            file.unlink()
        await _make(url)

    async def copy(self, url: str) -> str:
        """Another folder with the same files."""
        copied = self._folder()
        shutil.copytree(_folder(url), copied)
        return _url(copied)

    async def drop(self, url: str) -> None:
        """Removes the folder."""
        shutil.rmtree(_folder(url))

    def _folder(self) -> Path:
        return self.folder / f"store-{next(self._numbers)}"


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

    async def copy(self, url: str) -> str:
        """Another database, with the first as its template."""
        copied = self.server.create_database(name_of(url))
        self._administer(copied, "CHECKPOINT")
        return copied

    async def drop(self, url: str) -> None:
        """Removes the database."""
        self.server.drop_database(url)

    async def fill(self, url: str, events: Iterator[DomainEvent]) -> None:
        """Likewise, with statistics, and nothing left to be written."""
        await super().fill(url, events)
        self._administer(url, "VACUUM ANALYZE", "CHECKPOINT")

    def _administer(self, url: str, *statements: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


async def _make(url: str) -> None:
    async with pagefold.open(config(url)):
        pass


def _url(folder: Path) -> str:
    return f"sqlite:///{folder}"


def _folder(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))
