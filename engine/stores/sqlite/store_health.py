"""Checks whether the files of a store can be read and written now, and whether they are damaged."""

import os
from contextlib import suppress
from pathlib import Path

import apsw

from pagefold.engine.errors import LogReplaced, StoreDamaged, StoreUnavailable
from pagefold.engine.stores.sqlite.connections import BUSY_MILLISECONDS, DELIVERIES, EVENTS, PAGES, Connections, Row
from pagefold.engine.stores.sqlite.driver_errors import CORRUPT, DRIVER_ERRORS, store_error
from pagefold.engine.stores.sqlite.reader_connections import Reader, read_file, why_read_only
from pagefold.engine.stores.sqlite.schema import check
from pagefold.engine.stores.store_health import DamagedPart

MIN_FREE_BYTES = 1024 * 1024
"""With less free space the disk counts as full: the next transaction may not fit."""

FILES = {"log": EVENTS, "pages": PAGES}
"""The files of every store. `DELIVERIES` is there once there are targets."""

CACHE_KIB = 2_048
"""The cache for a file that is read from end to end, once."""


async def check_reads(connections: Connections) -> None:
    """Opens as usual what could not be before, and reads both files as readers in threads and on the loop do.

    A missing log does not prevent reads of pages.
    """
    await _open_as_usual(connections)
    await connections.pages_reader.run(lambda connection: check(connections.name, connection))
    with suppress(LogReplaced):
        await connections.events_browser.run(lambda connection: check(connections.name, connection))


async def check_appends(connections: Connections) -> None:
    """Checks that the log can be read, its folder written to, and that its disk is not full."""
    await _open_as_usual(connections)
    await connections.events_browser.run(lambda connection: check(connections.name, connection))
    connections.check_writable()
    free = _free_bytes(connections.folder)
    if free < MIN_FREE_BYTES:
        full = apsw.FullError(f"its disk has {free:,} bytes left")
        raise StoreUnavailable(connections.name, full) from full


def sizes(folder: Path) -> dict[str, int]:
    """The bytes of each file, with what is not in it yet. A log or pages that are not there have none."""
    files = {**FILES, "deliveries": DELIVERIES} if (folder / DELIVERIES).exists() else FILES
    return {part: _bytes(folder / name) + _bytes(folder / f"{name}-wal") for part, name in files.items()}


def _bytes(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


async def _open_as_usual(connections: Connections) -> None:
    """Does nothing if nothing can be written."""
    if connections.uses_fallback and why_read_only(connections.folder) is None:
        await connections.reopen()


def check_damage(name: str, folder: Path) -> None:
    """Checks all of `pages.db`, and of `deliveries.db`, if there is one. Raises `StoreDamaged`."""
    for file in (PAGES, DELIVERIES) if (folder / DELIVERIES).exists() else (PAGES,):
        try:
            found = read_file(folder / file, BUSY_MILLISECONDS, _quick_check, CACHE_KIB)
        except DRIVER_ERRORS as error:
            raise store_error(name, error, file) from error
        if found != "ok":
            raise StoreDamaged(name, file, found)


def _quick_check(reader: Reader) -> str:
    return str(reader.execute("PRAGMA quick_check(1)").get)


def _integrity_check(reader: Reader) -> list[Row]:
    return reader.execute("PRAGMA integrity_check").fetchall()


def inspect(name: str, folder: Path) -> list[DamagedPart]:
    """The damage in each file, including its indexes."""
    found: list[DamagedPart] = []
    for file in (EVENTS, PAGES, DELIVERIES) if (folder / DELIVERIES).exists() else (EVENTS, PAGES):
        try:
            rows = read_file(folder / file, BUSY_MILLISECONDS, _integrity_check, CACHE_KIB)
        except CORRUPT as error:
            found.append(DamagedPart(file, f"{type(error).__name__}: {error}"))
        except DRIVER_ERRORS as error:
            raise store_error(name, error, file) from error
        else:
            found += [DamagedPart(file, str(problem)) for (problem,) in rows if problem != "ok"]
    return found


def _free_bytes(folder: Path) -> int:
    """What this user may still write."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize
