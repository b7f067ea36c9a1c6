"""The apply loop: a whole log that nobody has folded yet, and what it takes of memory."""

import pagefold
from benchmarks.measurement import (
    FLOOR,
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

NOTE = "the whole log folded from nothing; a stream that changes again later in it is folded to its newest at once"


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """A log of each size, folded from nothing by Pagefold and by the floor, in turn, and by the library.

    All sizes take part in one interleaved run, so that the largest can be compared with the smallest as well.
    """
    rounds = bench.rounds_of(max(bench.sizes))
    async with library_sides(bench, stores, "apply") as library:
        sides = [side for events in bench.sizes for side in await _sides(stores, events)]
        rates = await interleave([*sides, *library], rounds)
    return [*[_line(stores, events, rates) for events in bench.sizes], *_growth(bench, stores, rates)]


async def _sides(stores: Stores, events: int) -> list[Side]:
    url = await stores.log(events)

    async def run_pagefold() -> Timed:
        await stores.forget_pages(url)
        async with pagefold.open(config(url)) as shop:
            watch = Stopwatch()
            with watch:
                await shop.catch_up()
            applied = sum(each.applied + each.stale for each in await shop.store.coordination.checkpoints())
        assert applied == events
        return Timed(watch.seconds, events)

    async def barely() -> Timed:
        await stores.forget_pages(url)
        floor, watch = await stores.floor(url), Stopwatch()
        with watch:
            await floor.apply()
        await floor.close()
        return Timed(watch.seconds, events)

    return [Side(_name(FLOOR, events), barely), Side(_name(PAGEFOLD, events), run_pagefold)]


def _name(side: str, events: int) -> str:
    return f"{side}, {events:,}"


def _line(stores: Stores, events: int, rates: Rates) -> Line:
    own = {PAGEFOLD: rates[_name(PAGEFOLD, events)], FLOOR: rates[_name(FLOOR, events)]}
    claims = [ratio(own, PAGEFOLD, FLOOR, at_least=0.7)]
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
    """The peak of a process that folds a whole log and does nothing else, for the smallest and the largest log."""
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
    await stores.forget_pages(url)
    return await peak(url)
