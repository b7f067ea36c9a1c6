"""Merges concurrent reads of heads as they were: those that arrive during a query share the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from pagefold.engine.errors import StoreError
from pagefold.engine.stores.log_records import StoredEvent, event_of
from pagefold.engine.stores.postgres.connections import Connections

MAX_STREAMS = 1_000
"""Streams that one query reads, unless one read has more."""

LARGE_BYTES = 64 * 1024
"""Reads of a stream whose event is larger are repeated alone."""


class _Read(NamedTuple):
    """The streams and the position of one read, and who waits for it."""

    streams: Sequence[str]
    as_of: int
    waiter: asyncio.Future[list[StoredEvent]]


class MergedHeads:
    """Reads the heads of a few streams as of a position. `alone` is a read that is not merged.

    A reader that finds no query under way sends its own, at no extra cost. Cancelling a reader does not affect others.
    """

    def __init__(
        self, connections: Connections, alone: Callable[[Sequence[str], int], Awaitable[list[StoredEvent]]]
    ) -> None:
        self._connections = connections
        self._alone = alone
        self._waiting: list[_Read] = []
        self._busy = False
        self._merging: asyncio.Task[None] | None = None

    async def heads(self, streams: Sequence[str], as_of: int) -> list[StoredEvent]:
        """The heads among the events up to a position, in no order. Raises as a read of its own."""
        if self._busy:
            read = _Read(streams, as_of, asyncio.get_running_loop().create_future())
            self._waiting.append(read)
            return await read.waiter
        self._busy = True
        try:
            return await self._alone(streams, as_of)
        finally:
            if self._waiting:
                self._merging = asyncio.create_task(self._merge())
            else:
                self._busy = False

    async def close(self) -> None:
        """Ends what is under way. Readers should have ended."""
        if self._merging is not None:
            self._merging.cancel()
            await asyncio.wait([self._merging])
        for read in self._waiting:
            read.waiter.cancel()

    async def _merge(self) -> None:
        """Answers waiting readers until there are none."""
        try:
            while batch := self._next():
                try:
                    await self._answer(batch)
                except BaseException:
                    for read in batch:
                        read.waiter.cancel()
                    raise
        finally:
            self._busy = False

    def _next(self) -> list[_Read]:
        """The next reads, without those that nobody waits for any more."""
        batch: list[_Read] = []
        count = 0
        while self._waiting and (not batch or count + len(self._waiting[0].streams) <= MAX_STREAMS):
            read = self._waiting.pop(0)
            if not read.waiter.done():
                batch.append(read)
                count += len(read.streams)
        return batch

    async def _answer(self, batch: Sequence[_Read]) -> None:
        """Answers a batch. A read that fails alone must not fail the others."""
        columns: list[tuple[str, int, int]] = [
            (stream, read.as_of, number) for number, read in enumerate(batch) for stream in read.streams
        ]
        found: list[list[StoredEvent]] = [[] for _ in batch]
        try:
            for number, *row in await self._connections.readers.fetch(
                "heads_as_of_each", *map(list, zip(*columns, strict=True)), LARGE_BYTES
            ):
                found[number].append(event_of(row))
        except StoreError as error:
            for read in batch:
                _settle(read, error)
            return
        except Exception:  # noqa: BLE001  # of one of them, such as a name that cannot be encoded
            await self._answer_alone(batch)
            return
        for read, heads in zip(batch, found, strict=True):
            if any(head.state is None for head in heads):
                await self._answer_alone([read])
            else:
                _settle(read, heads)

    async def _answer_alone(self, batch: Sequence[_Read]) -> None:
        for read in batch:
            try:
                _settle(read, await self._alone(read.streams, read.as_of))
            except Exception as error:  # noqa: BLE001  # raised by its reader
                _settle(read, error)


def _settle(read: _Read, result: list[StoredEvent] | Exception) -> None:
    if read.waiter.done():
        return
    if isinstance(result, Exception):
        read.waiter.set_exception(result)
    else:
        read.waiter.set_result(result)
