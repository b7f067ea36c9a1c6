"""Replay: every page of an up-to-date store is compared with the log.

The baseline only reads the same heads and sections. The consumers are measured as well, folding the same log from the
beginning.
"""

import pagefold
from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import CHANNELS, config

CONSUMERS = "consumers"

NOTE = "nothing drifted; the consumers fold the same log from the beginning"


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Replays a log of each size. A page counts once, whatever domains it has."""
    return [await _line(bench, stores, events) for events in bench.sizes]


async def _line(bench: Bench, stores: Stores, events: int) -> Line:
    url = await stores.log(events)
    copied = await stores.copy(url)
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()
        pages = 0
        async for _ in shop.store.pages.keys():
            pages += 1
        baseline = await stores.baseline(url)

        async def run_pagefold() -> Timed:
            watch = Stopwatch()
            with watch:
                found = await shop.replay(processes=None)
            assert found.sections >= pages
            assert found.changed == found.behind == 0
            return Timed(watch.seconds, pages)

        async def run_baseline() -> Timed:
            watch = Stopwatch()
            with watch:
                rows = await baseline.reread()
            assert rows * len(CHANNELS) >= pages
            return Timed(watch.seconds, pages)

        sides = [
            Side(PAGEFOLD, run_pagefold),
            Side(BASELINE, run_baseline),
            Side(CONSUMERS, lambda: _consume(stores, copied, pages)),
        ]
        rates = await interleave(sides, bench.rounds_of(events))
        await baseline.close()
    await stores.drop(copied)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=0.6), ratio(rates, PAGEFOLD, CONSUMERS)]
    return Line("replay from the log", stores.name, events, "pages/s", spreads(rates), claims, NOTE)


async def _consume(stores: Stores, url: str, pages: int) -> Timed:
    await stores.reset_pages(url)
    async with pagefold.open(config(url)) as shop:
        watch = Stopwatch()
        with watch:
            await shop.catch_up()
    return Timed(watch.seconds, pages)
