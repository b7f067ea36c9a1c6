"""Pages as they were, over HTTP, against reads of pages as they are, from the same server.

`wrk` requests random pages over persistent connections, in turns: as they are, and each with `?at=` and a random
position of the second half of the log. Nothing is requested often enough to be worth keeping.
"""

import random
import tempfile
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pagefold
from benchmarks.baseline_read_server import Key
from benchmarks.cpu_time import CpuCosts, cpu_seconds
from benchmarks.measurement import PAGEFOLD, Line, Side, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench
from benchmarks.server_processes import run_pagefold
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import config
from benchmarks.wrk_client import Load, is_wrk_missing, load_of, pages_of, path_of, run_wrk

PAGES = 4_000
SECONDS = 5
NOW = "as it is"
MIN_RATIO = 0.3


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Reads of the past of a log of the smallest size."""
    if is_wrk_missing():
        return []
    events = min(bench.sizes)
    url = await stores.log(events)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        place = Path(folder)
        pages = await pages_of(url, PAGES)
        load = load_of(place, pages, 1 if bench.quick else SECONDS)
        past = load._replace(paths=place / "past")
        past.paths.write_text(
            "".join([f"{path}\n" async for path in _past_paths(url, pages, events)]), encoding="ascii"
        )
        async with run_pagefold(url, place) as server:
            costs = CpuCosts("page")
            sides = [
                Side(PAGEFOLD, lambda: _read(server, past, PAGEFOLD, costs)),
                Side(NOW, lambda: _read(server, load, NOW, costs)),
            ]
            rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, PAGEFOLD, NOW), costs.ratio(PAGEFOLD, NOW, at_least=MIN_RATIO)]
    return [Line("read a page as it was, over HTTP", stores.name, events, "pages/s", spreads(rates), claims)]


async def _past_paths(url: str, pages: Iterable[Key], events: int) -> AsyncIterator[str]:
    """The paths of pages at a random position of the second half of the log, of those that were there."""
    luck = random.Random(events)  # the same in every run
    async with pagefold.open(config(url)) as shop:
        for channel, sku in pages:
            position = luck.randrange(events // 2, events) + 1
            if await shop.past.get_json(sku, channel, position) is not None:
                yield f"{path_of((channel, sku))}?at={position}"


async def _read(server: str, load: Load, side: str, costs: CpuCosts) -> Timed:
    """Reads, and counts the CPU of the server, of its database and of the client."""
    before = cpu_seconds()
    timed = (await run_wrk(server, load)).timed
    costs.add(side, cpu_seconds() - before, timed.events)
    return timed
