"""A walk through the entries of a source's streams, in their order, as far as each page of a snapshot reaches."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

from engine.stores.store import Entries, Log

STREAMS = 5_000
"""How many streams are looked at in one read."""

_BEHIND = b" "
"""Behind the separator in an entry, and before whatever may come in its place in a longer name."""


class Stretch(NamedTuple):
    """The next entries, all there are up to a name; `reached` tells whether that is the name that was asked for."""

    entries: list[bytes]
    upto: str
    reached: bool


class Span(NamedTuple):
    """Which streams to walk through: their ends, and the names between which they are; "" is no bound.

    `since` as in `Log.entries`.
    """

    tails: Collection[str]
    after: str
    below: str
    since: int


class Walk:
    """Goes through the entries of a span, reading one step ahead."""

    def __init__(self, log: Log, span: Span) -> None:
        self._log = log
        self._span = span
        self._after = span.after
        self._ended = False
        self._entries: list[bytes] = []
        self._coming: asyncio.Task[Entries] | None = None

    @classmethod
    @asynccontextmanager
    async def of(cls, log: Log, span: Span) -> AsyncIterator[Self]:
        """A walk from one name to another."""
        walk = cls(log, span)
        walk._look_ahead()
        try:
            yield walk
        finally:
            await walk._stop()

    async def stretch(self, upto: str | None) -> Stretch:
        """The entries of the next streams, up to a name or, when it is None, to the end."""
        if not self._ended and (upto is None or self._after < upto):
            await self._read()
        if upto is None or not (self._ended or self._after >= upto):
            entries, self._entries = self._entries, []
            return Stretch(entries, self._after, self._ended)
        index = bisect_left(self._entries, upto.encode() + _BEHIND)
        entries, self._entries = self._entries[:index], self._entries[index:]
        return Stretch(entries, upto, reached=True)

    async def _read(self) -> None:
        coming = self._coming or self._look_ahead()
        self._coming = None
        read = await coming
        self._entries += read.entries
        if read.end is None:
            self._ended = True
        else:
            self._after = read.end
            self._look_ahead()

    def _look_ahead(self) -> "asyncio.Task[Entries]":
        tails, _, below, since = self._span
        entries = self._log.entries(tails, after=self._after, below=below, limit=STREAMS, since=since)
        self._coming = asyncio.create_task(entries)
        return self._coming

    async def _stop(self) -> None:
        if self._coming is not None:
            self._coming.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._coming
