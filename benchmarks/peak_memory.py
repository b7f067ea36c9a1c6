"""Prints the peak memory, in MB, of a process that folds a whole log or rebuilds a source from its snapshot.

python -m benchmarks.peak_memory URL
python -m benchmarks.peak_memory URL FILE
"""

import asyncio
import resource
import sys
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


def peak_megabytes() -> float:
    """The peak resident memory of this process.

    On Linux, `ru_maxrss` is not used: it includes the parent's memory at the time of the fork.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


if __name__ == "__main__":
    discard_logs()
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rebuild(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else fold(sys.argv[1]))
    print(peak_megabytes())
