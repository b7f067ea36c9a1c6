"""The environment of a simulated process: clock, random numbers, threads, disk and locks."""

import asyncio
import logging
import os
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch
from urllib.parse import quote

import anyio
import apsw
import eventsourcing.application
import eventsourcing.domain
import structlog
from anyio._backends._asyncio import AsyncIOBackend
from anyio.lowlevel import checkpoint

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.rebuild import source_rebuild
from pagefold.engine.recorders import log_application
from pagefold.engine.runtime import clock
from pagefold.engine.snapshots import file_snapshot
from pagefold.engine.stores.sqlite import connections, leases, log, reader_connections, worker_threads
from pagefold.engine.stores.sqlite.fold_transaction import open_fold_transaction as folding_elsewhere
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.store import Checkpoint, FoldTransaction
from tests.simulation.disk import Disk, SimulatedFiles
from tests.simulation.scheduler import PROCESS, Process, Scheduler
from tests.support.power_loss import SYSTEM

BEGINNING = datetime(2026, 3, 1, 8, tzinfo=UTC)
BUSY_SECONDS = 10.0
"""Seconds that a writer waits for another transaction."""

TICK_SECONDS = 0.2
"""Seconds between a worker's polls of the log. Each poll is a step, and time costs nothing here."""


class Slowness:
    """How long work in a thread takes: mostly no time, sometimes `seconds` on average."""

    def __init__(self, luck: random.Random) -> None:
        self._luck = luck
        self.share = 0.1
        self.seconds = 0.005

    async def wait(self) -> None:
        """A point at which other tasks run."""
        if self._luck.random() < self.share:
            await anyio.sleep(self._luck.expovariate(1 / self.seconds))
        else:
            await checkpoint()


class Clock:
    """The clock. `ahead` is by how much somebody has set the machine's clock."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.ahead = 0.0

    def wall(self) -> datetime:
        """The wall-clock time of the machine."""
        return BEGINNING + timedelta(seconds=self._scheduler.time() + self.ahead)

    def seconds(self) -> float:
        """The same, since 1970."""
        return self.wall().timestamp()

    def as_datetime(self) -> type[datetime]:
        """`datetime`, by this clock."""
        wall = self.wall

        class Simulated(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Self:
                return wall().astimezone(tz)  # type: ignore[return-value]  # its class is never checked

        return Simulated


class StepThread:
    """Work that calls back into the event loop, in a thread that runs only while the loop waits for it."""

    _of_thread: "dict[int, StepThread]" = {}  # noqa: RUF012  # of all of them

    def __init__(self, work: Callable[[], Any]) -> None:
        self._work = work
        self._asked: Callable[[], Awaitable[Any] | Any] | None = None
        self._result: Any = None
        self._error: BaseException | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)

    async def run(self) -> Any:  # noqa: ANN401  # whatever the work gives
        """The result of the work."""
        process = PROCESS.get()
        thread = threading.Thread(target=self._main, args=(process,), daemon=True)
        thread.start()
        while True:
            self._back.acquire()
            if self._asked is None:
                break
            self._result = self._error = None
            try:
                answer = self._asked()
                self._result = await answer if isinstance(answer, Awaitable) else answer
            except Exception as error:  # noqa: BLE001  # it is raised in the thread
                self._error = error
            self._go.release()
        thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def ask(self, function: Callable[[], Any]) -> Any:  # noqa: ANN401  # whatever the function gives
        """The result of a function of the event loop, for the thread."""
        self._asked = function
        self._back.release()
        self._go.acquire()
        if self._error is not None:
            raise self._error
        return self._result

    @classmethod
    def current(cls) -> "StepThread":
        """The one of this thread."""
        return cls._of_thread[threading.get_ident()]

    def _main(self, process: Process | None) -> None:
        PROCESS.set(process)
        self._of_thread[threading.get_ident()] = self
        result, error = None, None
        try:
            result = self._work()
        except BaseException as raised:  # noqa: BLE001  # it is raised where the work is waited for
            error = raised
        del self._of_thread[threading.get_ident()]
        self._asked, self._result, self._error = None, result, error
        self._back.release()


class StepPortal:
    """Replaces `anyio.from_thread.BlockingPortal`."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is left to wait for."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401  # as the portal's
        """The result of a function of the event loop."""
        return StepThread.current().ask(lambda: function(*arguments))


