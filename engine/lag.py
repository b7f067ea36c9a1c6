"""How far folding is behind, looked up at most once a second, however many ask."""

import time

import anyio

from engine.config import Config
from engine.status import Standing, standing_of
from engine.stores.store import Store

FRESH_SECONDS = 1.0


class LagWatch:
    """Where the domains and dead letters stand, as it was a second ago at most."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._known = Standing([], 0)
        self._until = 0.0
        self._turn = anyio.Lock()

    async def standing(self) -> Standing:
        """How far each domain is, and what waits for a person. Raises `StoreUnavailable`."""
        if time.monotonic() < self._until:
            return self._known
        async with self._turn:
            if time.monotonic() >= self._until:
                self._known = await standing_of(self._store, self._config)
                self._until = time.monotonic() + FRESH_SECONDS
        return self._known

    async def seconds(self) -> float:
        """How long the oldest event of any domain has waited."""
        return max((each.lag_seconds for each in (await self.standing()).domains), default=0.0)
