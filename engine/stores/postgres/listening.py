"""Notifications of new events: a hint that saves waiting, never relied on."""

import asyncio
import time
from collections.abc import Callable

from engine.errors import StoreUnavailable
from engine.stores.postgres.connections import Connections, Session

AGAIN_SECONDS = 1.0
"""How long to leave it after the server could not be reached."""


class Listener:
    """One connection that listens for all who wait. It is made when somebody waits first, and anew when it was lost."""

    def __init__(self, connections: Connections, hear: Callable[[], None]) -> None:
        self._connections = connections
        self._hear = hear
        self._session: Session | None = None
        self._not_before = 0.0
        self._turn = asyncio.Lock()

    async def listen(self) -> None:
        """Sees to it that notifications are heard from now on, if that can be had."""
        if self._session is not None and not self._session.closed:
            return
        async with self._turn:
            if (self._session is None or self._session.closed) and time.monotonic() >= self._not_before:
                self._not_before = time.monotonic() + AGAIN_SECONDS
                await self._connect()

    async def close(self) -> None:
        """Stops listening."""
        if self._session is not None:
            await self._session.close()

    async def _connect(self) -> None:
        try:
            self._session = await self._connections.session()
            await self._session.listen(self._connections.schema, self._hear)
        except StoreUnavailable:
            await self.close()
