"""Backups of a store: a folder with what is needed to put it back as it was, and a manifest that proves it whole.

A backup is made beside whoever works, and is of one moment: its pages are never ahead of its log. What is put back
replaces what is there, which is kept aside. Each kind of store has its own way: `pagefold.engine.stores.sqlite.backup` copies
both files, `pagefold.engine.stores.postgres.backup` runs the server's own programs.
"""

import hashlib
import secrets
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec
from anyio.to_thread import run_sync

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import PagefoldError
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores import open_store
from pagefold.engine.stores.durability import sync

MANIFEST = "manifest.json"
FORMAT = 1
PIECE = 1024 * 1024

StoreKind: TypeAlias = Literal["sqlite", "postgresql"]
Advance: TypeAlias = Callable[[int, int], None]
"""Hears how much of how much is done."""


class BackupError(PagefoldError):
    """A backup cannot be made, is not whole, or cannot be put back; nothing was changed."""


class FileDigest(msgspec.Struct, frozen=True):
    """What a file of a backup must be."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a backup is of: a store of a kind, its log up to a position, when, made by what.

    `schema` and `tool`, the major version of `pg_dump`, are PostgreSQL's.
    """

    format: int
    kind: StoreKind
    made_at: str
    program: str
    log_id: str
    position: int
    files: dict[str, FileDigest]
    schema: str | None = None
    tool: int | None = None


class Copied(NamedTuple):
    """What a store has copied into a folder."""

    log_id: str
    position: int
    tool: int | None = None


class Restored(msgspec.Struct, frozen=True, rename="camel"):
    """What was put back, and where that is kept which stood there before."""

    backup: Manifest
    kept_aside: str | None


class Way(Protocol):
    """How a kind of store is copied, and put back."""

    async def copy(self, config: Config, folder: Path, advance: Advance) -> Copied:
        """Puts all of an existing store into files of an empty folder."""

    async def put_back(self, config: Config, folder: Path, manifest: Manifest, stamp: str) -> str | None:
        """Puts a whole backup in the place of the store. Tells where that is kept which stood there, if anything."""


def kind_of(config: Config) -> StoreKind:
    """The kind of a configuration's store."""
    return "sqlite" if config.store.url.startswith("sqlite:") else "postgresql"


def way_of(config: Config, tools: Path | None) -> Way:
    """The way of a kind of store. `tools` is the folder of PostgreSQL's programs, None for those on the PATH."""
    if kind_of(config) == "sqlite":
        from pagefold.engine.stores.sqlite.backup import SQLiteBackups  # noqa: PLC0415  # a command waits for one driver

        return SQLiteBackups()
    from pagefold.engine.stores.postgres.backup import PostgresBackups  # noqa: PLC0415  # likewise

    return PostgresBackups(tools)


async def back_up(config: Config, folder: Path, *, tools: Path | None = None, advance: Advance) -> Manifest:
    """Makes a backup of an existing store in a new folder. It is there when it is whole, and only then.

    Raises `BackupError`, `StoreError`; `LogReplaced` where the log is not the one that was folded.
    """
    _check_is_free(folder)
    part = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.part")
    await _prove(config)
    try:
        part.mkdir(parents=True, mode=0o700)
        copied = await way_of(config, tools).copy(config, part, advance)
        manifest = await run_sync(lambda: _seal(part, config, copied))
        part.rename(folder)
    except OSError as error:
        problem = f"cannot write {folder}: {error.strerror or error}"
        raise BackupError(problem) from error
    finally:
        with suppress(OSError):
            shutil.rmtree(part)
    return manifest


async def restore(config: Config, folder: Path, *, tools: Path | None = None) -> Restored:
    """Puts a backup in the place of the store, when it is whole and of the same kind. Raises `BackupError`."""
    manifest = await run_sync(lambda: read_manifest(folder))
    if manifest.kind != kind_of(config):
        problem = f"{folder} is of a {manifest.kind} store, and the configuration's is {kind_of(config)}"
        raise BackupError(problem)
    await run_sync(lambda: check_files(folder, manifest.files))
    stamp = datetime.now(UTC).strftime("%Y%m%dt%H%M%S%f")
    kept_aside = await way_of(config, tools).put_back(config, folder, manifest, stamp)
    await _prove(config)
    return Restored(manifest, kept_aside)


def read_manifest(folder: Path) -> Manifest:
    """What a backup says of itself. Raises `BackupError`."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        problem = f"{folder} is no backup: cannot read its {MANIFEST}: {error.strerror or error}"
        raise BackupError(problem) from error
    except msgspec.MsgspecError as error:
        problem = f"{folder} is no backup: its {MANIFEST} is not one: {error}"
        raise BackupError(problem) from error
    if manifest.format > FORMAT:
        problem = f"{folder} has format {manifest.format}, this program knows up to {FORMAT}; install a newer Pagefold"
        raise BackupError(problem)
    return manifest


def check_files(folder: Path, files: Mapping[str, FileDigest]) -> None:
    """Raises `BackupError` unless every file is there, and is what it was."""
    for name, wanted in files.items():
        file = folder / name
        if not file.is_file():
            problem = f"the backup {folder} is not whole: {name} is missing"
            raise BackupError(problem)
        if digest_of(file) != wanted:
            problem = f"the backup {folder} is damaged: {name} is not what it was when the backup was made"
            raise BackupError(problem)


def digest_of(file: Path) -> FileDigest:
    """What a file is."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while piece := opened.read(PIECE):
            digest.update(piece)
            size += len(piece)
    return FileDigest(size, digest.hexdigest())


async def _prove(config: Config) -> None:
    """The store is there, of this program's schema, and its log is the one that was folded."""
    store = await open_store(config, create=False)
    try:
        await store.proof.prove()
    finally:
        await store.close()


def _check_is_free(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        problem = f"{folder} is there already, and is not empty: name a new folder"
        raise BackupError(problem)


def _seal(folder: Path, config: Config, copied: Copied) -> Manifest:
    """Writes the manifest, when all else is on the disk."""
    files = sorted(file for file in folder.iterdir() if file.is_file())
    for file in files:
        file.chmod(0o600)
        sync(file)
    kind = kind_of(config)
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
