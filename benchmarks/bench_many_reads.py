"""Reading many pages at once: `get_many_json` beside the MGET of a Redis server that has the finished pages.

Pagefold is read twice: while nothing changes, so that it returns pages that it has read before; and after a change,
which makes it read all of them again. Redis knows of no change: whoever uses it must write each page there, and is
read what was written last.
"""

import tempfile
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pagefold
from benchmarks.measurement import PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.redis_server import is_redis_missing, redis
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config

if TYPE_CHECKING:
    from redis.asyncio import Redis

PAGES = 64
"""Pages per read, as on a page of a category."""

READS = 20
PIECES = 10
REDIS, CHANGED = "Redis MGET", "pagefold, after a change"


class Request(NamedTuple):
    """The pages of one read."""

    skus: list[str]
    channel: str

    @property
    def keys(self) -> list[str]:
        """Their keys in Redis."""
        return [f"{self.channel}/{sku}" for sku in self.skus]


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size. Without Redis, there is nothing to compare with."""
    events = min(bench.sizes)
    if is_redis_missing():
        return []
    url = await stores.copy(await stores.log(events))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(stores.drop, url)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-"))
        client = await stack.enter_async_context(redis(Path(folder)))
        shop = await stack.enter_async_context(pagefold.open(config(url)))
        await shop.catch_up()
        requests = await _requests(shop, 2 if bench.quick else READS)
        await _keep(shop, client, requests)
        changes = Workload()
        deque(changes.batches(events), maxlen=0)  # they are in the log
        sides = _sides(shop, client, requests, changes)
        rates = await interleave(sides, bench.rounds, PIECES)
    claims = [ratio(rates, PAGEFOLD, REDIS), ratio(rates, CHANGED, REDIS, what=f"after a change × {REDIS}")]
    return [Line(f"read {PAGES} pages at once", stores.name, events, "pages/s", spreads(rates), claims)]


async def _requests(shop: pagefold.Shop, number: int) -> list[Request]:
    """Reads of live pages, each in one of them, the most popular first."""
    by_channel: defaultdict[str, list[str]] = defaultdict(list)
    for sku, channel in dict.fromkeys(Workload().keys(20 * PAGES * number)):
        if await shop.pages.get_json(sku, channel) is not None:
            by_channel[channel].append(sku)
    found = [
        Request(skus[start : start + PAGES], channel)
        for channel, skus in by_channel.items()
        for start in range(0, len(skus), PAGES)
    ]
    return sorted(found, key=lambda request: -len(request.skus))[:number]


async def _keep(shop: pagefold.Shop, client: "Redis", requests: Sequence[Request]) -> None:
    """Writes the pages to Redis, and checks that both return the same."""
    for request in requests:
        pages = await shop.pages.get_many_json(request.skus, request.channel)
        await client.mset(dict(zip(request.keys, [pages[sku] for sku in request.skus], strict=True)))
        assert await client.mget(request.keys) == list(pages.values())


def _sides(shop: pagefold.Shop, client: "Redis", requests: Sequence[Request], changes: Workload) -> list[Side]:

    async def read() -> Timed:
        read_many, watch = shop.pages.get_many_json, Stopwatch()
        with watch:
            for skus, channel in requests:
                await read_many(skus, channel)
        return _timed(watch, requests)

    async def read_again() -> Timed:
        await read()
        return await read()

    async def read_changed() -> Timed:
        [result] = await shop.append(changes.take(1))
        assert result.outcome == "appended"
        await shop.catch_up()
        return await read()

    async def read_redis() -> Timed:
        keys, watch = [request.keys for request in requests], Stopwatch()
        with watch:
            for each in keys:
                await client.mget(each)
        return _timed(watch, requests)

    runs: dict[str, Callable[[], Awaitable[Timed]]]
    runs = {PAGEFOLD: read_again, REDIS: read_redis, CHANGED: read_changed}
    return [Side(name, run) for name, run in runs.items()]


def _timed(watch: Stopwatch, requests: Sequence[Request]) -> Timed:
    return Timed(watch.seconds, sum(len(request.skus) for request in requests))
