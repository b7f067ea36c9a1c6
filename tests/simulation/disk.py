"""The disk of a simulated machine: it fails as disks do, and tracks what survives a power failure."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import apsw

from tests.simulation.scheduler import PROCESS, Process
from tests.simulation.trace import Trace
from tests.support.power_loss import SYSTEM, DiskFile, Write

DATABASES = ("events.db", "pages.db")
TIP = "log.tip"
"""A file that is written outside SQLite, and never synced."""

KEPT = (*DATABASES, "events.db-wal", "pages.db-wal", TIP)

ERRORS = {
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "cut": apsw.SQLITE_IOERR_TRUNCATE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "full": apsw.SQLITE_FULL,
}
"""SQLite's codes of the errors."""

UNIX_EPOCH = 210_866_760_000_000
"""1970, in milliseconds of the Julian day."""


@dataclass
class Faults:
    """How often disk operations fail: the shares of failing reads, writes and syncs, and of a full disk."""

    read: float = 0.0
    write: float = 0.0
    sync: float = 0.0
    full: float = 0.0


class Disk:
    """All files of the machine. After each restart it has a new folder, with the files that survived."""

    def __init__(self, folder: Path, luck: random.Random, trace: Trace) -> None:
        self._base = folder
        self._luck = luck
        self._trace = trace
        self._files: dict[str, DiskFile] = {}
        self.generation = 0
        self.faults = Faults()
        self.errors = 0
        self.folder.mkdir(parents=True)

    @property
    def folder(self) -> Path:
        """The current folder of the store."""
        return self._base / f"disk-{self.generation}"

    def opened(self, path: str) -> DiskFile:
        """Opens a file; its content at the first opening is durable."""
        if path not in self._files:
            self._files[path] = DiskFile()
            if Path(path).exists():
                self._files[path].safe[:] = Path(path).read_bytes()
        return self._files[path]

    def change(self, owner: Process | None, path: str, change: Write | int | None) -> None:
        """A write, a truncation, or, with None, a sync. Raises the error for SQLite."""
        self._alive(owner)
        kind = "sync" if change is None else "cut" if isinstance(change, int) else "write"
        if owner is not None:
            owner.changes += 1
            if owner.changes == owner.dies_at_change:
                owner.doomed = True
                self._trace.note(f"{owner.name} is killed at a {kind} of {Path(path).name}")
                raise apsw.IOError
        self._fail(kind, path)
        file = self._files[path]
        if change is None:
            self._trace.change(f"sync {Path(path).name}")
            file.sync()
        else:
            content = b"" if isinstance(change, int) else change[1]
            self._trace.change(f"{kind} {Path(path).name} {change if isinstance(change, int) else change[0]}", content)
            file.pending.append(change)

    def read(self, owner: Process | None) -> None:
        """A read, which may fail."""
        self._alive(owner)
        if self.faults.read and self._luck.random() < self.faults.read:
            self.errors += 1
            raise apsw.exception_for(ERRORS["read"])

    def create(self, path: str) -> None:
        """A file is created beside another, unless the disk is full."""
        if self.faults.full and self._luck.random() < self.faults.full:
            self.errors += 1
            self._trace.note(f"the index of {Path(path).name} cannot be created")
            raise apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE)

    def delete(self, owner: Process | None, path: str) -> None:
        """The file is deleted, immediately and durably."""
        self._alive(owner)
        self._files.pop(path, None)

    def _alive(self, owner: Process | None) -> None:
        if owner is not None and (owner.doomed or not owner.alive):
            raise apsw.IOError

    def _fail(self, kind: str, path: str) -> None:
        faults = self.faults
        if kind == "write" and faults.full and self._luck.random() < faults.full:
            self.errors += 1
            raise apsw.exception_for(ERRORS["full"])
        share = faults.sync if kind == "sync" else faults.write
        if share and self._luck.random() < share:
            self.errors += 1
            self._trace.note(f"a {kind} of {Path(path).name} fails")
            raise apsw.exception_for(ERRORS[kind])

    def restart(self, *, power_lost: bool) -> None:
        """The machine restarts with all writes; after a power failure, with what a disk would have kept."""
        before = self.folder
        kept = {name: self._kept(before / name, power_lost=power_lost) for name in KEPT}
        self._renew({name: content for name, content in kept.items() if content is not None})

    def put_back(self, events: bytes, pages: bytes | None) -> None:
        """The machine restarts with another log, and with other pages or the same; `log.tip` may stay."""
        before = self.folder
        files = {"events.db": events, "pages.db": pages}
        for name in (TIP, *(() if pages else ("pages.db", "pages.db-wal"))):
            if (before / name).exists() and (name != TIP or self._luck.random() < 0.7):
                files[name] = (before / name).read_bytes()
        self._renew({name: content for name, content in files.items() if content is not None})

    def tip(self) -> int:
        """The position of the newest acknowledged event, as stored in the store."""
        file = self.folder / TIP
        return int(file.read_bytes().split()[0]) if file.exists() else 0

    def _kept(self, path: Path, *, power_lost: bool) -> bytes | None:
        if not power_lost:
            return path.read_bytes() if path.exists() else None
        file = self._files.get(str(path))
        if file is not None:
            return file.after_power_loss(self._luck)
        if path.exists() and self._luck.random() < 0.5:  # never synced
            return path.read_bytes()
        return None

    def _renew(self, files: dict[str, bytes]) -> None:
        self.generation += 1
        self._files.clear()
        self.folder.mkdir()
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            if name != TIP:  # the disk's content survives another power failure
                self.opened(str(self.folder / name))


