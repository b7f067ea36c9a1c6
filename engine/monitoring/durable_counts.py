"""Counts of processes that are kept by the store, so that several processes add up, and a restart loses nothing."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from pagefold.engine.stores.kpi_records import KpiPoint, KpiPoints

Totals: TypeAlias = Callable[[], Mapping[tuple[str, str], float]]
"""What a process has counted since its start, by name and label."""


class DurableCounts:
    """Adds what one process has counted to the points of the store."""

    def __init__(self, points: KpiPoints) -> None:
        self._points = points
        self._sources: list[Totals] = []
        self._stored: dict[tuple[str, str], float] = {}

    def add_source(self, totals: Totals) -> None:
        """From now on, also stores these."""
        self._sources.append(totals)

    async def store(self, minute: int) -> None:
        """Adds what was counted since the last time to a minute. Raises `StoreError`: it is added the next time."""
        totals = {key: number for source in self._sources for key, number in source().items()}
        new = {key: number - self._stored.get(key, 0.0) for key, number in totals.items()}
        points = [KpiPoint(*key, minute, number) for key, number in new.items() if number > 0]
        if points:
            await self._points.record([], points)
        self._stored = totals
