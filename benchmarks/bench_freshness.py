"""Freshness: how long after an append begins the page can be read with what it says, at 500 single appends a second.

The clock of an event starts when its append is due, whether or not the ones before it are done: a store that falls
behind shows it. An event counts as readable when a reader that looks a thousand times a second sees its version, or a
newer one, in the page. The floor has nothing to wait for: it appends one event, folds it and reads the page, bare, one
event after the other; its latency is what the statements take.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import anyio.to_thread
import msgspec

import pagefold
from benchmarks.baseline import Floor
from benchmarks.library_runner import Library
from benchmarks.measurement import FLOOR, LIBRARY, PAGEFOLD, Claim, Line, Spread, percentile
from benchmarks.run_settings import Bench, caught_up, fresh
from benchmarks.throwaway_stores import PostgresStores, Stores
from benchmarks.workload import Workload, admitted, config
from pagefold import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent

RATE = 500
SECONDS = 6.0
LOOK_SECONDS = 0.001
INSERTERS = 8
"""Threads that append for the library, so that one slow commit does not hold up the next."""


class _Page(msgspec.Struct, rename="camel"):
    source_versions: dict[str, int]


class _Due(NamedTuple):
    """An event on its way."""

    at: float
    event: DomainEvent

    @property
    def key(self) -> tuple[str, str]:
        """A page that shows it."""
        return self.event.sku, "web-de" if self.event.channel == "*" else self.event.channel


_decode = msgspec.json.Decoder(_Page).decode


async def line(bench: Bench, stores: Stores) -> Line:
    """Pagefold, the floor and the library in turn; each round gives a p50 and a p99 of each."""
    seconds = 0.2 if bench.quick else SECONDS
    events = int(RATE * seconds)
    found: dict[str, list[list[float]]] = defaultdict(list)
    async with fresh(stores, 2) as (url, floor_url):
        workload, bare, validator = Workload(), Workload(), EventValidator(config(url))
        floor = await stores.floor(floor_url)
        for _ in range(bench.rounds):
            found[PAGEFOLD].append(await _pagefold(url, workload.take(events)))
            rows = admitted(validator, bare.take(events // 10))
            found[FLOOR].append([await _barely(floor, row) for row in rows])
            if isinstance(stores, PostgresStores):
                found[LIBRARY].append(await _library(stores, admitted(validator, Workload().take(events))))
        await floor.close()
    return _line(stores, found)


def _line(stores: Stores, found: dict[str, list[list[float]]]) -> Line:
    sides = {
        f"{side} p{share:.0%}".rstrip("%"): Spread.of([percentile(values, share) for values in rounds])
        for side, rounds in found.items()
        for share in (0.5, 0.99)
    }
    p99 = [percentile(values, 0.99) for values in found[PAGEFOLD]]
    claims = [Claim(f"ms, p99 at {RATE} events/s", Spread.of(p99), at_most=100)]
    return Line("append to readable", stores.name, 0, "ms", sides, claims, "the floor: append, fold and read one event")


async def _pagefold(url: str, events: Sequence[DomainEvent]) -> list[float]:
    """Milliseconds, an event each."""
    async with pagefold.open(config(url)) as shop:
        working = asyncio.create_task(shop.work())
        await caught_up(shop)
        waiting: dict[str, deque[_Due]] = defaultdict(deque)
        watching = asyncio.create_task(_watch(shop, waiting, len(events)))
        appends: list[asyncio.Task[object]] = []
        begin = time.perf_counter()
        for number, event in enumerate(events):
            due = _Due(begin + number / RATE, event)
            await asyncio.sleep(due.at - time.perf_counter())
            waiting[event.type].append(due)
            appends.append(asyncio.create_task(shop.append([event])))
        latencies = await watching
        await asyncio.gather(*appends)
        working.cancel()
        await asyncio.wait([working])
    return latencies


async def _watch(shop: pagefold.Shop, waiting: dict[str, deque[_Due]], events: int) -> list[float]:
    """A domain's events become readable in the order of the log, so it is enough to look for the oldest of each."""
    latencies: list[float] = []
    while len(latencies) < events:
        for queue in list(waiting.values()):
            while queue and await _is_readable(shop, queue[0]):
                latencies.append((time.perf_counter() - queue.popleft().at) * 1000)
        await asyncio.sleep(LOOK_SECONDS)
    return latencies


async def _is_readable(shop: pagefold.Shop, due: _Due) -> bool:
    page = await shop.pages.get_json(*due.key, disabled=True)
    if page is None:
        return False
    event = due.event
    return _decode(page).source_versions.get(f"{event.type}/{event.source}", -1) >= event.source_version


async def _barely(floor: Floor, row: EncodedEvent) -> float:
    sku, channel, _, _ = row.originator_id.split("/")
    begin = time.perf_counter()
    await floor.append([row])
    await floor.apply()
    await floor.read([(sku, "web-de" if channel == "*" else channel)])
    return (time.perf_counter() - begin) * 1000


async def _library(stores: PostgresStores, rows: Sequence[EncodedEvent]) -> list[float]:
    url = stores.server.create_database()
    library = Library(url)
    try:
        return await anyio.to_thread.run_sync(_time_library, library, rows)
    finally:
        await anyio.to_thread.run_sync(library.close)
        await stores.drop(url)


def _time_library(library: Library, rows: Sequence[EncodedEvent]) -> list[float]:
    """As for Pagefold, but that the position of the view tells what can be read: it moves with the sections."""
    latencies: list[float] = []
    queue: deque[tuple[float, Future[int]]] = deque()
    with library.running() as runner, ThreadPoolExecutor(INSERTERS) as inserters:
        begin = time.perf_counter()
        stored = deque(library.stored(rows))
        while stored or queue:
            while stored and time.perf_counter() >= (at := begin + (len(rows) - len(stored)) / RATE):
                queue.append((at, inserters.submit(library.append, [stored.popleft()])))
            position = library.position(runner)
            while queue and queue[0][1].done() and queue[0][1].result() <= position:
                latencies.append((time.perf_counter() - queue.popleft()[0]) * 1000)
            time.sleep(LOOK_SECONDS)
    return latencies
