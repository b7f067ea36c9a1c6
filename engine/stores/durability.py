"""Syncing files to disk, so that they survive a power loss."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns when the file, or the names in the folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
