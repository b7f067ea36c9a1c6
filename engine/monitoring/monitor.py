"""Keeps the history of key figures, and decides on alerts, in one of the processes of a shop."""

from collections.abc import Callable
from datetime import datetime

import anyio

from pagefold.engine.audit.audit_retention import AuditRetention
from pagefold.engine.errors import StoreError
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring.alert_service import AlertService
from pagefold.engine.monitoring.alert_targets import AlertTargets
from pagefold.engine.monitoring.delivery_measurements import delivery_points
from pagefold.engine.monitoring.kpi_service import HISTORY_MINUTES, KpiService
from pagefold.engine.monitoring.measurements import COMPARED, DRIFTED, QUEUED, folded_events
from pagefold.engine.monitoring.monitored_shop import Monitored
from pagefold.engine.runtime.clock import minute_of, moment
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.kpi_records import DELIVERIES_COMPARED, DELIVERIES_DIFFERING, FAILED_REBUILDS, KpiPoint

CLAIM = "kpis"

TICK_SECONDS = 10.0
"""How often key figures are measured."""

FIRST_SECONDS = 2.0
"""Until the first time: a process that is just starting has other things to do."""

STANDBY_SECONDS = 15.0
"""Until another process tries to take over."""

DAY_MINUTES = 24 * 60

KEPT = (COMPARED, DRIFTED, FAILED_REBUILDS, DELIVERIES_COMPARED, DELIVERIES_DIFFERING)
"""Points that are few, and of which the newest counts for long."""

KEPT_MINUTES = 90 * DAY_MINUTES

log = Logger(__name__)


class Monitor:
    """Measures the key figures of one shop at intervals. Of several processes, one does; another takes over."""

    def __init__(
        self, shop: Monitored, kpis: KpiService, alerts: AlertService, clock: Callable[[], datetime] = moment
    ) -> None:
        self._shop = shop
        self._kpis = kpis
        self._alerts = alerts
        self._targets = AlertTargets(shop.store.alerts, shop.config.alerts, shop.config.identity, clock)
        self._clock = clock
        self._audit = AuditRetention(shop.store.audit, shop.config.audit)
        self._minute = 0
        self._hour = 0
        self._day = 0

    async def run(self) -> None:
        """Measures, and stores what this process counts, until it is cancelled."""
        await anyio.sleep(FIRST_SECONDS)
        await run_together(self._keep_counts, self._take_over)

    async def tick(self) -> None:
        """Measures, and decides on alerts. Once a minute, adds to the history. Raises `StoreError`."""
        at = self._clock()
        readings = await self._kpis.measure()
        await self._alerts.decide(readings, at)
        if minute_of(at) != self._minute:
            await self._record(readings, minute_of(at))

    async def _record(self, readings: list[KpiReading], minute: int) -> None:
        """Adds to the history, and once an hour removes what is old; of the audit once a day."""
        points = [KpiPoint(*each.key, minute, each.value) for each in readings if each.value is not None]
        delivered = delivery_points(await self._shop.targets.list(), minute)
        await self._shop.store.kpis.record([*points, *await folded_events(self._shop, minute), *delivered])
        if minute // 60 != self._hour:
            await self._shop.store.kpis.forget(minute - HISTORY_MINUTES, but=KEPT, long_before=minute - KEPT_MINUTES)
            await self._alerts.forget()
            if minute // DAY_MINUTES != self._day and await self._audit.enforce():
                self._day = minute // DAY_MINUTES
        self._minute, self._hour = minute, minute // 60

    async def _take_over(self) -> None:
        while True:
            try:
                async with self._shop.store.coordination.claim(CLAIM) as claimed:
                    if claimed:
                        await run_together(self._measure, self._targets.run)
            except StoreError as error:
                log.warning("key figures cannot be measured", error=str(error))
            except Exception as error:  # the consumers beside it must not stop for it
                log.error("key figures cannot be measured", exc_info=error)  # noqa: TRY400  # ours has no other
            await anyio.sleep(STANDBY_SECONDS)

    async def _measure(self) -> None:
        while True:
            await self.tick()
            await anyio.sleep(TICK_SECONDS)

    async def _keep_counts(self) -> None:
        """Stores what this process counts; of its queue, the number."""
        while True:
            minute = minute_of(self._clock())
            try:
                await self._kpis.counts.store(minute)
                if self._shop.queued:
                    await self._shop.store.kpis.record([KpiPoint(QUEUED, "", minute, self._shop.queued)])
            except StoreError as error:
                log.warning("counts cannot be stored", error=str(error))
            await anyio.sleep(TICK_SECONDS)
