"""Freshness: the time from an append until the page shows the event, at 500 single appends per second.

An event's clock starts when its append is due, even if earlier ones are not done: a store that falls behind shows it.
An event is readable when a reader, which polls a thousand times a second, sees its version or a newer one in the page.
The baseline appends, folds and reads one event at a time; its latency is the duration of the statements.
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
from benchmarks.baseline import Baseline
from benchmarks.library_runner import Library
from benchmarks.measurement import BASELINE, LIBRARY, PAGEFOLD, Claim, Line, Spread, percentile
from benchmarks.run_settings import Bench, new_stores, wait_until_folded
from benchmarks.throwaway_stores import PostgresStores, Stores
from benchmarks.workload import Workload, config, encode_events
from pagefold import DomainEvent
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.event_state import EncodedEvent

RATE = 500
SECONDS = 6.0
POLL_SECONDS = 0.001
INSERTERS = 8
"""Threads that append for the library, so that a slow commit does not delay the next."""


class _Page(msgspec.Struct, rename="camel"):
    source_versions: dict[str, int]


class _Due(NamedTuple):
    """An event, and the time when its append is due."""

    at: float
    event: DomainEvent

    @property
    def key(self) -> tuple[str, str]:
        """The key of a page that shows the event."""
        return self.event.sku, "web-de" if self.event.channel == "*" else self.event.channel


_decode = msgspec.json.Decoder(_Page).decode


async def line(bench: Bench, stores: Stores) -> Line:
    """Measures Pagefold, the baseline and the library in turn; each round has a p50 and a p99 of each."""
    seconds = 0.2 if bench.quick else SECONDS
    events = int(RATE * seconds)
    found: dict[str, list[list[float]]] = defaultdict(list)
    async with new_stores(stores, 2) as (url, baseline_url):
        workload, bare, validator = Workload(), Workload(), EventValidator(config(url))
        baseline = await stores.baseline(baseline_url)
        for _ in range(bench.rounds):
            found[PAGEFOLD].append(await _pagefold(url, workload.take(events)))
            rows = encode_events(validator, bare.take(events // 10))
            found[BASELINE].append([await _run_baseline(baseline, row) for row in rows])
            if isinstance(stores, PostgresStores):
                found[LIBRARY].append(await _library(stores, encode_events(validator, Workload().take(events))))
        await baseline.close()
    return _line(stores, found)


def _line(stores: Stores, found: dict[str, list[list[float]]]) -> Line:
    sides = {
        f"{side} p{share:.0%}".rstrip("%"): Spread.of([percentile(values, share) for values in rounds])
        for side, rounds in found.items()
        for share in (0.5, 0.99)
    }
    p99 = [percentile(values, 0.99) for values in found[PAGEFOLD]]
    claims = [Claim(f"ms, p99 at {RATE} events/s", Spread.of(p99), at_most=100)]
    return Line(
        "append to readable", stores.name, 0, "ms", sides, claims, "the baseline: append, fold and read one event"
    )


async def _pagefold(url: str, events: Sequence[DomainEvent]) -> list[float]:
    """Returns the latency of each event in milliseconds."""
    async with pagefold.open(config(url)) as shop:
        work_task = asyncio.create_task(shop.work())
        await wait_until_folded(shop)
        waiting: dict[str, deque[_Due]] = defaultdict(deque)
        watch_task = asyncio.create_task(_watch(shop, waiting, len(events)))
        appends: list[asyncio.Task[object]] = []
        begin = time.perf_counter()
        for number, event in enumerate(events):
            due = _Due(begin + number / RATE, event)
            await asyncio.sleep(due.at - time.perf_counter())
            waiting[event.type].append(due)
            appends.append(asyncio.create_task(shop.append([event])))
        latencies = await watch_task
        await asyncio.gather(*appends)
        work_task.cancel()
        await asyncio.wait([work_task])
    return latencies


async def _watch(shop: pagefold.Shop, waiting: dict[str, deque[_Due]], events: int) -> list[float]:
    """Polls the oldest event of each domain: a domain's events become readable in the order of the log."""
    latencies: list[float] = []
    while len(latencies) < events:
        for queue in list(waiting.values()):
            while queue and await _is_readable(shop, queue[0]):
                latencies.append((time.perf_counter() - queue.popleft().at) * 1000)
        await asyncio.sleep(POLL_SECONDS)
    return latencies


async def _is_readable(shop: pagefold.Shop, due: _Due) -> bool:
    page = await shop.pages.get_json(*due.key, disabled=True)
    if page is None:
        return False
    event = due.event
    return _decode(page).source_versions.get(f"{event.type}/{event.source}", -1) >= event.source_version


async def _run_baseline(baseline: Baseline, row: EncodedEvent) -> float:
    sku, channel, _, _ = row.originator_id.split("/")
    begin = time.perf_counter()
    await baseline.append([row])
    await baseline.apply()
    await baseline.read([(sku, "web-de" if channel == "*" else channel)])
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
    """As for Pagefold, except that the view's position shows what is readable: it is saved with the sections."""
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
            time.sleep(POLL_SECONDS)
    return latencies
