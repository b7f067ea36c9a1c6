"""Latency of page reads over HTTP while the dashboard is open in five tabs, against the same server without them.

`pagefold serve --workers 2` serves a shop of very many pages: one process reads pages, the other answers the dashboard.
`wrk` requests pages at a steady rate, well below capacity, so that latency is measured. Rounds with and without tabs
take turns: in between the tabs are hidden, and fetch nothing. Each shows the overview, which has the most live parts,
and fetches each at its own interval. The server's processes run on any core, as a shop runs them.
"""

from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.dashboard_tabs import open_tabs
from benchmarks.large_shop import CHANNELS, LargeShop, serving, sku_of
from benchmarks.measurement import Claim, Line, Spread
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from benchmarks.wrk_client import ReadLatencies, is_wrk_missing, load_of, run_wrk
from pagefold.engine.dashboard.addresses import href

TABS = 5
PAGES, SECONDS, ROUNDS = 4_000, 2, 15
PAUSE = 20
"""Milliseconds between requests: 32 connections then send some 1,500 requests per second."""

QUIET, TABBED = "without tabs", f"with {TABS} tabs"
MAX_RATIO = 1.1


async def read_lines(bench: Bench, stores: Stores, shop: LargeShop, folder: Path) -> list[Line]:
    """Reads of a filled shop; without `wrk`, none."""
    return [] if is_wrk_missing() else [await read_line(bench, stores, shop, folder)]


async def read_line(bench: Bench, stores: Stores, shop: LargeShop, folder: Path) -> Line:
    """Reads of a filled shop, with and without tabs in turn."""
    rng, products = Random(5), shop.pages // len(CHANNELS)
    keys = [(rng.choice(CHANNELS), sku_of(rng.randrange(products))) for _ in range(PAGES)]
    load = load_of(folder, keys, 1 if bench.quick else SECONDS, PAUSE)
    quiet: list[ReadLatencies] = []
    tabbed: list[ReadLatencies] = []
    async with serving(shop, folder) as address, open_tabs(address, shop.secret, [href()] * TABS) as tabs:
        await run_wrk(address, load)
        for _ in range(bench.rounds if bench.quick else max(ROUNDS, bench.rounds)):
            for is_hidden, turns in ((True, quiet), (False, tabbed)):
                for tab in tabs:
                    tab.is_hidden = is_hidden
                turns.append(await run_wrk(address, load))
    return Line(
        "read a page over HTTP, with the dashboard in tabs",
        stores.name,
        shop.pages,
        "ms",
        _sides(QUIET, quiet) | _sides(TABBED, tabbed),
        [
            _claim("× the p50 without", [one.p50 / two.p50 for one, two in zip(tabbed, quiet, strict=True)]),
            _claim("× the p99 without", [one.p99 / two.p99 for one, two in zip(tabbed, quiet, strict=True)], MAX_RATIO),
        ],
    )


def _sides(name: str, turns: Sequence[ReadLatencies]) -> dict[str, Spread]:
    return {
        f"{name} p50": Spread.of([each.p50 for each in turns]),
        f"{name} p99": Spread.of([each.p99 for each in turns]),
    }


def _claim(what: str, ratios: Sequence[float], at_most: float | None = None) -> Claim:
    return Claim(what, Spread.of(ratios), at_most=at_most)
