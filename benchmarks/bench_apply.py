"""Applying: folding a whole log from the beginning, and the memory that this takes."""

import pagefold
from benchmarks.measurement import (
    BASELINE,
    LIBRARY,
    PAGEFOLD,
    Claim,
    Line,
    Rates,
    Side,
    Spread,
    Stopwatch,
    Timed,
    interleave,
    ratio,
    spreads,
)
from benchmarks.run_settings import Bench, library_sides, peak
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import config

NOTE = "the whole log, folded from the beginning; each stream is folded to its head at once"


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Folds a log of each size from the beginning, by Pagefold, the baseline and the library.

    All sizes are interleaved in one run, so that the largest can be compared with the smallest.
    """
    rounds = bench.rounds_of(max(bench.sizes))
    async with library_sides(bench, stores, "apply") as library:
        sides = [side for events in bench.sizes for side in await _sides(stores, events)]
        rates = await interleave([*sides, *library], rounds)
    return [*[_line(stores, events, rates) for events in bench.sizes], *_growth(bench, stores, rates)]


async def _sides(stores: Stores, events: int) -> list[Side]:
    url = await stores.log(events)

    async def run_pagefold() -> Timed:
        await stores.reset_pages(url)
        async with pagefold.open(config(url)) as shop:
            watch = Stopwatch()
            with watch:
                await shop.catch_up()
            applied = sum(each.applied + each.stale for each in await shop.store.coordination.checkpoints())
        assert applied == events
        return Timed(watch.seconds, events)

    async def run_baseline() -> Timed:
        await stores.reset_pages(url)
        baseline, watch = await stores.baseline(url), Stopwatch()
        with watch:
            await baseline.apply()
        await baseline.close()
        return Timed(watch.seconds, events)

    return [Side(_name(BASELINE, events), run_baseline), Side(_name(PAGEFOLD, events), run_pagefold)]


def _name(side: str, events: int) -> str:
    return f"{side}, {events:,}"


def _line(stores: Stores, events: int, rates: Rates) -> Line:
    own = {PAGEFOLD: rates[_name(PAGEFOLD, events)], BASELINE: rates[_name(BASELINE, events)]}
    claims = [ratio(own, PAGEFOLD, BASELINE, at_least=0.7)]
    if LIBRARY in rates:
        own[LIBRARY] = rates[LIBRARY]
        claims.append(ratio(own, PAGEFOLD, LIBRARY))
    return Line("apply", stores.name, events, "events/s", spreads(own), claims, NOTE)


def _growth(bench: Bench, stores: Stores, rates: Rates) -> list[Line]:
    smallest, largest = min(bench.sizes), max(bench.sizes)
    if smallest == largest:
        return []
    claim = ratio(
        rates,
        _name(PAGEFOLD, largest),
        _name(PAGEFOLD, smallest),
        at_least=0.8,
        what=f"rate at {largest:,} × rate at {smallest:,}",
    )
    return [Line("apply, more events", stores.name, largest, "events/s", {}, [claim])]


async def memory(bench: Bench, stores: Stores) -> list[Line]:
    """Peak memory of a process that only folds, for the smallest and the largest log."""
    smallest, largest = min(bench.sizes), max(bench.sizes)
    if smallest == largest:
        return []
    small = [await _peak(stores, smallest) for _ in range(2)]
    large = [await _peak(stores, largest) for _ in range(2)]
    growth = [one - other for one, other in zip(large, small, strict=True)]
    claim = Claim(f"MB more at {largest:,} than at {smallest:,}", Spread.of(growth), at_most=50)
    sides = {f"peak at {largest:,}": Spread.of(large), f"peak at {smallest:,}": Spread.of(small)}
    return [
        Line(
            "apply, memory",
            stores.name,
            largest,
            "MB",
            sides,
            [claim],
            "peak resident size of a process that only folds",
        )
    ]


async def _peak(stores: Stores, events: int) -> float:
    url = await stores.log(events)
    await stores.reset_pages(url)
    return await peak(url)
