"""A walk through the heads of a source's streams, in their order, as far as each page of a snapshot reaches."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from operator import itemgetter
from typing import NamedTuple, Self

from engine.stores.store import Log, Scanned, StoredEvent

STREAMS = 5_000
"""How many streams are looked at in one read."""

_name = itemgetter(1)


class Stretch(NamedTuple):
    """The next heads, all there are up to a name; `reached` tells whether that is the name that was asked for."""

    heads: list[StoredEvent]
    upto: str
    reached: bool


class HeadWalk:
    """Goes through the heads of the streams whose names end in one of the `tails`, reading one step ahead."""

    def __init__(self, log: Log, tails: Collection[str], after: str, below: str) -> None:
        self._log = log
        self._tails = tails
        self._after = after
        self._below = below
        self._ended = False
        self._heads: list[StoredEvent] = []
        self._coming: asyncio.Task[Scanned] | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, log: Log, tails: Collection[str], after: str, below: str) -> AsyncIterator[Self]:
        """A walk from one name to another; "" is no bound."""
        walk = cls(log, tails, after, below)
        walk._look_ahead()
        try:
            yield walk
        finally:
            await walk._stop()

    async def stretch(self, upto: str | None) -> Stretch:
        """The heads of the next streams, up to a name or, when it is None, to the end."""
        if not self._ended and (upto is None or self._after < upto):
            await self._read()
        if upto is None or not (self._ended or self._after >= upto):
            heads, self._heads = self._heads, []
            return Stretch(heads, self._after, self._ended)
        index = bisect_right(self._heads, upto, key=_name)
        heads, self._heads = self._heads[:index], self._heads[index:]
        return Stretch(heads, upto, reached=True)

    async def _read(self) -> None:
        coming = self._coming or self._look_ahead()
        self._coming = None
        scanned = await coming
        self._heads += scanned.heads
        if scanned.end is None:
            self._ended = True
        else:
            self._after = scanned.end
            self._look_ahead()

    def _look_ahead(self) -> "asyncio.Task[Scanned]":
        scan = self._log.scan(self._tails, after=self._after, below=self._below, limit=STREAMS)
        self._coming = asyncio.create_task(scan)
        return self._coming

    async def _stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._coming
