"""Measures each key figure, by bounded statements: none counts the events of the log, nor its pages."""

from collections.abc import Mapping, Sequence

from pagefold.domains.values import format_timestamp
from pagefold.engine.kpis.definitions import Kpi
from pagefold.engine.monitoring.delivery_measurements import DELIVERY_MEASUREMENTS
from pagefold.engine.monitoring.measuring import Measure, Measured, Measuring, ratio
from pagefold.engine.monitoring.monitored_shop import Monitored
from pagefold.engine.reading.readiness import results_of
from pagefold.engine.reading.status import reset_sources
from pagefold.engine.runtime.clock import minute_of
from pagefold.engine.stores.dead_letter_records import RecentLetters
from pagefold.engine.stores.kpi_records import FAILED_REBUILDS, KpiPoint, KpiSpan
from pagefold.engine.stores.schedule_records import sync_task

HANDLED = "events.handled"
"""Points with the number of events up to the checkpoint of a domain."""

REJECTED, THROTTLED, REFUSED, QUEUED = "events.rejected", "requests.throttled", "requests.refused", "events.queued"
"""Points that processes add to, by minute; of `QUEUED`, the newest counts."""

COMPARED, DRIFTED = "sections.compared", "sections.drifted"
"""Points of comparisons of pages with the log, at their ends."""

MAX_COUNTED_LETTERS = 100_000
"""Dead letters of a window that are counted."""

OTHERS = frozenset({"lag", "configuration"})
"""Checks that are key figures of their own."""


async def _lag(given: Measuring) -> list[Measured]:
    domains = (await given.shop.lag.progress()).domains
    return [Measured(each.lag_seconds, "#domains", "pagefold status", each.domain) for each in domains]


async def _queue(given: Measuring) -> list[Measured]:
    others = await given.shop.store.kpis.newest([QUEUED], minute_of(given.at))
    fresh = [point.value for point in others if point.minute >= minute_of(given.at) - 1]
    found = [Measured(max(given.shop.queued, *fresh, 0), "#domains", "pagefold status", "append")]
    for each in await given.shop.store.fetches.counts():
        command = f"pagefold fetches list --source {each.source}"
        found.append(Measured(each.wanted, f"runs?source={each.source}", command, f"fetch {each.source}"))
    return found


async def _failures(given: Measuring) -> list[Measured]:
    handled = await _folded_since(given)
    recent = await _recent_letters(given)
    aside = recent.requests + await _counted(given, REJECTED)
    kind = "projection" if recent.projections >= aside else "ingest"
    total = max(handled, recent.projections) + aside  # a replay may make dead letters of older events
    return [ratio(recent.projections + aside, total, f"dead-letters?kind={kind}", "pagefold dead-letters list")]


async def _conflicts(given: Measuring) -> list[Measured]:
    conflicts = (await _recent_letters(given)).conflicts
    total = await _folded_since(given) + conflicts
    return [ratio(conflicts, total, "dead-letters?kind=ingest", "pagefold dead-letters list")]


async def _drift(given: Measuring) -> list[Measured]:
    points = await given.shop.store.kpis.newest([COMPARED, DRIFTED], minute_of(given.at))
    newest = {each.name: each for each in points}
    compared = newest.get(COMPARED)
    command = "pagefold verify"
    if compared is None or compared.minute < minute_of(given.since):
        return [Measured(None, "runs?kind=scheduled", command)]
    drifted = newest.get(DRIFTED)
    changed = drifted.value if drifted is not None and drifted.minute == compared.minute else 0
    return [ratio(changed, compared.value, "runs?kind=scheduled", command)]


async def _throttled(given: Measuring) -> list[Measured]:
    found: list[Measured] = []
    for each in await _spans(given, THROTTLED):
        command = f'pagefold schedule runs "{sync_task(each.label)}"'
        found.append(Measured(_per_minute(each, given.kpi), f"runs?source={each.label}", command, each.label))
    return found


async def _refused(given: Measuring) -> list[Measured]:
    spans = await _spans(given, REFUSED)
    return [Measured(sum(_per_minute(each, given.kpi) for each in spans), "#domains", "pagefold status")]


async def _dead_letters(given: Measuring) -> list[Measured]:
    progress = await given.shop.lag.progress()
    numbers = {
        "request": progress.deliveries,
        "conflict": sum(each.conflicts for each in progress.domains),
        "projection": sum(each.dead_letters for each in progress.domains),
        "delivery": sum(each.dead for each in given.targets),
    }
    kinds = {"request": "ingest", "conflict": "ingest", "projection": "projection", "delivery": "delivery"}
    return [
        Measured(number, f"dead-letters?kind={kinds[name]}", f"pagefold dead-letters list --kind {kinds[name]}", name)
        for name, number in numbers.items()
    ]


async def _expiring(given: Measuring) -> list[Measured]:
    outlook = await given.shop.retention.outlook()
    return [Measured(outlook.expiring, "dead-letters?kind=ingest", "pagefold dead-letters list")]


async def _schema_drift(given: Measuring) -> list[Measured]:
    return await _field_alerts(given, new=False)


