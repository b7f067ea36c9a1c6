"""Merges concurrent point reads: those that arrive during a query share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any, TypeAlias

import asyncpg

from pagefold.engine.errors import StoreError, StoreUnavailable
from pagefold.engine.runtime.store_timeout import timeout_error, wait_with_timeout
from pagefold.engine.stores.postgres.connections import SQL, Connections, Session, needs_reconnect, translate_errors
from pagefold.engine.stores.section_rows import page_sections

MAX_KEYS = 200
"""Pages that one query reads."""

LARGE_BYTES = 64 * 1024
"""Bytes of a SKU's sections in a domain. Pages with more are read one by one."""

TICK_SECONDS = 0.5
SILENT_TICKS = 2
"""A query that is unanswered after this many checks is given up: after 1 to 1.5 s.

Between two checks the loop reads what the server sent, so that no query is given up because this process was blocked.
"""

CONNECT_SECONDS = 20.0
"""How long opening a new connection may take. Readers do not wait that long."""

Key: TypeAlias = tuple[str, str]
PageRows: TypeAlias = list[Any]
Waiters: TypeAlias = list[asyncio.Future[PageRows]]
Batch: TypeAlias = dict[Key, Waiters]
Query: TypeAlias = Callable[..., Awaitable[PageRows]]


class MergedReads:
    """Reads the sections of pages over one connection, made when needed, and replaced when lost.

    A reader that finds it idle sends its own query, at no extra cost. Cancelling a reader does not affect the others.
    If the server does not respond, all waiting readers get an error within 2 s, and later ones at once, until it does.
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
        """The sections of one page, sorted by domain.

        Raises `StoreUnavailable` if a new connection does not help, and if the server does not respond in time.
        """
        if self._busy:
            waiter: asyncio.Future[PageRows] = asyncio.get_running_loop().create_future()
            self._waiting.setdefault((sku, channel), []).append(waiter)
            return await waiter
        self._begin()
        try:
            rows = await self._queries["page_sections"](sku)
        except Exception as error:  # noqa: BLE001  # raised again, unless a new connection helps
            rows = await self._retry(error, "page_sections", sku)
        finally:
            if self._waiting:
                self._merging = asyncio.create_task(self._merge())
            else:
                self._busy = False
        return page_sections(rows, channel, self._connections.name)

    async def close(self) -> None:
        """Closes the connection for good. Readers that still wait are cancelled: they should have ended."""
        for task in (self._merging, self._connecting):
            if task is not None:
                task.cancel()  # left by readers that gave up; it would reconnect
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
        """Records the start of a query. One timer serves all: one for each would cost a tenth of the query."""
        self._busy = True
        self._number += 1
        if self._watch is None:
            self._seen, self._ticks = self._number, 0
            self._schedule_check()

    def _schedule_check(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(TICK_SECONDS, self._check_progress)

    def _check_progress(self) -> None:
        """Gives up the connection if the query of some checks ago is still unanswered."""
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
        """Answers waiting readers until there are none."""
        try:
            while self._waiting:
                await self._answer_batch({key: self._waiting.pop(key) for key in list(islice(self._waiting, MAX_KEYS))})
        finally:
            self._busy = False

    async def _answer_batch(self, batch: Batch) -> None:
        """Answers a batch. A page that cannot be encoded for the server must not fail the others."""
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
                rows = pages.get(key[0], [])
                if any(row[-1] is None for row in rows):
                    await self._answer_large(key, waiters)
                else:
                    self._answer_rows(waiters, rows, key[1])

    async def _answer_large(self, key: Key, waiters: Waiters) -> None:
        """Reads a page alone that is too large for a batch."""
        try:
            rows = await self._ask("page_sections", key[0])
        except BaseException as error:
            _fail(waiters, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._answer_rows(waiters, rows, key[1])

    def _answer_rows(self, waiters: Waiters, rows: PageRows, channel: str) -> None:
        try:
            sections = page_sections(rows, channel, self._connections.name)
        except StoreError as error:
            _fail(waiters, error)
        else:
            _answer(waiters, sections)

    async def _pages(self, keys: Iterable[Key]) -> dict[str, PageRows]:
        """The rows of each SKU."""
        pages: dict[str, PageRows] = {}
        for sku, *row in await self._ask("sections_of_pages", list(dict.fromkeys(sku for sku, _ in keys)), LARGE_BYTES):
            pages.setdefault(sku, []).append(row)
        return pages

    async def _ask(self, statement: str, *bindings: object) -> PageRows:
        self._begin()
        try:
            return await self._queries[statement](*bindings)
        except Exception as error:  # noqa: BLE001  # as above
            return await self._retry(error, statement, *bindings)

    async def _retry(self, error: Exception, statement: str, *bindings: object) -> PageRows:
        """The same query over a new connection, if the error says that the old one is unusable."""
        with translate_errors(self._connections.name):
            if self._given_up != self._number and needs_reconnect(error):
                await self._reconnect()
                self._begin()
                try:
                    return await self._queries[statement](*bindings)
                except Exception as another:  # noqa: BLE001  # raised instead of the first
                    error = another
            if self._given_up == self._number:
                error = timeout_error(self._connections.name)
                self._fail_waiting(error)
            raise error

    async def _reconnect(self) -> None:
        """Waits for a new connection, but not long. Later readers share it."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_ended)
        try:
            await wait_with_timeout(self._connecting)
        except StoreUnavailable as error:
            self._fail_waiting(error)
            raise

    async def _connect(self) -> None:
        """Replaces the connection."""
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
        """Fails the waiting readers: queries of their own would wait as long again."""
        waiting, self._waiting = self._waiting, {}
        for waiters in waiting.values():
            _fail(waiters, error)


def _ended(connecting: "asyncio.Task[None]") -> None:
    """Retrieves the error of a connection attempt, which may have no waiting reader left."""
    if not connecting.cancelled():
        connecting.exception()


async def _not_connected(*_: object) -> PageRows:
    """The query function without a connection: raises what a closed one raises."""
    raise asyncpg.InterfaceError("closed")


def _answer(waiters: Waiters, rows: PageRows) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(rows)


def _fail(waiters: Waiters, error: BaseException) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