class Threads:
    """Runs work for threads synchronously, with points before and after it at which other tasks run."""

    def __init__(self, slowness: Slowness) -> None:
        self._slowness = slowness

    async def run(self, function: Callable[..., Any], args: tuple[Any, ...] = (), *_: Any, **__: Any) -> Any:  # noqa: ANN401  # as anyio has it
        """The function's result. It cannot be cancelled once it has started."""
        await checkpoint()
        with anyio.CancelScope(shield=True):
            await self._slowness.wait()
            result = await self._patiently(lambda: function(*args))
            await self._slowness.wait()
        return result

    async def in_steps(self, function: Callable[..., Any], *args: Any, **_: Any) -> Any:  # noqa: ANN401  # likewise
        """The same, for a function that calls back."""
        await checkpoint()
        with anyio.CancelScope(shield=True):
            await self._slowness.wait()
            result = await StepThread(lambda: function(*args)).run()
            await self._slowness.wait()
        return result

    async def _patiently(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401  # likewise
        """Waits for SQLite's locks as a thread with its busy timeout would."""
        process = PROCESS.get()
        deadline = asyncio.get_running_loop().time() + BUSY_SECONDS
        while True:
            try:
                return _raised(work())
            except (StoreUnavailable, apsw.BusyError) as error:
                busy = error if isinstance(error, apsw.BusyError) else error.__cause__
                if not isinstance(busy, apsw.BusyError) or asyncio.get_running_loop().time() > deadline:
                    raise
            finally:
                if process is not None and process.doomed:
                    await asyncio.Future()  # it is dead
            await anyio.sleep(0.005)


def _raised(result: Any) -> Any:  # noqa: ANN401  # whatever the work gives
    """The same, unless it is an error that `in_thread` would raise later."""
    if isinstance(result, worker_threads._Failed):
        raise result.error
    return result


class Environment:
    """All of them together, for one run."""

    def __init__(self, scheduler: Scheduler, disk: Disk, luck: random.Random) -> None:
        self.clock = Clock(scheduler)
        self.slowness = Slowness(luck)
        self._scheduler = scheduler
        self._disk = disk
        self._luck = luck
        self._threads = Threads(self.slowness)
        self._small = luck.random() < 0.5
        """Whether SQLite checkpoints its write-ahead log after every few pages."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Replaces everything that a simulated process uses."""
        with ExitStack() as stack:
            for target, name, replacement in self._replacements():
                stack.enter_context(patch.object(target, name, replacement))
            stack.enter_context(self._files())
            stack.enter_context(self._random_module())
            yield

    def _replacements(self) -> list[tuple[Any, str, Any]]:
        setup = connections._SETUP
        if self._small:
            setup = setup.replace("wal_autocheckpoint = 8000", "wal_autocheckpoint = 8")
        return [
            (AsyncIOBackend, "run_sync_in_worker_thread", self._threads.run),
            (log_application, "run_sync", self._threads.in_steps),
            (log_application, "BlockingPortal", StepPortal),
            (time, "monotonic", self._scheduler.time),
            (source_rebuild, "monotonic", self._scheduler.time),
            (leases, "time", self.clock.seconds),
            (clock, "datetime", self.clock.as_datetime()),
            (eventsourcing.application, "datetime_now_with_tzinfo", self.clock.wall),
            (eventsourcing.domain, "datetime_now_with_tzinfo", self.clock.wall),
            (os, "getpid", _number),
            (file_snapshot, "_identify", _identify),
            (socket, "gethostname", lambda: "simulated"),
            (os, "urandom", self._luck.randbytes),
            (random, "_urandom", self._luck.randbytes),
            (apsw, "Connection", SimulatedConnection),
            (reader_connections.Reader, "close", _close_reader),
            (reader_connections, "_prepared", self._prepared),
            (reader_connections, "_without_index", _without_index),
            (connections, "_SETUP", setup),
            (connections, "BUSY_MILLISECONDS", 0),
            (connections, "BUSY_MILLISECONDS_ON_LOOP", 0),
            (leases, "BUSY_MILLISECONDS", 0),
            (leases, "TAKEOVER_MILLISECONDS", 0),
            (log, "POLL_SECONDS", TICK_SECONDS),
            (leases.LockFile, "acquire", classmethod(_acquire)),
            (leases.LockFile, "release", _release),
            (leases, "open_fold_transaction", _folding),
            (connections, "begin", _begin),
        ]

    def _prepared(self, reader: reader_connections.Reader, *settings: int) -> reader_connections.Reader:
        """A reader after its first read. The first connection of a process to a file may have to create the index."""
        process = PROCESS.get()
        if process is not None and not reader.readonly("main") and not _beside(process, reader):
            try:
                self._disk.create(reader.filename)
            except apsw.Error:
                reader.close()
                raise
        return _prepared_elsewhere(reader, *settings)

    @contextmanager
    def _files(self) -> Iterator[None]:
        simulated = SimulatedFiles(self._disk, self.clock.wall, self._luck.randbytes)
        apsw.randomness(0)  # SQLite's random generator is seeded again
        apsw.connection_hooks.append(_register)
        try:
            yield
        finally:
            apsw.connection_hooks.remove(_register)
            simulated.unregister()
            apsw.set_default_vfs(SYSTEM)
            apsw.randomness(0)

    @contextmanager
    def _random_module(self) -> Iterator[None]:
        """The shared random generator: stamina takes its jitter from it."""
        before = random.getstate()
        random.seed(self._luck.randbytes(8))
        try:
            yield
        finally:
            random.setstate(before)


_acquire_elsewhere = leases.LockFile.acquire.__func__  # type: ignore[attr-defined]  # the function of a class method
_release_elsewhere = leases.LockFile.release


def _acquire(cls: type[leases.LockFile], file: Path) -> leases.LockFile | None:
    """Takes the lock, which ends with its process."""
    lock: leases.LockFile | None = _acquire_elsewhere(cls, file)
    process = PROCESS.get()
    if lock is not None and process is not None:
        process.lock_files[lock._descriptor] = lock
    return lock


def _release(lock: leases.LockFile) -> None:
    """Releases the lock, and the number of its file."""
    process = PROCESS.get()
    if process is not None and process.lock_files.pop(lock._descriptor, None) is not None:
        _release_elsewhere(lock)


@asynccontextmanager
async def _folding(
    to: connections.Connections, proof: SQLiteProof, domain: str, holder: str | None
) -> AsyncIterator[FoldTransaction]:
    """I9: a worker without its lease changes nothing, and no checkpoint moves back."""
    async with folding_elsewhere(to, proof, domain, holder) as folding:
        before, advance = folding.checkpoint, folding.advance
        assert holder in (None, before.holder), f"I9: {holder} folds {domain}, which {before.holder} holds"

        async def forward(checkpoint: Checkpoint) -> Checkpoint:
            assert checkpoint.position >= before.position, f"I9: {checkpoint} in place of {before}"
            return await advance(checkpoint)

        with patch.object(folding, "advance", forward):
            yield folding


_begin_elsewhere = connections.begin


def _begin(connection: apsw.Connection) -> None:
    """I4: a write transaction takes the write lock before it reads anything."""
    process = PROCESS.get()
    if process is not None and connection.filename in process.read_only_indexes:
        raise apsw.exception_for(apsw.SQLITE_READONLY)
    _begin_elsewhere(connection)
    assert connection.txn_state("main") == apsw.SQLITE_TXN_WRITE, "I4: a transaction has begun that may have to give up"


class SimulatedConnection(apsw.Connection):
    """A connection that closes despite errors of the disk, as SQLite's do: only apsw raises then."""

    def close(self, force: bool = False) -> None:  # noqa: FBT001, FBT002  # apsw's signature
        """Closes it."""
        with suppress(apsw.IOError, apsw.FullError):
            super().close(force)


def _close_reader(reader: reader_connections.Reader, force: bool = False) -> None:  # noqa: FBT001, FBT002  # apsw's signature
    """The same for a connection that only reads."""
    with suppress(apsw.IOError, apsw.FullError):
        super(reader_connections.Reader, reader).close(force)


_prepared_elsewhere = reader_connections._prepared


def _without_index(file: Path, busy_milliseconds: int, cache_kib: int) -> reader_connections.Reader:
    """A reader of a process that cannot write the file any more.

    Here all processes share SQLite's index: with a read-only one, none could write.
    """
    reader = reader_connections.Reader(f"file:{quote(str(file))}?mode=ro", flags=reader_connections._READ_ONLY)
    process = PROCESS.get()
    if process is not None and not _beside(process, reader):
        process.read_only_indexes.add(reader.filename)
    return _prepared_elsewhere(reader, busy_milliseconds, cache_kib)


def _beside(process: Process, connection: apsw.Connection) -> list[apsw.Connection]:
    """The other connections of a process to the same file."""
    file = connection.filename
    return [each for each in process.connections if each is not connection and _file_of(each) == file]


def _file_of(connection: apsw.Connection) -> str | None:
    """Its file, while it is open."""
    with suppress(apsw.ConnectionClosedError):
        return connection.filename
    return None


def _number() -> int:
    """The number of the process."""
    process = PROCESS.get()
    return 0 if process is None else process.number


_identify_elsewhere = file_snapshot._identify


def _identify(name: str) -> tuple[str, datetime]:
    """The identity of a file, without its path, which differs between runs."""
    identity, moment = _identify_elsewhere(name)
    return identity.replace(f"{Path.cwd()}/", ""), moment


def _register(connection: apsw.Connection) -> None:
    """The connection is closed with its process."""
    process = PROCESS.get()
    if process is not None:
        if not _beside(process, connection):  # SQLite lets go of the index with the last one
            process.read_only_indexes.discard(connection.filename)
        process.connections.append(connection)


@contextmanager
def silence() -> Iterator[None]:
    """Disables logging: everything of interest is in the trace."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()
