"""Temporary stores: SQLite folders, and databases of a temporary PostgreSQL server with fsync on."""

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
from benchmarks.baseline import Baseline
from benchmarks.baseline_postgres import PostgresBaseline
from benchmarks.baseline_sqlite import SQLiteBaseline
from benchmarks.naive_loop import NaiveLoop, PostgresLoop, SQLiteLoop
from benchmarks.workload import BATCH, Workload, config, encode_events
from pagefold import Config, DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from tests.support.postgres import PostgresServer, name_of

SERVER_SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"}
"""Room for a million events, the same for all sides. Durability settings are the defaults."""


class Stores(ABC):
    """Stores of one kind."""

    name: str

    def __init__(self) -> None:
        self._logs: dict[int, str] = {}
        self._prices: dict[int, str] = {}

    @abstractmethod
    async def new(self) -> str:
        """The URL of a new, empty store with its schema."""

    @abstractmethod
    async def baseline(self, url: str) -> Baseline:
        """The baseline on a store."""

    @abstractmethod
    async def naive_loop(self, url: str) -> NaiveLoop:
        """The naive loop, beside a store."""

    @abstractmethod
    async def reset_pages(self, url: str) -> None:
        """Removes all pages and checkpoints."""

    @abstractmethod
    async def copy(self, url: str) -> str:
        """Copies a store that is not in use. Returns the copy's URL."""

    @abstractmethod
    async def drop(self, url: str) -> None:
        """Removes a store."""

    def settle(self, url: str) -> None:  # noqa: B027  # most stores have nothing to do
        """Does what a store does in time after so much was written, so that nothing of it is left to be done."""

    async def log(self, events: int) -> str:
        """The URL of a store with this many events in its log, made at the first call."""
        if events not in self._logs:
            self._logs[events] = url = await self.new()
            await self.fill(url, chain.from_iterable(Workload().batches(events)))
        return self._logs[events]

    async def prices(self, rows: int) -> str:
        """The URL of a store with the prices of this many SKUs in its log, made at the first call."""
        if rows not in self._prices:
            self._prices[rows] = url = await self.new()
            await self.fill(url, price_workload.events(rows))
        return self._prices[rows]

    async def fill(self, url: str, events: Iterator[DomainEvent], settings: Config | None = None) -> None:
        """Validates and appends events, of the workload's shop unless it is another."""
        validator, baseline = EventValidator(settings or config(url)), await self.baseline(url)
        while batch := list(islice(events, BATCH)):
            await baseline.append(encode_events(validator, batch))
        await baseline.close()


class SQLiteStores(Stores):
    """Folders in a temporary folder."""

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

    async def baseline(self, url: str) -> Baseline:
        """The baseline on its files."""
        return SQLiteBaseline(_folder(url))

    async def naive_loop(self, url: str) -> NaiveLoop:
        """A file in the same folder."""
        return SQLiteLoop(_folder(url))

    async def reset_pages(self, url: str) -> None:
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

    async def baseline(self, url: str) -> Baseline:
        """The baseline on its tables."""
        return await PostgresBaseline.open(url)

    async def naive_loop(self, url: str) -> NaiveLoop:
        """A table in the same database."""
        return await PostgresLoop.open(url)

    async def reset_pages(self, url: str) -> None:
        """Empties the tables, and makes a checkpoint so that no earlier writes are pending."""
        self._administer(url, "TRUNCATE pagefold.sections, pagefold.checkpoints", "CHECKPOINT")

    async def copy(self, url: str) -> str:
        """Another database, with the first as its template."""
        copied = self.server.create_database(name_of(url))
        self._administer(copied, "CHECKPOINT")
        return copied

    async def drop(self, url: str) -> None:
        """Removes the database."""
        self.server.drop_database(url)

    async def fill(self, url: str, events: Iterator[DomainEvent], settings: Config | None = None) -> None:
        """Appends the events, then updates statistics and makes a checkpoint."""
        await super().fill(url, events, settings)
        self.settle(url)

    def settle(self, url: str) -> None:
        """Updates statistics, as a server does in time, and makes a checkpoint."""
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
