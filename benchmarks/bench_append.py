"""Appending: in batches, as single events by one and by 64 callers, and while consumers fold."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from zlib import crc32

import pagefold
from benchmarks.cpu_time import CpuCosts
from benchmarks.measurement import (
    BASELINE,
    LIBRARY,
    PAGEFOLD,
    Claim,
    Line,
    Side,
    Spread,
    Stopwatch,
    Timed,
    interleave,
    ratio,
    spreads,
)
from benchmarks.naive_loop import Document, NaiveLoop, versions_in
from benchmarks.run_settings import Bench, library_sides, new_stores, wait_until_folded
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import BATCH, Workload, config, encode_events
from pagefold import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator

ONE_AT_A_TIME = 4_000
"""Events per round."""

CALLERS = 64
CALLS = 20
"""Single appends per caller and round."""

ONE_CALLER, MANY_CALLERS = "one caller", f"{CALLERS} callers"
FEW_CALLERS = 16
NAIVE = "naive loop"
PAGEFOLD_FEW, NAIVE_FEW = f"{PAGEFOLD}, {FEW_CALLERS} callers", f"{NAIVE}, {FEW_CALLERS} callers"
BASELINE_ONE, BASELINE_MANY = "baseline, 1 row", f"baseline, {CALLERS} rows"


async def _append(shop: pagefold.Shop, events: Sequence[DomainEvent]) -> None:
    results = await shop.append(events)
    assert all(result.outcome == "appended" for result in results)


async def batches(bench: Bench, stores: Stores, events: int) -> Line:
    """Appends batches of 5,000 to two growing logs, alternating between Pagefold and the baseline.

    Pagefold validates and encodes the events; the baseline gets rows that were encoded beforehand.
    """
    rounds = bench.rounds_of(events)
    batch = min(BATCH, events // rounds)
    workload, bare = Workload(), Workload()
    async with new_stores(stores, 2) as (url, baseline_url), library_sides(bench, stores, "append") as library:
        baseline, validator = await stores.baseline(baseline_url), EventValidator(config(url))
        async with pagefold.open(config(url)) as shop:

            async def run_pagefold() -> Timed:
                given, watch = workload.take(batch), Stopwatch()
                with watch:
                    await _append(shop, given)
                return Timed(watch.seconds, batch)

            async def run_baseline() -> Timed:
                rows, watch = encode_events(validator, bare.take(batch)), Stopwatch()
                with watch:
                    await baseline.append(rows)
                return Timed(watch.seconds, batch)

            sides = [Side(PAGEFOLD, run_pagefold), Side(BASELINE, run_baseline), *library]
            rates = await interleave(sides, rounds, events // rounds // batch)
        await baseline.close()
    claims = [ratio(rates, PAGEFOLD, side.name) for side in sides[1:]]
    note = f"{events:,} events into each log, in batches of {batch:,}"
    return Line("append, in batches", stores.name, events, "events/s", spreads(rates), claims, note)


async def singles(bench: Bench, stores: Stores) -> Line:
    """64 callers that append single events, against one such caller; every append is durable.

    Their baselines are bare transactions of 64 rows and of one row.
    """
    calls = 2 if bench.quick else CALLS
    workload = Workload()
    async with new_stores(stores, 2) as (url, baseline_url), pagefold.open(config(url)) as shop:
        baseline, validator = await stores.baseline(baseline_url), EventValidator(config(url))

        async def timed(callers: int, calls: int) -> Timed:
            given, watch = [workload.take(calls) for _ in range(callers)], Stopwatch()
            with watch:
                await asyncio.gather(*[_one_by_one(shop, events) for events in given])
            return Timed(watch.seconds, callers * calls)

        async def run_baseline(size: int, transactions: int) -> Timed:
            rows, watch = [encode_events(validator, workload.take(size)) for _ in range(transactions)], Stopwatch()
            with watch:
                for each in rows:
                    await baseline.append(each)
            return Timed(watch.seconds, size * transactions)

        sides = [
            Side(MANY_CALLERS, lambda: timed(CALLERS, calls)),
            Side(ONE_CALLER, lambda: timed(1, 5 * calls)),
            Side(BASELINE_MANY, lambda: run_baseline(CALLERS, calls)),
            Side(BASELINE_ONE, lambda: run_baseline(1, 5 * calls)),
        ]
        rates = await interleave(sides, bench.rounds)
        await baseline.close()
    claims = [
        ratio(rates, MANY_CALLERS, ONE_CALLER, at_least=15),
        ratio(rates, MANY_CALLERS, BASELINE_MANY, what=f"{MANY_CALLERS} × its baseline"),
        ratio(rates, ONE_CALLER, BASELINE_ONE, what=f"{ONE_CALLER} × its baseline"),
    ]
    return Line("append, single events", stores.name, 0, "events/s", spreads(rates), claims, "each append is durable")


async def _one_by_one(shop: pagefold.Shop, events: Sequence[DomainEvent]) -> None:
    for event in events:
        await _append(shop, [event])


async def one_at_a_time(bench: Bench, stores: Stores) -> Line:
    """Single appends while consumers fold, against the naive loop; until everything is folded.

    By one caller, and by several, each with the events of its own SKUs. Both sides get the same events, and their
    documents must agree.
    """
    size = 64 if bench.quick else ONE_AT_A_TIME
    cpu: list[float] = []
    async with new_stores(stores, 2) as (url, naive_url), pagefold.open(config(url)) as shop:
        loops = [await stores.naive_loop(naive_url) for _ in range(FEW_CALLERS)]

        def pagefold_side(name: str, callers: int) -> Side:
            async def run() -> Timed:
                before = time.process_time()
                timed = await _fold_beside(shop, _by_sku(workload.take(size), callers))
                cpu.append((time.process_time() - before) * 1_000 / size)
                return timed

            return Side(name, run)

        def naive_side(name: str, callers: int) -> Side:
            async def run() -> Timed:
                given, watch = _by_sku(same.take(size), callers), Stopwatch()
                with watch:
                    await asyncio.gather(*map(_put, loops, given))
                return Timed(watch.seconds, size)

            return Side(name, run)

        workload, same = Workload(), Workload()
        sides = [
            pagefold_side(PAGEFOLD, 1),
            naive_side(NAIVE, 1),
            pagefold_side(PAGEFOLD_FEW, FEW_CALLERS),
            naive_side(NAIVE_FEW, FEW_CALLERS),
        ]
        rates = await interleave(sides, bench.rounds)
        await _compare(shop, await loops[0].documents())
        for loop in loops:
            await loop.close()
    claims = [
        ratio(rates, PAGEFOLD, NAIVE),
        ratio(rates, PAGEFOLD_FEW, NAIVE_FEW, at_least=1.5),
        Claim("ms of CPU an event", Spread.of(cpu), at_most=1.2),
    ]
    note = f"{size:,} events a round, from the first append until all are folded"
    return Line("append and apply, one event at a time", stores.name, 0, "events/s", spreads(rates), claims, note)


def _by_sku(events: Sequence[DomainEvent], callers: int) -> list[list[DomainEvent]]:
    """The events of each caller, in order: all those of a SKU have one caller."""
    given: list[list[DomainEvent]] = [[] for _ in range(callers)]
    for event in events:
        given[crc32(event.sku.encode()) % callers].append(event)
    return given


async def _put(loop: NaiveLoop, events: Sequence[DomainEvent]) -> None:
    for event in events:
        await loop.put(event)


async def _fold_beside(shop: pagefold.Shop, given: Sequence[Sequence[DomainEvent]]) -> Timed:
    """Appends what each caller has, while consumers that were up to date before fold it."""
    watch = Stopwatch()
    work_task = asyncio.create_task(shop.work())
    await wait_until_folded(shop)
    with watch:
        await asyncio.gather(*[_one_by_one(shop, events) for events in given])
        await wait_until_folded(shop)
    work_task.cancel()
    await asyncio.wait([work_task])
    return Timed(watch.seconds, sum(map(len, given)))


async def _compare(shop: pagefold.Shop, documents: Mapping[str, Document]) -> None:
    """Every page shows the versions that the naive loop has."""
    compared = 0
    for sku, document in documents.items():
        for channel in shop.config.channels:
            page = await shop.pages.get(sku, channel, disabled=True)
            if page is not None:
                versions = versions_in(document, channel)
                assert page.source_versions.items() <= versions.items(), (sku, channel)
                compared += 1
    assert compared >= len(documents)


async def together(bench: Bench, stores: Stores, events: int) -> Line:
    """Appends and folds concurrently, until everything is folded; the log grows from round to round.

    Pagefold runs `work` while one caller appends. The baseline does the same without checks: one connection appends,
    one or more others fold. CPU is that of this process and of the database server, which serves one side at a time.
    """
    rounds = bench.rounds_of(events)
    size = events // rounds
    workload, bare, costs = Workload(), Workload(), CpuCosts()
    async with new_stores(stores, 2) as (url, baseline_url), library_sides(bench, stores, "together", costs) as library:
        baseline, validator = await stores.baseline(baseline_url), EventValidator(config(url))
        async with pagefold.open(config(url)) as shop:

            async def run_pagefold() -> Timed:
                given = list(workload.batches(size))
                with costs.measuring(PAGEFOLD, size):
                    return await _work(shop, given)

            async def run_baseline() -> Timed:
                rows, watch = [encode_events(validator, batch) for batch in bare.batches(size)], Stopwatch()
                with costs.measuring(BASELINE, size), watch:
                    await baseline.append_and_apply(rows)
                return Timed(watch.seconds, size)

            rates = await interleave([Side(PAGEFOLD, run_pagefold), Side(BASELINE, run_baseline), *library], rounds)
        await baseline.close()
    claims = [ratio(rates, PAGEFOLD, BASELINE), *costs.claims()]
    if library:
        claims.insert(0, ratio(rates, PAGEFOLD, LIBRARY, at_least=35))
    note = f"from the first append until all is folded, {size:,} events a round"
    return Line("append and apply together", stores.name, events, "events/s", spreads(rates), claims, note)


async def _work(shop: pagefold.Shop, batches: Sequence[Sequence[DomainEvent]]) -> Timed:
    watch = Stopwatch()
    work_task = asyncio.create_task(shop.work())
    with watch:
        for batch in batches:
            await _append(shop, batch)
        await wait_until_folded(shop)
    work_task.cancel()
    await asyncio.wait([work_task])
    return Timed(watch.seconds, sum(map(len, batches)))
