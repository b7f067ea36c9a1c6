"""Page reads over HTTP through the cache of nginx, with the configuration of docs/operations.md.

nginx and `pagefold serve` share one core, as on a small machine; `wrk` runs on another. A page is in the cache after
its first read. One nginx asks Pagefold again after the usual 60 seconds, the other each second. CPU is that of nginx,
Pagefold and its database together, without that of `wrk`.
"""

import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from benchmarks.cpu_time import CpuCosts, running_seconds
from benchmarks.measurement import PAGEFOLD, Line, Side, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import pinned, run_pagefold
from benchmarks.throwaway_stores import Stores
from benchmarks.wrk_client import Load, is_wrk_missing, load_of, pages_of, run_wrk
from tests.support.nginx import MISSING_MESSAGE, nginx, nginx_program

PAGES = 4_000
SECONDS = 5
CACHES: Mapping[str, int] = {"nginx, 60 s": 60, "nginx, 1 s": 1}
"""By side, `cache_seconds`."""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of a log of the smallest size. Without `wrk` or nginx, none."""
    if is_wrk_missing() or _is_nginx_missing():
        return []
    events = min(bench.sizes)
    url = await stores.log(events)
    async with AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-")))
        load = load_of(place, await pages_of(url, PAGES), 1 if bench.quick else SECONDS)
        costs = CpuCosts("page")
        sides = [_side(PAGEFOLD, await stack.enter_async_context(run_pagefold(url, place)), load, costs)]
        for name, seconds in CACHES.items():
            address = await stack.enter_async_context(_cached(url, place, seconds))
            sides.append(_side(name, address, load, costs))
            await run_wrk(address, load)  # fills the cache
        rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, name, PAGEFOLD, what=f"{name} × {PAGEFOLD}") for name in CACHES]
    claims += costs.claims()
    return [Line("read a page through nginx's cache", stores.name, events, "pages/s", spreads(rates), claims)]


def _is_nginx_missing() -> bool:
    if nginx_program() is not None:
        return False
    print(f"{MISSING_MESSAGE}, so reads through its cache are skipped", file=sys.stderr)
    return True


@asynccontextmanager
async def _cached(url: str, place: Path, seconds: int) -> AsyncIterator[str]:
    """The address of an nginx with its cache and a Pagefold of its own."""
    folder = place / f"nginx-{seconds}"
    folder.mkdir()
    async with run_pagefold(url, folder, http={"cache_seconds": seconds}) as server:
        with nginx(folder, server, command=pinned(0)) as address:
            yield address


def _side(name: str, server: str, load: Load, costs: CpuCosts) -> Side:
    async def run() -> Timed:
        before = running_seconds()
        timed = (await run_wrk(server, load)).timed
        costs.add(name, running_seconds() - before, timed.events)
        return timed

    return Side(name, run)
