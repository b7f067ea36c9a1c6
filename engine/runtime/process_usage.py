"""What this process uses: CPU time, memory, files."""

import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

_STARTED_AT = time.time()


class ProcessUsage(msgspec.Struct, frozen=True):
    """CPU seconds since the start, bytes in memory, open files and sockets; 0 where the system does not say.

    `started_at` is in seconds since the epoch.
    """

    cpu_seconds: float
    resident_bytes: int
    open_files: int
    started_at: float


def process_usage() -> ProcessUsage:
    """What this process uses now."""
    resident = files = 0
    with suppress(OSError, ValueError):  # only Linux has these
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        resident = pages * os.sysconf("SC_PAGE_SIZE")
        files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # no paths are made of it
    return ProcessUsage(time.process_time(), resident, files, _STARTED_AT)
