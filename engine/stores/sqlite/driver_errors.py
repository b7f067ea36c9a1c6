"""The errors of the SQLite driver, as errors of the store."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from pagefold.engine.errors import StoreDamaged, StoreError, StoreReadOnly, StoreUnavailable, StoreUnusable
from pagefold.engine.stores.sqlite.reader_connections import is_outdated

TRANSIENT_ERRORS = (  # a lock of another process, a full disk
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.CantOpenError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.ConnectionClosedError,
)

CORRUPT = (apsw.NotADBError, apsw.CorruptError)

A_FILE = "a file of the store"

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)

DRIVER_ERRORS = (*TRANSIENT_ERRORS, *CORRUPT, apsw.ReadOnlyError, apsw.PermissionsError, apsw.AuthError, OSError)
"""What becomes a `StoreError`, transient or permanent."""


@contextmanager
def translate_errors(name: str, file: str = A_FILE) -> Iterator[None]:
    """Turns transient errors into `StoreUnavailable`, and permanent ones into other errors."""
    try:
        yield
    except DRIVER_ERRORS as error:
        raise store_error(name, error, file) from error


def store_error(name: str, error: Exception, file: str = A_FILE) -> StoreError:
    """The `StoreError` for one of the `DRIVER_ERRORS`. `file` is the file that was read or written."""
    is_full = isinstance(error, OSError) and error.errno in DISK_FULL
    if isinstance(error, TRANSIENT_ERRORS) or is_full or is_outdated(error):
        return StoreUnavailable(name, error)
    if isinstance(error, CORRUPT):
        return StoreDamaged(name, file, f"{type(error).__name__}: {error}")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreReadOnly(name, str(error))
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return StoreReadOnly(name, "its file system is mounted read-only")
    return StoreUnusable(name, f"{type(error).__name__}: {error}")
