"""What a store takes to mark, claim and settle deliveries: of a target with few pages, and of one with a million.

Each round marks the next pages with another version, claims them, and settles them as delivered. The three are timed on
their own. The pages of a round are from all over the table, the worst case for caches.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, closing
from itertools import count

import apsw
import psycopg

import pagefold
from benchmarks.measurement import Line, Side, Stopwatch, Timed, interleave, ratio, spreads
from benchmarks.run_settings import Bench, new_stores
from benchmarks.throwaway_stores import Stores
from benchmarks.workload import config
from pagefold.engine.stores.delivery_records import Claim, ClaimedDelivery, Deliveries, Settlement, Wanted
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import DELIVERIES

PAGES = (10_000, 1_000_000)
ROWS = 5_000
"""Pages that change in a round."""

BATCH = 500
"""Rows that are claimed and settled together."""

LEASE_SECONDS = 600.0
MIN_RATIO = 0.05
"""A hundred times as many pages may fill no cache any more, but nothing may read all of them: that would be 0.01."""

TARGET = "search"
CHANNEL = "web"

_FILL_POSTGRES = """
INSERT INTO deliveries (target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch)
SELECT 'search', 'S' || lpad(i::text, 8, '0'), 'web', 'current', 'v0', 1, 'v0', 1 FROM generate_series(0, %s - 1) AS i
"""
_FILL_SQLITE = """
WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < ? - 1)
INSERT INTO deliveries (target, sku, channel, state, wanted_tag, wanted_position, acked_tag, epoch)
SELECT 'search', printf('S%08d', i), 'web', 'current', 'v0', 1, 'v0', 1 FROM numbers
"""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """One line for marks, one for claims, one for settlements: rows a second, by the pages of the target."""
    sizes = (500, 1_000) if bench.quick else PAGES
    found: dict[str, list[Side]] = {}
    async with AsyncExitStack() as stack:
        urls = await stack.enter_async_context(new_stores(stores, len(sizes)))
        for pages, url in zip(sizes, urls, strict=True):
            shop = await stack.enter_async_context(pagefold.open(config(url)))
            await shop.store.deliveries.mark(TARGET, "", "0", [])
            _fill(url, pages)
            rounds = _Rounds(shop.store.deliveries, pages, min(ROWS, pages))
            for name, run in rounds.steps.items():
                found.setdefault(name, []).append(Side(f"{pages:,} pages", run))
        rates: dict[str, Mapping[str, list[float]]] = {name: {} for name in found}
        for _ in range(min(bench.rounds, 3)):
            for name, sides in found.items():  # a page is marked, then claimed, then settled
                for side, values in (await interleave(sides, 1)).items():
                    rates[name] = {**rates[name], side: [*rates[name].get(side, []), *values]}
    small, large = (f"{pages:,} pages" for pages in sizes)
    return [
        Line(
            f"deliveries, {name}",
            stores.name,
            sizes[-1],
            "rows/s",
            spreads(each),
            [ratio(each, large, small, at_least=MIN_RATIO)],
        )
        for name, each in rates.items()
    ]


def _fill(url: str, pages: int) -> None:
    """Has a target hold these pages."""
    if url.startswith("sqlite:"):
        with closing(apsw.Connection(str(folder_of(url) / DELIVERIES))) as connection, connection:
            connection.execute(_FILL_SQLITE, (pages,))
        return
    with psycopg.connect(url, options="-c search_path=pagefold", autocommit=True) as session:
        session.execute(_FILL_POSTGRES.encode(), (pages,))
        session.execute("VACUUM ANALYZE deliveries")
        session.execute("CHECKPOINT")


class _Rounds:
    """The three steps of a round. Each leaves what the next one needs."""

    def __init__(self, deliveries: Deliveries, pages: int, rows: int) -> None:
        self._deliveries = deliveries
        self._pages = pages
        self._rows = rows
        self._versions = count(1)
        self._cursor = 0
        self._claimed: list[tuple[Claim, list[ClaimedDelivery]]] = []
        self.steps: Mapping[str, Callable[[], Awaitable[Timed]]] = {
            "mark": self._mark,
            "claim": self._claim,
            "settle": self._settle,
        }

    async def _mark(self) -> Timed:
        """Marks pages from all over the table."""
        version, step = f"v{next(self._versions)}", self._pages // self._rows
        wanted = [Wanted(f"S{number:08}", CHANNEL, version, 1) for number in range(0, self._rows * step, step)]
        watch = Stopwatch()
        with watch:
            marked = await self._deliveries.mark(TARGET, str(self._cursor), str(self._cursor + 1), wanted)
        self._cursor += 1
        assert marked == self._rows
        return Timed(watch.seconds, self._rows)

    async def _claim(self) -> Timed:
        watch = Stopwatch()
        with watch:
            while claimed := await self._batch():
                self._claimed.append(claimed)
        assert sum(len(rows) for _, rows in self._claimed) == self._rows
        return Timed(watch.seconds, self._rows)

    async def _batch(self) -> tuple[Claim, list[ClaimedDelivery]] | None:
        claim, rows = await self._deliveries.claim(TARGET, "benchmark", BATCH, LEASE_SECONDS)
        return (claim, list(rows)) if rows else None

    async def _settle(self) -> Timed:
        watch = Stopwatch()
        with watch:
            for claim, rows in self._claimed:
                settlements = [
                    Settlement(row.sku, row.channel, "delivered", row.wanted_tag, answer="200") for row in rows
                ]
                assert not await self._deliveries.settle(claim, settlements)
        self._claimed.clear()
        return Timed(watch.seconds, self._rows)
