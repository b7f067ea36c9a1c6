"""The connections to the files of a SQLite store, and who uses them.

`events.db` is written with `synchronous = FULL`: acknowledged events survive a power loss. `pages.db` is written with
`NORMAL`: it can be folded again; so is `deliveries.db`, which exists once there are targets. Bulk work runs in threads,
one task at a time for each connection; point reads stay on the event loop, where a thread would cost five times the
read. Connections that write are opened on the first write: opening and reading a store writes nothing.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from itertools import accumulate, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

import anyio
import apsw
import orjson

from pagefold.engine.errors import (
    LogReplaced,
    ReadTooLarge,
    StoreReadOnly,
    StoreUnavailable,
    StoreUnusable,
)
from pagefold.engine.stores.sql_files import statements
from pagefold.engine.stores.sqlite.driver_errors import DRIVER_ERRORS, store_error, translate_errors
from pagefold.engine.stores.sqlite.loop_connections import LoopConnections
from pagefold.engine.stores.sqlite.opened_file import Connected, OpenedFile
from pagefold.engine.stores.sqlite.reader_connections import (
    CACHE_KIB,
    MAX_OPENINGS,
    MAX_VALUE_BYTES,
    NOT_AS_USUAL,
    Reader,
    check_unchanged,
    connect_reader,
    is_outdated,
    why_read_only,
)
from pagefold.engine.stores.sqlite.worker_threads import in_thread

EVENTS = "events.db"
PAGES = "pages.db"
DELIVERIES = "deliveries.db"

SQL = {**statements("pagefold.engine.stores.sqlite"), **statements("pagefold.engine.stores.sqlite", "files")}

BUSY_MILLISECONDS = 10_000
"""How long a writer waits for another process's transaction."""

BUSY_MILLISECONDS_ON_LOOP = 1_000
"""How long a point read waits, and blocks the event loop: only for a recovery after a crash."""

_SETUP = """
PRAGMA journal_mode = WAL;
PRAGMA wal_autocheckpoint = 8000;
PRAGMA journal_size_limit = 67108864;
PRAGMA temp_store = MEMORY;
"""

FOLD_CACHE_KIB = 8_192
"""The cache of each connection that folds: of the log, and of the pages that are written.

A larger one makes no fold faster: with eight times as much, folding 100,000 or 1,000,000 events takes as long, and 75
to 105 MB more. What is missing, the operating system has.
"""

BROWSER_CACHE_KIB = 16_384
"""The cache for a file that is scanned from end to end: by the next scan, it holds nothing useful."""

MIN_LENGTH_LIMIT = 16 * 1024

WITNESS_CACHE_KIB = 1_024
"""The cache for a file that is read by single rows, always the newest."""

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Row: TypeAlias = tuple[Any, ...]
Bindings: TypeAlias = Sequence[Any] | dict[str, Any]


def connect(file: Path, *, synchronous: str, cache_kib: int = CACHE_KIB) -> apsw.Connection:
    """A connection that may write. Creates the file if needed."""
    connection = apsw.Connection(str(file))
    connection.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
    connection.set_busy_timeout(BUSY_MILLISECONDS)
    if connection.pragma("page_count") == 0:
        connection.pragma("page_size", 8192)
    for _ in connection.execute(_SETUP):
        pass
    connection.pragma("cache_size", -cache_kib)
    connection.pragma("synchronous", synchronous)
    return connection


NOT_BESIDE = (
    "SQLite cannot create its files next to the database: the disk is full, or such a file was deleted while "
    "processes have the store open, which must end first"
)


