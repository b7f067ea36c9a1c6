"""How many rebuilds of a source have failed in a row, by the schedule or by hand: a key figure says so.

A rebuild may fail before it is a run, such as by an address that nobody answers. So this is not read from the runs.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Protocol

from pagefold.engine.errors import RebuildInProgress, RunNotResumable, RunTakenOver, StoreError
from pagefold.engine.runtime.clock import minute_of, moment
from pagefold.engine.stores.kpi_records import FAILED_REBUILDS, KpiPoint, KpiPoints

NOT_BEGUN = (RebuildInProgress, RunNotResumable, RunTakenOver)
"""Errors of runs that do nothing, because another does."""


class Ended(Protocol):
    """What is known of a run that has ended without an error."""

    @property
    def state(self) -> str:
        """Its state."""


class FailedRebuilds:
    """The failed rebuilds of one shop."""

    def __init__(self, points: KpiPoints, clock: Callable[[], datetime] = moment) -> None:
        self._points = points
        self._clock = clock

    @asynccontextmanager
    async def noting(self, source: str) -> AsyncGenerator[list[Ended], None]:
        """Counts a run if it fails, and starts over if what is added to the list is a run that has completed.

        One that was stopped, or that is held, changes nothing. A store that cannot be written does not matter.
        """
        ended: list[Ended] = []
        try:
            yield ended
        except NOT_BEGUN:
            raise
        except Exception:
            await self.add(source)
            raise
        if any(each.state == "completed" for each in ended):
            await self._record(source, lambda _: 0)

    async def add(self, source: str) -> None:
        """Counts a run that has failed."""
        await self._record(source, lambda number: number + 1)

    async def _record(self, source: str, change: Callable[[float], float]) -> None:
        minute = minute_of(self._clock())
        with suppress(StoreError):
            known = {each.label: each.value for each in await self._points.newest([FAILED_REBUILDS], minute)}
            before = known.get(source, 0.0)
            if change(before) != before:
                await self._points.record([KpiPoint(FAILED_REBUILDS, source, minute, change(before))])
