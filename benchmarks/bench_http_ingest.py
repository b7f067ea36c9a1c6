"""Ingest over HTTP: `pagefold serve` against the servers of `baseline_ingest_server`, with the same requests.

Concurrent connections post requests of 1, 100 and 1,000 events, each event once; a request is answered after its
commit. Each server is a process on one core. Nothing is folded: other benchmarks measure that.
"""

import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from benchmarks.event_poster import post, request_of
from benchmarks.measurement import PAGEFOLD, Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench, new_stores
from benchmarks.server_processes import run_pagefold, served
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import Workload

CONNECTIONS = 16
EVENTS: Mapping[int, int] = {1: 8_000, 100: 40_000, 1_000: 80_000}
"""Events per round, by events per request."""

APPENDED, PARSED = "bare, appended", "bare, parsed alone"
BARE: Final = {APPENDED: "append", PARSED: "parse"}
NO_LIMIT: Mapping[str, float] = {"lag_seconds": 86_400.0}
"""Without this, ingest is refused after a minute, because folding is behind."""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """One line for each size of requests."""
    async with new_stores(stores, 2) as (url, bare_url), AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-")))
        servers = {PAGEFOLD: await stack.enter_async_context(run_pagefold(url, place, http=NO_LIMIT))}
        for name, kind in BARE.items():
            command = ("-m", "benchmarks.baseline_ingest_server", bare_url, kind)
            servers[name] = await stack.enter_async_context(served(place / f"{kind}.log", *command))
        workloads = {name: Workload() for name in servers}
        return [await _line(bench, stores, servers, workloads, size) for size in EVENTS]


async def _line(
    bench: Bench, stores: Stores, servers: Mapping[str, str], workloads: Mapping[str, Workload], size: int
) -> Line:
    events = max(size, min(EVENTS[size], *bench.sizes))

    def side(name: str) -> Side:
        async def run() -> Timed:
            requests = [request_of(batch) for batch in workloads[name].batches(events, size)]
            watch = Stopwatch()
            with watch:
                await post(servers[name], requests, CONNECTIONS)
            return Timed(watch.seconds, events)

        return Side(name, run)

    rates = await interleave([side(name) for name in servers], bench.rounds)
    claims = [ratio(rates, PAGEFOLD, name) for name in BARE]
    note = f"{events:,} events per round, over {CONNECTIONS} connections; answered after the commit"
    return Line(f"ingest over HTTP, {size:,} per request", stores.name, 0, "events/s", spreads(rates), claims, note)
