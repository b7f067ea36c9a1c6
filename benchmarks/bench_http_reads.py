"""Page reads over HTTP: `pagefold serve` against the servers of `baseline_read_server`, with the same responses.

`wrk` requests random pages over persistent connections. Each server is a process on one core, `wrk` runs on another;
each round measures every server once.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from benchmarks.baseline_read_server import Key, finished_pages
from benchmarks.measurement import PAGEFOLD, Claim, Line, Side, Spread, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import run_pagefold, served
from benchmarks.throwaway_stores import Stores
from benchmarks.wrk_client import Load, is_wrk_missing, load_of, pages_of, path_of, run_wrk

PAGES = 4_000
SECONDS = 5
ROW, ROWS, MEMORY = "bare, finished row", "bare, rows spliced", "bare, memory"
BARE: Final = {ROW: "page", ROWS: "rows", MEMORY: "memory"}
MIN_RATIO: Mapping[str, float] = {"sqlite": 0.85, "postgres": 0.8}
MAX_P99_RATIO = 2


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size."""
    if is_wrk_missing():
        return []
    events = min(bench.sizes)
    url = await stores.log(events)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        place = Path(folder)
        pages = await pages_of(url, PAGES)
        await finished_pages(url).keep(pages)
        load = load_of(place, pages, 1 if bench.quick else SECONDS)
        async with AsyncExitStack() as stack:
            servers = {PAGEFOLD: await stack.enter_async_context(run_pagefold(url, place))}
            for name, kind in BARE.items():
                command = ("-m", "benchmarks.baseline_read_server", url, kind)
                servers[name] = await stack.enter_async_context(served(place / f"{kind}.log", *command))
            await asyncio.to_thread(_compare, list(servers.values()), pages)
            return [await _line(bench, stores, events, servers, load)]


async def _line(bench: Bench, stores: Stores, events: int, servers: Mapping[str, str], load: Load) -> Line:
    slowest: dict[str, list[float]] = {name: [] for name in servers}

    def side(name: str) -> Side:
        async def run() -> Timed:
            latencies = await run_wrk(servers[name], load)
            slowest[name].append(latencies.p99)
            return latencies.timed

        return Side(name, run)

    rates = await interleave([side(name) for name in servers], bench.rounds)
    ratios = [one / two for one, two in zip(slowest[PAGEFOLD], slowest[ROW], strict=True)]
    claims = [
        ratio(rates, PAGEFOLD, ROW, at_least=MIN_RATIO[stores.name]),
        ratio(rates, PAGEFOLD, ROWS),
        ratio(rates, PAGEFOLD, MEMORY),
        Claim(f"× the p99 of {ROW}", Spread.of(ratios), at_most=MAX_P99_RATIO),
    ]
    p99s = ", ".join(f"{Spread.of(values).median:.2f} ms {name}" for name, values in slowest.items())
    return Line("read a page over HTTP", stores.name, events, "pages/s", spreads(rates), claims, f"p99: {p99s}")


def _compare(servers: Sequence[str], pages: Mapping[Key, bytes]) -> None:
    """Checks that all servers return the same bytes."""
    for key in list(pages)[:: PAGES // 10]:
        for server in servers:
            with urlopen(server + path_of(key)) as answer:  # noqa: S310  # a local server
                assert answer.read() == pages[key]
