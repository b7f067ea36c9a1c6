"""Metrics of targets: what was delivered to each, what waits, and how it is doing."""

from collections.abc import Iterator, Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from pagefold.engine.delivery.target_service import TargetState, TargetStatus

COUNTED = ("delivered", "unchanged", "refused", "dead", "uncertain", "returned", "lost")
"""Totals of a target that are outcomes of deliveries."""


def target_metrics(targets: Sequence[TargetStatus]) -> Iterator[Metric]:
    """Every metric of targets. No label is an SKU."""
    yield from _totals(targets)
    yield from _figures(targets)
    state = GaugeMetricFamily(
        "pagefold_target_state", "1 for the state that a target is in.", labels=["target", "state"]
    )
    for each in targets:
        for name in get_args(TargetState):
            state.add_metric([each.name, name], each.state == name)
    yield state


def _totals(targets: Sequence[TargetStatus]) -> Iterator[Metric]:
    deliveries = CounterMetricFamily(
        "pagefold_target_deliveries", "Claimed deliveries, by what became of them.", labels=["target", "outcome"]
    )
    requests = CounterMetricFamily("pagefold_target_requests", "Requests to a target.", labels=["target"])
    throttled = CounterMetricFamily(
        "pagefold_target_throttled", "Answers that say that it was sent too much, such as 429.", labels=["target"]
    )
    for each in targets:
        for outcome in COUNTED:
            deliveries.add_metric([each.name, outcome], each.totals.get(outcome, 0))
        requests.add_metric([each.name], each.totals.get("requests", 0))
        throttled.add_metric([each.name], each.totals.get("throttled", 0))
    yield from (deliveries, requests, throttled)


def _figures(targets: Sequence[TargetStatus]) -> Iterator[Metric]:
    for name, text, values in (
        ("waiting", "Pages that wait to be delivered.", [each.waiting for each in targets]),
        ("oldest_seconds", "Age of the oldest of them.", [round(each.waits_seconds or 0.0, 3) for each in targets]),
        ("dead", "Pages that were given up until they change.", [each.dead for each in targets]),
        ("circuit_open", "1 while it is down: it is only probed.", [each.state == "down" for each in targets]),
        ("pace", "The part of its rate and concurrency that is used.", [each.pace for each in targets]),
        ("drift_ratio", "Pages that it does not hold as they are, of all.", [each.drift / 100 for each in targets]),
    ):
        family = GaugeMetricFamily(f"pagefold_target_{name}", text, labels=["target"])
        for each, value in zip(targets, values, strict=True):
            family.add_metric([each.name], value)
        yield family
