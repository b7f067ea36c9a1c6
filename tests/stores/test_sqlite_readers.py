"""Connections that only read a SQLite file never keep others from writing it."""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from pagefold.engine.stores.sqlite.connections import connect
from pagefold.engine.stores.sqlite.reader_connections import Reader, connect_reader
from tests.support.power_loss import SYSTEM


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
