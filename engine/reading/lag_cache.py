"""How far folding is behind, looked up at most once a second, whatever the number of callers."""

import asyncio
import time

from pagefold.engine.applied.applied_configuration import AppliedConfiguration
from pagefold.engine.reading.status import FoldProgress, fold_progress
from pagefold.engine.runtime.store_timeout import TIMEOUT_SECONDS, wait_with_timeout
from pagefold.engine.stores.store import Store

FRESH_SECONDS = 1.0

MAX_COUNTED_EVENTS = 100_000
"""Events of the log, after a checkpoint, in which lag is counted. Counting a million takes a third of a second."""


class LagCache:
    """The fold progress of a store, up to a second old. What is very far behind is further behind than it says."""

    def __init__(self, store: Store, applied: AppliedConfiguration) -> None:
        self._store = store
        self._applied = applied
        self._known = FoldProgress([], 0, {})
        self._until = 0.0
        self._query: asyncio.Task[FoldProgress] | None = None

    async def progress(self) -> FoldProgress:
        """How far each domain is folded, and what waits for a person. Concurrent callers share one query.

        Raises `StoreUnavailable` after `TIMEOUT_SECONDS`.
        """
        if time.monotonic() < self._until:
            return self._known
        self._query = self._query or asyncio.create_task(self._read())
        return await wait_with_timeout(self._query)

    async def seconds(self) -> float:
        """How long the oldest event of any domain has been waiting to be folded."""
        return max((each.lag_seconds for each in (await self.progress()).domains), default=0.0)

    async def close(self) -> None:
        """Cancel a query under way."""
        if self._query is not None:
            self._query.cancel()
            await asyncio.wait([self._query], timeout=TIMEOUT_SECONDS)

    async def _read(self) -> FoldProgress:
        try:
            self._known = await fold_progress(self._store, self._applied.config, max_counted=MAX_COUNTED_EVENTS)
            self._until = time.monotonic() + FRESH_SECONDS
        finally:
            self._query = None
        return self._known
