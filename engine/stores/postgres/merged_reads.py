"""Concurrent point reads, merged: those that are asked for while a query is under way share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias

import asyncpg

from pagefold.engine.errors import StoreError, StoreUnavailable
from pagefold.engine.runtime.store_timeout import timeout_error, wait_with_timeout
from pagefold.engine.stores.postgres.connections import SQL, Connections, Session, needs_reconnect, translate_errors

MAX_KEYS = 200
"""How many pages one query reads at most."""

LARGE_BYTES = 64 * 1024
"""Bytes of a section: pages that have a larger one are read one by one."""

TICK_SECONDS = 0.5
SILENT_TICKS = 2
"""A query that is under way at so many looks after the first is given up: that takes 1 to 1.5 s.

Between two looks the loop has heard what the server had said: none is given up because this process stood still.
"""

CONNECT_SECONDS = 20.0
"""How long a new connection may take until it can be asked. Nobody waits for it so long."""

Key: TypeAlias = tuple[str, str]
PageRows: TypeAlias = list[Any]
Waiters: TypeAlias = list[asyncio.Future[PageRows]]
Batch: TypeAlias = dict[Key, Waiters]
Query: TypeAlias = Callable[..., Awaitable[PageRows]]


class MergedReads:
    """Reads the sections of pages over one connection, made when it is needed, and anew when it was lost.

    A reader who finds it idle asks for itself, at the cost of its query alone. One who is cancelled takes nobody along.
    Where the server says nothing, all who wait are told so within 2 s; who comes later is, too, until it answers.
    """

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._session: Session | None = None
        self._queries: dict[str, Query] = dict.fromkeys(("page_sections", "sections_of_pages"), _not_connected)
        self._waiting: Batch = {}
        self._merging: asyncio.Task[None] | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._busy = False
        self._number = self._seen = self._ticks = self._given_up = 0
        self._watch: asyncio.TimerHandle | None = None

    async def sections(self, sku: str, channel: str) -> PageRows:
        """The rows of one page, sorted by domain.

        Raises `StoreUnavailable` when a new connection does not help, and where the server says nothing for too long.
        """
        if self._busy:
            waiter: asyncio.Future[PageRows] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault((sku, channel), []).append(waiter)
            return await waiter
        self._begin()
        try:
            return await self._queries["page_sections"](sku, channel)
        except Exception as error:  # noqa: BLE001  # it is raised again, unless a new connection helps
            return await self._retry(error, "page_sections", sku, channel)
        finally:
            if self._waiting:
                self._merging = asyncio.create_task(self._merge())
            else:
                self._busy = False

    async def close(self) -> None:
        """Ends the connection for good. Whoever still waits for an answer is cancelled: readers should have ended."""
        for task in (self._merging, self._connecting):
            if task is not None:
                task.cancel()  # readers that gave up have left it behind, and it would connect anew
                await asyncio.wait([task])
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.cancel()
        await self._disconnect()

    async def _disconnect(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _begin(self) -> None:
        """Marks the beginning of a query. One timer watches over many: one for each would cost a tenth of the query."""
        self._busy = True
        self._number += 1
        if self._watch is None:
            self._seen, self._ticks = self._number, 0
            self._schedule_check()

    def _schedule_check(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(TICK_SECONDS, self._check_progress)

    def _check_progress(self) -> None:
        """Gives up the connection when the query that was under way some looks ago still is."""
        self._watch = None
        if not self._busy:
            return
        self._ticks = self._ticks + 1 if self._number == self._seen else 0
        self._seen = self._number
        if self._ticks < SILENT_TICKS:
            self._schedule_check()
        elif self._session is not None:
            self._given_up = self._number
            self._session.connection.terminate()

    async def _merge(self) -> None:
        """Answers those who wait, until nobody does."""
        try:
            while self._waiting:
                await self._answer_batch({key: self._waiting.pop(key) for key in list(islice(self._waiting, MAX_KEYS))})
        finally:
            self._busy = False

    async def _answer_batch(self, batch: Batch) -> None:
        """Answers a batch. A page that the server cannot even be asked for must not be an error for the others."""
        try:
            pages = await self._pages(batch)
        except BaseException as error:
            if len(batch) > 1 and isinstance(error, Exception) and not isinstance(error, StoreError):
                for key, waiters in batch.items():
                    await self._answer_batch({key: waiters})
                return
            for waiters in batch.values():
                _fail(waiters, error)
            if not isinstance(error, Exception):
                raise
        else:
            for key, waiters in batch.items():
                rows = pages.get(key, [])
                if any(row[3] is None for row in rows):
                    await self._answer_large(key, waiters)
                else:
                    _answer(waiters, rows)

    async def _answer_large(self, key: Key, waiters: Waiters) -> None:
        """Reads a page by itself that is too large to be one of many."""
        try:
            rows = await self._ask("page_sections", *key)
        except BaseException as error:
            _fail(waiters, error)
            if not isinstance(error, Exception):
                raise
        else:
            _answer(waiters, rows)

    async def _pages(self, keys: Iterable[Key]) -> dict[Key, PageRows]:
        skus, channels = zip(*keys, strict=True)
        pages: dict[Key, PageRows] = {}
        for row in await self._ask("sections_of_pages", skus, channels, LARGE_BYTES):
            pages.setdefault((row[6], row[7]), []).append(row[:6])
        return pages

    async def _ask(self, statement: str, *bindings: object) -> PageRows:
        self._begin()
        try:
            return await self._queries[statement](*bindings)
        except Exception as error:  # noqa: BLE001  # as above
            return await self._retry(error, statement, *bindings)

    async def _retry(self, error: Exception, statement: str, *bindings: object) -> PageRows:
        """The same query over a new connection, if the error says that the old one is of no use any more."""
        with translate_errors(self._connections.name):
            if self._given_up != self._number and needs_reconnect(error):
                await self._reconnect()
                self._begin()
                try:
                    return await self._queries[statement](*bindings)
                except Exception as another:  # noqa: BLE001  # it is raised in place of the first
                    error = another
            if self._given_up == self._number:
                error = timeout_error(self._connections.name)
                self._fail_waiting(error)
            raise error

    async def _reconnect(self) -> None:
        """Waits until there is a new connection, but not for long. It is made for whoever comes later as well."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_ended)
        try:
            await wait_with_timeout(self._connecting)
        except StoreUnavailable as error:
            self._fail_waiting(error)
            raise

    async def _connect(self) -> None:
        """Makes a new connection in the place of the old one."""
        await self._disconnect()
        session = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                session = await self._connections.session(command_seconds=None)
                queries: dict[str, Query] = {}
                for name in self._queries:
                    queries[name] = (await session.connection.prepare(SQL[name])).fetch
        except BaseException:
            if session is not None:
                session.connection.terminate()
            raise
        self._session, self._queries = session, queries

    def _fail_waiting(self, error: Exception) -> None:
        """Those who wait for a query of their own would wait as long again."""
        waiting, self._waiting = self._waiting, {}
        for waiters in waiting.values():
            _fail(waiters, error)


def _ended(connecting: "asyncio.Task[None]") -> None:
    """Why there is no connection is told to those who wait for it; perhaps nobody does any more."""
    if not connecting.cancelled():
        connecting.exception()


async def _not_connected(*_: object) -> PageRows:
    """What a query says before there is a connection, which is what it says after."""
    raise asyncpg.InterfaceError("closed")


def _answer(waiters: Waiters, rows: PageRows) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(rows)


def _fail(waiters: Waiters, error: BaseException) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
