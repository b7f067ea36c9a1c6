"""The settings of a run: stores, numbers of events and rounds; and what several benchmarks share."""

import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import NamedTuple

import anyio.to_thread

import pagefold
from benchmarks.cpu_time import CpuCosts
from benchmarks.library_runner import Library
from benchmarks.measurement import LIBRARY, Side, Timed
from benchmarks.throwaway_stores import PostgresStores, Stores
from benchmarks.workload import Workload, config, encode_events
from pagefold.engine.intake.event_validator import EventValidator

POLL_SECONDS = 0.01

LIBRARY_EVENTS = 2_000
"""Maximum events per round of the library, whose rate does not depend on their number."""


class Bench(NamedTuple):
    """One run. `sizes` are numbers of events in the log; a `quick` run only shows that everything works."""

    sizes: Sequence[int]
    rounds: int
    quick: bool
    stores: Sequence[Stores]

    @property
    def library_events(self) -> int:
        """Events per round of the library."""
        return min(LIBRARY_EVENTS, max(1, self.sizes[0] // (10 if self.quick else 1)))

    def rounds_of(self, events: int) -> int:
        """The rounds for a log of this size: at most three of large ones, which take a minute each."""
        return self.rounds if events <= 100_000 else min(self.rounds, 3)


@asynccontextmanager
async def library_sides(
    bench: Bench, stores: Stores, work: str, costs: CpuCosts | None = None
) -> AsyncIterator[list[Side]]:
    """The library's side, on PostgreSQL only. `work`: append, apply or together. Its CPU time is added to `costs`."""
    if not isinstance(stores, PostgresStores):
        yield []
        return
    url = stores.server.create_database()
    library, workload, validator = Library(url), Workload(), EventValidator(config(url))
    timed = {"append": library.time_append, "apply": library.time_apply, "together": library.time_together}[work]

    async def run() -> Timed:
        events = library.stored(encode_events(validator, workload.take(bench.library_events)))
        with costs.measuring(LIBRARY, len(events)) if costs else nullcontext():
            return await anyio.to_thread.run_sync(partial(timed, events))

    try:
        yield [Side(LIBRARY, run)]
    finally:
        await anyio.to_thread.run_sync(library.close)
        await stores.drop(url)


@asynccontextmanager
async def new_stores(stores: Stores, number: int) -> AsyncIterator[list[str]]:
    """This many new stores, removed afterwards."""
    async with AsyncExitStack() as stack:
        urls = [await stores.new() for _ in range(number)]
        for url in urls:
            stack.push_async_callback(stores.drop, url)
        yield urls


async def peak(*arguments: str) -> float:
    """Runs `benchmarks.peak_memory` with these arguments. Returns its peak memory in MB."""
    process = await create_subprocess_exec(sys.executable, "-m", "benchmarks.peak_memory", *arguments, stdout=PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return float(output)


async def wait_until_folded(shop: pagefold.Shop) -> None:
    """Waits until the running consumers have folded everything that is in the log now."""
    end = await shop.store.log.end()
    while True:
        checkpoints = await shop.store.coordination.checkpoints()
        if len(checkpoints) == len(shop.config.sources) - 1 and all(each.position >= end for each in checkpoints):
            return
        await anyio.sleep(POLL_SECONDS)
