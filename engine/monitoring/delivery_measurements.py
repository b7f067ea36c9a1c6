"""Measures what goes out to targets, of counts that the store keeps: no pages are counted.

Totals of a target grow since it exists; the points of each minute say what they were. A paused target is shown, and
crosses nothing, since a person has decided so. One that the configuration does not have any more is left out.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.monitoring.measuring import Measure, Measured, Measuring, ratio
from pagefold.engine.runtime.clock import minute_of
from pagefold.engine.stores.kpi_records import DELIVERIES_COMPARED, DELIVERIES_DIFFERING, KpiPoint

SENT, FAILED, THROTTLED = "deliveries.sent", "deliveries.failed", "deliveries.throttled"
"""Points with totals of a target."""

FAILURES = ("refused", "dead", "uncertain")
"""Outcomes of pages that were sent, and not taken: refused, for the last time, or answered with an error."""


def delivery_points(targets: Sequence[TargetStatus], minute: int) -> list[KpiPoint]:
    """The totals of each target."""
    return [
        KpiPoint(name, each.name, minute, total)
        for each in targets
        for name, total in ((SENT, _sent(each)), (FAILED, _failed(each)), (THROTTLED, _throttled(each)))
    ]


def _failed(target: TargetStatus) -> int:
    return sum(target.totals.get(outcome, 0) for outcome in FAILURES)


def _sent(target: TargetStatus) -> int:
    return _failed(target) + target.totals.get("delivered", 0)


def _throttled(target: TargetStatus) -> int:
    return target.totals.get("throttled", 0)


class _Growth(NamedTuple):
    """How much a total has grown, in how many minutes. `known`: what it was before is known."""

    number: float
    minutes: float
    known: bool


async def _growth(given: Measuring, name: str, totals: Mapping[str, int]) -> dict[str, _Growth]:
    """The growth of the totals of some targets in the window, or since the newest point before it.

    Without such a point, a rate is that since the first one in the window: the total may be of months. A ratio is that
    of all deliveries.
    """
    minutes = given.kpi.window / 60
    points = given.shop.store.kpis
    spans = [] if given.kpi.unit == "ratio" else await points.spans([name], minute_of(given.since))
    first = {each.label: (each.lowest, minutes) for each in spans}
    now = minute_of(given.at)
    before = {
        each.label: (each.value, now - each.minute) for each in await points.newest([name], minute_of(given.since))
    }
    found: dict[str, _Growth] = {}
    for label, total in totals.items():
        number, time = (first | before).get(label, (0, minutes))
        known = label in first or label in before
        if number > total:  # the receipts were lost, and counts have started over
            number, known = 0.0, False
        found[label] = _Growth(total - number, time, known)
    return found


async def _delivery_failures(given: Measuring) -> list[Measured]:
    targets = list(_configured(given))
    failed = await _growth(given, FAILED, {each.name: _failed(each) for each in targets})
    sent = await _growth(given, SENT, {each.name: _sent(each) for each in targets})
    return [
        ratio(failed[each.name].number, sent[each.name].number, _cause(each), _command(each), each.name)
        for each in targets
    ]


async def _delivery_throttled(given: Measuring) -> list[Measured]:
    """Answers a minute. The first one without a history is not known: it may be of months."""
    targets = list(_configured(given))
    growth = await _growth(given, THROTTLED, {each.name: _throttled(each) for each in targets})
    return [_of(each, _per_minute(growth[each.name], given)) for each in targets]


def _per_minute(growth: _Growth, given: Measuring) -> float | None:
    if not growth.known and growth.number:
        return None
    return growth.number / max(given.kpi.window / 60, growth.minutes, 1)


async def _delivery_queue(given: Measuring) -> list[Measured]:
    return [_of(each, each.waiting, intended=each.state == "paused") for each in _configured(given)]


async def _delivery_lag(given: Measuring) -> list[Measured]:
    since = await given.shop.store.deliveries.waiting_since() if given.targets else {}
    return [
        _of(each, _seconds(since.get(each.name), given.at), intended=each.state == "paused")
        for each in _configured(given)
    ]


async def _target_down(given: Measuring) -> list[Measured]:
    """Since the first failure after the last success, for a target to which nothing is delivered."""
    return [
        _of(each, _seconds(each.failing_since or each.since if each.is_out_of_order else None, given.at))
        for each in _configured(given)
    ]


async def _outbound_drift(given: Measuring) -> list[Measured]:
    """The larger of two shares: pages that were given up, and those that the newest comparison found to differ."""
    names = [DELIVERIES_COMPARED, DELIVERIES_DIFFERING]
    points = await given.shop.store.kpis.newest(names, minute_of(given.at)) if given.targets else []
    newest = {(each.name, each.label): each for each in points if each.minute >= minute_of(given.since)}
    found: list[Measured] = []
    for each in _configured(given):
        pages = sum(own.current + own.behind + own.missing + own.surplus for own in each.channels)
        shares = [(each.dead, pages)]
        compared = newest.get((DELIVERIES_COMPARED, each.name))
        differing = newest.get((DELIVERIES_DIFFERING, each.name))
        if compared is not None and differing is not None and differing.minute == compared.minute:
            shares.append((int(differing.value), int(compared.value)))
        part, whole = max(shares, key=lambda share: share[0] / share[1] if share[1] else 0.0)
        found.append(ratio(part, whole, _cause(each), f"pagefold targets verify {each.name}", each.name))
    return found


async def _sagas_stuck(given: Measuring) -> list[Measured]:
    return [
        Measured(each.person, "dead-letters?kind=delivery", f"pagefold sagas list {each.name}", each.name)
        for each in await given.shop.sagas.list()
    ]


def _configured(given: Measuring) -> Iterator[TargetStatus]:
    return (each for each in given.targets if each.state != "removed")


def _of(target: TargetStatus, value: float | None, *, intended: bool = False) -> Measured:
    return Measured(value, _cause(target), _command(target), target.name, intended=intended)


def _seconds(since: str | None, at: datetime) -> float:
    return 0.0 if since is None else max(0.0, (at - datetime.fromisoformat(since)) / timedelta(seconds=1))


def _cause(target: TargetStatus) -> str:
    return f"targets/{target.name}"


def _command(target: TargetStatus) -> str:
    return f"pagefold targets show {target.name}"


DELIVERY_MEASUREMENTS: Mapping[str, Measure] = {
    "delivery-failures": _delivery_failures,
    "delivery-queue": _delivery_queue,
    "delivery-lag": _delivery_lag,
    "delivery-throttled": _delivery_throttled,
    "outbound-drift": _outbound_drift,
    "target-down": _target_down,
    "sagas-stuck": _sagas_stuck,
}
"""How each key figure is measured: one value for each target, or saga."""
