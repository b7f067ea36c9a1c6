"""A delta sync: 50 mappings a record, beside a bare loop over the same pages that was written by hand.

Both fetch the pages of one server, and append the same events with Pagefold, durably. The loop appends a page at a
time, and does nothing else: no limit of requests, no note of where it is, no counts of fields, no references.
"""

import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import httpx2
import msgspec

import pagefold
from benchmarks.bench_contracts import contract, event_by_hand, records
from benchmarks.measurement import (
    BASELINE,
    PAGEFOLD,
    Claim,
    Line,
    Side,
    Spread,
    Stopwatch,
    Timed,
    interleave,
    ratio,
    spreads,
)
from benchmarks.run_settings import Bench, new_stores, peak
from benchmarks.server_processes import served
from benchmarks.throwaway_stores import Stores
from pagefold import Config, Shop
from pagefold.engine.sync.delta_sync import DeltaSync

RECORDS = 100_000
MIN_RATIO = 0.5
MAX_GROWTH: Mapping[str, float] = {"sqlite": 80, "postgres": 15}
"""MB that ten times as many records may take more. SQLite has a cache of 64 MiB, which these fill."""


def config(store: str, address: str) -> Config:
    """A shop whose source is asked for changes."""
    delta = {
        "url": f"{address}/records?since={{since}}",
        "items": "items",
        "cursor": "next",
        "cursor_parameter": "page",
        "requests_per_second": 1_000.0,
    }
    return Config.parse(
        {
            "store": {"url": store},
            "sources": {"pim": {"domains": ["catalog"], "contract": contract(), "delta": delta}},
            "channels": {"web": {"locale": "de", "currency": "EUR"}},
        }
    )


class Page(msgspec.Struct):
    """What the source answers."""

    items: list[dict[str, str]]
    next: int | None


async def by_sync(shop: Shop, _address: str) -> int:
    """Appends all records by a sync; returns how many were new."""
    return (await DeltaSync(shop).run("pim")).appended


async def by_hand(shop: Shop, address: str) -> int:
    """The same, by a loop."""
    decode = msgspec.json.Decoder(Page).decode
    appended, page = 0, Page([], 0)
    async with httpx2.AsyncClient() as client:
        while page.next is not None:
            answer = await client.get(f"{address}/records?page={page.next}")
            answer.raise_for_status()
            page = decode(answer.content)
            results = await shop.append([event_by_hand(record) for record in page.items])
            appended += len([result for result in results if result.outcome == "appended"])
    return appended


Way: TypeAlias = Callable[[Shop, str], Awaitable[int]]
WAYS: Mapping[str, Way] = {PAGEFOLD: by_sync, BASELINE: by_hand}


@asynccontextmanager
async def _source(number: int) -> AsyncIterator[str]:
    """The address of a source with so many records."""
    with tempfile.TemporaryDirectory() as folder:
        async with served(Path(folder) / "server.log", "-m", "benchmarks.page_server", str(number)) as address:
            yield address


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Records a second, and the peak memory of a process that syncs."""
    number = RECORDS // (50 if bench.quick else 1)
    async with _source(number) as address:
        sides = [Side(name, partial(_timed, stores, address, number, way)) for name, way in WAYS.items()]
        rates = await interleave(sides, bench.rounds)
    claims = [ratio(rates, PAGEFOLD, BASELINE, at_least=MIN_RATIO, what="× a bare loop")]
    line = Line("delta sync", stores.name, number, "records/s", spreads(rates), claims)
    return [line, await _memory(stores, number)]


async def _timed(stores: Stores, address: str, number: int, way: Way) -> Timed:
    async with new_stores(stores, 1) as [url], pagefold.open(config(url, address)) as shop:
        watch = Stopwatch()
        with watch:
            appended = await way(shop, address)
        assert appended == number
        assert {result.outcome for result in await shop.append(list(map(event_by_hand, records(50))))} == {"duplicate"}
    return Timed(watch.seconds, number)


async def _memory(stores: Stores, largest: int) -> Line:
    smallest = largest // 10
    found: dict[int, list[float]] = {}
    for number in (smallest, largest):
        async with _source(number) as address:
            for _ in range(2):
                async with new_stores(stores, 1) as [url]:
                    found.setdefault(number, []).append(await peak(url, address))
    growth = [one - other for one, other in zip(found[largest], found[smallest], strict=True)]
    claim = Claim(f"MB more at {largest:,} than at {smallest:,}", Spread.of(growth), at_most=MAX_GROWTH[stores.name])
    sides = {f"peak at {number:,}": Spread.of(values) for number, values in found.items()}
    return Line(
        "delta sync, memory", stores.name, largest, "MB", sides, [claim], "peak resident size of a process that syncs"
    )
