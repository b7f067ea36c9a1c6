"""Folding again from the log: every page of a store that is caught up, compared with what the log says.

The floor reads the same heads and the same sections, and does nothing with them. Beside it, what the consumers take to
fold the same log from nothing.
"""

import pagefold
from benchmarks.measurement import FLOOR, PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import config

CONSUMERS = "consumers"

NOTE = "nothing has drifted; the consumers fold the same log from an empty checkpoint"


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Every page of a log of each size. A page is one SKU on one channel, of whatever domains."""
    return [await _line(bench, stores, events) for events in bench.sizes]


async def _line(bench: Bench, stores: Stores, events: int) -> Line:
    url = await stores.log(events)
    copied = await stores.copy(url)
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()
        pages = 0
        async for _ in shop.store.pages.keys():
            pages += 1
        floor = await stores.floor(url)

        async def run_pagefold() -> Timed:
            watch = Stopwatch()
            with watch:
                found = await shop.replay(processes=None)
            assert found.sections >= pages
            assert found.changed == found.behind == 0
            return Timed(watch.seconds, pages)

        async def barely() -> Timed:
            watch = Stopwatch()
            with watch:
                sections = await floor.reread()
            assert sections >= pages
            return Timed(watch.seconds, pages)

        sides = [
            Side(PAGEFOLD, run_pagefold),
            Side(FLOOR, barely),
            Side(CONSUMERS, lambda: _consume(stores, copied, pages)),
        ]
        rates = await interleave(sides, bench.rounds_of(events))
        await floor.close()
    await stores.drop(copied)
    claims = [ratio(rates, PAGEFOLD, FLOOR, at_least=0.6), ratio(rates, PAGEFOLD, CONSUMERS)]
    return Line("fold again from the log", stores.name, events, "pages/s", spreads(rates), claims, NOTE)


async def _consume(stores: Stores, url: str, pages: int) -> Timed:
    await stores.forget_pages(url)
    async with pagefold.open(config(url)) as shop:
        watch = Stopwatch()
        with watch:
            await shop.catch_up()
    return Timed(watch.seconds, pages)
