"""Small disks for tests: separate file systems that can be filled, and mounted read-only."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

BLOCK = 4_096


class Disk:
    """A file system in memory, mounted at `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Writes until nothing more can be written."""
        with (self.folder / "filler").open("ab", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(BLOCK))

    def free(self) -> None:
        """Frees the space again."""
        (self.folder / "filler").unlink()

    def make_read_only(self) -> None:
        """No process can write any more."""
        run_program("mount", "-o", "remount,ro", str(self.folder))

    def make_writable(self) -> None:
        """Makes it writable again."""
        run_program("mount", "-o", "remount,rw", str(self.folder))


@contextmanager
def disk(folder: Path, mebibytes: int) -> Iterator[Disk]:
    """A disk of that size, for the length of the block. Skips the test if this user may not mount one."""
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    try:
        run_program("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=1777", "tmpfs", str(folder))
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    try:
        yield Disk(folder)
    finally:
        run_program("umount", "--lazy", str(folder))


def run_program(*command: str) -> None:
    """Runs a program that must succeed."""
    subprocess.run(command, check=True, capture_output=True, timeout=30)
