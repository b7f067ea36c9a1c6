"""Deliveries to a web service: pages a second beside bare requests with the same bytes, and what they cost the folding.

The service is another process, which takes everything and answers at once. Rows that are to be delivered are marked
before the clock starts; what is measured is claims, reads, documents, requests and receipts.
"""

import asyncio
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import httpx2
import msgspec

import pagefold
from benchmarks.delivery_sink import Received, Sink
from benchmarks.measurement import Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import served
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import CHANNELS, config
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig

DELIVERED, BARE = "delivered", "bare requests"
ALONE, DELIVERING = "without a target", "with a target"
TARGET = "sink"
BATCH, CONCURRENCY = 100, 4
MIN_DELIVERED, MIN_FOLDED = 0.7, 0.95
LOOK_SECONDS, MAX_SECONDS = 0.02, 600.0
RESET_ROWS = 5_000


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Deliveries in batches, and folding beside them."""
    few, many = min(bench.sizes), max(bench.sizes)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-"))
        command = ("-m", "benchmarks.delivery_sink")
        address = await stack.enter_async_context(served(Path(folder) / "sink.log", *command))
        return [
            await _delivered(bench, stores, few, address, batches=True),
            await _delivered(bench, stores, few, address, batches=False),
            await _folded(bench, stores, many, address),
        ]


def _with_target(url: str, address: str, *, batches: bool = True) -> Config:
    """The workload's shop, whose pages are delivered to an address; those of one channel, if each has its request."""
    http = HttpTargetConfig(url=address, networks=["127.0.0.0/8"], batches=batches)
    channels = [] if batches else [next(iter(CHANNELS))]
    target = TargetConfig(http=http, batch=BATCH, concurrency=CONCURRENCY, channels=channels)
    return msgspec.structs.replace(config(url), targets={TARGET: target})


async def _delivered(bench: Bench, stores: Stores, events: int, address: str, *, batches: bool) -> Line:
    url = await stores.copy(await stores.log(events))
    try:
        async with pagefold.open(config(url)) as shop:
            await shop.catch_up()
        sink = Sink(keep=True)
        async with sink.listening() as own, pagefold.open(_with_target(url, own, batches=batches)) as shop:
            await _deliver(shop)
        pages = sum([each.body.count(b'"sku":') for each in sink.received])
        async with pagefold.open(_with_target(url, address, batches=batches)) as shop, httpx2.AsyncClient() as client:
            held = sum([each.pages for each in await shop.store.deliveries.counts()])
            assert held <= pages
            await _deliver(shop)  # what is read at the start only
            sides = [
                Side(BARE, lambda: _send(client, address, sink.received, held)),
                Side(DELIVERED, lambda: _again(shop, held)),
            ]
            rates = await interleave(sides, bench.rounds)
    finally:
        await stores.drop(url)
    claims = [ratio(rates, DELIVERED, BARE, at_least=MIN_DELIVERED)]
    name = "deliveries in batches" if batches else "deliveries page by page"
    note = f"{BATCH if batches else 1} pages a request, {CONCURRENCY} requests at a time, with a receipt for each page"
    return Line(name, stores.name, events, "pages/s", spreads(rates), claims, note)


async def _again(shop: Shop, pages: int) -> Timed:
    """Delivers every page again."""
    deliveries = shop.store.deliveries
    await deliveries.reset(TARGET)
    while await deliveries.reset_step(TARGET, RESET_ROWS):
        pass
    return Timed(await _deliver(shop), pages)


async def _deliver(shop: Shop) -> float:
    """Works until the target holds every page; the seconds that it took."""
    begun = time.perf_counter()
    async with shop.working():
        await _until(partial(_holds_everything, shop))
        return time.perf_counter() - begun


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Looks until it holds."""
    for _ in range(int(MAX_SECONDS / LOOK_SECONDS)):
        if await holds():
            return
        await asyncio.sleep(LOOK_SECONDS)
    raise TimeoutError


async def _holds_everything(shop: Shop) -> bool:
    counts = await shop.store.deliveries.counts()
    return bool(counts) and all(each.state == "current" for each in counts)


async def _send(client: httpx2.AsyncClient, address: str, requests: list[Received], pages: int) -> Timed:
    """Sends the same requests, so many at a time."""
    left = deque(requests)

    async def sender() -> None:
        while left:
            request = left.popleft()
            (await client.post(address, content=request.body, headers=request.headers)).raise_for_status()

    watch = Stopwatch()
    with watch:
        await asyncio.gather(*[sender() for _ in range(CONCURRENCY)])
    return Timed(watch.seconds, pages)


async def _folded(bench: Bench, stores: Stores, events: int, address: str) -> Line:
    log = await stores.log(events)

    async def run(*, delivering: bool) -> Timed:
        url = await stores.copy(log)
        try:
            async with pagefold.open(_with_target(url, address) if delivering else config(url)) as shop:
                begun = time.perf_counter()
                async with shop.working():
                    await _until(partial(_is_folded, shop, events))
                    seconds = time.perf_counter() - begun
        finally:
            await stores.drop(url)
        return Timed(seconds, events)

    sides = [Side(ALONE, lambda: run(delivering=False)), Side(DELIVERING, lambda: run(delivering=True))]
    rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, DELIVERING, ALONE, at_least=MIN_FOLDED)]
    note = "the whole log, folded from the beginning by a worker, which delivers its pages"
    return Line("apply with a target", stores.name, events, "events/s", spreads(rates), claims, note)


async def _is_folded(shop: Shop, events: int) -> bool:
    """Whether every domain has folded the log to its end."""
    checkpoints = await shop.store.coordination.checkpoints()
    return sum([each.applied + each.stale for each in checkpoints]) >= events