async def _unmapped(given: Measuring) -> list[Measured]:
    return await _field_alerts(given, new=True)


async def _field_alerts(given: Measuring, *, new: bool) -> list[Measured]:
    found: dict[str, int] = {}
    for source, alert, number in await given.shop.store.fields.alert_counts():
        if (alert == "new") is new:
            found[source] = found.get(source, 0) + number
    return [
        Measured(number, f"contracts?source={source}", f"pagefold contracts fields {source} --alerts", source)
        for source, number in found.items()
    ]


async def _source_overdue(given: Measuring) -> list[Measured]:
    found: list[Measured] = []
    for each in await given.shop.source_lag.known():
        tasks = [f'"{sync_task(each.source)}"' if name == "sync" else name for name in each.overdue or ["sync"]]
        command = f"pagefold schedule runs {tasks[0]}"
        found.append(Measured(each.overdue_seconds, f"runs?source={each.source}", command, each.source))
    return found


async def _looks_reset(given: Measuring) -> list[Measured]:
    return [
        Measured(each.stale, f"contracts?source={each.source}", "pagefold status", f"{each.source} {each.domain}")
        for each in await reset_sources(given.shop.store)
    ]


async def _held_runs(given: Measuring) -> list[Measured]:
    found: dict[str, Measured] = {}
    for each in await given.shop.source_lag.known():
        if each.held:
            command = f"pagefold sync {each.source} --yes"
            found[each.source] = Measured(1, f"runs?source={each.source}", command, each.source)
    for run in await given.runs.held():
        others = found[run.source].value if run.source in found else None
        command = f"pagefold rebuilds show {run.run}"
        found[run.source] = Measured((others or 0) + 1, f"runs/{run.run}", command, run.source)
    return list(found.values())


async def _failed_rebuilds(given: Measuring) -> list[Measured]:
    found: dict[str, Measured] = {}
    for each in await given.shop.store.kpis.newest([FAILED_REBUILDS], minute_of(given.at)):
        address = f"audit?action=rebuild&target={each.label}"
        command = f"pagefold audit --action rebuild --target {each.label}"
        found[each.label] = Measured(each.value, address, command, each.label)
    for run in await given.runs.interrupted(given.shop.store.coordination.claim):
        others = found[run.source].value if run.source in found else None
        command = f"pagefold rebuilds show {run.run}"
        found[run.source] = Measured((others or 0) + 1, f"runs/{run.run}", command, run.source)
    return [each for source, each in found.items() if source in given.shop.config.sources]


async def _not_applied(given: Measuring) -> list[Measured]:
    await given.shop.applied.refresh()
    return [Measured(int(given.shop.applied.is_held), "plans", "pagefold plan")]


async def _checks(given: Measuring) -> list[Measured]:
    return [
        Measured(int(not each.ok), "#checks", "pagefold status", each.name)
        for each in await results_of(given.shop)
        if each.name not in OTHERS
    ]


MEASUREMENTS: Mapping[str, Measure] = {
    "lag": _lag,
    "queue": _queue,
    "failures": _failures,
    "conflicts": _conflicts,
    "drift": _drift,
    "throttled": _throttled,
    "refused": _refused,
    "dead-letters": _dead_letters,
    "expiring": _expiring,
    "schema-drift": _schema_drift,
    "unmapped": _unmapped,
    "source-overdue": _source_overdue,
    "looks-reset": _looks_reset,
    "held-runs": _held_runs,
    "failed-rebuilds": _failed_rebuilds,
    "not-applied": _not_applied,
    **DELIVERY_MEASUREMENTS,
    "checks": _checks,
}
"""How each key figure is measured: one value, or one for each label."""


async def folded_events(shop: Monitored, minute: int) -> list[KpiPoint]:
    """The events up to the checkpoints, of which ratios are differences."""
    domains = (await shop.lag.progress()).domains
    return [KpiPoint(HANDLED, each.domain, minute, each.applied + each.stale + each.dead) for each in domains]


async def _folded_since(given: Measuring) -> float:
    """The events that were folded in the window; without a history, since the first of all.

    Checkpoints start over after a recovery: then what they have since counts.
    """
    known = await given.shop.store.kpis.newest([HANDLED], minute_of(given.since))
    before = {each.label: each.value for each in known}
    now = await folded_events(given.shop, minute_of(given.at))
    earlier = {each.label: before.get(each.label, 0.0) for each in now}
    return sum(each.value - (earlier[each.label] if earlier[each.label] <= each.value else 0.0) for each in now)


async def _recent_letters(given: Measuring) -> RecentLetters:
    return await given.shop.store.dead_letters.count_recent(format_timestamp(given.since), MAX_COUNTED_LETTERS)


async def _counted(given: Measuring, name: str) -> float:
    return sum(each.total for each in await _spans(given, name))


async def _spans(given: Measuring, name: str) -> Sequence[KpiSpan]:
    """What was counted in the minutes of the window, of which the first and the last are not whole."""
    return await given.shop.store.kpis.spans([name], minute_of(given.since))


def _per_minute(span: KpiSpan, kpi: Kpi) -> float:
    return span.total / max(kpi.window / 60, 1)
