"""What the consumers of a process read once for all of them."""

import time
from collections.abc import Collection

import anyio

from pagefold.engine.consumers.recent_events import RecentEvents
from pagefold.engine.stores.store import Checkpoint, Store

CONFIRM_SECONDS = 1.0
"""How often a consumer checks that the log is still the one that it has folded."""


class SharedReads:
    """The newest events, and the checkpoints. `log` is the log that they are read from."""

    def __init__(self, store: Store) -> None:
        self.log = store.log
        self.events = RecentEvents(store.log)
        self._store = store
        self._turn = anyio.Lock()
        self._read_at = float("-inf")
        self._checkpoints: Collection[Checkpoint] = ()

    async def checkpoints(self, since: float) -> Collection[Checkpoint]:
        """The checkpoints at some time after `since` (`time.monotonic`), and not long ago. Raises `LogReplaced`."""
        async with self._turn:
            read_at = time.monotonic()
            if self._read_at <= since or read_at >= self._read_at + CONFIRM_SECONDS:
                await self._store.proof.prove()
                self._checkpoints = await self._store.coordination.checkpoints()
                self._read_at = read_at
            return self._checkpoints