class SimulatedFile(apsw.VFSFile):
    """A file, opened by any process."""

    def __init__(self, name: str | apsw.URIFilename, flags: list[int], disk: Disk) -> None:
        super().__init__(SYSTEM, name, flags)
        self._disk = disk
        self._path = name if isinstance(name, str) else name.filename()
        self._owner = PROCESS.get()
        disk.opened(self._path)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  # SQLite's name
        """A read."""
        self._disk.read(self._owner)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        """A write that is not durable yet."""
        self._disk.change(self._owner, self._path, (offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        """A truncation that is not durable yet."""
        self._disk.change(self._owner, self._path, newsize)
        super().xTruncate(newsize)

    def xSync(self, _flags: int) -> None:  # noqa: N802  # SQLite's name
        """Makes earlier writes durable. Does not sync the real disk, which is never read after a crash."""
        self._disk.change(self._owner, self._path, None)


class SimulatedFiles(apsw.VFS):
    """The file system of the machine, while it is registered."""

    def __init__(self, disk: Disk, wall: Callable[[], datetime], random_bytes: Callable[[int], bytes]) -> None:
        self._disk = disk
        self._wall = wall
        self._random_bytes = random_bytes
        super().__init__("simulated", SYSTEM, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        """A file of the machine, unless it is a temporary one, which has no name."""
        if name is None:
            return super().xOpen(name, flags)
        return SimulatedFile(name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802  # SQLite's name and order
        """Deleted immediately and durably."""
        self._disk.delete(PROCESS.get(), filename)
        super().xDelete(filename, syncdir)

    def xCurrentTimeInt64(self) -> int:  # noqa: N802  # SQLite's name
        """The machine's clock, in milliseconds of the Julian day."""
        return int(self._wall().timestamp() * 1000) + UNIX_EPOCH

    def xRandomness(self, numbytes: int) -> bytes:  # noqa: N802  # SQLite's name
        """The seed of SQLite's random generator."""
        return self._random_bytes(numbytes)

    def xSleep(self, microseconds: int) -> int:  # noqa: N802  # SQLite's name
        """Never sleeps within a step: waiting for a lock happens between two steps."""
        return microseconds
