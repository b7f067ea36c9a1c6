"""A connection to the file at a path, which notices when another file is there.

A file that was deleted or replaced stays open for its users: what they write into it is lost, and what they read is
old. Comparing the file at the path with the opened one takes a microsecond.
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
    "{} was deleted or replaced while in use: end every process that has the store open, then start them again"
)

Connected = TypeVar("Connected", bound=apsw.Connection)


class FileReplacedError(OSError):
    """A commit may have gone into a file that no longer exists."""


class OpenedFile(Generic[Connected]):
    """A connection, opened on first use, and reopened if another file is at its path.

    `lost` is called if there is no file: it creates one, or raises. `verify` raises if the file is not this program's.
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
        """The connection to the file that is now at the path. It does not change inside a transaction."""
        connection = self._connection
        if connection is None:
            connection = self._keep(*self._open())
        elif not connection.in_transaction and _identity(self._path) != self._identity:
            connection = self._reopen()
        return connection

    def confirm(self) -> None:
        """Raises unless a commit is in the file at the path, or in the write-ahead log next to it.

        `StoreUnavailable` if the file was replaced: the write can be repeated. `StoreUnusable` if the write-ahead log
        was: all who have it open share it, and only after they end does the file alone count. Without a write since the
        last check, nothing is checked.
        """
        connection = self._connection
        if connection is None or connection.in_transaction or connection.total_changes() == self._confirmed:
            return
        if _identity(self._path) != self._identity:
            raise StoreUnavailable(self._path, FileReplacedError("the file was replaced while it was written"))
        self.confirm_journal()
        self._confirmed = connection.total_changes()

    def confirm_journal(self) -> None:
        """Raises `StoreUnusable` if the write-ahead log of the current connection is not the one at its path."""
        if self._connection is not None and _identity(self._journal_path) != self._journal:
            unfit = StoreUnusable(self._path, JOURNAL_REPLACED.format(self.file.name + JOURNAL))
            unfit.public_message = JOURNAL_REPLACED.format(self.file.name + JOURNAL)
            raise unfit

    def discard(self) -> None:
        """Closes the connection; the next use reopens it."""
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
        """A connection, and the identities of its file, equal before and after, and of its journal."""
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
        status = os.stat(path)  # noqa: PTH116  # takes a third of the time of a Path
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
