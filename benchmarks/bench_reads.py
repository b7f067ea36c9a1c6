"""Reading single pages, one at a time and concurrently."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeAlias

import pagefold
from benchmarks.baseline_postgres import PostgresBaseline
from benchmarks.measurement import BASELINE, PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config

READERS = 64
PIECES = 10
KEYS = 1_000
"""Pages per piece of a round; sides alternate between pieces."""

Keys: TypeAlias = Sequence[tuple[str, str]]


async def lines(bench: Bench, stores: Stores, events: int) -> list[Line]:
    """`get_json`, one page at a time, against a bare fetch of the same rows. Hot pages are read more often."""
    url = await stores.log(events)
    async with pagefold.open(config(url)) as shop:
        await shop.catch_up()
        keys = await _existing(shop, events, 50 if bench.quick else KEYS)
        baseline = await stores.baseline(url)
        sides = [
            Side(PAGEFOLD, lambda: _timed(keys, _read(shop, keys))),
            Side(BASELINE, lambda: _timed(keys, baseline.read(keys))),
        ]
        rates = await interleave(sides, bench.rounds, PIECES)
        claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=0.75)]
        found = [Line("read a page", stores.name, events, "pages/s", spreads(rates), claims)]
        if isinstance(baseline, PostgresBaseline):
            found.append(await _merged(bench, shop, baseline, keys, events))
        await baseline.close()
    return found


async def _merged(bench: Bench, shop: pagefold.Shop, baseline: PostgresBaseline, keys: Keys, events: int) -> Line:
    """64 concurrent readers. The baseline fetches 64 pages with one statement, which is the optimum."""
    shares = [keys[number::READERS] for number in range(READERS)]

    async def run_pagefold() -> None:
        await asyncio.gather(*[_read(shop, share) for share in shares])

    sides = [
        Side(PAGEFOLD, lambda: _timed(keys, run_pagefold())),
        Side(BASELINE, lambda: _timed(keys, baseline.read_together(keys, READERS))),
        Side("one after the other", lambda: _timed(keys, _read(shop, keys))),
    ]
    rates = await interleave(sides, bench.rounds, PIECES)
    claims = [ratio(rates, PAGEFOLD, BASELINE), ratio(rates, PAGEFOLD, "one after the other")]
    return Line(f"read pages, {READERS} at a time", "postgres", events, "pages/s", spreads(rates), claims)


async def _read(shop: pagefold.Shop, keys: Keys) -> None:
    get_json = shop.pages.get_json
    for sku, channel in keys:
        await get_json(sku, channel)


async def _timed(keys: Keys, work: Awaitable[None]) -> Timed:
    watch = Stopwatch()
    with watch:
        await work
    return Timed(watch.seconds, len(keys))


async def _existing(shop: pagefold.Shop, events: int, number: int) -> Keys:
    """Live pages, with the popularity of the workload."""
    wanted = Workload().keys(4 * number)
    found = [key for key in wanted if await shop.pages.get_json(*key) is not None]
    assert found, f"no pages from {events} events"
    return (found * number)[:number]
