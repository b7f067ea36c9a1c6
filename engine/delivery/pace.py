"""How fast one process may send to a target: its share of what all processes may, and what the target says itself."""

import math
import time
from collections.abc import Callable

from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.circuit import backoff
from pagefold.engine.delivery.target_kind import Limits
from pagefold.engine.stores.delivery_targets import DeliveryTarget, DeliveryTargets

SLOWED, SPED_UP = 0.5, 0.05
"""What the pace is multiplied by after too many requests, and what is added to it while all goes well: AIMD."""

CHANGE_SECONDS = 1.0
"""The pace changes at most once in that time, over all processes: many answers tell of the same moment."""

LINGER_SECONDS = 2.0
"""How long a process waits after a request at the slowest pace, so that the next one has more pages."""

MAX_WAIT_SECONDS = 0.5
"""After so long, a process that waits for its turn looks again whether the target is still to be sent to."""


class Pace:
    """The pace of one process, for a target with these limits. `at` is the part of them that is used, from 0 to 1."""

    def __init__(
        self,
        name: str,
        target: TargetConfig,
        targets: DeliveryTargets,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._rate, self._concurrency = target.rate, target.concurrency
        self._targets = targets
        self._clock = clock
        self._held_until = self._told_until = float("-inf")
        self._told_rate = math.inf
        self._throttled_in_a_row = 0
        self.at = 1.0

    def take(self, state: DeliveryTarget) -> None:
        """Takes over what is stored: what other processes have found out."""
        self.at = state.pace
        self._held_until = max(self._held_until, self._clock() + state.held_off) if state.held_off else self._held_until

    @property
    def concurrency(self) -> int:
        """Requests at a time, of all processes."""
        return max(1, math.floor(self._concurrency * self.at))

    @property
    def held_seconds(self) -> float:
        """How long nothing may be sent; 0 if something may."""
        return max(0.0, self._held_until - self._clock())

    @property
    def linger_seconds(self) -> float:
        """How long to wait between requests, so that each has more pages: nothing, unless fewer were asked for."""
        return LINGER_SECONDS * (1 - self.at)

    async def turn(self) -> float:
        """0 if a request may be sent now; else the seconds after which to ask again. Raises `StoreError`."""
        if (held := self.held_seconds) > 0:
            return min(held, MAX_WAIT_SECONDS)
        rate = self._current_rate()
        if math.isinf(rate):
            return 0.0
        burst = 1.0 if rate < math.inf and self._is_told() else max(1.0, min(self._concurrency, rate / 10))
        reserved = await self._targets.reserve(self._name, 1, rate, burst, within=0.0)
        return 0.0 if reserved.granted and reserved.wait <= 0 else min(max(reserved.wait, 0.001), MAX_WAIT_SECONDS)

    def _is_told(self) -> bool:
        return self._clock() < self._told_until

    def _current_rate(self) -> float:
        rate = math.inf if self._rate is None else self._rate * self.at
        return min(rate, self._told_rate) if self._is_told() else rate

    async def obey(self, limits: Limits) -> None:
        """Does what an answer asks for. Raises `StoreError`."""
        if limits.throttled:
            self._throttled_in_a_row += 1
            self.at = await self._targets.slow_down(self._name, SLOWED, 1 / self._concurrency, CHANGE_SECONDS)
            await self._hold_off(limits.retry_after or limits.reset or backoff(self._throttled_in_a_row))
        elif limits.retry_after:
            await self._hold_off(limits.retry_after)
        elif limits.remaining is not None and limits.reset is not None:
            await self._spread(limits.remaining, limits.reset)

    async def _spread(self, remaining: int, reset: float) -> None:
        """Uses what is left of a window evenly; requests that are under way are taken from it already, or will be."""
        left = remaining - self._concurrency
        if left <= 0:
            await self._hold_off(reset if remaining <= 0 else reset / (remaining + 1))
        elif reset > 0:
            self._told_rate, self._told_until = left / reset, self._clock() + reset

    async def _hold_off(self, seconds: float) -> None:
        if seconds > 0:
            self._held_until = max(self._held_until, self._clock() + seconds)
            await self._targets.hold_off(self._name, seconds)

    async def succeeded(self) -> None:
        """The target has taken something: the pace grows again, step by step."""
        self._throttled_in_a_row = 0
        if self.at < 1:
            self.at = await self._targets.speed_up(self._name, SPED_UP, CHANGE_SECONDS)
