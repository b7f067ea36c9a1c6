"""A machine that loses power: it appends and folds until the power fails.

    python -m tests.support.power_loss CONFIG LINES RESULTS DISK

All of SQLite's files go through a virtual file system that records syncs. At one of the changes between the two
`--changes`, chosen by `--seed`, the process ends, and the folder DISK gets what a disk could hold then: everything
synced, and none, some or parts of the later writes.
"""

import argparse
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import anyio
import apsw
import orjson
from anyio.lowlevel import checkpoint

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.sqlite import connections
from pagefold.engine.stores.sqlite.reader_connections import CACHE_KIB
from tests.support.processes import die_with_parent
from tests.support.worker_process import log_json

Fate: TypeAlias = Literal["dropped", "some", "torn"]
Write: TypeAlias = tuple[int, bytes]

FATES: tuple[Fate, ...] = ("dropped", "some", "torn")
SECTOR = 512
POWER_LOST = 75
"""The exit code of a process whose power failed."""

SYSTEM = apsw.vfs_names()[0]
"""SQLite's default file system."""

BATCH = 20
SMALL_CHECKPOINT = 40
"""Pages after which SQLite checkpoints the write-ahead log: often enough for a short run."""


class DiskFile:
    """The durable content of a file, and the writes since."""

    def __init__(self) -> None:
        self.safe = bytearray()
        self.pending: list[Write | int] = []

    def sync(self) -> None:
        """All writes are durable now."""
        for each in self.pending:
            apply(self.safe, each)
        self.pending.clear()

    def after_power_loss(self, luck: random.Random) -> bytes:
        """One of the contents that the file may have after a power failure."""
        content = bytearray(self.safe)
        fate = luck.choice(FATES)
        for each in self.pending:
            if fate == "dropped" or luck.random() < 0.3:
                continue
            if fate == "some" or isinstance(each, int):
                apply(content, each)
            else:
                tear(content, each, luck)
        return bytes(content)


def apply(content: bytearray, change: Write | int) -> None:
    """Writes, or truncates."""
    if isinstance(change, int):
        del content[change:]
        return
    offset, data = change
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def tear(content: bytearray, write: Write, luck: random.Random) -> None:
    """Writes some of the sectors."""
    offset, data = write
    for start in range(0, len(data), SECTOR):
        if luck.random() < 0.5:
            apply(content, (offset + start, data[start : start + SECTOR]))


class Disk:
    """Every file of the machine, and the change of any file at which the power fails."""

    def __init__(self, changes: int, lose_power: Callable[[], None]) -> None:
        self.files: dict[str, DiskFile] = {}
        self._lock = threading.RLock()
        self._changes = changes
        self._lose_power = lose_power

    def opened(self, path: str) -> DiskFile:
        """Opens a file; its content at the first opening is durable."""
        with self._lock:
            if path not in self.files:
                self.files[path] = DiskFile()
                if os.path.exists(path):  # noqa: PTH110  # SQLite names files by text
                    self.files[path].safe[:] = Path(path).read_bytes()
            return self.files[path]

    def change(self, file: DiskFile, change: Write | int | None) -> None:
        """A write, a truncation, or, with None, a sync; the power may fail just before it."""
        with self._lock:
            self._changes -= 1
            if self._changes == 0:
                self._lose_power()
            if change is None:
                file.sync()
            else:
                file.pending.append(change)

    def delete(self, path: str) -> None:
        """The file is deleted."""
        with self._lock:
            self.files.pop(path, None)

    def write_to(self, folder: Path, luck: random.Random) -> None:
        """Writes what the disk would hold."""
        for path, file in sorted(self.files.items()):
            (folder / Path(path).name).write_bytes(file.after_power_loss(luck))


class WatchedFile(apsw.VFSFile):
    """A file whose changes are recorded. They are written all the same: other connections read them."""

    def __init__(self, name: str | apsw.URIFilename, flags: list[int], disk: Disk) -> None:
        super().__init__(SYSTEM, name, flags)
        self._disk = disk
        self._file = disk.opened(name if isinstance(name, str) else name.filename())

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802  # SQLite's name
        """A write that is not durable yet."""
        self._disk.change(self._file, (offset, bytes(data)))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802  # SQLite's name
        """A truncation that is not durable yet."""
        self._disk.change(self._file, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802  # SQLite's name
        """Makes earlier writes durable."""
        self._disk.change(self._file, None)
        super().xSync(flags)


class WatchedFiles(apsw.VFS):
    """The file system of this process."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__("watched", SYSTEM, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        """A watched file, unless it is a temporary one, which has no name."""
        if name is None:
            return super().xOpen(name, flags)
        return WatchedFile(name, flags, self._disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: FBT001, N802  # SQLite's name and order
        """Deleted immediately and durably."""
        super().xDelete(filename, syncdir)
        self._disk.delete(filename)


async def main(options: argparse.Namespace) -> None:
    """Appends everything and folds it; the power fails before the end, or never."""
    config = Config.load(options.config)
    lines = options.lines.read_bytes().splitlines()
    async with pagefold.open(config) as shop, anyio.create_task_group() as group:
        group.start_soon(shop.work)
        await _append(shop, lines, options.results)
        group.cancel_scope.cancel()


async def _append(shop: Shop, lines: list[bytes], path: Path) -> None:
    """Each batch's results are written before the next batch: another machine keeps them."""
    with path.open("ab", buffering=0) as file:
        for start in range(0, len(lines), BATCH):
            results = await shop.append([pagefold.parse_event(line) for line in lines[start : start + BATCH]])
            rows = [
                orjson.dumps([number, result.outcome, result.position]) for number, result in enumerate(results, start)
            ]
            file.write(b"".join(row + b"\n" for row in rows))
            await checkpoint()


def watch(options: argparse.Namespace) -> WatchedFiles:
    """Registers the watched file system as the default, while it is kept."""
    luck = random.Random(f"{options.seed} power")

    def lose_power() -> None:
        disk.write_to(options.disk, luck)
        os._exit(POWER_LOST)

    disk = Disk(luck.randint(*options.changes), lose_power)
    return WatchedFiles(disk)


def connect_otherwise(*, careless: bool) -> None:
    """Makes checkpoints frequent, and, if requested, the log as weakly synced as the pages."""
    connect = connections.connect

    def connect_for_test(file: Path, *, synchronous: str, cache_kib: int = CACHE_KIB) -> apsw.Connection:
        connection = connect(file, synchronous="NORMAL" if careless else synchronous, cache_kib=cache_kib)
        connection.wal_autocheckpoint(SMALL_CHECKPOINT)
        return connection

    connections.connect = connect_for_test


if __name__ == "__main__":
    die_with_parent()
    log_json()
    parser = argparse.ArgumentParser(prog="tests.support.power_loss")
    for name in ("config", "lines", "results", "disk"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--changes", type=int, nargs=2, required=True)
    parser.add_argument("--careless", action="store_true", help="the log is written as carelessly as the pages are")
    arguments = parser.parse_args()
    connect_otherwise(careless=arguments.careless)
    files = watch(arguments)
    anyio.run(main, arguments)
