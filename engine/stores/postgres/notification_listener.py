"""Notifications of new events: an optimisation on top of polling."""

import asyncio
import time
from collections.abc import Callable

from pagefold.engine.errors import StoreError
from pagefold.engine.stores.postgres.connections import Connections, Session

RETRY_SECONDS = 1.0
"""How long to wait after the server could not be reached."""


class NotificationListener:
    """One connection that listens for all waiting tasks. Opened by the first, and replaced when lost."""

    def __init__(self, connections: Connections, callback: Callable[[], None]) -> None:
        self._connections = connections
        self._callback = callback
        self._session: Session | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._not_before = 0.0

    def listen(self) -> None:
        """Ensures, in the background, that notifications arrive."""
        if self._session is not None and not self._session.closed:
            return
        if (self._connecting is None or self._connecting.done()) and time.monotonic() >= self._not_before:
            self._not_before = time.monotonic() + RETRY_SECONDS
            self._connecting = asyncio.create_task(self._connect())

    async def close(self) -> None:
        """Stops listening."""
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._session is not None:
            await self._session.close()

    async def _connect(self) -> None:
        try:
            self._session = await self._connections.session()
            await self._session.listen(self._connections.schema, self._callback)
        except StoreError:  # waiting tasks poll until the next try, and report the error
            return
        self._callback()
