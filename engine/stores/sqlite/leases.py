"""Leases: one worker a domain, by a lock file, which the kernel releases when the worker dies.

A frozen worker keeps its lock, but its file grows old, and a standby takes over: it writes its name into the
checkpoint, which every transaction of a holder checks first, so the frozen one cannot change anything when it wakes.
One that froze inside a transaction holds SQLite's write lock, which cannot be taken away: a process that is marked
killable (`pagefold work`) is then killed, any other is reported.

A claim is such a file without heartbeats: only the end of the claimant's process releases it.
"""

import fcntl
import json
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from time import time

import anyio
import apsw

from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.sqlite.connections import BUSY_MILLISECONDS, Connections, fetch, in_transaction
from pagefold.engine.stores.sqlite.driver_errors import translate_errors
from pagefold.engine.stores.sqlite.fold_transaction import fold_few, open_fold_transaction
from pagefold.engine.stores.sqlite.log_proof import SQLiteProof
from pagefold.engine.stores.store import Checkpoint, Coordination, FewStored, FoldFew, FoldTransaction, Lease, Streak

RETRY_SECONDS = 0.25
HEARTBEATS_PER_LEASE = 8

TAKEOVER_MILLISECONDS = 1_000
"""How long a standby waits for the write lock before it assumes that a frozen worker holds it."""

log = Logger(__name__)


class SQLiteLease(Lease):
    """The right of this worker to fold a domain."""

    def __init__(self, connections: Connections, proof: SQLiteProof, domain: str, holder: str) -> None:
        self._connections = connections
        self._proof = proof
        self._domain = domain
        self.holder = holder

    def fold_transaction(self) -> AbstractAsyncContextManager[FoldTransaction]:
        return open_fold_transaction(self._connections, self._proof, self._domain, self.holder)

    async def fold_few(  # the mark at the end is read when it is stored
        self,
        streams: Sequence[str],
        end: int,  # noqa: ARG002  # only needed where the mark is read before the fold
        fold: FoldFew,
    ) -> FewStored | None:
        return await fold_few(self._connections, self._proof, self._domain, self.holder, streams, fold)


class SQLiteCoordination(Coordination):
    """Checkpoints in `pages.db`, leases in lock files next to it."""

    def __init__(self, connections: Connections, proof: SQLiteProof, lease_seconds: float, *, killable: bool) -> None:
        self._connections = connections
        self._proof = proof
        self._lease_seconds = lease_seconds
        self._killable = killable

    async def checkpoints(self) -> list[Checkpoint]:
        rows = await self._connections.pages_reader.fetch("checkpoints")
        return list(map(Checkpoint._make, rows))

    def fold_transaction(self, domain: str) -> AbstractAsyncContextManager[FoldTransaction]:
        return open_fold_transaction(self._connections, self._proof, domain, None)

    @asynccontextmanager
    async def lease(self, domain: str, *, wait: bool = True) -> AsyncIterator[Lease | None]:
        file = self._connections.folder / f"{domain}.lock"
        while (lock := self._lock(file)) is None:
            if not wait:
                yield None
                return
            if LockFile.age(file) > self._lease_seconds:
                await self._replace_frozen(domain, file)
            await anyio.sleep(RETRY_SECONDS)
        try:
            holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
            with translate_errors(self._connections.name):
                lock.describe(holder, killable=self._killable)
            await self._take_over(domain, holder)
            async with run_beside(partial(self._send_heartbeats, lock)):
                yield SQLiteLease(self._connections, self._proof, domain, holder)
        finally:
            lock.release()

    async def streaks(self) -> list[Streak]:
        rows = await self._connections.pages_reader.fetch("streaks")
        return list(map(Streak._make, rows))

    @asynccontextmanager
    async def claim(self, task: str) -> AsyncIterator[bool]:
        lock = self._lock(self._connections.folder / f"task-{task}.lock")
        if lock is None:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def _lock(self, file: Path) -> "LockFile | None":
        self._connections.check_writable()
        with translate_errors(self._connections.name):
            return LockFile.acquire(file)

    async def _send_heartbeats(self, lock: "LockFile") -> None:
        while True:
            lock.touch()
            await anyio.sleep(self._lease_seconds / HEARTBEATS_PER_LEASE)

    async def _take_over(self, domain: str, holder: str, busy_milliseconds: int = BUSY_MILLISECONDS) -> None:
        def take_over(connection: apsw.Connection) -> None:
            fetch(connection, "create_checkpoint", domain)
            fetch(connection, "take_over", holder, domain)

        def patiently(connection: apsw.Connection) -> None:
            connection.set_busy_timeout(busy_milliseconds)
            try:
                in_transaction(take_over)(connection)
            finally:
                connection.set_busy_timeout(BUSY_MILLISECONDS)

        await self._connections.pages.run(patiently)

    async def _replace_frozen(self, domain: str, file: Path) -> None:
        """Revokes the frozen holder's lease, and replaces its lock file."""
        try:
            await self._take_over(domain, "none: the holder is frozen", TAKEOVER_MILLISECONDS)
        except StoreUnavailable:
            LockFile.kill_holder(file, domain)
            return
        if LockFile.age(file) > self._lease_seconds:
            log.warning("replacing a frozen worker", domain=domain, **LockFile.description(file))
            LockFile.discard(file)


class LockFile:
    """A file that one process at a time has locked. Its content names the holder, its mtime the last heartbeat."""

    def __init__(self, file: Path, descriptor: int) -> None:
        self._file = file
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, file: Path) -> "LockFile | None":
        """The lock, or None while another process has it."""
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if not _is(descriptor, file):  # it was replaced between open and lock
            os.close(descriptor)
            return None
        return cls(file, descriptor)

    def describe(self, holder: str, *, killable: bool) -> None:
        """Writes who holds it."""
        text = json.dumps({"pid": os.getpid(), "holder": holder, "disposable": killable})
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        self.touch()

    def touch(self) -> None:
        """A heartbeat, by the clock that `age` uses."""
        moment = time()
        os.utime(self._descriptor, (moment, moment))

    def release(self) -> None:
        """Releases the lock. The file stays: deleting it would allow two holders."""
        os.close(self._descriptor)

    @staticmethod
    def discard(file: Path) -> None:
        """Removes the file, so that the holder's lock no longer counts."""
        file.unlink(missing_ok=True)

    @staticmethod
    def age(file: Path) -> float:
        """Seconds since the holder's last heartbeat."""
        try:
            return time() - file.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @staticmethod
    def description(file: Path) -> dict[str, object]:
        """Who holds it, as far as can be read."""
        try:
            content = json.loads(file.read_text())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @classmethod
    def kill_holder(cls, file: Path, domain: str) -> None:
        """Kills a killable process that is frozen inside a transaction. Any other is only reported."""
        content = cls.description(file)
        pid = content.get("pid")
        if content.get("disposable") is True and isinstance(pid, int) and _has_open(pid, file):
            log.error("killing a worker that is frozen inside a transaction", domain=domain, pid=pid)
            os.kill(pid, signal.SIGKILL)
        else:
            log.error(
                "a worker is frozen inside a transaction; end it, or no worker can fold",
                domain=domain,
                **content,
            )


def _is(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False


def _has_open(pid: int, file: Path) -> bool:
    """Whether this process of this machine has the file open: a pid may have been reused."""
    try:
        wanted = file.stat()
        return any(os.path.samestat(each.stat(), wanted) for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists())
    except OSError:
        return False
