"""Limits concurrent requests to a server, over all snapshots."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from pagefold.engine.runtime.counters import Counters

if TYPE_CHECKING:
    from aiolimiter import AsyncLimiter


class RequestLimiter:
    """Limits the requests of one command's snapshots to each server.

    If several snapshots use the same server, the strictest limits hold for all. `counters` count the answers that say
    that a server was asked too often.
    """

    def __init__(self, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self._lanes: dict[str, _Lane] = {}

    @asynccontextmanager
    async def request(self, origin: str, *, concurrency: int, per_second: float) -> AsyncIterator[None]:
        """Waits until another request may be sent to an origin; it may run for the length of the block."""
        lane = self._lanes.setdefault(origin, _Lane(concurrency))
        lane.narrow(concurrency, per_second)
        async with lane.places:
            await lane.pace()
            yield


class _Lane:
    """One origin: how many requests may run, and how soon one may follow another."""

    def __init__(self, concurrency: int) -> None:
        self.places = anyio.CapacityLimiter(concurrency)
        self._per_second = float("inf")
        self._limiter: AsyncLimiter | None = None

    def narrow(self, concurrency: int, per_second: float) -> None:
        """Applies these limits too."""
        from aiolimiter import AsyncLimiter  # noqa: PLC0415  # only snapshots over HTTP need it

        self.places.total_tokens = min(self.places.total_tokens, concurrency)
        if per_second < self._per_second:
            self._per_second = per_second
            self._limiter = AsyncLimiter(1, 1 / per_second)  # one at a time: no bursts

    async def pace(self) -> None:
        """Waits until the next request may be sent."""
        if self._limiter is not None:
            await self._limiter.acquire()
