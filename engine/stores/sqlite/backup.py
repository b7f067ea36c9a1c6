"""Backups of a SQLite store, by SQLite's online backup: a consistent copy of each file.

The log is copied last, so that it is never behind the checkpoints, or behind what was delivered. Targets may hold newer
pages than a backup knows: once it is restored, its receipts count no more, and everything is delivered again. Copying
the files of a running store in any other way loses acknowledged events in their write-ahead logs.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import BackupError
from pagefold.engine.stores.backup_manifest import CopyResult, Manifest, OnProgress
from pagefold.engine.stores.durability import sync
from pagefold.engine.stores.log_proof import mark_of
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import BUSY_MILLISECONDS, DELIVERIES, EVENTS, PAGES, SQL, connect, fetch
from pagefold.engine.stores.sqlite.driver_errors import translate_errors
from pagefold.engine.stores.sqlite.log_proof import Tip
from pagefold.engine.stores.sqlite.reader_connections import connect_reader
from pagefold.engine.stores.sqlite.schema import JOURNALS, exclusively

ALL_FILES = (DELIVERIES, PAGES, EVENTS)
"""In the order in which they are copied."""

STEP = 2_000
"""Database pages that are copied in a step."""


class SQLiteBackups:
    """Copies the files, and restores them."""

    async def copy(self, config: Config, folder: Path, advance: OnProgress) -> CopyResult:
        """Copies `deliveries.db`, if there is one, `pages.db`, then `events.db`."""
        return await run_sync(lambda: _copy(folder_of(config.store.url), folder, advance))

    async def put_back(self, config: Config, folder: Path, manifest: Manifest, stamp: str) -> str | None:
        """Replaces the files, and moves the replaced ones into a folder next to them."""
        if not {EVENTS, PAGES} <= manifest.files.keys():
            problem = f"the backup {folder} lacks {EVENTS} or {PAGES}"
            raise BackupError(problem)
        target = folder_of(config.store.url)
        with translate_errors(f"sqlite:///{target}"):
            files = [file for file in ALL_FILES if file in manifest.files]
            return await run_sync(lambda: _put_back(folder, files, target, stamp))


def _copy(store: Path, folder: Path, advance: OnProgress) -> CopyResult:
    with translate_errors(f"sqlite:///{store}"):
        files = ALL_FILES if (store / DELIVERIES).exists() else (PAGES, EVENTS)
        total = sum((store / file).stat().st_size for file in files)
        done = 0
        for file in files:
            done = _copy_file(store / file, folder / file, done, total, advance)
        with closing(connect_reader(folder / EVENTS, BUSY_MILLISECONDS)) as events:
            return CopyResult(str(events.execute(SQL["log_id"]).get), int(events.execute(SQL["log_end"]).get))


def _copy_file(source: Path, target: Path, done: int, total: int, advance: OnProgress) -> int:
    """A consistent copy, despite concurrent writers: the source's connection stays in one read transaction."""
    with closing(connect_reader(source, BUSY_MILLISECONDS)) as reader, closing(apsw.Connection(str(target))) as writer:
        page_size = int(reader.pragma("page_size"))
        reader.execute("BEGIN")
        reader.execute(SQL["schema_of_file"]).fetchall()
        with writer.backup("main", reader, "main") as backup:
            while not backup.done:
                backup.step(STEP)
                copied = (backup.page_count - backup.remaining) * page_size
                advance(done + copied, max(total, done + copied))
        reader.execute("ROLLBACK")
        found = writer.pragma("quick_check", 1)
        if found != "ok":
            problem = f"{source.name} is damaged, and so is its copy: {found}"
            raise BackupError(problem)
        writer.pragma("journal_mode", "DELETE")  # leaves no journal files
    return done + copied


def _put_back(backup: Path, files: Sequence[str], target: Path, stamp: str) -> str | None:
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    with exclusively(target), _prepared(backup, files, target) as prepared:
        aside = _set_aside(target, target / f"replaced-{stamp}")
        for file in files:
            prepared[file].rename(target / file)
        _keep_tip(target)
        sync(target)
        return None if aside is None else str(aside)


@contextmanager
def _prepared(backup: Path, files: Sequence[str], target: Path) -> Iterator[dict[str, Path]]:
    """The files of a backup, synced, next to those that they will replace."""
    prepared = {file: target / f".{file}.restored" for file in files}
    try:
        for name, file in prepared.items():
            shutil.copyfile(backup / name, file)
            file.chmod(0o600)
            with closing(connect(file, synchronous="FULL")) as connection:  # WAL mode, as before
                if name == DELIVERIES:
                    connection.execute(SQL["forget_receipts"])
                connection.pragma("wal_checkpoint", "TRUNCATE")
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
        yield prepared
    finally:
        for file in prepared.values():
            for each in (file, *_journals(file)):
                each.unlink(missing_ok=True)


def _set_aside(target: Path, aside: Path) -> Path | None:
    """Moves the existing files into a folder, each with its own write-ahead log."""
    existing = [target / file for file in ALL_FILES if (target / file).exists()]
    if existing:
        aside.mkdir(mode=0o700)
    for file in ALL_FILES:
        for each in (target / file, *_journals(target / file)):
            if each.exists() and existing:
                each.rename(aside / each.name)
            else:
                each.unlink(missing_ok=True)
    return aside if existing else None


def _journals(file: Path) -> list[Path]:
    return [file.with_name(file.name + suffix) for suffix in JOURNALS]


def _keep_tip(target: Path) -> None:
    """Keeps the tip, which shows that events acknowledged after the backup are gone."""
    tip = Tip(target)
    tip.clear()
    with closing(connect_reader(target / EVENTS, BUSY_MILLISECONDS)) as events:
        for position, *event in fetch(events, "newest_event"):
            tip.write(position, mark_of(*event))
    tip.close()
