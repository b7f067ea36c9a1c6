"""Reads files and pipes: decompressed if necessary, and split into lines of bounded length."""

import os
import select
import stat
import sys
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from anyio import wait_readable
from anyio.to_thread import run_sync

from pagefold.engine.errors import SourceFailed, SourceIncomplete

STANDARD_INPUT = "-"
READ_BYTES = 128 * 1024
"""Bytes per read."""

DECOMPRESS_BYTES = 512 * 1024
"""Bytes decompressed at a time: a small file may expand to a very large one."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""The last three of the four bytes that may start a zstd file written by several threads."""


class InputFile:
    """An open file or standard input. `position` is the number of bytes read, `size` is None if unknown."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.position = 0
        self.size = file_size(name)
        try:
            self._file = 0 if name == STANDARD_INPUT else os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            mode = os.fstat(self._file).st_mode
        except OSError as error:
            raise SourceFailed(name, error.strerror or str(error)) from error
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file:
            os.close(self._file)

    async def read(self) -> bytes:
        """Reads the next bytes; empty at the end. Waits for a pipe without a thread, so that a signal can end it."""
        if self._waits:
            await wait_readable(self._file)
        return await run_sync(self.read_now)

    def read_now(self) -> bytes:
        """The same, for callers that are in a thread."""
        try:
            data = os.read(self._file, READ_BYTES)
        except OSError as error:
            raise SourceFailed(self.name, error.strerror or str(error)) from error
        self.position += len(data)
        return data

    def chunks(self) -> Iterator[bytes]:
        """All of the file, for callers that are in a thread."""
        while data := self.read_now():
            yield data

    @property
    def idle(self) -> bool:
        """Whether the next `read` would wait for a writer."""
        return self._waits and not select.select([self._file], [], [], 0)[0]


def file_size(name: str) -> int | None:
    """The size of a file in bytes; None if it has none. Raises `SourceFailed` if it cannot be read."""
    try:
        found = os.fstat(0) if name == STANDARD_INPUT else Path(name).stat()
    except OSError as error:
        raise SourceFailed(name, error.strerror or str(error)) from error
    if stat.S_ISDIR(found.st_mode):
        raise SourceFailed(name, "is a folder, not a file")
    if name != STANDARD_INPUT and not os.access(name, os.R_OK):
        raise SourceFailed(name, "may not be read: permission denied")
    return found.st_size if stat.S_ISREG(found.st_mode) else None


# --- compression ----------------------------------------------------------------------------------


def decompress(data: Iterator[bytes | None], name: str) -> Iterator[bytes | None]:
    """Decompresses the data, if it is compressed, in chunks of bounded size; passes None through.

    Recognises gzip and zstd, with one or several parts, by their first bytes. Raises `SourceIncomplete` for damaged or
    truncated data.
    """
    start = b""
    for chunk in data:
        if chunk is None:
            yield None
            continue
        start += chunk
        if len(start) >= len(_ZSTD_MAGIC):
            break
    complete = chain([start] if start else [], data)
    if start.startswith(_GZIP_MAGIC):
        yield from _decompressed(complete, _Gzip, name)
    elif start.startswith(_ZSTD_MAGIC) or (start[1:4] == _ZSTD_SKIPPABLE and start[0] >> 4 == 5):  # noqa: PLR2004  # 0x50 to 0x5F
        yield from _decompressed(complete, _Zstd, name)
    else:
        yield from complete


class _Decompressor(Protocol):
    """Decompresses one of the parts that a compressed file consists of."""

    @property
    def name(self) -> str: ...

    @property
    def fault(self) -> type[Exception]: ...

    @property
    def padding(self) -> bytes: ...

    @property
    def ended(self) -> bool: ...

    @property
    def has_more(self) -> bool:
        """Whether there is more output without more input."""

    @property
    def unused(self) -> bytes:
        """The input that was not used."""

    def decompress_chunk(self, compressed: bytes) -> bytes:
        """Returns at most `DECOMPRESS_BYTES`."""


class _Gzip:
    name = "gzip"
    fault = zlib.error
    padding = b"\0"

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self.has_more = False

    def decompress_chunk(self, compressed: bytes) -> bytes:
        output = self._member.decompress(compressed, DECOMPRESS_BYTES)
        self.has_more = len(output) == DECOMPRESS_BYTES
        return output

    @property
    def ended(self) -> bool:
        return self._member.eof

    @property
    def unused(self) -> bytes:
        return self._member.unused_data if self._member.eof else self._member.unconsumed_tail


class _Zstd:
    name = "zstd"
    padding = b""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415  # few files are compressed this way
        else:
            from backports import zstd  # noqa: PLC0415  # likewise
        self.fault = zstd.ZstdError
        self._frame = zstd.ZstdDecompressor()

    def decompress_chunk(self, compressed: bytes) -> bytes:
        return self._frame.decompress(compressed, DECOMPRESS_BYTES)

    @property
    def ended(self) -> bool:
        return self._frame.eof

    @property
    def unused(self) -> bytes:
        return self._frame.unused_data if self._frame.eof else b""

    @property
    def has_more(self) -> bool:
        return not self._frame.eof and not self._frame.needs_input


def _decompressed(data: Iterator[bytes | None], kind: Callable[[], _Decompressor], name: str) -> Iterator[bytes | None]:
    """Decompresses every part of a file in turn. Zeros after a gzip part are padding."""
    part = kind()
    for chunk in data:
        if chunk is None:
            yield None
            continue
        compressed, more = chunk, True
        while more:
            if part.ended:
                if not (compressed := compressed.lstrip(part.padding) if part.padding else compressed):
                    break
                part = kind()
            try:
                output = part.decompress_chunk(compressed)
            except part.fault as error:
                raise SourceIncomplete(name, f"the {part.name} data is damaged: {error}") from error
            if output:
                yield output
            compressed = part.unused
            more = bool(compressed) or part.has_more
    if not part.ended:
        raise SourceIncomplete(name, f"the {part.name} data ends too early; the file is incomplete")


# --- lines ----------------------------------------------------------------------------------------


class OversizedLine(NamedTuple):
    """A line that was too long to hold: its bytes, and the number of quotation marks in it."""

    size: int
    quotes: int


class LineSplitter:
    """Splits chunks into lines, holding at most `max_bytes` of a line."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._dropped_quotes = 0

    def line_batches(self, chunks: Iterator[bytes | None]) -> Iterator[list[bytes | OversizedLine] | None]:
        """The lines of each chunk, without line feeds; None for a None."""
        for chunk in chunks:
            if chunk is None:
                yield None
                continue
            *ended, tail = chunk.split(b"\n")
            batch: list[bytes | OversizedLine] = [*ended]
            if ended and self._held_bytes:
                batch[0] = self._end(ended[0])
            self._hold(tail)
            yield batch
        if self._held_bytes:
            yield [self._end(b"")]

    def lines(self, chunks: Iterator[bytes | None]) -> Iterator[bytes | OversizedLine | None]:
        """Every line, without its line feed; None when more input is needed."""
        return single_lines(self.line_batches(chunks))

    def _hold(self, tail: bytes) -> None:
        """Holds the start of a line, or only counts its bytes once it is too long."""
        self._held_bytes += len(tail)
        if tail:
            self._held.append(tail)
        if self._held_bytes > self._max_bytes:
            self._dropped_quotes += sum(held.count(b'"') for held in self._held)
            self._held.clear()

    def _end(self, text: bytes) -> bytes | OversizedLine:
        self._hold(text)
        size, quotes, complete = self._held_bytes, self._dropped_quotes, b"".join(self._held)
        self._held, self._held_bytes, self._dropped_quotes = [], 0, 0
        return OversizedLine(size, quotes) if size > self._max_bytes else complete


def single_lines(line_batches: Iterator[list[bytes | OversizedLine] | None]) -> Iterator[bytes | OversizedLine | None]:
    """The lines of the batches, one by one; None for a None."""
    for batch in line_batches:
        if batch is None:
            yield None
        else:
            yield from batch
