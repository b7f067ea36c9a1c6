"""What every line of the table needs: which stores, how many events, how many rounds."""

import sys
from asyncio.subprocess import PIPE, create_subprocess_exec
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import anyio.to_thread

import pagefold
from benchmarks.library_runner import Library
from benchmarks.measurement import LIBRARY, Side, Timed
from benchmarks.throwaway_stores import PostgresStores, Stores
from benchmarks.workload import Workload, admitted, config
from pagefold.engine.intake.event_validator import EventValidator

POLL_SECONDS = 0.01

LIBRARY_EVENTS = 2_000
"""The library's rate does not depend on how many events there are: some thousands a round are enough to know it."""


class Bench(NamedTuple):
    """One run. `sizes` are numbers of events in the log; `quick` is for looking whether everything works."""

    sizes: Sequence[int]
    rounds: int
    quick: bool
    stores: Sequence[Stores]

    @property
    def library_events(self) -> int:
        """How many events the library does in a round."""
        return min(LIBRARY_EVENTS, max(1, self.sizes[0] // (10 if self.quick else 1)))

    def rounds_of(self, events: int) -> int:
        """Each round of a million events takes a minute: three of them are what there is time for."""
        return self.rounds if events <= 100_000 else min(self.rounds, 3)


@asynccontextmanager
async def library_sides(bench: Bench, stores: Stores, work: str) -> AsyncIterator[list[Side]]:
    """The library's side of a line, on PostgreSQL; elsewhere it has none. `work`: append, apply or together."""
    if not isinstance(stores, PostgresStores):
        yield []
        return
    url = stores.server.create_database()
    library, workload, validator = Library(url), Workload(), EventValidator(config(url))
    timed = {"append": library.time_append, "apply": library.time_apply, "together": library.time_together}[work]

    async def run() -> Timed:
        events = library.stored(admitted(validator, workload.take(bench.library_events)))
        return await anyio.to_thread.run_sync(partial(timed, events))

    try:
        yield [Side(LIBRARY, run)]
    finally:
        await anyio.to_thread.run_sync(library.close)
        await stores.drop(url)


@asynccontextmanager
async def fresh(stores: Stores, number: int) -> AsyncIterator[list[str]]:
    """So many new stores, removed afterwards."""
    async with AsyncExitStack() as stack:
        urls = [await stores.new() for _ in range(number)]
        for url in urls:
            stack.push_async_callback(stores.drop, url)
        yield urls


async def peak(*arguments: str) -> float:
    """How many megabytes a process took that did what `benchmarks.peak_memory` does with these arguments."""
    process = await create_subprocess_exec(sys.executable, "-m", "benchmarks.peak_memory", *arguments, stdout=PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0
    return float(output)


async def caught_up(shop: pagefold.Shop) -> None:
    """Returns when everything that is in the log now has been folded by whoever works."""
    end = await shop.store.log.end()
    while True:
        checkpoints = await shop.store.coordination.checkpoints()
        if len(checkpoints) == len(shop.config.sources) - 1 and all(each.position >= end for each in checkpoints):
            return
        await anyio.sleep(POLL_SECONDS)
