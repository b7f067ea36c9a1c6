"""The first screen: whether the shop's pages are right, and if not, why, and what a person has to do."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from pagefold.engine.dashboard.channel_counts import counted_channels
from pagefold.engine.dashboard.histories import Histories
from pagefold.engine.dashboard.overview_domains import DomainRow, domain_rows
from pagefold.engine.dashboard.overview_tasks import MAX_TASKS, Task, tasks_of
from pagefold.engine.dashboard.overview_tiles import TILES, Tile, tile_of, tile_without, watched, worst_of
from pagefold.engine.dashboard.overview_verdict import verdict_on_shop
from pagefold.engine.dashboard.rates import Rates
from pagefold.engine.dashboard.screen import Screen, shown_at
from pagefold.engine.dashboard.target_views import STATES
from pagefold.engine.dashboard.visit import Visit
from pagefold.engine.dead_letters.dead_letter_views import summary_of_cause
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.reading.status import DomainStatus
from pagefold.engine.runtime import clock
from pagefold.engine.shop import Shop

LAG = "lag"


async def show(visit: Visit) -> Response:
    """The verdict, the limits, what needs a person, the domains and the channels; or one of these parts."""
    shop = visit.shop
    readings = await shop.kpis.readings()
    domains = (await shop.lag.progress()).domains
    values: dict[str, Any] = {"readings": readings, "log_end": max((each.log_end for each in domains), default=0)}
    if visit.wants("verdict", "tasks"):
        tasks = await _tasks(shop, readings)
        verdict = verdict_on_shop(readings, domains, len(tasks))
        values |= {"verdict": verdict, "tasks": tasks[:MAX_TASKS], "needed": len(tasks)}
    if visit.wants("tiles"):
        values["tiles"] = await _tiles(visit, readings)
    if visit.wants("watched"):
        values["watched"] = watched(readings)
    if visit.wants("domains"):
        values["rows"] = await _rows(visit, domains, readings)
    if visit.wants("channels"):
        values["counted"] = await counted_channels(shop)
    if visit.wants("targets"):
        values |= {"targets": await shop.targets.list(), "target_states": STATES}
    return await visit.page("overview", **values)


async def _tasks(shop: Shop, readings: Sequence[KpiReading]) -> list[Task]:
    causes = [summary_of_cause(each) for each in await shop.dead_letters.recent_causes()]
    return tasks_of(readings, causes)


async def _tiles(visit: Visit, readings: Sequence[KpiReading]) -> list[Tile]:
    minute, histories = _minute(), visit.kept(Histories, Histories)
    found = []
    for name in TILES:
        worst = worst_of(readings, name)
        history = {} if worst is None else await histories.get(visit.shop, name, worst.label)
        found.append(tile_without(name) if worst is None else tile_of(worst, history, minute))
    return found


async def _rows(visit: Visit, domains: Sequence[DomainStatus], readings: Sequence[KpiReading]) -> list[DomainRow]:
    rates = visit.kept(Rates, Rates).add(domains)
    kept = visit.kept(Histories, Histories)
    histories = {each.domain: await kept.get(visit.shop, LAG, each.domain) for each in domains}
    limits = {each.label: each.threshold for each in readings if each.kpi == LAG}
    return domain_rows(domains, rates, histories, _minute(), limits)


def _minute() -> int:
    return clock.minute_of(clock.moment())


SCREEN = Screen("overview", "Overview", "n-overview", "", [shown_at("/ui", show)])
