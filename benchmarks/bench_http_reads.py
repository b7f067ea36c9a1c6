"""Page reads over HTTP: `pagefold serve` beside bare servers that answer with the same bytes.

`wrk` asks, over some connections that are kept, for pages at random. Each server is a process of its own on one core,
and `wrk` has another; a round gives each server one turn. `baseline_read_server` tells what the bare servers do.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final
from urllib.request import urlopen

from benchmarks.baseline_read_server import Key, finished
from benchmarks.measurement import PAGEFOLD, Claim, Line, Side, Spread, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import run_pagefold, served
from benchmarks.throwaway_stores import Stores
from benchmarks.wrk_client import Load, ask, is_missing, load_of, pages_of, path_of

PAGES = 4_000
SECONDS = 5
ROW, ROWS, MEMORY = "bare, finished row", "bare, rows spliced", "bare, memory"
BARE: Final = {ROW: "page", ROWS: "rows", MEMORY: "memory"}
AT_LEAST: Mapping[str, float] = {"sqlite": 0.85, "postgres": 0.8}
TIMES_THE_P99 = 2


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size."""
    if is_missing():
        return []
    events = min(bench.sizes)
    url = await stores.log(events)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        place = Path(folder)
        pages = await pages_of(url, PAGES)
        await finished(url).keep(pages)
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
            asked = await ask(servers[name], load)
            slowest[name].append(asked.p99)
            return asked.timed

        return Side(name, run)

    rates = await interleave([side(name) for name in servers], bench.rounds)
    ratios = [one / two for one, two in zip(slowest[PAGEFOLD], slowest[ROW], strict=True)]
    claims = [
        ratio(rates, PAGEFOLD, ROW, at_least=AT_LEAST[stores.name]),
        ratio(rates, PAGEFOLD, ROWS),
        ratio(rates, PAGEFOLD, MEMORY),
        Claim(f"× the p99 of {ROW}", Spread.of(ratios), at_most=TIMES_THE_P99),
    ]
    p99s = ", ".join(f"{Spread.of(values).median:.2f} ms {name}" for name, values in slowest.items())
    return Line("read a page over HTTP", stores.name, events, "pages/s", spreads(rates), claims, f"p99: {p99s}")


def _compare(servers: Sequence[str], pages: Mapping[Key, bytes]) -> None:
    """All of them answer with the same bytes."""
    for key in list(pages)[:: PAGES // 10]:
        for server in servers:
            with urlopen(server + path_of(key)) as answer:  # noqa: S310  # it is our own
                assert answer.read() == pages[key]
