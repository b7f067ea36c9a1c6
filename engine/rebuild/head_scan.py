"""Scans the heads of a source's streams in order, up to the end of each chunk of a snapshot."""

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple, Self

from pagefold.engine.stores.log_records import SEPARATOR, HeadContents
from pagefold.engine.stores.store import Log

STREAMS_PER_READ = 10_000
"""Maximum streams of one read."""

MAX_READ_BYTES = 16 * 1024 * 1024
"""Maximum bytes of one read, unless a single head has more."""

READ_AHEAD = 2
"""Reads that are kept ready."""

_AFTER_SEPARATOR = b" "
"""Sorts after the separator and before every character that a longer stream name continues with."""


class HeadChunk(NamedTuple):
    """The next head contents, up to and including the stream `upto`; `reached`: that is the one requested.

    `upto` never decreases. At the end of the log it is the last stream returned or requested, so a scan that resumes
    after it repeats nothing.
    """

    entries: list[bytes]
    upto: str
    reached: bool


class Span(NamedTuple):
    """The streams to scan: those with these suffixes, after one name and before another; "" is no bound.

    `since` as in `Log.head_contents`.
    """

    suffixes: Collection[str]
    after: str
    below: str
    since: int


class HeadScan:
    """Scans the heads of a span, reading ahead."""

    def __init__(self, log: Log, span: Span) -> None:
        self._log = log
        self._span = span
        self._after = span.after
        self._ended = False
        self._entries: list[bytes] = []
        self._read: asyncio.Queue[HeadContents | Exception] = asyncio.Queue(READ_AHEAD)

    @classmethod
    @asynccontextmanager
    async def open(cls, log: Log, span: Span) -> AsyncIterator[Self]:
        """Scans a span for the length of an `async with`."""
        scan = cls(log, span)
        reading = asyncio.create_task(scan._read_ahead())
        try:
            yield scan
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading

    async def next_chunk(self, upto: str | None) -> HeadChunk:
        """The heads of the next streams, up to a name, or to the end if it is None."""
        if not self._ended and (upto is None or self._after < upto):
            await self._take_read()
        if upto is None or not (self._ended or self._after >= upto):
            entries, self._entries = self._entries, []
            return HeadChunk(entries, self._after, self._ended)
        self._after = max(self._after, upto)
        index = bisect_left(self._entries, upto.encode() + _AFTER_SEPARATOR)
        entries, self._entries = self._entries[:index], self._entries[index:]
        return HeadChunk(entries, upto, reached=True)

    async def _take_read(self) -> None:
        match await self._read.get():
            case Exception() as error:
                raise error
            case HeadContents(entries, end):
                self._entries += entries
                self._ended = end is None
                self._after = self._last() if end is None else end

    def _last(self) -> str:
        """The last stream so far."""
        if not self._entries:
            return self._after
        last = self._entries[-1]
        return max(self._after, last[: last.index(SEPARATOR)].decode())

    async def _read_ahead(self) -> None:
        """Reads until the end, or until an error, which `next_chunk` then raises."""
        suffixes, after, below, since = self._span
        end: str | None = after
        while end is not None:
            try:
                read = await self._log.head_contents(
                    suffixes, after=end, below=below, limit=STREAMS_PER_READ, max_bytes=MAX_READ_BYTES, since=since
                )
            except Exception as error:  # noqa: BLE001  # `next_chunk` raises it
                await self._read.put(error)
                return
            end = read.end
            await self._read.put(read)
