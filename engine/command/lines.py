"""Reading NDJSON as it comes: compressed or not, from a file or a pipe, in batches of bounded size."""

import os
import select
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from anyio import wait_readable
from anyio.to_thread import run_sync

from engine.command.options import SourceError
from engine.door import LARGEST_EVENT, read_event
from engine.errors import Refused
from engine.events import DomainEvent

STANDARD_INPUT = "-"
READ_BYTES = 128 * 1024
"""Bytes that are read at a time."""

UNPACK_BYTES = 512 * 1024
"""Bytes that are unpacked at a time: a small file may hold a very large one."""

BATCH_LINES = 5_000
BATCH_BYTES = 8 * 1024 * 1024
"""A batch is full when it has so many lines, or so many bytes."""

LONGEST_LINE = LARGEST_EVENT + 4
"""Bytes of a line that are held: an event, a byte order mark, a carriage return."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line that is not blank, with its number in the file, and the event in it or why there is none.

    `text` is without its end, and None where the line was too long to be held.
    """

    number: int
    text: bytes | None
    event: DomainEvent | Refused


class Source:
    """An open file or standard input. `position` counts the bytes read, `size` is None when nobody knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.position = 0
        self.size = size_of(name)
        try:
            self._file = 0 if name == STANDARD_INPUT else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._file).st_mode
        except OSError as error:
            raise SourceError(name, error.strerror or str(error)) from error
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            os.close(self._file)

    async def read(self) -> bytes:
        """What is there next, empty at the end. Waits for a pipe without a thread, so that a signal can end it."""
        if self._waits:
            await wait_readable(self._file)
        try:
            data = await run_sync(os.read, self._file, READ_BYTES)
        except OSError as error:
            raise SourceError(self.name, error.strerror or str(error)) from error
        self.position += len(data)
        return data

    @property
    def idle(self) -> bool:
        """Whether the next `read` would wait for somebody to write."""
        return self._waits and not select.select([self._file], [], [], 0)[0]


def size_of(name: str) -> int | None:
    """The bytes of a file, None for what has no size. Raises `SourceError` for what cannot be read."""
    try:
        found = os.fstat(0) if name == STANDARD_INPUT else Path(name).stat()
    except OSError as error:
        raise SourceError(name, error.strerror or str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise SourceError(name, "is a folder, not a file")
    if name != STANDARD_INPUT and not os.access(name, os.R_OK):
        raise SourceError(name, "may not be read: permission denied")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


class LineReader:
    """Makes batches of lines from the bytes of one source.

    Feed it, take batches until there is none, feed it again; feeding nothing ends it. It holds a batch and a chunk, and
    of a line at most `LONGEST_LINE`. Gzip, of one member or several, is recognised by its first bytes; a byte order
    mark and blank lines are skipped. Not for two threads at a time.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._fed: deque[bytes] = deque()
        self._batch: list[Line] = []
        self._batch_bytes = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._lines = self._read()
        self.number = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes; empty is the end."""
        self._fed.append(data)

    def batch(self, *, partial: bool) -> list[Line] | None:
        """A full batch; with `partial`, what there is, when there is any; None when more must be fed first.

        Raises `SourceError` for damaged or incomplete gzip; `rest` gives what was read before that.
        """
        for line in self._lines:
            if line is None:
                break
            self._batch.append(line)
            self._batch_bytes += len(line.text or b"")
            if len(self._batch) >= BATCH_LINES or self._batch_bytes >= BATCH_BYTES:
                return self.rest()
        return self.rest() if partial and self._batch else None

    def rest(self) -> list[Line]:
        """What was read and not yet taken."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch

    def _read(self) -> Iterator[Line | None]:
        """Every line; None where there can be none before more is fed."""
        for piece in unpack(self._bytes(), self._name):
            if piece is None:
                yield None
                continue
            *ended, begun = piece.split(b"\n")
            for text in ended:
                if (line := self._end(text)) is not None:
                    yield line
            self._hold(begun)
        if self._held_bytes and (line := self._end(b"")) is not None:
            yield line

    def _bytes(self) -> Iterator[bytes | None]:
        while True:
            while not self._fed:
                yield None
            if not (data := self._fed.popleft()):
                return
            yield data

    def _hold(self, begun: bytes) -> None:
        """Keeps the beginning of a line, or only counts its bytes when they are too many."""
        self._held_bytes += len(begun)
        if self._held_bytes > LONGEST_LINE:
            self._held.clear()
        elif begun:
            self._held.append(begun)

    def _end(self, text: bytes) -> Line | None:
        """The line that ends with `text`, None when it is blank."""
        self.number += 1
        if self._held_bytes:
            self._hold(text)
            size, text = self._held_bytes, b"".join(self._held)
            self._held, self._held_bytes = [], 0
            if size > LONGEST_LINE:
                reason = f"has {size} bytes; at most {LARGEST_EVENT} are allowed"
                return Line(self.number, None, Refused("", reason))
        if self.number == 1:
            text = text.removeprefix(_BYTE_ORDER_MARK)
        text = text.removesuffix(b"\r")
        return Line(self.number, text, _event(text)) if text and not text.isspace() else None


def _event(text: bytes) -> DomainEvent | Refused:
    try:
        return read_event(text)
    except Refused as refused:
        return refused.with_traceback(None)


def unpack(data: Iterator[bytes | None], name: str) -> Iterator[bytes | None]:
    """The data without its gzip compression, if it has any, in pieces of bounded size; None is handed through.

    Raises `SourceError` for what is damaged or ends too early.
    """
    began = b""
    for piece in data:
        if piece is None:
            yield None
            continue
        began += piece
        if len(began) >= len(_GZIP_MAGIC):
            break
    if began.startswith(_GZIP_MAGIC):
        yield from _gunzip(chain([began], data), name)
    elif began:
        yield from chain([began], data)


def _gunzip(data: Iterator[bytes | None], name: str) -> Iterator[bytes | None]:
    """Every member of a gzip file, one after the other. Zeros behind a member are padding."""
    member = zlib.decompressobj(_GZIP_WINDOW)
    for piece in data:
        if piece is None:
            yield None
            continue
        packed, more = piece, True
        while more:
            if member.eof:
                if not (packed := packed.lstrip(b"\0")):
                    break
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                plain = member.decompress(packed, UNPACK_BYTES)
            except zlib.error as error:
                raise SourceError(name, f"the gzip data is damaged: {error}") from error
            if plain:
                yield plain
            packed = member.unused_data if member.eof else member.unconsumed_tail
            more = bool(packed) or len(plain) == UNPACK_BYTES
    if not member.eof:
        raise SourceError(name, "the gzip data ends too early; the file is incomplete")
