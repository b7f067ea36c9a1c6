"""The workload in Pagefold, from the same file: it is appended in batches while consumers fold it.

python -m benchmarks.peer_pagefold FILE URL
"""

import asyncio
import sys
from itertools import islice
from pathlib import Path

import uvloop

import pagefold
from benchmarks.null_logging import discard_logs
from benchmarks.peer_clock import printed_cost
from benchmarks.run_settings import wait_until_folded
from benchmarks.workload import BATCH, config
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.runtime.event_loop import tune_gc


async def run(file: Path, url: str) -> None:
    """Appends every line, and waits until everything is folded."""
    async with pagefold.open(config(url), work=True) as shop:
        with printed_cost(), file.open("rb") as lines:
            while batch := [parse_event(line) for line in islice(lines, BATCH)]:
                await shop.append(batch)
            await wait_until_folded(shop)


if __name__ == "__main__":
    discard_logs()
    tune_gc()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(Path(sys.argv[1]), sys.argv[2]))
