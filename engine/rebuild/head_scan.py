"""A walk through the entries of a source's streams, in their order, as far as each page of a snapshot reaches."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

from pagefold.engine.stores.store import SEPARATOR, HeadContents, Log

STREAMS = 10_000
"""How many streams are looked at in one read."""

READ_BYTES = 16 * 1024 * 1024
"""Bytes of the entries of one read, unless a single one has more."""

READ_AHEAD = 2
"""So many reads are made before they are needed."""

_BEHIND = b" "
"""Behind the separator in an entry, and before whatever may come in its place in a longer name."""


class HeadChunk(NamedTuple):
    """The next entries, all there are up to a name; `reached` tells whether that is the name that was asked for.

    The names of the stretches of a walk never go back. At the end of the log, it is the last name that was given, or
    asked for: whoever begins behind it is given nothing twice.
    """

    entries: list[bytes]
    upto: str
    reached: bool


class Span(NamedTuple):
    """Which streams to walk through: their ends, and the names between which they are; "" is no bound.

    `since` as in `Log.head_contents`.
    """

    tails: Collection[str]
    after: str
    below: str
    since: int


class HeadScan:
    """Goes through the entries of a span, reading ahead."""

    def __init__(self, log: Log, span: Span) -> None:
        self._log = log
        self._span = span
        self._after = span.after
        self._ended = False
        self._entries: list[bytes] = []
        self._read: asyncio.Queue[HeadContents | Exception] = asyncio.Queue(READ_AHEAD)

    @classmethod
    @asynccontextmanager
    async def of(cls, log: Log, span: Span) -> AsyncIterator[Self]:
        """A walk from one name to another."""
        walk = cls(log, span)
        reading = asyncio.create_task(walk._read_ahead())
        try:
            yield walk
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def stretch(self, upto: str | None) -> HeadChunk:
        """The entries of the next streams, up to a name or, when it is None, to the end."""
        if not self._ended and (upto is None or self._after < upto):
            await self._go_on()
        if upto is None or not (self._ended or self._after >= upto):
            entries, self._entries = self._entries, []
            return HeadChunk(entries, self._after, self._ended)
        self._after = max(self._after, upto)
        index = bisect_left(self._entries, upto.encode() + _BEHIND)
        entries, self._entries = self._entries[:index], self._entries[index:]
        return HeadChunk(entries, upto, reached=True)

    async def _go_on(self) -> None:
        match await self._read.get():
            case Exception() as error:
                raise error
            case HeadContents(entries, end):
                self._entries += entries
                self._ended = end is None
                self._after = self._last() if end is None else end

    def _last(self) -> str:
        """The last name so far."""
        if not self._entries:
            return self._after
        last = self._entries[-1]
        return max(self._after, last[: last.index(SEPARATOR)].decode())

    async def _read_ahead(self) -> None:
        """Reads on until there is no more, or until it fails, which is told to whoever goes on."""
        tails, after, below, since = self._span
        end: str | None = after
        while end is not None:
            try:
                read = await self._log.head_contents(
                    tails, after=end, below=below, limit=STREAMS, max_bytes=READ_BYTES, since=since
                )
            except Exception as error:  # noqa: BLE001  # it is raised where the entries are taken
                await self._read.put(error)
                return
            end = read.end
            await self._read.put(read)
