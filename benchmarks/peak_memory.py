"""Prints the peak memory, in MB, of a process that folds a whole log, rebuilds a source from its snapshot, or syncs it.

python -m benchmarks.peak_memory URL
python -m benchmarks.peak_memory URL FILE
python -m benchmarks.peak_memory URL http://127.0.0.1:PORT
"""

import asyncio
import resource
import sys
from collections.abc import Coroutine
from pathlib import Path

import uvloop

import pagefold
from benchmarks.null_logging import discard_logs
from benchmarks.workload import config
from pagefold.engine.runtime.event_loop import tune_gc

STATUS = Path("/proc/self/status")


async def fold(url: str) -> None:
    """Folds the whole log."""
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()


async def rebuild(url: str, snapshot: Path) -> None:
    """Rebuilds from a snapshot that equals the log."""
    from benchmarks.price_workload import REQUEST, SOURCE, RestartCounter  # noqa: PLC0415  # folding must not load it

    async with pagefold.open(config(url, snapshot)) as shop, shop.rebuilds() as service:
        report = await service.rebuild(SOURCE, REQUEST, RestartCounter())
    assert report.complete
    assert report.counts.equal == report.counts.rows > 0


async def sync(url: str, address: str) -> None:
    """Asks a source for all of its records."""
    from benchmarks import bench_sync  # noqa: PLC0415  # likewise

    async with pagefold.open(bench_sync.config(url, address)) as shop:
        assert await bench_sync.by_sync(shop, address)


def peak_megabytes() -> float:
    """The peak resident memory of this process.

    On Linux, `ru_maxrss` is not used: it includes the parent's memory at the time of the fork.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


def _work(url: str, source: str = "") -> Coroutine[None, None, None]:
    if source.startswith("http"):
        return sync(url, source)
    return rebuild(url, Path(source)) if source else fold(url)


if __name__ == "__main__":
    discard_logs()
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_work(*sys.argv[1:]))
    print(peak_megabytes())
