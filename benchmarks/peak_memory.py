"""How much memory a process takes at its peak, in MB, that folds a whole log or rebuilds a source from its snapshot.

python -m benchmarks.peak_memory URL
python -m benchmarks.peak_memory URL FILE
"""

import asyncio
import resource
import sys
from pathlib import Path

import uvloop

import pagefold
from benchmarks.null_logging import be_quiet
from benchmarks.workload import config
from pagefold.engine.runtime.event_loop import tune_gc

STATUS = Path("/proc/self/status")


async def fold(url: str) -> None:
    """Everything that is in the log."""
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()


async def rebuild(url: str, snapshot: Path) -> None:
    """One run, which finds nothing."""
    from benchmarks.price_workload import SOURCE, WHOLE, Bystander  # noqa: PLC0415  # who folds has no use for what this brings

    async with pagefold.open(config(url, snapshot)) as shop, shop.rebuilds() as office:
        report = await office.rebuild(SOURCE, WHOLE, Bystander())
    assert report.complete
    assert report.counts.equal == report.counts.rows > 0


def peak_megabytes() -> float:
    """The most memory that was resident since this program began.

    On Linux `ru_maxrss` would not do: it remembers what the parent had when it forked.
    """
    if STATUS.exists():
        line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024


if __name__ == "__main__":
    be_quiet()
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(rebuild(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else fold(sys.argv[1]))
    print(peak_megabytes())
