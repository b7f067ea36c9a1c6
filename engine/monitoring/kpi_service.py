"""The key figures of a shop: their values now, and their history."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime

import msgspec

from pagefold.engine.configuration.kpi_config import configured_kpis
from pagefold.engine.errors import StoreError
from pagefold.engine.kpis.definitions import BY_NAME, Kpi
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring.durable_counts import DurableCounts
from pagefold.engine.monitoring.measurements import (
    COMPARED,
    DRIFTED,
    MEASUREMENTS,
    REJECTED,
    THROTTLED,
)
from pagefold.engine.monitoring.measuring import Measured, Measuring
from pagefold.engine.monitoring.monitored_shop import Monitored
from pagefold.engine.reading.snapshot_runs import SnapshotRuns
from pagefold.engine.runtime.clock import minute_of, moment
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS, wait_with_timeout
from pagefold.engine.stores.kpi_records import KpiPoint

FRESH_SECONDS = 2.0
"""How long readings are shown again."""

READING_SECONDS = 10.0
"""How long callers wait for one."""

HISTORY_MINUTES = 24 * 60


class KpiService:
    """Reads the key figures of one shop. Concurrent callers share one reading, which is up to `FRESH_SECONDS` old.

    `kpis` are their definitions, with the limits of the configuration.
    """

    def __init__(self, shop: Monitored, clock: Callable[[], datetime] = moment) -> None:
        self._shop = shop
        self._clock = clock
        self.kpis = configured_kpis(shop.config.kpis)
        self._runs = SnapshotRuns(shop.store.records)
        self._known: list[KpiReading] = []
        self._until = 0.0
        self._query: asyncio.Task[list[KpiReading]] | None = None
        self.counts = DurableCounts(shop.store.kpis)
        self.counts.add_source(self._counted)

    async def readings(self) -> list[KpiReading]:
        """The value of every key figure, in the order of `KPIS`. Some have one for each label.

        Raises `StoreUnavailable`, after `READING_SECONDS` at the latest.
        """
        if time.monotonic() < self._until:
            return self._known
        self._query = self._query or asyncio.create_task(self._read())
        return await wait_with_timeout(self._query, READING_SECONDS)

    async def measure(self) -> list[KpiReading]:
        """As `readings`, measured now."""
        at = self._clock()
        since = {(each.kpi, each.label): each.since for each in await self._shop.store.alerts.open()}
        found: list[KpiReading] = []
        targets = await self._shop.targets.list()
        for kpi in self.kpis:
            measured = await MEASUREMENTS[kpi.name](Measuring(self._shop, self._runs, targets, kpi, at))
            lowest = await self._lowest(kpi, at)
            found += [_reading(kpi, each, lowest) for each in measured]
        return [msgspec.structs.replace(each, since=since.get(each.key)) if each.crossed else each for each in found]

    async def history(self, name: str, label: str = "", *, minutes: int = HISTORY_MINUTES) -> list[KpiPoint]:
        """The value of a key figure in each minute of the last 24 hours in which it was known, in order.

        Raises `KeyError` for a name that is none, and `StoreUnavailable`.
        """
        since = minute_of(self._clock()) - minutes + 1
        return [*await self._shop.store.kpis.points(BY_NAME[name].name, label, since)]

    async def record_comparison(self, sections: int, drifted: int) -> None:
        """Records what a comparison of pages with the log has found. A store that cannot be written does not matter."""
        minute = minute_of(self._clock())
        with suppress(StoreError):
            await self._shop.store.kpis.record(
                [KpiPoint(COMPARED, "", minute, sections), KpiPoint(DRIFTED, "", minute, drifted)]
            )

    async def close(self) -> None:
        """Cancels a reading under way, and stores what this process has counted, if the store can be written."""
        with suppress(StoreError):
            await self.counts.store(minute_of(self._clock()))
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait([self._query], timeout=TIMEOUT_SECONDS)

    def _counted(self) -> Mapping[tuple[str, str], float]:
        """What this process has counted of which the store should know."""
        counters = self._shop.counters
        throttled = {(THROTTLED, source): float(number) for source, number in counters.throttled.items()}
        return {(REJECTED, ""): counters.outcomes.get("rejected", 0), **throttled}

    async def _read(self) -> list[KpiReading]:
        try:
            self._known = await self.measure()
            self._until = time.monotonic() + FRESH_SECONDS
        finally:
            self._query = None
        return self._known

    async def _lowest(self, kpi: Kpi, at: datetime) -> Mapping[str, float] | None:
        """The lowest value of each label in the window that must be above the threshold all the time; None without one.

        A label that is not known for the whole window is left out.
        """
        minutes = int(kpi.window // 60)
        if kpi.unit not in ("count", "seconds") or not minutes:
            return None
        spans = await self._shop.store.kpis.spans([kpi.name], minute_of(at) - minutes)
        return {each.label: each.lowest for each in spans if each.points >= minutes}


def _reading(kpi: Kpi, measured: Measured, lowest: Mapping[str, float] | None) -> KpiReading:
    crossed = measured.value is not None and measured.value > kpi.threshold and not measured.intended
    if crossed and lowest is not None:
        crossed = lowest.get(measured.label, 0.0) > kpi.threshold
    reading = KpiReading(
        kpi=kpi.name,
        label=measured.label,
        title=kpi.title,
        unit=kpi.unit,
        value=measured.value,
        threshold=kpi.threshold,
        window_seconds=kpi.window,
        minimum=kpi.minimum,
        severity=kpi.severity,
        crossed=crossed,
        numerator=measured.numerator,
        denominator=measured.denominator,
        cause=measured.cause,
        command=measured.command,
        runbook=kpi.runbook,
    )
    return msgspec.structs.replace(reading, crossed=False) if reading.is_of_too_few else reading
