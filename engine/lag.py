"""How far folding is behind, looked up at most once a second, however many ask."""

import asyncio
import time

from engine.config import Config
from engine.errors import StoreUnavailable
from engine.status import Standing, standing_of
from engine.stores.store import Store

FRESH_SECONDS = 1.0

ANSWER_SECONDS = 1.5
"""How long whoever asks waits for a store that says nothing. It is asked once, however many wait."""


class LagWatch:
    """Where the domains and dead letters stand, as it was a second ago at most."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store = store
        self._config = config
        self._known = Standing([], 0)
        self._until = 0.0
        self._looking: asyncio.Task[Standing] | None = None

    async def standing(self) -> Standing:
        """How far each domain is, and what waits for a person. Raises `StoreUnavailable`."""
        if time.monotonic() < self._until:
            return self._known
        looking = self._looking = self._looking or self._begin()
        if not (await asyncio.wait([looking], timeout=ANSWER_SECONDS))[0]:
            silence = TimeoutError(f"it has said nothing for {ANSWER_SECONDS:g} s")
            raise StoreUnavailable(self._store.name, silence) from silence
        return looking.result()

    async def seconds(self) -> float:
        """How long the oldest event of any domain has waited."""
        return max((each.lag_seconds for each in (await self.standing()).domains), default=0.0)

    async def close(self) -> None:
        """Looks no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking], timeout=ANSWER_SECONDS)

    def _begin(self) -> "asyncio.Task[Standing]":
        looking = asyncio.create_task(self._look())
        looking.add_done_callback(_heard)
        return looking

    async def _look(self) -> Standing:
        try:
            self._known = await standing_of(self._store, self._config)
            self._until = time.monotonic() + FRESH_SECONDS
        finally:
            self._looking = None
        return self._known


def _heard(looking: "asyncio.Task[Standing]") -> None:
    """Whoever waits for it is told what went wrong; it is no matter when nobody does any more."""
    if not looking.cancelled():
        looking.exception()
