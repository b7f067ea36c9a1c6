"""The content of a backup folder: its manifest, the check of its files, and the errors of a backup."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.errors import BackupError

MANIFEST = "manifest.json"


FORMAT = 1


PIECE_BYTES = 1024 * 1024


StoreKind: TypeAlias = Literal["sqlite", "postgresql"]


OnProgress: TypeAlias = Callable[[int, int], None]
"""Called with how much of how much is done."""


class FileDigest(msgspec.Struct, frozen=True):
    """The expected size and digest of a file of a backup."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a backup contains: a store of a kind, its log up to a position, when and by which program it was made.

    `schema` and `tool`, the major version of `pg_dump`, are set for PostgreSQL only.
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


class CopyResult(NamedTuple):
    """What was copied into a folder."""

    log_id: str
    position: int
    tool: int | None = None


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a backup. Raises `BackupError`."""
    try:
        manifest = msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except OSError as error:
        problem = f"{folder} is not a backup: cannot read its {MANIFEST}: {error.strerror or error}"
        raise BackupError(problem) from error
    except msgspec.MsgspecError as error:
        problem = f"{folder} is not a backup: its {MANIFEST} is invalid: {error}"
        raise BackupError(problem) from error
    if manifest.format > FORMAT:
        problem = (
            f"{folder} has format {manifest.format}, but this program reads up to {FORMAT}; install a newer Pagefold"
        )
        raise BackupError(problem)
    return manifest


def check_files(folder: Path, files: Mapping[str, FileDigest]) -> None:
    """Raises `BackupError` unless every file exists and is unchanged."""
    for name, expected in files.items():
        file = folder / name
        if not file.is_file():
            problem = f"the backup {folder} is incomplete: {name} is missing"
            raise BackupError(problem)
        if digest_of(file) != expected:
            problem = f"the backup {folder} is damaged: {name} has changed since the backup was made"
            raise BackupError(problem)


def digest_of(file: Path) -> FileDigest:
    """The size and digest of a file."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
    return FileDigest(size, digest.hexdigest())
