"""Connections that only read and write nothing, for full disks and read-only folders.

In WAL mode, SQLite shares an index of the log between processes, in a file of 32 KB that the first one creates. If that
is impossible, a file is read in the first of these ways that works:

* *without the index*: SQLite builds it in memory, and notices when another process creates the real one.
* *alone*, if not even empty files can be created: as an immutable file, or with its log read once. Another process may
  still change it, over another mount, so the file is checked before each read and after each long one.

A process that tries to open the file as usual, and cannot, disturbs those that read it without the index: SQLite then
refuses their reads, until they open the file again.

As soon as it can be opened as usual, it should be: a process without the index, or with a read-only one, cannot write
anything else. SQLite keeps one index of a file for the whole process: where the first connection opens it read-only,
that process cannot write. So a failed read, which says nothing about what can be created, is raised.
"""

import os
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias, TypeVar
from urllib.parse import quote

import apsw

MAX_VALUE_BYTES = 128 * 1024 * 1024
"""Bytes of a value. Events and sections have at most a few megabytes; this limits what is read in one step."""

CACHE_KIB = 65_536
"""The cache of a connection, unless a smaller one does as well."""

_READ_ERRORS = (
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_DATA,
    apsw.SQLITE_IOERR_CORRUPTFS,
)

NOT_AS_USUAL = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)
"""What SQLite raises if it cannot create the files next to a database."""

_DISTURBED = (apsw.SQLITE_READONLY_RECOVERY, apsw.SQLITE_READONLY_CANTINIT)
"""What SQLite answers a reader without the index while another process tries to create it."""

MAX_OPENINGS = 4
"""How often a file is opened for one read, at most, if other processes disturb it each time."""

_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI

Result = TypeVar("Result")
Stamp: TypeAlias = tuple[tuple[int, int], tuple[int, int] | None]
"""When a file and its log were last changed, and their sizes."""


class Reader(apsw.Connection):
    """A connection that only reads. `is_fallback` if the file could not be opened as usual.

    `stamp` is the state of the file when it was opened, if SQLite does not watch it for changes.
    """

    is_fallback = False
    stamp: Stamp | None = None


class FileChanged(apsw.BusyError):
    """A file that was assumed to be immutable was changed; it must be reopened."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file.name} was changed by another process after it had been opened to be read only")


def connect_reader(file: Path, busy_milliseconds: int, cache_kib: int = CACHE_KIB) -> Reader:
    """A connection that only reads, opened as usual if possible."""
    try:
        reader = _prepared(Reader(str(file), flags=apsw.SQLITE_OPEN_READWRITE), busy_milliseconds, cache_kib)
    except NOT_AS_USUAL as error:
        if not file.exists() or _is_read_error(error):
            raise
    else:
        reader.is_fallback = not os.access(_index_of(file), os.W_OK)
        return reader
    reader = _without_index(file, busy_milliseconds, cache_kib) or _alone(file, busy_milliseconds, cache_kib)
    reader.is_fallback = True
    return reader


def _is_read_error(error: apsw.Error) -> bool:
    """Whether the disk failed to give what is there."""
    return isinstance(error, apsw.IOError) and getattr(error, "extendedresult", None) in _READ_ERRORS


def is_outdated(error: BaseException | None) -> bool:
    """Whether a read failed only because its connection has to be opened again: other processes came or went."""
    if isinstance(error, apsw.ReadOnlyError):
        return getattr(error, "extendedresult", None) in _DISTURBED
    return isinstance(error, FileChanged)


def read_file(
    file: Path, busy_milliseconds: int, read: Callable[[Reader], Result], cache_kib: int = CACHE_KIB
) -> Result:
    """The result of a read over a connection of its own."""
    for _ in range(MAX_OPENINGS - 1):
        with closing(connect_reader(file, busy_milliseconds, cache_kib)) as reader:
            try:
                return read(reader)
            except apsw.Error as error:
                if not is_outdated(error):
                    raise
    with closing(connect_reader(file, busy_milliseconds, cache_kib)) as reader:
        return read(reader)


def check_unchanged(reader: apsw.Connection, file: Path) -> None:
    """Raises `FileChanged` if a file that is read alone has changed."""
    if isinstance(reader, Reader) and reader.stamp is not None and reader.stamp != stamp_of(file):
        raise FileChanged(file)


def stamp_of(file: Path) -> Stamp:
    """The current state of the file and its log."""
    found = file.stat()
    try:
        log = _log_of(file).stat()
    except FileNotFoundError:
        return (found.st_mtime_ns, found.st_size), None
    return (found.st_mtime_ns, found.st_size), (log.st_mtime_ns, log.st_size)


def _without_index(file: Path, busy_milliseconds: int, cache_kib: int) -> Reader | None:
    """Needs empty files next to it; None if there are none, and none can be created."""
    with suppress(OSError):
        for beside in (_log_of(file), _index_of(file)):
            beside.open("ab").close()
    try:
        reader = Reader(f"file:{quote(str(file))}?mode=ro&readonly_shm=1", flags=_READ_ONLY)
        return _prepared(reader, busy_milliseconds, cache_kib)
    except NOT_AS_USUAL:
        return None


def _alone(file: Path, busy_milliseconds: int, cache_kib: int) -> Reader:
    seen = stamp_of(file)
    if seen[1] is None or not seen[1][1]:
        reader = Reader(f"file:{quote(str(file))}?mode=ro&immutable=1", flags=_READ_ONLY)
    else:
        reader = Reader(f"file:{quote(str(file))}?mode=ro", flags=_READ_ONLY, vfs="unix-none")
        reader.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        reader.pragma("locking_mode", "exclusive")  # the only way to keep the index in memory
    reader.stamp = seen
    return _prepared(reader, busy_milliseconds, cache_kib)


def _prepared(reader: Reader, busy_milliseconds: int, cache_kib: int) -> Reader:
    """A reader after its first read."""
    try:
        reader.limit(apsw.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
        reader.set_busy_timeout(busy_milliseconds)
        for _ in reader.execute(f"PRAGMA query_only = TRUE; PRAGMA cache_size = -{cache_kib}; PRAGMA schema_version"):
            pass
    except apsw.Error:
        reader.close()
        raise
    return reader


def _log_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _index_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-shm")


def why_read_only(folder: Path) -> str | None:
    """Why nothing can be written in a store's folder, for messages; None if it can."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    for each in (folder, *folder.glob("*.db")):
        if not os.access(each, os.W_OK):
            return f"this user may not write {'its folder' if each == folder else each.name}"
    return None
