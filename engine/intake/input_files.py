"""Files as they come: from a disk or a pipe, compressed or not, in lines of bounded length."""

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
"""Bytes that are read at a time."""

UNPACK_BYTES = 512 * 1024
"""Bytes that are unpacked at a time: a small file may hold a very large one."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""The last three of four bytes that a zstd file may begin with, when it is written by several threads."""


class InputFile:
    """An open file or standard input. `position` counts the bytes read, `size` is None when nobody knows it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.position = 0
        self.size = size_of(name)
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
        """What is there next, empty at the end. Waits for a pipe without a thread, so that a signal can end it."""
        if self._waits:
            await wait_readable(self._file)
        return await run_sync(self.read_now)

    def read_now(self) -> bytes:
        """The same for who is in a thread already."""
        try:
            data = os.read(self._file, READ_BYTES)
        except OSError as error:
            raise SourceFailed(self.name, error.strerror or str(error)) from error
        self.position += len(data)
        return data

    def pieces(self) -> Iterator[bytes]:
        """All of it, for who is in a thread already."""
        while data := self.read_now():
            yield data

    @property
    def idle(self) -> bool:
        """Whether the next `read` would wait for somebody to write."""
        return self._waits and not select.select([self._file], [], [], 0)[0]


def size_of(name: str) -> int | None:
    """The bytes of a file, None for what has no size. Raises `SourceFailed` for what cannot be read."""
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
    """The data without its compression, if it has any, in pieces of bounded size; None is handed through.

    Gzip and zstd, of one part or several, are recognised by their first bytes. Raises `SourceIncomplete` for what is
    damaged or ends too early.
    """
    began = b""
    for piece in data:
        if piece is None:
            yield None
            continue
        began += piece
        if len(began) >= len(_ZSTD_MAGIC):
            break
    whole = chain([began] if began else [], data)
    if began.startswith(_GZIP_MAGIC):
        yield from _unpacked(whole, _Gzip, name)
    elif began.startswith(_ZSTD_MAGIC) or (began[1:4] == _ZSTD_SKIPPABLE and began[0] >> 4 == 5):  # noqa: PLR2004  # 0x50 to 0x5F
        yield from _unpacked(whole, _Zstd, name)
    else:
        yield from whole


class _Part(Protocol):
    """One of the compressed parts that make up a file."""

    @property
    def name(self) -> str: ...

    @property
    def fault(self) -> type[Exception]: ...

    @property
    def padding(self) -> bytes: ...

    @property
    def ended(self) -> bool: ...

    @property
    def full(self) -> bool:
        """Whether more comes without more being given."""

    @property
    def rest(self) -> bytes:
        """What was not taken of the bytes that were given."""

    def unpack(self, packed: bytes) -> bytes:
        """At most `UNPACK_BYTES`."""


class _Gzip:
    name = "gzip"
    fault = zlib.error
    padding = b"\0"

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self.full = False

    def unpack(self, packed: bytes) -> bytes:
        plain = self._member.decompress(packed, UNPACK_BYTES)
        self.full = len(plain) == UNPACK_BYTES
        return plain

    @property
    def ended(self) -> bool:
        return self._member.eof

    @property
    def rest(self) -> bytes:
        return self._member.unused_data if self._member.eof else self._member.unconsumed_tail


class _Zstd:
    name = "zstd"
    padding = b""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415  # few files are packed this way
        else:
            from backports import zstd  # noqa: PLC0415  # likewise
        self.fault = zstd.ZstdError
        self._frame = zstd.ZstdDecompressor()

    def unpack(self, packed: bytes) -> bytes:
        return self._frame.decompress(packed, UNPACK_BYTES)

    @property
    def ended(self) -> bool:
        return self._frame.eof

    @property
    def rest(self) -> bytes:
        return self._frame.unused_data if self._frame.eof else b""

    @property
    def full(self) -> bool:
        return not self._frame.eof and not self._frame.needs_input


def _unpacked(data: Iterator[bytes | None], kind: Callable[[], _Part], name: str) -> Iterator[bytes | None]:
    """Every part of a compressed file, one after the other. Zeros behind one may be padding."""
    part = kind()
    for piece in data:
        if piece is None:
            yield None
            continue
        packed, more = piece, True
        while more:
            if part.ended:
                if not (packed := packed.lstrip(part.padding) if part.padding else packed):
                    break
                part = kind()
            try:
                plain = part.unpack(packed)
            except part.fault as error:
                raise SourceIncomplete(name, f"the {part.name} data is damaged: {error}") from error
            if plain:
                yield plain
            packed = part.rest
            more = bool(packed) or part.full
    if not part.ended:
        raise SourceIncomplete(name, f"the {part.name} data ends too early; the file is incomplete")


# --- lines ----------------------------------------------------------------------------------------


class OversizedLine(NamedTuple):
    """A line that was too long to be held: its bytes, and the quotation marks among them."""

    size: int
    quotes: int


class LineSplitter:
    """Makes lines of pieces, and holds no more of one than `longest` bytes."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._dropped_quotes = 0

    def bunches(self, pieces: Iterator[bytes | None]) -> Iterator[list[bytes | OversizedLine] | None]:
        """The lines of each piece, without their ends of a line feed; None where a piece is."""
        for piece in pieces:
            if piece is None:
                yield None
                continue
            *ended, begun = piece.split(b"\n")
            bunch: list[bytes | OversizedLine] = [*ended]
            if ended and self._held_bytes:
                bunch[0] = self._end(ended[0])
            self._hold(begun)
            yield bunch
        if self._held_bytes:
            yield [self._end(b"")]

    def lines(self, pieces: Iterator[bytes | None]) -> Iterator[bytes | OversizedLine | None]:
        """Every line without its end of a line feed; None where there can be none before there are more pieces."""
        return one_by_one(self.bunches(pieces))

    def _hold(self, begun: bytes) -> None:
        """Keeps the beginning of a line, or only counts its bytes when they are too many."""
        self._held_bytes += len(begun)
        if begun:
            self._held.append(begun)
        if self._held_bytes > self._longest:
            self._dropped_quotes += sum(held.count(b'"') for held in self._held)
            self._held.clear()

    def _end(self, text: bytes) -> bytes | OversizedLine:
        self._hold(text)
        size, quotes, whole = self._held_bytes, self._dropped_quotes, b"".join(self._held)
        self._held, self._held_bytes, self._dropped_quotes = [], 0, 0
        return OversizedLine(size, quotes) if size > self._longest else whole


def one_by_one(bunches: Iterator[list[bytes | OversizedLine] | None]) -> Iterator[bytes | OversizedLine | None]:
    """The lines of bunches; None where a bunch is."""
    for bunch in bunches:
        if bunch is None:
            yield None
        else:
            yield from bunch
