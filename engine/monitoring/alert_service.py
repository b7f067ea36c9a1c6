"""Alerts: when a key figure was above its limit, and when it has recovered.

An alert begins when a key figure is crossed, and there is one of it until it is resolved: after it was below its limit
for `RESOLVE_SECONDS`, so that one that goes up and down is one alert. Both are stored together with a message for each
target, so that a restart neither forgets nor repeats one.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.alert_config import AlertConfig
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.runtime.clock import days_ago
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.stores.alert_records import Alerts, StoredAlert

RESOLVE_SECONDS = 60.0

KEPT_DAYS = 90.0
"""How long resolved alerts are kept."""

log = Logger(__name__)


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """That a key figure was above its limit. `reading` is what was measured when it began.

    Times are fixed-width UTC text; `resolved_at` is None while it is open.
    """

    number: int
    since: str
    resolved_at: str | None
    reading: KpiReading


class AlertService:
    """The alerts of one shop."""

    def __init__(self, alerts: Alerts, targets: Mapping[str, AlertConfig]) -> None:
        self._alerts = alerts
        self._targets = targets

    async def open(self) -> list[Alert]:
        """Those that are not resolved, the oldest first. Raises `StoreUnavailable`."""
        return [_alert(each) for each in await self._alerts.open()]

    async def newest(self, limit: int = 100) -> list[Alert]:
        """The newest ones, resolved or not. Raises `StoreUnavailable`."""
        return [_alert(each) for each in await self._alerts.newest(limit)]

    async def decide(self, readings: Sequence[KpiReading], at: datetime) -> None:
        """Begins and resolves alerts, by what was measured at a time. Raises `StoreError`."""
        stored = {(each.kpi, each.label): each for each in await self._alerts.open()}
        for reading in readings:
            alert = stored.pop(reading.key, None)
            if reading.crossed:
                await self._cross(reading, alert, at)
            elif alert is not None and _is_known(reading):
                await self._recover(alert, reading, at)
        for alert in stored.values():  # such as those of a source that is not configured any more
            gone = msgspec.structs.replace(_alert(alert).reading, value=None, crossed=False)
            await self._recover(alert, gone, at)

    async def forget(self) -> None:
        """Removes old ones. Raises `StoreError`."""
        await self._alerts.forget(days_ago(KEPT_DAYS))

    async def _cross(self, reading: KpiReading, alert: StoredAlert | None, at: datetime) -> None:
        if alert is not None:
            if alert.below_since is not None:
                await self._alerts.note_below(alert.number, None)
            return
        targets = [name for name, each in self._targets.items() if each.wants(reading.kpi, reading.severity)]
        log.warning("a limit is crossed", kpi=reading.kpi, label=reading.label, value=reading.value)
        await self._alerts.begin(reading.key, format_timestamp(at), msgspec.json.encode(reading), targets)

    async def _recover(self, alert: StoredAlert, reading: KpiReading, at: datetime) -> None:
        if alert.below_since is None:
            await self._alerts.note_below(alert.number, format_timestamp(at))
        elif at - datetime.fromisoformat(alert.below_since) >= timedelta(seconds=RESOLVE_SECONDS):
            log.info("a key figure has recovered", kpi=reading.kpi, label=reading.label, value=reading.value)
            await self._alerts.resolve(alert.number, format_timestamp(at), msgspec.json.encode(reading))


def _is_known(reading: KpiReading) -> bool:
    """Whether it is known to be below its limit: a ratio of nothing is, if nothing failed."""
    return reading.value is not None or reading.numerator == 0


def _alert(stored: StoredAlert) -> Alert:
    reading = msgspec.json.decode(stored.reading, type=KpiReading)
    return Alert(stored.number, stored.since, stored.resolved_at, reading)
