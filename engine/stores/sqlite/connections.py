"""Connections to the two files of a SQLite store, and who may use them.

`events.db` is written with `synchronous = FULL`: what was acknowledged survives a power loss. `pages.db` is written
with `NORMAL`: it can always be folded again. Bulk work runs in threads, one at a time a connection; point reads stay
on the event loop, where a thread would cost five times the read.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, ParamSpec, TypeAlias, TypeVar

import anyio
import apsw
import orjson
from anyio.to_thread import run_sync

from engine.errors import StoreUnavailable, StoreUnfit
from engine.stores.sql import statements

EVENTS = "events.db"
PAGES = "pages.db"

SQL = statements("engine.stores.sqlite")

BUSY_MILLISECONDS = 10_000
"""How long a writer waits for another process's transaction."""

BUSY_MILLISECONDS_ON_LOOP = 1_000
"""A point read waits for nobody but a recovery after a crash, and holds the event loop while it does."""

_SETUP = """
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 8000;
PRAGMA journal_size_limit = 67108864;
PRAGMA cache_size = -65536;
PRAGMA temp_store = MEMORY;
"""

BROWSED_KIB = 16_384
"""What is kept of a file through which somebody walks from end to end: the next time, it has all to be read again."""

LARGEST_VALUE = 128 * 1024 * 1024
"""Bytes of a value. Events and sections have a few megabytes at most; this bounds what is read in one step."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Row: TypeAlias = tuple[Any, ...]
Bindings: TypeAlias = Sequence[Any] | dict[str, Any]

PASSING = (  # what may go away by itself: another's lock, a full disk
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.ConnectionClosedError,
)

LASTING = (  # what a person must mend
    apsw.NotADBError,
    apsw.CorruptError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.AuthError,
    OSError,
)


@contextmanager
def translated(name: str) -> Iterator[None]:
    """Turns what may pass by itself into `StoreUnavailable`, and what a person must mend into `StoreUnfit`."""
    try:
        yield
    except PASSING as error:
        raise StoreUnavailable(name, error) from error
    except LASTING as error:
        raise StoreUnfit(name, f"{type(error).__name__}: {error}") from error


def connect(file: Path, *, synchronous: str) -> apsw.Connection:
    """A connection that may write. Makes the file when there is none."""
    connection = apsw.Connection(str(file))
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    if connection.pragma("page_count") == 0:
        connection.pragma("page_size", 8192)
    for _ in connection.execute(_SETUP):
        pass
    connection.pragma("synchronous", synchronous)
    return connection


def connect_reader(file: Path, busy_milliseconds: int, cache_kib: int = 65_536) -> apsw.Connection:
    """A connection that only reads."""
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, LARGEST_VALUE)
    connection.set_busy_timeout(busy_milliseconds)
    for _ in connection.execute(f"PRAGMA query_only = TRUE; PRAGMA cache_size = -{cache_kib};"):
        pass
    return connection


class Threaded:
    """One connection, used in a thread by one task at a time."""

    def __init__(self, name: str, connection: apsw.Connection) -> None:
        self._name = name
        self._connection = connection
        self._lock = anyio.Lock()

    async def run(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Does the work in a thread, when it is this task's turn."""
        async with self._lock:
            return await self.run_reserved(work)

    async def run_reserved(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Does the work in a thread. For a task that holds the reservation."""

        def translate() -> Result:
            with translated(self._name):
                return work(self._connection)

        return await run_sync(translate)

    async def fetch(self, name: str, *bindings: object) -> list[Row]:
        """All rows of a named statement, read when it is this task's turn."""
        return await self.run(lambda connection: fetch(connection, name, *bindings))

    async def fetch_reserved(self, name: str, *bindings: object) -> list[Row]:
        """All rows of a named statement. For a task that holds the reservation."""
        return await self.run_reserved(lambda connection: fetch(connection, name, *bindings))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Reserves the connection and holds SQLite's write lock.

        `BEGIN IMMEDIATE`, for a deferred one cannot be upgraded.
        """
        async with self._lock:
            await self.run_reserved(begin)
            try:
                yield
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self.run_reserved(rollback)
                raise
            with anyio.CancelScope(shield=True):
                await self.run_reserved(commit)

    async def close(self) -> None:
        """Waits for its turn, and closes."""
        async with self._lock:
            await run_sync(self._connection.close)


def begin(connection: apsw.Connection) -> None:
    """Begins a transaction that writes."""
    connection.execute("BEGIN IMMEDIATE")


def commit(connection: apsw.Connection) -> None:
    """Commits, or rolls back and raises: a transaction never stays open behind a failed commit."""
    try:
        connection.execute("COMMIT")
    except apsw.Error:
        rollback(connection)
        raise


def rollback(connection: apsw.Connection) -> None:
    """Rolls back, unless SQLite already has."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def in_transaction(work: Callable[[apsw.Connection], Result]) -> Callable[[apsw.Connection], Result]:
    """The same work, in one transaction that writes."""

    def wrapped(connection: apsw.Connection) -> Result:
        begin(connection)
        try:
            result = work(connection)
        except BaseException:
            rollback(connection)
            raise
        commit(connection)
        return result

    return wrapped


def durably(work: Callable[[apsw.Connection], Result]) -> Callable[[apsw.Connection], Result]:
    """The same work in `pages.db`, which waits for the disk: for what a fold cannot give again."""

    def wrapped(connection: apsw.Connection) -> Result:
        connection.pragma("synchronous", "FULL")
        try:
            return work(connection)
        finally:
            connection.pragma("synchronous", "NORMAL")

    return wrapped


def fetch(connection: apsw.Connection, name: str, *bindings: object) -> list[Row]:
    """All rows of a named statement."""
    return connection.execute(SQL[name], bindings).fetchall()


def packed(connection: apsw.Connection, name: str, bindings: Bindings) -> tuple[list[Row], bytes]:
    """All rows of a named statement that gives them in two values: JSON, and all blobs, one behind the other.

    In the JSON, an array of arrays, the length of a blob stands in its place; None where there is none.

    SQLite makes them in one step, without Python's lock. With a step a row, and another thread at work, each row would
    wait for that lock, which is handed over every five milliseconds.
    """
    rows, blobs = one(connection.execute(SQL[name], bindings))
    return orjson.loads(rows), blobs or b""


def packed_of(
    connection: apsw.Connection, name: str, items: Sequence[str], *bindings: object
) -> Iterator[tuple[list[Row], bytes]]:
    """The packed rows of a statement for an array of texts, in several goes where one value cannot hold them all."""
    try:
        yield packed(connection, name, (*bindings, apsw.carray(tuple(items))))
    except apsw.TooBigError:
        if len(items) == 1:
            raise
    else:
        return
    middle = len(items) // 2
    for half in (items[:middle], items[middle:]):
        yield from packed_of(connection, name, half, *bindings)


def cut(blobs: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """The blobs that stand one behind the other, by their lengths."""
    return (blobs[begin:end] for begin, end in pairwise(accumulate(sizes, initial=0)))


def cut_sections(
    blobs: bytes, sizes: Iterable[int], lengths: Sequence[int | None]
) -> tuple[Sequence[bytes], Iterator[bytes | None]]:
    """What sections have: `versions`, by their sizes, each with its body behind it, by their lengths."""
    pieces = list(cut(blobs, chain.from_iterable(zip(sizes, [length or 0 for length in lengths], strict=True))))
    bodies = (None if length is None else body for length, body in zip(lengths, pieces[1::2], strict=True))
    return pieces[::2], bodies


def one(rows: Iterable[Row]) -> Row:
    """The row of a statement that gives exactly one."""
    [row] = rows
    return row


class Connections:
    """Every connection of one open store.

    `events_reader` is for the consumers; `events_browser` for those who look around, and should not wait for them.
    """

    def __init__(self, folder: Path) -> None:
        self.name = f"sqlite:///{folder}"
        self.folder = folder
        events, pages = folder / EVENTS, folder / PAGES
        self.events = Threaded(self.name, connect(events, synchronous="FULL"))
        self.pages = Threaded(self.name, connect(pages, synchronous="NORMAL"))
        self.events_reader = Threaded(self.name, connect_reader(events, BUSY_MILLISECONDS))
        self.events_browser = Threaded(self.name, connect_reader(events, BUSY_MILLISECONDS, BROWSED_KIB))
        self.pages_reader = Threaded(self.name, connect_reader(pages, BUSY_MILLISECONDS))
        self.events_on_loop = connect_reader(events, BUSY_MILLISECONDS_ON_LOOP)
        self.pages_on_loop = connect_reader(pages, BUSY_MILLISECONDS_ON_LOOP)

    async def close(self) -> None:
        """Closes all of them, the readers first, so that the last one to close can tidy up the write-ahead log."""
        self.events_on_loop.close()
        self.pages_on_loop.close()
        for connection in (self.events_reader, self.events_browser, self.pages_reader, self.events, self.pages):
            await connection.close()
