"""How many events of each domain come in and are folded a second, from what the last seconds have counted."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pagefold.engine.reading.status import DomainStatus

SECONDS = 30.0
"""The time that a rate is of."""

MIN_SECONDS = 4.0
"""The shortest time that a rate can be of."""


class Rate(NamedTuple):
    """Events a second that came in, and that were folded; None while nothing is known."""

    arriving: float | None
    folded: float | None


class _Sample(NamedTuple):
    at: float
    arrived: dict[str, int]
    folded: dict[str, int]


class Rates:
    """The rates of the domains of one store. `ticks` is a clock of seconds."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._samples: deque[_Sample] = deque()

    def add(self, domains: Sequence[DomainStatus]) -> dict[str, Rate]:
        """Takes what is counted now, and returns the rates up to now."""
        folded = {each.domain: each.applied + each.stale + each.dead for each in domains}
        arrived = {each.domain: folded[each.domain] + each.lag_events for each in domains}
        now = _Sample(self._ticks(), arrived, folded)
        while self._samples and now.at - self._samples[0].at > SECONDS:
            self._samples.popleft()
        before = self._samples[0] if self._samples else None
        if before is None or now.at - self._samples[-1].at >= 1:
            self._samples.append(now)
        if before is None or now.at - before.at < MIN_SECONDS:
            return {each.domain: Rate(None, None) for each in domains}
        length = now.at - before.at
        return {
            name: Rate(
                max(0, arrived[name] - before.arrived.get(name, 0)) / length,
                max(0, folded[name] - before.folded.get(name, 0)) / length,
            )
            for name in folded
        }
