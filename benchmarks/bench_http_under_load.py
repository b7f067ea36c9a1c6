"""Latency of page reads over HTTP while events are posted and folded, against the same server when it is idle.

`pagefold serve --work` does everything on one core: it serves pages, accepts events and folds them. `wrk` requests
pages at a steady rate, well below capacity, so that latency is measured. In `changing`, some hundred events per second
are posted, one per request. In `overloaded`, many connections send large requests as fast as they are answered: some
are refused with 429, and reads should not suffer.
"""

import asyncio
import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pagefold
from benchmarks.event_poster import TAKEN, TOO_MUCH, posting, request_of
from benchmarks.measurement import Claim, Line, Spread
from benchmarks.run_settings import Bench, wait_until_folded
from benchmarks.server_processes import run_pagefold
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload, config
from benchmarks.wrk_client import Load, ReadLatencies, is_wrk_missing, load_of, pages_of, run_wrk

PAGES = 4_000
SECONDS = 5
PAUSE = 20
"""Milliseconds between requests: 32 connections then send some 1,500 requests per second."""

RATE, PACED = 500, 10
"""Events per second while pages change, and the connections that post them."""

OVERLOAD_CONNECTIONS, OVERLOAD_EVENTS, QUICK_OVERLOAD_EVENTS = 128, 1_000, 100
"""Connections of an overload, and events per request; fewer with `--quick`."""

SECONDS_TO_BEGIN = 60
"""How long to wait until the first request is refused."""

PREPARED_REQUESTS = 2 * OVERLOAD_CONNECTIONS
"""Requests that are prepared before the clock starts; more are made while it runs."""


class Turn(NamedTuple):
    """The reads of one turn, and the responses to the requests posted meanwhile, by status."""

    latencies: ReadLatencies
    results: Counter[int]


class Server(NamedTuple):
    """A server, its store, the load of reads, the changes still to be posted, and the events per overload request."""

    address: str
    url: str
    load: Load
    changes: Workload
    large: int

    async def quiet(self) -> Turn:
        """Nothing is posted."""
        return Turn(await run_wrk(self.address, self.load), Counter())

    async def changing(self) -> Turn:
        """Changes are posted, one per request."""
        prepared = self._requests(1, RATE * self.load.seconds)
        return await self._beside(prepared, PACED, PACED / RATE, TAKEN)

    async def overloaded(self) -> Turn:
        """More is posted than can be taken."""
        return await self._beside(self._requests(self.large, PREPARED_REQUESTS), OVERLOAD_CONNECTIONS, 0, TOO_MUCH)

    async def _beside(self, requests: Iterator[bytes], connections: int, seconds: float, first: int) -> Turn:
        """Posts requests, and reads pages once a response has the status `first`."""
        async with posting(self.address, requests, connections, seconds) as results:
            async with asyncio.timeout(SECONDS_TO_BEGIN):
                while not results[first]:  # noqa: ASYNC110  # the counter cannot be awaited
                    await asyncio.sleep(0.01)
            before = results.copy()
            latencies = await run_wrk(self.address, self.load)
            found = Turn(latencies, results - before)
        async with pagefold.open(config(self.url)) as shop:
            await wait_until_folded(shop)
        return found

    def _requests(self, size: int, prepared: int) -> Iterator[bytes]:
        """Endless requests, the first `prepared` of them made at once."""
        endless = (request_of(self.changes.take(size)) for _ in itertools.count())
        return itertools.chain(list(itertools.islice(endless, prepared)), endless)


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log that starts with the smallest size and grows."""
    if is_wrk_missing():
        return []
    events = min(bench.sizes)
    turns: dict[str, list[Turn]] = defaultdict(list)
    async with _serving(bench, stores, events) as server:
        for _ in range(bench.rounds):
            turns["quiet"].append(await server.quiet())
            turns["changing"].append(await server.changing())
            turns["overloaded"].append(await server.overloaded())
    seconds = server.load.seconds
    changed = Spread.of([turn.results[TAKEN] / seconds for turn in turns["changing"]])
    taken = Spread.of([server.large * turn.results[TAKEN] / seconds for turn in turns["overloaded"]])
    refused = Spread.of([turn.results[TOO_MUCH] / seconds for turn in turns["overloaded"]])
    notes = {
        "changing": f"{changed.median:,.0f} events/s, one per request",
        "overloaded": f"{taken.median:,.0f} events/s accepted, {refused.median:.1f} requests/s refused",
    }
    names = {"changing": "while pages change", "overloaded": "while overloaded"}
    return [
        Line(
            f"read a page over HTTP, {names[busy]}",
            stores.name,
            events,
            "ms",
            _sides(turns["quiet"], "quiet") | _sides(turns[busy], busy),
            _claims(turns["quiet"], turns[busy]),
            notes[busy],
        )
        for busy in names
    ]


@asynccontextmanager
async def _serving(bench: Bench, stores: Stores, events: int) -> AsyncIterator[Server]:
    """A server on a copy of the log, with everything folded."""
    url = await stores.copy(await stores.log(events))
    changes = Workload()
    for _ in changes.batches(events):
        pass  # the log has these changes already
    pages = await pages_of(url, PAGES)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        load = load_of(Path(folder), pages, 1 if bench.quick else SECONDS, PAUSE)
        async with run_pagefold(url, Path(folder), "--work") as address:
            yield Server(address, url, load, changes, QUICK_OVERLOAD_EVENTS if bench.quick else OVERLOAD_EVENTS)
    await stores.drop(url)


def _sides(turns: Sequence[Turn], name: str) -> dict[str, Spread]:
    return {
        f"{name} p50": Spread.of([turn.latencies.p50 for turn in turns]),
        f"{name} p99": Spread.of([turn.latencies.p99 for turn in turns]),
    }


def _claims(quiet: Sequence[Turn], busy: Sequence[Turn]) -> list[Claim]:
    pairs = [(one.latencies, two.latencies) for one, two in zip(busy, quiet, strict=True)]
    return [
        Claim("× the quiet p50", Spread.of([one.p50 / two.p50 for one, two in pairs])),
        Claim("× the quiet p99", Spread.of([one.p99 / two.p99 for one, two in pairs])),
    ]