class ThreadedConnection(Generic[Connected]):
    """One connection, opened on first use, and used in a thread by one task at a time.

    It is replaced, between transactions, if another file is at its path.
    """

    def __init__(self, name: str, opened: OpenedFile[Connected]) -> None:
        self._name = name
        self.opened = opened
        self._lock = anyio.Lock()

    async def run(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs the work in a thread, when it is this task's turn."""
        async with self._lock:
            return await self.run_reserved(work)

    async def run_reserved(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs the work in a thread. For a task that holds the reservation."""

        def translate() -> Result:
            with translate_errors(self._name, self.opened.file.name):
                return self._work(work)

        return await in_thread(translate)

    def _work(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs in the thread."""
        return work(self.opened.current())

    async def fetch(self, name: str, *bindings: object) -> list[Row]:
        """All rows of a named statement, read when it is this task's turn."""
        return await self.run(lambda connection: fetch(connection, name, *bindings))

    async def fetch_reserved(self, name: str, *bindings: object) -> list[Row]:
        """All rows of a named statement. For a task that holds the reservation."""
        return await self.run_reserved(lambda connection: fetch(connection, name, *bindings))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Reserves the connection and holds SQLite's write lock.

        `BEGIN IMMEDIATE`, since a deferred transaction cannot be upgraded.
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
            await in_thread(self.opened.discard)


class ThreadedReader(ThreadedConnection[Reader]):
    """A connection that only reads, and can be reopened between tasks."""

    def __init__(self, connections: "Connections", opened: OpenedFile[Reader]) -> None:
        super().__init__(connections.name, opened)
        self._connections = connections

    async def run_reserved(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs the work in a thread. For a task that holds the reservation."""
        for _ in range(MAX_OPENINGS - 1):
            try:
                return await super().run_reserved(work)
            except StoreUnavailable as error:
                if not is_outdated(error.__cause__):
                    raise
            self.discard()
            self._connections.reopen_on_loop()
        return await super().run_reserved(work)

    @asynccontextmanager
    async def reserved(self) -> AsyncIterator[None]:
        """Reserves the connection."""
        async with self._lock:
            yield

    def discard(self) -> None:
        """Closes the connection; the next task reopens it. For a task that holds the reservation."""
        self.opened.discard()

    def _work(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Checks before and after that the file is unchanged, if SQLite does not."""
        connection, file = self.opened.current(), self.opened.file
        check_unchanged(connection, file)
        result = work(connection)
        check_unchanged(connection, file)
        return result


class ThreadedWriter(ThreadedConnection[apsw.Connection]):
    """A connection that writes. Raises `StoreReadOnly` at once if nothing can be written.

    Its work counts if it is in the file at the path; otherwise it raises `StoreUnavailable`.
    """

    def __init__(self, connections: "Connections", opened: OpenedFile[apsw.Connection]) -> None:
        super().__init__(connections.name, opened)
        self._connections = connections

    async def run_reserved(self, work: Callable[[apsw.Connection], Result]) -> Result:
        """Runs the work in a thread. For a task that holds the reservation."""
        if self._connections.uses_fallback:
            await self._connections.open_as_usual()
        try:
            return await super().run_reserved(work)
        except (StoreUnavailable, StoreUnusable, StoreReadOnly) as error:
            if isinstance(error.__cause__, NOT_AS_USUAL):
                self._connections.check_writable()
            raise

    def _work(self, work: Callable[[apsw.Connection], Result]) -> Result:
        result = super()._work(work)
        self.opened.confirm()
        return result


def begin(connection: apsw.Connection) -> None:
    """Begins a write transaction."""
    connection.execute("BEGIN IMMEDIATE")


def commit(connection: apsw.Connection) -> None:
    """Commits, or rolls back and raises: a failed commit never leaves the transaction open."""
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
    """The same work, in one write transaction."""

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


def with_full_sync(work: Callable[[apsw.Connection], Result]) -> Callable[[apsw.Connection], Result]:
    """The same work in `pages.db`, synced to disk: for what a fold cannot restore."""

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
    """All rows of a statement that returns two values: JSON rows, and all blobs concatenated.

    In the JSON, an array of arrays, the length of a blob replaces it; None if there is none. SQLite builds both in one
    step, without Python's lock. With a step a row, while another thread is busy, each row would wait for that lock,
    which changes hands every five milliseconds.
    """
    rows, blobs = one(connection.execute(SQL[name], bindings))
    return orjson.loads(rows), blobs or b""


def packed_within(
    connection: apsw.Connection, name: str, sizes: str, bindings: Sequence[object], max_bytes: int
) -> tuple[list[Row], bytes]:
    """The packed rows of a statement. Raises `ReadTooLarge` above the limit, as the statement `sizes` finds."""
    try:
        with bounded(connection, max_bytes):
            return packed(connection, name, bindings)
    except apsw.TooBigError as error:
        size = sum([row[-1] or 0 for row in connection.execute(SQL[sizes], bindings)])
        raise ReadTooLarge(size, max_bytes) from error


def packed_of(
    connection: apsw.Connection, name: str, items: Sequence[str], *bindings: object
) -> Iterator[tuple[list[Row], bytes]]:
    """The packed rows of a statement for an array of texts, in several reads if one value cannot hold them."""
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


@contextmanager
def bounded(connection: apsw.Connection, max_bytes: int) -> Iterator[None]:
    """Limits the size of a value within the block, but not below what SQLite itself needs."""
    before = connection.limit(apsw.SQLITE_LIMIT_LENGTH, min(max(max_bytes, MIN_LENGTH_LIMIT), MAX_VALUE_BYTES))
    try:
        yield
    finally:
        connection.limit(apsw.SQLITE_LIMIT_LENGTH, before)


def cut(blobs: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    """Splits concatenated blobs by their lengths."""
    return (blobs[begin:end] for begin, end in pairwise(accumulate(sizes, initial=0)))


def unpacked_sections(rows: Sequence[Row], blobs: bytes) -> Iterator[Row]:
    """Rows of sections, from packed ones, whose last column is the length of the contents."""
    return ((*row[:-1], contents) for row, contents in zip(rows, cut(blobs, map(itemgetter(-1), rows)), strict=True))


def one(rows: Iterable[Row]) -> Row:
    """The row of a statement that returns exactly one."""
    [row] = rows
    return row


class Connections:
    """Every connection of one open store.

    `events_reader` serves the consumers; `events_browser` other readers, which should not wait for them.
    `events_witness` is read inside the transactions of `pages`, and `pages_witness` inside those of `events`: with
    these the log proves what was folded. `remake` creates `pages.db` again if it is lost, `begin_deliveries`
    `deliveries.db` if there is none; `verify` raises if a file is not this program's.
    """

    def __init__(
        self,
        folder: Path,
        remake: Callable[[], None],
        begin_deliveries: Callable[[], None],
        verify: Callable[[apsw.Connection], None],
    ) -> None:
        self.name = f"sqlite:///{folder}"
        self.folder = folder
        self._lost = {EVENTS: self._log_lost, PAGES: remake, DELIVERIES: begin_deliveries}
        self._verify = verify
        self.events = ThreadedWriter(self, self._writer(EVENTS, "FULL"))
        self.pages = ThreadedWriter(self, self._writer(PAGES, "NORMAL", FOLD_CACHE_KIB))
        self.events_reader = ThreadedReader(self, self._reader(EVENTS, cache_kib=FOLD_CACHE_KIB))
        self.events_browser = ThreadedReader(self, self._reader(EVENTS, cache_kib=BROWSER_CACHE_KIB))
        self.pages_reader = ThreadedReader(self, self._reader(PAGES))
        self.events_on_loop = LoopConnections(self._reader(EVENTS, BUSY_MILLISECONDS_ON_LOOP))
        self.pages_on_loop = LoopConnections(self._reader(PAGES, BUSY_MILLISECONDS_ON_LOOP))
        self.deliveries = ThreadedWriter(self, self._writer(DELIVERIES, "NORMAL", BROWSER_CACHE_KIB))
        self.deliveries_reader = ThreadedReader(self, self._reader(DELIVERIES, cache_kib=FOLD_CACHE_KIB))
        self.events_witness = self._reader(EVENTS, cache_kib=WITNESS_CACHE_KIB)
        self.pages_witness = self._reader(PAGES, cache_kib=WITNESS_CACHE_KIB)

    def _writer(self, name: str, synchronous: str, cache_kib: int = CACHE_KIB) -> OpenedFile[apsw.Connection]:
        return self._opened(name, lambda file: connect(file, synchronous=synchronous, cache_kib=cache_kib))

    def _reader(
        self, name: str, busy_milliseconds: int = BUSY_MILLISECONDS, cache_kib: int = CACHE_KIB
    ) -> OpenedFile[Reader]:
        return self._opened(name, lambda file: connect_reader(file, busy_milliseconds, cache_kib))

    def _opened(self, name: str, connect: Callable[[Path], Connected]) -> OpenedFile[Connected]:
        return OpenedFile(self.folder / name, connect, lost=self._lost[name], verify=self._verify)

    def _log_lost(self) -> None:
        problem = f"{EVENTS} is gone"
        raise LogReplaced(problem)

    @property
    def has_deliveries(self) -> bool:
        """Whether there is a `deliveries.db`. To read it otherwise would create it."""
        return (self.folder / DELIVERIES).exists()

    @property
    def uses_fallback(self) -> bool:
        """Whether a file could not be opened as usual, and is read in another way."""
        return self.pages_on_loop.connection.is_fallback or self.events_on_loop.connection.is_fallback

    def check_writable(self) -> None:
        """Raises `StoreReadOnly` if nothing can be written in the folder."""
        reason = why_read_only(self.folder)
        if reason is not None:
            raise StoreReadOnly(self.name, reason)

    async def open_as_usual(self) -> None:
        """Reopens all readers, so that something can be written. Raises `StoreReadOnly`, `StoreUnavailable`."""
        self.check_writable()
        await self.reopen()
        if self.uses_fallback:
            full = apsw.FullError(NOT_BESIDE)
            raise StoreUnavailable(self.name, full) from full

    async def reopen(self) -> None:
        """Reopens all readers when they are idle: as usual, if that is possible now."""
        async with AsyncExitStack() as stack:
            for reader in self._threaded_readers:
                await stack.enter_async_context(reader.reserved())
                reader.discard()
            self.reopen_on_loop()

    @property
    def _threaded_readers(self) -> Sequence[ThreadedReader]:
        return (self.events_reader, self.events_browser, self.pages_reader, self.deliveries_reader)

    def reopen_on_loop(self) -> None:
        """Reopens the readers on the event loop."""
        with translate_errors(self.name):
            self.events_on_loop.reopen()
            self.pages_on_loop.reopen()

    def retry_read(self, error: Exception, file: str, read: Callable[[], Result]) -> Result:
        """Repeats a read on the event loop, if the error says that the connection is outdated; else raises it."""
        for _ in range(MAX_OPENINGS - 1):
            if not is_outdated(error):
                break
            self.reopen_on_loop()
            try:
                return read()
            except DRIVER_ERRORS as again:
                error = again
        raise store_error(self.name, error, file) from error

    async def close(self) -> None:
        """Closes all of them, readers first, so that the last one can clean up the write-ahead log."""
        for opened in (self.events_witness, self.pages_witness):
            opened.discard()
        self.events_on_loop.close()
        self.pages_on_loop.close()
        for reader in self._threaded_readers:
            await reader.close()
        for writer in (self.events, self.pages, self.deliveries):
            await writer.close()
