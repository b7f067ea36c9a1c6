"""What is written to a disk, and is still there when the power was lost."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Returns when the disk has the file, or the names in the folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
