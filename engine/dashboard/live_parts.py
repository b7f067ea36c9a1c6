"""Live parts as they were made last: tabs that show the same share them."""

import time
from collections.abc import Awaitable, Callable, Hashable

import anyio

FRESH_SECONDS = 1.0
"""How long a part is shown again, from when making it began: half of the shortest interval of a part."""


class _Part:
    """A part under one key. Who asks while it is made waits for it."""

    def __init__(self) -> None:
        self.lock = anyio.Lock()
        self.body = b""
        self.until = 0.0


class LiveParts:
    """The parts of one server. `ticks` is a clock of seconds."""

    def __init__(self, ticks: Callable[[], float] = time.monotonic) -> None:
        self._ticks = ticks
        self._parts: dict[Hashable, _Part] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """The part with a key, made at most once in `FRESH_SECONDS`. If `make` raises, that is raised, and not kept."""
        if key not in self._parts:
            self._forget()
        part = self._parts.setdefault(key, _Part())
        async with part.lock:
            begun = self._ticks()
            if begun >= part.until:
                part.body = await make()
                part.until = begun + FRESH_SECONDS
            return part.body

    def _forget(self) -> None:
        """Removes the parts that would be made again: nobody may look at them any more."""
        now = self._ticks()
        self._parts = {
            key: part for key, part in self._parts.items() if part.until > now or part.lock.statistics().locked
        }
