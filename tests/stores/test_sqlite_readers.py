"""Connections that only read a SQLite file: they never keep others from writing it, and read on when others come."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

import pagefold
from pagefold import Shop
from pagefold.engine.stores.sqlite.connections import connect
from pagefold.engine.stores.sqlite.reader_connections import Reader, connect_reader
from tests.support.power_loss import SYSTEM
from tests.support.small_disk import disk
from tests.support.small_shop import append, catalog, configured, price, say, section


class OneFailingRead(apsw.VFS):
    """The system's files; the first read of one fails."""

    def __init__(self) -> None:
        self.failed = 0
        super().__init__("one-failing-read", SYSTEM, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802  # SQLite's name
        """A file."""
        return FailingFile(self, name, flags)


class FailingFile(apsw.VFSFile):
    """A file of that file system."""

    def __init__(self, files: OneFailingRead, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(SYSTEM, name, flags)
        self._files = files

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802  # SQLite's name
        """Its content, but for the first read."""
        self._files.failed += 1
        if self._files.failed == 1:
            raise apsw.exception_for(apsw.SQLITE_IOERR_READ)
        return super().xRead(amount, offset)


@contextmanager
def one_read_fails() -> Iterator[OneFailingRead]:
    """The disk fails once."""
    files = OneFailingRead()
    try:
        yield files
    finally:
        apsw.set_default_vfs(SYSTEM)


def test_a_read_that_fails_leaves_a_file_writable(tmp_path: Path) -> None:
    """A reader that got a disk error on opening a file does not block writers of its process."""
    file = tmp_path / "a.db"
    with closing(connect(file, synchronous="FULL")) as maker:
        maker.execute("CREATE TABLE rows (number INTEGER)")
    readers: list[Reader] = []
    with one_read_fails() as files:
        with suppress(apsw.IOError):
            readers.append(connect_reader(file, 10))
        assert files.failed
    with closing(connect(file, synchronous="FULL")) as writer:
        writer.execute("INSERT INTO rows VALUES (1)")
        assert writer.execute("SELECT number FROM rows").get == 1
    for reader in readers:
        reader.close()


OPENING = """
import fcntl, sys
files = [open(name, "rb") for name in sys.argv[1:]]
for each in files:
    fcntl.lockf(each, fcntl.LOCK_SH, 1, 128)
print("held", flush=True)
sys.stdin.read()
"""
"""A process that is about to open files as usual: it has locked the 128th byte of their indexes, as SQLite does."""


@contextmanager
def opening(indexes: list[Path]) -> Iterator[None]:
    """Another process is opening the files during the block."""
    command = [sys.executable, "-c", OPENING, *map(str, indexes)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"held\n"
            yield
        finally:
            process.stdin.close()


async def test_a_full_disk_is_read_while_other_processes_come(tmp_path: Path) -> None:
    """SQLite refuses reads without the index meanwhile: who reads already goes on, and others can begin to."""
    with disk(tmp_path / "disk", 16) as small:
        config = configured(f"sqlite:///{small.folder}/shop")
        async with pagefold.open(config) as shop:
            await say(shop, catalog("a"))
        small.fill()
        async with pagefold.open(config, create=False) as shop:
            await read_everywhere(shop)
            indexes = list(small.folder.glob("shop/*-shm"))
            assert len(indexes) == 2
            with opening(indexes):
                await read_everywhere(shop)
                async with pagefold.open(config, create=False) as second:
                    await read_everywhere(second)
            await read_everywhere(shop)
            small.free()
            await append(shop, price("1.00"))


async def read_everywhere(shop: Shop) -> None:
    """Reads both files, on the event loop and in threads."""
    assert await shop.tokens.any_made() is False
    assert (await section(shop, "catalog"))["attributes"]["code"] == "a"
    assert len((await shop.status()).domains) == 4
