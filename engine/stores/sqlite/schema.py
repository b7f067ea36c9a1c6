"""Creates the files of a store, and migrates them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path

import apsw

from pagefold.engine.errors import StoreNotFound, StoreReadOnly, StoreTooNew, StoreUnusable
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.log_proof import mark_of
from pagefold.engine.stores.sql_files import Migration, migrations
from pagefold.engine.stores.sqlite.connections import (
    BUSY_MILLISECONDS,
    DELIVERIES,
    EVENTS,
    PAGES,
    SQL,
    connect,
    fetch,
    in_transaction,
)
from pagefold.engine.stores.sqlite.driver_errors import translate_errors
from pagefold.engine.stores.sqlite.reader_connections import read_file, why_read_only

PACKAGE = "pagefold.engine.stores.sqlite"
KINDS = ("events", "pages")

JOURNALS = ("-wal", "-shm", "-journal")

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600

UNMARKED = 4
"""The first migration of the pages whose checkpoints have marks."""

log = Logger(__name__)

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT
"""


def prepare(folder: Path, *, create: bool) -> None:
    """Migrates log and pages, and the deliveries, if any, under a lock that excludes other processes. Idempotent.

    Writes nothing if they are up to date, so that a store on a full or read-only disk can be opened. A missing file is
    created again next to the other one: a new log has another identity, and new pages are not read before they are
    folded. Raises `StoreNotFound` if both are missing and `create` is false, `StoreTooNew`, `StoreReadOnly`,
    `StoreUnavailable`.
    """
    name = f"sqlite:///{folder}"
    warn_if_readable_by_others(folder)
    if not create and not any((folder / file).exists() for file in (EVENTS, PAGES)):
        raise StoreNotFound(name)
    with translate_errors(name):
        has_deliveries = (folder / DELIVERIES).exists()
        kinds = (*KINDS, "deliveries") if has_deliveries else KINDS
        if all(_is_up_to_date(name, folder / f"{kind}.db", kind) for kind in kinds):
            return
        if folder.exists() and (reason := why_read_only(folder)) is not None:
            raise StoreReadOnly(name, f"it has to be made for this program first, or brought up to date, and {reason}")
        folder.mkdir(parents=True, exist_ok=True, mode=PRIVATE_FOLDER)
        with exclusively(folder):
            lost = [file for file in (EVENTS, PAGES) if not (folder / file).exists()]
            for file in lost:
                discard_journals(folder / file)
            _migrate(name, folder / EVENTS, migrations(PACKAGE, "migrations/events"))
            before = _migrate(name, folder / PAGES, migrations(PACKAGE, "migrations/pages"))
            if has_deliveries:
                _migrate(name, folder / DELIVERIES, migrations(PACKAGE, "migrations/deliveries"))
            if lost == [PAGES]:
                _need_folding(folder)
            elif 0 < before < UNMARKED:
                _mark_checkpoints(folder)


def begin_deliveries(folder: Path) -> None:
    """Creates `deliveries.db`, under the same lock. Idempotent. What an earlier one had is to be delivered again.

    It appears complete: others read it as soon as it is there.
    """
    name, file, known = f"sqlite:///{folder}", folder / DELIVERIES, migrations(PACKAGE, "migrations/deliveries")
    with translate_errors(name), exclusively(folder):
        if file.exists():
            _migrate(name, file, known)
            return
        discard_journals(file)
        new = file.with_name(f"{DELIVERIES}.new")
        new.unlink(missing_ok=True)  # of a process that was killed
        discard_journals(new)
        _migrate(name, new, known)
        new.replace(file)


def _is_up_to_date(name: str, file: Path, kind: str) -> bool:
    """Whether the file has the schema of this program. Raises `StoreTooNew`."""
    if not file.exists():
        return False
    known = migrations(PACKAGE, f"migrations/{kind}")[-1].number
    with translate_errors(name, file.name):
        version = read_file(file, BUSY_MILLISECONDS, current_version)
    if version > known:
        raise StoreTooNew(name, version, known)
    return version == known


@cache
def warn_if_readable_by_others(folder: Path) -> None:
    """Warns, once a process, if other users may read the store, with the right permissions."""
    with suppress(OSError):
        mode = folder.stat().st_mode & 0o777
        if mode & 0o077:
            log.warning("other users may read the store's folder", folder=str(folder), mode=f"{mode:o}", right="700")


@contextmanager
def exclusively(folder: Path) -> Iterator[None]:
    """Excludes other processes from creating or replacing files of the store."""
    lock = os.open(folder / "schema.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def discard_journals(file: Path) -> None:
    """Removes the journals of a file that is gone: they would be applied to the file that replaces it."""
    for suffix in JOURNALS:
        file.with_name(file.name + suffix).unlink(missing_ok=True)


def _need_folding(folder: Path) -> None:
    """Records that lost pages are complete only once everything now in the log is folded."""
    with closing(connect(folder / EVENTS, synchronous="FULL")) as events:
        end = events.execute(SQL["log_end"]).get
    with closing(connect(folder / PAGES, synchronous="FULL")) as pages:
        pages.execute(SQL["need_folding"], (end,))


def _mark_checkpoints(folder: Path) -> None:
    """Marks the checkpoints of an older store by the log next to them."""
    with (
        closing(connect(folder / EVENTS, synchronous="FULL")) as events,
        closing(connect(folder / PAGES, synchronous="FULL")) as pages,
    ):
        log_id = events.execute(SQL["log_id"]).get
        for domain, position in fetch(pages, "unmarked_checkpoints"):
            for row in fetch(events, "event_at", position):
                fetch(pages, "mark_checkpoint", mark_of(*row), log_id, domain)


def _migrate(name: str, file: Path, known: list[Migration]) -> int:
    """Applies the missing migrations, and returns the previous version."""
    with suppress(FileExistsError):  # opening and closing an existing one would release SQLite's locks
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE))
    with translate_errors(name, file.name), closing(connect(file, synchronous="FULL")) as connection:
        version = current_version(connection)
        if version > known[-1].number:
            raise StoreTooNew(name, version, known[-1].number)
        if version < known[-1].number:
            in_transaction(lambda connection: _apply(connection, known))(connection)
        return version


def check(name: str, connection: apsw.Connection) -> None:
    """Raises `StoreTooNew` or `StoreUnusable` if a file does not have this program's schema."""
    folder = Path(connection.filename).stem
    known = migrations(PACKAGE, f"migrations/{folder}")[-1].number
    version = current_version(connection)
    if version > known:
        raise StoreTooNew(name, version, known)
    if version < known:
        raise StoreUnusable(name, f"{folder} has schema {version}, {known} is needed; was it restored while in use?")


def current_version(connection: apsw.Connection) -> int:
    """The number of the newest applied migration, 0 for a new file."""
    if connection.table_exists(None, "migrations"):
        return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").get)
    return 0


def _apply(connection: apsw.Connection, known: list[Migration]) -> None:
    connection.execute(_TABLE)
    version = current_version(connection)
    for migration in known:
        if migration.number > version:
            for _ in connection.execute(migration.sql):
                pass
            connection.execute(
                "INSERT INTO migrations (number, name) VALUES (?, ?)", (migration.number, migration.name)
            )
