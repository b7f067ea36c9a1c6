"""Makes the two files of a store, and brings their schema up to date."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from engine.errors import StoreMissing, StoreReadOnly, StoreTooNew, StoreUnfit
from engine.stores.sql import Migration, migrations
from engine.stores.sqlite.connections import BUSY_MILLISECONDS, EVENTS, PAGES, connect, in_transaction, translated
from engine.stores.sqlite.readers import connect_reader, why_read_only

PACKAGE = "engine.stores.sqlite"
KINDS = ("events", "pages")

_TABLE = """
CREATE TABLE IF NOT EXISTS migrations (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP
) STRICT
"""


def prepare(folder: Path, *, create: bool) -> None:
    """Brings both files up to date, under a lock, whoever else does the same. Idempotent.

    Writes nothing where they are, so that a store on a full disk or a read-only one can be opened. Raises
    `StoreMissing` when there is no store and none may be made, `StoreTooNew`, `StoreReadOnly`, `StoreUnavailable`.
    """
    name = f"sqlite:///{folder}"
    if not (folder / EVENTS).exists() and not create:
        raise StoreMissing(name)
    with translated(name):
        if all(_is_up_to_date(name, folder / f"{kind}.db", kind) for kind in KINDS):
            return
        if folder.exists() and (reason := why_read_only(folder)) is not None:
            raise StoreReadOnly(name, f"it has to be made for this program first, or brought up to date, and {reason}")
        folder.mkdir(parents=True, exist_ok=True)
        with _exclusively(folder / "schema.lock"):
            _migrate(name, folder / EVENTS, migrations(PACKAGE, "migrations/events"), "FULL")
            _migrate(name, folder / PAGES, migrations(PACKAGE, "migrations/pages"), "FULL")


def _is_up_to_date(name: str, file: Path, kind: str) -> bool:
    """Whether the file has the schema of this program. Raises `StoreTooNew`."""
    if not file.exists():
        return False
    known = migrations(PACKAGE, f"migrations/{kind}")[-1].number
    connection = connect_reader(file, BUSY_MILLISECONDS)
    try:
        version = current_version(connection)
    finally:
        connection.close()
    if version > known:
        raise StoreTooNew(name, version, known)
    return version == known


@contextmanager
def _exclusively(file: Path) -> Iterator[None]:
    with file.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _migrate(name: str, file: Path, known: list[Migration], synchronous: str) -> None:
    connection = connect(file, synchronous=synchronous)
    try:
        version = current_version(connection)
        if version > known[-1].number:
            raise StoreTooNew(name, version, known[-1].number)
        if version < known[-1].number:
            in_transaction(lambda connection: _apply(connection, known))(connection)
    finally:
        connection.close()


def check(name: str, connection: apsw.Connection) -> None:
    """Raises `StoreTooNew` or `StoreUnfit` for a file that has not the schema of this program."""
    folder = "events" if Path(connection.filename).name == EVENTS else "pages"
    known = migrations(PACKAGE, f"migrations/{folder}")[-1].number
    version = current_version(connection)
    if version > known:
        raise StoreTooNew(name, version, known)
    if version < known:
        raise StoreUnfit(name, f"{folder} has schema {version}, {known} is needed; was it put back while in use?")


def current_version(connection: apsw.Connection) -> int:
    """The number of the newest migration that was applied, 0 for a new file."""
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
