"""How far folding is behind, looked up at most once a second, however many ask."""

import asyncio
import time

from pagefold.engine.configuration.config import Config
from pagefold.engine.reading.status import FoldProgress, fold_progress
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS, wait_with_timeout
from pagefold.engine.stores.store import Store

FRESH_SECONDS = 1.0


class LagWatch:
    """Where the domains and dead letters stand, as it was a second ago at most."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._known = FoldProgress([], 0)
        self._until = 0.0
        self._looking: asyncio.Task[FoldProgress] | None = None

    async def standing(self) -> FoldProgress:
        """How far each domain is, and what waits for a person. Raises `StoreUnavailable`, in time.

        The store is asked once, however many wait.
        """
        if time.monotonic() < self._until:
            return self._known
        self._looking = self._looking or asyncio.create_task(self._look())
        return await wait_with_timeout(self._looking)

    async def seconds(self) -> float:
        """How long the oldest event of any domain has waited."""
        return max((each.lag_seconds for each in (await self.standing()).domains), default=0.0)

    async def close(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=TIMEOUT_SECONDS)

    async def _look(self) -> FoldProgress:
        try:
            self._known = await fold_progress(self._store, self._config)
            self._until = time.monotonic() + FRESH_SECONDS
        finally:
            self._looking = None
        return self._known
