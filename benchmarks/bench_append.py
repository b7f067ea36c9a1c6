"""Appending: in batches, one event at a time and 64 at a time, and while everything is folded beside it."""

import asyncio
from collections.abc import Sequence

import pagefold
from benchmarks.baseline import Floor
from benchmarks.measurement import FLOOR, LIBRARY, PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench, caught_up, fresh, library_sides
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import BATCH, Workload, admitted, config
from pagefold import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator

CALLERS = 64
CALLS = 20
"""How many single appends each of the concurrent callers makes in a round."""

ALONE, TOGETHER = "one at a time", f"{CALLERS} at a time"


async def _append(shop: pagefold.Shop, events: Sequence[DomainEvent]) -> None:
    results = await shop.append(events)
    assert all(result.outcome == "appended" for result in results)


async def batches(bench: Bench, stores: Stores, events: int) -> Line:
    """Batches of 5,000 into two growing logs, a batch for Pagefold, the same for the floor, and so on.

    Pagefold gets the events as a caller has them and checks every rule of the door; the floor gets rows that were made
    beforehand.
    """
    rounds = bench.rounds_of(events)
    batch = min(BATCH, events // rounds)
    workload, bare = Workload(), Workload()
    async with fresh(stores, 2) as (url, floor_url), library_sides(bench, stores, "append") as library:
        floor, validator = await stores.floor(floor_url), EventValidator(config(url))
        async with pagefold.open(config(url)) as shop:

            async def run_pagefold() -> Timed:
                given, watch = workload.take(batch), Stopwatch()
                with watch:
                    await _append(shop, given)
                return Timed(watch.seconds, batch)

            async def barely() -> Timed:
                rows, watch = admitted(validator, bare.take(batch)), Stopwatch()
                with watch:
                    await floor.append(rows)
                return Timed(watch.seconds, batch)

            sides = [Side(PAGEFOLD, run_pagefold), Side(FLOOR, barely), *library]
            rates = await interleave(sides, rounds, events // rounds // batch)
        await floor.close()
    claims = [ratio(rates, PAGEFOLD, side.name) for side in sides[1:]]
    note = f"{events:,} events into each log, in batches of {batch:,}"
    return Line("append, in batches", stores.name, events, "events/s", spreads(rates), claims, note)


async def singles(bench: Bench, stores: Stores) -> Line:
    """64 callers that append one event each, again and again, against one such caller; every answer is durable.

    The floor of the first is a bare transaction of 64 rows, that of the second one of a single row.
    """
    calls = 2 if bench.quick else CALLS
    workload = Workload()
    async with fresh(stores, 2) as (url, floor_url), pagefold.open(config(url)) as shop:
        floor, validator = await stores.floor(floor_url), EventValidator(config(url))

        async def timed(callers: int, calls: int) -> Timed:
            given, watch = [workload.take(calls) for _ in range(callers)], Stopwatch()
            with watch:
                await asyncio.gather(*[_one_by_one(shop, events) for events in given])
            return Timed(watch.seconds, callers * calls)

        async def barely(size: int, transactions: int) -> Timed:
            rows, watch = [admitted(validator, workload.take(size)) for _ in range(transactions)], Stopwatch()
            with watch:
                for each in rows:
                    await floor.append(each)
            return Timed(watch.seconds, size * transactions)

        sides = [
            Side(TOGETHER, lambda: timed(CALLERS, calls)),
            Side(ALONE, lambda: timed(1, 5 * calls)),
            Side(f"floor, {CALLERS} rows", lambda: barely(CALLERS, calls)),
            Side("floor, 1 row", lambda: barely(1, 5 * calls)),
        ]
        rates = await interleave(sides, bench.rounds)
        await floor.close()
    claims = [
        ratio(rates, TOGETHER, ALONE, at_least=15),
        ratio(rates, TOGETHER, f"floor, {CALLERS} rows", what=f"{TOGETHER} × its floor"),
        ratio(rates, ALONE, "floor, 1 row", what=f"{ALONE} × its floor"),
    ]
    return Line("append, single events", stores.name, 0, "events/s", spreads(rates), claims, "each answer is durable")


async def _one_by_one(shop: pagefold.Shop, events: Sequence[DomainEvent]) -> None:
    for event in events:
        await _append(shop, [event])


async def together(bench: Bench, stores: Stores, events: int) -> Line:
    """Appending and folding at the same time, until everything is folded; the log grows from round to round.

    Pagefold: `work` runs while one caller appends. The floor does the same without a check: two connections or more,
    one that appends, the others that fold.
    """
    rounds = bench.rounds_of(events)
    size = events // rounds
    workload, bare = Workload(), Workload()
    async with fresh(stores, 2) as (url, floor_url), library_sides(bench, stores, "together") as library:
        floor, validator = await stores.floor(floor_url), EventValidator(config(url))
        async with pagefold.open(config(url)) as shop:
            sides = [
                Side(PAGEFOLD, lambda: _work(shop, list(workload.batches(size)))),
                Side(FLOOR, lambda: _bare_work(floor, validator, list(bare.batches(size)))),
                *library,
            ]
            rates = await interleave(sides, rounds)
        await floor.close()
    claims = [ratio(rates, PAGEFOLD, FLOOR)]
    if library:
        claims.insert(0, ratio(rates, PAGEFOLD, LIBRARY, at_least=40))
    note = f"from the first append until all is folded, {size:,} events a round"
    return Line("append and apply together", stores.name, events, "events/s", spreads(rates), claims, note)


async def _work(shop: pagefold.Shop, batches: Sequence[Sequence[DomainEvent]]) -> Timed:
    watch = Stopwatch()
    working = asyncio.create_task(shop.work())
    with watch:
        for batch in batches:
            await _append(shop, batch)
        await caught_up(shop)
    working.cancel()
    await asyncio.wait([working])
    return Timed(watch.seconds, sum(map(len, batches)))


async def _bare_work(floor: Floor, validator: EventValidator, batches: Sequence[Sequence[DomainEvent]]) -> Timed:
    rows, watch = [admitted(validator, batch) for batch in batches], Stopwatch()
    with watch:
        await floor.append_and_apply(rows)
    return Timed(watch.seconds, sum(map(len, rows)))
