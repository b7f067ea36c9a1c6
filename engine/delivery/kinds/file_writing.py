"""Files that appear complete: written under a hidden name, synced, compressed and renamed."""

import os
import sys
from io import FileIO
from pathlib import Path
from types import ModuleType

READ_BYTES = 1024 * 1024


def opened(place: Path) -> FileIO:
    """A file to read and write, without a buffer; it is made if it is missing."""
    return FileIO(os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+")


def whole_lines(file: FileIO, start: int) -> tuple[int, int]:
    """The number of complete lines from a place on, and where they end."""
    file.seek(start)
    lines, end, at = 0, start, start
    while piece := file.read(READ_BYTES):
        if (last := piece.rfind(b"\n")) >= 0:
            lines += piece.count(b"\n")
            end = at + last + 1
        at += len(piece)
    return lines, end


def finish(part: Path, place: Path, *, compressed: bool) -> Path:
    """Gives a file its place, and returns it. A crash leaves it as it was, or for `compress`."""
    if compressed:
        hidden = place.with_name(f".{place.name}")
        part.rename(hidden)
        return compress(hidden)
    part.rename(place)
    sync_folder(place.parent)
    return place


def compress(hidden: Path) -> Path:
    """Compresses a complete file with a hidden name, which is deleted then, and returns the new one."""
    place = hidden.with_name(f"{hidden.name[1:]}.zst")
    if not place.exists():
        unfinished = hidden.with_name(f"{hidden.name}.zst.tmp")
        with hidden.open("rb") as file, zstd_module().open(unfinished, "wb") as packed:
            while piece := file.read(READ_BYTES):
                packed.write(piece)
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        unfinished.rename(place)
        sync_folder(place.parent)
    hidden.unlink()
    return place


def zstd_module() -> ModuleType:
    """The module that compresses: of the standard library, where it has it. Raises `ModuleNotFoundError`."""
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415  # few files are compressed
    else:
        from backports import zstd  # noqa: PLC0415  # likewise
    return zstd


def sync_folder(folder: Path) -> None:
    """The names in a folder are on the disk."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
