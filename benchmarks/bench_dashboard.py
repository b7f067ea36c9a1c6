"""Every screen of the dashboard on a shop of very many pages: how long it takes, and how much CPU time.

`pagefold serve` answers a visitor who has signed in. Before each request nothing is asked for until what the dashboard
caches has run out, so that each is the first of its kind; what a screen shows was read by somebody before, as on a
server that has run for a while. CPU time is that of the server's processes and of the database.
"""

import asyncio
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pagefold
from benchmarks.bench_dashboard_tabs import read_lines
from benchmarks.cpu_time import thread_seconds
from benchmarks.dashboard_tabs import Visitor
from benchmarks.large_shop import TARGET, LargeShop, fill, serving, sku_of
from benchmarks.measurement import Claim, Line, Spread
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import Stores
from pagefold.engine.dashboard.addresses import href
from pagefold.engine.dashboard.side_bar import BADGE_SECONDS
from pagefold.engine.monitoring.kpi_service import FRESH_SECONDS
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter

BAR_SECONDS = 0.3
"""What every screen must take less than."""

PAUSE_SECONDS = max(BADGE_SECONDS, FRESH_SECONDS) + 0.1
"""How long nothing is asked for before a request."""


async def lines(bench: Bench, stores: Stores) -> list[Line]:
    """Each screen, then page reads beside it, on a shop with as many pages as the largest size."""
    pages = max(bench.sizes)
    with tempfile.TemporaryDirectory(prefix="pagefold-benchmarks-") as folder:
        print(f"{stores.name}: filling a shop of {pages:,} pages …", file=sys.stderr)
        shop = await fill(stores, pages, Path(folder))
        screens = await screen_lines(bench, stores, shop, Path(folder))
        reads = await read_lines(bench, stores, shop, Path(folder))
        await stores.drop(shop.url)
    return [*screens, *reads]


async def screen_lines(bench: Bench, stores: Stores, shop: LargeShop, folder: Path) -> list[Line]:
    """Each screen of a filled shop."""
    screens = await addresses(shop)
    wall: dict[str, list[float]] = defaultdict(list)
    cpu: dict[str, list[float]] = defaultdict(list)
    async with serving(shop, folder) as address, Visitor.signed_in(address, shop.secret) as visitor:
        for screen in screens.values():
            await visitor.get(screen)
        for _ in range(bench.rounds_of(shop.pages)):
            for name, screen in screens.items():
                await asyncio.sleep(0 if bench.quick else PAUSE_SECONDS)
                spent, begun = thread_seconds(), time.perf_counter()
                await visitor.get(screen)
                wall[name].append(time.perf_counter() - begun)
                cpu[name].append(thread_seconds() - spent)
    return [_line(stores, shop.pages, name, wall[name], cpu[name]) for name in screens]


def _line(stores: Stores, pages: int, name: str, wall: list[float], cpu: list[float]) -> Line:
    sides = {"until answered": _milliseconds(wall), "of CPU": _milliseconds(cpu)}
    bar = f"× {BAR_SECONDS * 1_000:.0f} ms"
    claims = [
        Claim(bar, Spread.of([each / BAR_SECONDS for each in wall]), at_most=1),
        Claim(f"{bar}, by CPU time", Spread.of([each / BAR_SECONDS for each in cpu]), at_most=1),
    ]
    return Line(f"dashboard, {name}", stores.name, pages, "ms", sides, claims)


def _milliseconds(values: list[float]) -> Spread:
    return Spread.of([each * 1_000 for each in values])


async def addresses(shop: LargeShop) -> Mapping[str, str]:
    """The address of each screen, by what it shows."""
    middle = sku_of(shop.pages // 4)
    async with pagefold.open(shop.settings) as opened:
        causes = await opened.dead_letters.causes()
        largest, smallest = causes[0], causes[-1]
        letters = await opened.dead_letters.page(DeadLetterFilter(), limit=500)
        position = await opened.store.log.end() // 2
        [plan, *_] = await opened.plans.newest()
        [release, *_] = reversed(await opened.releases.all())
        [request, *_] = await RequestService(opened).open()
        async with opened.rebuilds() as service:
            held, completed = [each.run or "" for each in await service.newest(2)]
    page = href("pages", "web-de", middle)
    return {
        "overview": href(),
        "products": href("search"),
        "products, by prefix": href("search", q="LS-00"),
        "products, by SKU": href("search", q=middle),
        "products, by reference": href("search", q=str(4_000_000_000_000 + shop.pages // 4)),
        "products, none": href("search", q="nothing has this name"),
        "product": page,
        "product, as it was": href("pages", "web-de", middle, at=str(position)),
        "product, as JSON": href("pages", "web-de", middle, format="json"),
        "product, long past": href("pages", "web-de", shop.hot_sku),
        "dead letters": href("dead-letters"),
        "dead letters, the largest cause": href("dead-letters", cause=largest.key),
        "dead letters, the smallest cause": href("dead-letters", cause=smallest.key),
        "dead letters, of a kind": href("dead-letters", kind="waiting"),
        "dead letters, of a source": href("dead-letters", source="wms"),
        "dead letters, of a kind and domain that have none": href("dead-letters", kind="projection", domain="media"),
        "dead letters, older": href("dead-letters", after=letters.next),
        "dead letters, decided": href("dead-letters", state="decided"),
        "dead letters, before discarding all": href("dead-letters", confirm="discard"),
        "dead letter": href("dead-letters", letter=letters.dead_letters[-1].id),
        "runs": href("runs"),
        "runs, 500": href("runs", limit=500),
        "run, held": href("runs", held),
        "run": href("runs", completed),
        "request": href("requests", request.number),
        "plans": href("plans"),
        "plan": href("plans", plan.plan),
        "contracts": href("contracts"),
        "contracts, of a source": href("contracts", source="pim"),
        "targets": href("targets"),
        "target": href("targets", TARGET),
        "target, before delivering all": href("targets", TARGET, confirm="all"),
        "releases": href("releases"),
        "release": href("releases", release.release.name),
        "audit": href("audit"),
        "audit, of a command": href("audit", action="releases"),
        "audit, about something": href("audit", target="ingest-3"),
        "audit, about nothing": href("audit", target="nothing", by="nobody"),
        "components": href("components"),
    }
