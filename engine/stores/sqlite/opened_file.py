"""A connection to whatever file stands at a path, and who notices when that is another one than before.

A file that was deleted or replaced stays with those who have it open: what they would write into it is lost, and what
they would read of it is old. To compare what stands at the path with what was opened takes a microsecond.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import apsw

from pagefold.engine.errors import StoreUnavailable, StoreUnusable

Identity: TypeAlias = tuple[int, int]

JOURNAL = "-wal"
JOURNAL_REPLACED = (
    "{} was deleted or replaced under those who write: end every process that has the store open, then start them again"
)

Connected = TypeVar("Connected", bound=apsw.Connection)


class FileReplacedError(OSError):
    """What was committed may have gone into a file that is no longer there."""


class OpenedFile(Generic[Connected]):
    """A connection, made when it is used first, and made anew when another file stands at its path.

    `lost` is called where none stands there: it makes one, or raises. `verify` raises for a file that is none of ours.
    """

    def __init__(
        self,
        file: Path,
        connect: Callable[[Path], Connected],
        *,
        lost: Callable[[], None],
        verify: Callable[[apsw.Connection], None],
    ) -> None:
        self.file = file
        self._path = str(file)
        self._journal_path = self._path + JOURNAL
        self._connect = connect
        self._lost = lost
        self._verify = verify
        self._connection: Connected | None = None
        self._identity: Identity | None = None
        self._journal: Identity | None = None
        self._confirmed = 0

    def current(self) -> Connected:
        """The connection to the file that stands at the path now. It stays the same inside a transaction."""
        connection = self._connection
        if connection is None:
            connection = self._keep(*self._open())
        elif not connection.in_transaction and _identity(self._path) != self._identity:
            connection = self._reopen()
        return connection

    def confirm(self) -> None:
        """Raises unless what was committed is in the file that stands at the path, or in the write-ahead log beside it.

        `StoreUnavailable` where the file is another one: it can be written anew. `StoreUnusable` where the write-ahead
        log is: all who have it open share it, and only when they have ended does the file count alone. What was
        confirmed before, and nothing was written since, is not looked at again.
        """
        connection = self._connection
        if connection is None or connection.in_transaction or connection.total_changes() == self._confirmed:
            return
        if _identity(self._path) != self._identity:
            raise StoreUnavailable(self._path, FileReplacedError("the file was replaced while it was written"))
        self.confirm_journal()
        self._confirmed = connection.total_changes()

    def confirm_journal(self) -> None:
        """Raises `StoreUnusable` where the write-ahead log of the current connection is not the one at its path."""
        if self._connection is not None and _identity(self._journal_path) != self._journal:
            unfit = StoreUnusable(self._path, JOURNAL_REPLACED.format(self.file.name + JOURNAL))
            unfit.told = JOURNAL_REPLACED.format(self.file.name + JOURNAL)
            raise unfit

    def discard(self) -> None:
        """Closes the connection. The next who uses it opens it."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _reopen(self) -> Connected:
        connection, identity, journal = self._open()
        try:
            self._verify(connection)
        except BaseException:
            connection.close()
            raise
        self.discard()
        return self._keep(connection, identity, journal)

    def _keep(self, connection: Connected, identity: Identity, journal: Identity | None) -> Connected:
        self._connection, self._identity, self._journal = connection, identity, journal
        self._confirmed = connection.total_changes()
        return connection

    def _open(self) -> tuple[Connected, Identity, Identity | None]:
        """A connection, and the identities of its file, which was at the path before and after, and of its journal."""
        while True:
            before = _identity(self._path)
            if before is None:
                self._lost()
                continue
            connection = self._connect(self.file)
            if _identity(self._path) == before:
                return connection, before, _identity(self._journal_path)
            connection.close()


def _identity(path: str) -> Identity | None:
    try:
        status = os.stat(path)  # noqa: PTH116  # a third of the time that a Path would take
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
