"""`python -m benchmarks.memory URL`: folds a whole log and tells how much memory that took at its peak, in MB."""

import asyncio
import resource
import sys
from pathlib import Path

import uvloop

import engine
from benchmarks.quiet import be_quiet
from benchmarks.workload import config

STATUS = Path("/proc/self/status")


async def fold(url: str) -> None:
    """Everything that is in the log."""
    async with engine.open(config(url)) as shop:
        await shop.catch_up()


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
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fold(sys.argv[1]))
    print(peak_megabytes())
