"""Backups of a store: a folder with all that is needed to restore it, and a manifest that verifies it.

A backup is made while others work, and is a snapshot of one moment: its pages are never ahead of its log. A restore
replaces the store, and keeps the replaced one aside. Each kind of store has its own method:
`engine.stores.sqlite.backup` copies both files, `pagefold.engine.stores.postgres.backup` runs the server's own
programs.
"""

import secrets
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import msgspec
from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import BackupError
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores import open_store
from pagefold.engine.stores.backup_manifest import (
    FORMAT,
    MANIFEST,
    CopyResult,
    Manifest,
    OnProgress,
    StoreKind,
    check_files,
    digest_of,
    read_manifest,
)
from pagefold.engine.stores.durability import sync


class RestoreResult(msgspec.Struct, frozen=True, rename="camel"):
    """What was restored, and where the replaced store is kept."""

    backup: Manifest
    kept_aside: str | None


class BackupMethod(Protocol):
    """How a kind of store is copied and restored."""

    async def copy(self, config: Config, folder: Path, advance: OnProgress) -> CopyResult:
        """Copies an existing store into files of an empty folder."""

    async def put_back(self, config: Config, folder: Path, manifest: Manifest, stamp: str) -> str | None:
        """Replaces the store with a verified backup. Returns where the replaced store is kept, if there was one."""


def store_kind(config: Config) -> StoreKind:
    """The kind of the configured store."""
    return "sqlite" if config.store.url.startswith("sqlite:") else "postgresql"


def backup_method(config: Config, tools: Path | None) -> BackupMethod:
    """The method for the configured store. `tools` is the folder of PostgreSQL's programs; None uses the PATH."""
    if store_kind(config) == "sqlite":
        from pagefold.engine.stores.sqlite.backup import SQLiteBackups  # noqa: PLC0415  # importing a driver takes time

        return SQLiteBackups()
    from pagefold.engine.stores.postgres.backup import PostgresBackups  # noqa: PLC0415  # as above

    return PostgresBackups(tools)


async def back_up(config: Config, folder: Path, *, tools: Path | None = None, advance: OnProgress) -> Manifest:
    """Backs an existing store up to a new folder, which appears only when it is complete.

    Raises `BackupError`, `StoreError`; `LogReplaced` if the log is not the one that was folded.
    """
    _check_is_free(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    await _prove(config)
    try:
        part.mkdir(parents=True, mode=0o700)
        copied = await backup_method(config, tools).copy(config, part, advance)
        manifest = await run_sync(lambda: _seal(part, config, copied))
        part.rename(folder)
    except OSError as error:
        problem = f"cannot write {folder}: {error.strerror or error}"
        raise BackupError(problem) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(part)
    return manifest


async def restore(config: Config, folder: Path, *, tools: Path | None = None) -> RestoreResult:
    """Replaces the store with a backup, if that is complete and of the same kind. Raises `BackupError`."""
    manifest = await run_sync(lambda: read_manifest(folder))
    if manifest.kind != store_kind(config):
        problem = f"{folder} is a backup of a {manifest.kind} store, but the configured store is {store_kind(config)}"
        raise BackupError(problem)
    await run_sync(lambda: check_files(folder, manifest.files))
    stamp = datetime.now(UTC).strftime("%Y%m%dt%H%M%S%f")
    kept_aside = await backup_method(config, tools).put_back(config, folder, manifest, stamp)
    await _prove(config)
    return RestoreResult(manifest, kept_aside)


async def _prove(config: Config) -> None:
    """Checks that the store exists, has this program's schema, and that its log is the one that was folded."""
    store = await open_store(config, create=False)
    try:
        await store.proof.prove()
    finally:
        await store.close()


def _check_is_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = f"{folder} exists and is not empty; name a new folder"
        raise BackupError(problem)


def _seal(folder: Path, config: Config, copied: CopyResult) -> Manifest:
    """Writes the manifest, after everything else is on disk."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    for file in files:
        file.chmod(0o600)
        sync(file)
    kind = store_kind(config)
    manifest = Manifest(
        format=FORMAT,
        kind=kind,
        made_at=now(),
        program=_program(),
        log_id=copied.log_id,
        position=copied.position,
        files={file.name: digest_of(file) for file in files},
        schema=config.store.schema if kind == "postgresql" else None,
        tool=copied.tool,
    )
    (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
    (folder / MANIFEST).chmod(0o600)
    sync(folder / MANIFEST)
    sync(folder)
    return manifest


def _program() -> str:
    try:
        return f"pagefold {version('pagefold')}"
    except PackageNotFoundError:
        return "pagefold"
