"""Connections that only read, and need nothing to be written: not on a full disk, and not in a read-only folder.

In write-ahead mode, SQLite shares an index of the log between processes, in a file of 32 KB that the first one makes.
Where it cannot be made, a file is read in another way, the first of these that works:

* *without the index*, which SQLite makes for itself in memory. It sees when another process makes the real one.
* where not even empty files can be made, *alone*: as a file that nobody changes, or with its log read once. Another
  process may change it all the same, over another mount. So it is looked whether the file is as it was, before each
  read and after each long one.

As soon as it can be opened as usual, it should be: a process that reads without the index, or has an index that it
cannot write, cannot write anything else.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import apsw

MAX_VALUE_BYTES = 128 * 1024 * 1024
"""Bytes of a value. Events and sections have a few megabytes at most; this bounds what is read in one step."""

NOT_AS_USUAL = (apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError)
"""What SQLite raises where it cannot make the files beside a database."""

_READ_ONLY = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI

Stamp: TypeAlias = tuple[tuple[int, int], tuple[int, int] | None]
"""When a file and its log were changed last, and how large they are."""


class Reader(apsw.Connection):
    """A connection that only reads. `is_makeshift` tells that the file could not be opened as usual.

    `seen` is how the file was when it was opened, where SQLite does not look whether it changes.
    """

    is_fallback = False
    stamp: Stamp | None = None


class FileChanged(apsw.BusyError):
    """A file that nobody should be able to change was changed; it has to be opened anew."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file.name} was changed by another process after it had been opened to be read only")


def connect_reader(file: Path, busy_milliseconds: int, cache_kib: int = 65_536) -> Reader:
    """A connection that only reads, opened as usual where that is possible."""
    try:
        reader = _prepared(Reader(str(file), flags=apsw.SQLITE_OPEN_READWRITE), busy_milliseconds, cache_kib)
    except NOT_AS_USUAL:
        if not file.exists():
            raise
    else:
        reader.is_fallback = not os.access(_index_of(file), os.W_OK)
        return reader
    reader = _without_index(file, busy_milliseconds, cache_kib) or _alone(file, busy_milliseconds, cache_kib)
    reader.is_fallback = True
    return reader


def check_unchanged(reader: apsw.Connection, file: Path) -> None:
    """Raises `FileChanged` for a file that is read alone, and is not as it was."""
    if isinstance(reader, Reader) and reader.stamp is not None and reader.stamp != stamp_of(file):
        raise FileChanged(file)


def stamp_of(file: Path) -> Stamp:
    """How the file and its log are now."""
    found = file.stat()
    try:
        log = _log_of(file).stat()
    except FileNotFoundError:
        return (found.st_mtime_ns, found.st_size), None
    return (found.st_mtime_ns, found.st_size), (log.st_mtime_ns, log.st_size)


def _without_index(file: Path, busy_milliseconds: int, cache_kib: int) -> Reader | None:
    """Empty files beside it are enough for that; None where there are none, and none can be made."""
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
        reader.pragma("locking_mode", "exclusive")  # there is no other way to keep the index in memory
    reader.stamp = seen
    return _prepared(reader, busy_milliseconds, cache_kib)


def _prepared(reader: Reader, busy_milliseconds: int, cache_kib: int) -> Reader:
    """Ready to read, once it has."""
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
    """Why nothing can be written in a folder of a store, in words; None where it can."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    for each in (folder, *folder.glob("*.db")):
        if not os.access(each, os.W_OK):
            return f"this user may not write {'its folder' if each == folder else each.name}"
    return None
