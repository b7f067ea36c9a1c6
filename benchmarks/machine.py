"""Describes the machine of a run: absolute numbers mean nothing without it."""

import os
import platform
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

import apsw
import psycopg

SYNCS = 100
PAGE = b"\0" * 8192
PACKAGES = ("apsw", "asyncpg", "eventsourcing", "msgspec", "orjson", "psycopg", "uvloop")


def describe(postgres: str | None) -> dict[str, str]:
    """Everything that the numbers depend on. `postgres` is the URL of the server, if one is measured."""
    found = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": apsw.sqlite_lib_version(),
        "fsync": f"{_fsync_milliseconds():.2f} ms (median of {SYNCS} writes of 8 KB)",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()) + " when the run ended",
        "packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    }
    if postgres is not None:
        found["postgresql"] = _postgres(postgres)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _fsync_milliseconds() -> float:
    """The minimum cost of a durable commit, in the folder of the stores."""
    costs: list[float] = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(SYNCS):
            file.write(PAGE)
            file.flush()
            started = time.perf_counter()
            os.fdatasync(file.fileno())
            costs.append((time.perf_counter() - started) * 1000)
    return median(costs)


def _postgres(url: str) -> str:
    settings = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size")
    with psycopg.connect(url) as connection:
        values = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in settings]
    return ", ".join(f"{name} {value[0]}" for name, value in zip(settings, values, strict=True) if value)
