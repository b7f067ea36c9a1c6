"""Reads NDJSON, compressed or not, from a file or a pipe, in batches of bounded size."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import MAX_EVENT_BYTES, parse_event
from pagefold.engine.intake.input_files import LineSplitter, OversizedLine, decompress
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK

MAX_BATCH_LINES = 5_000
MAX_BATCH_BYTES = 8 * 1024 * 1024
"""A batch is full at this many lines or bytes."""

MAX_LINE_BYTES = MAX_EVENT_BYTES + 4
"""Bytes of a line that are held: an event, a byte order mark, a carriage return."""


class NdjsonLine(NamedTuple):
    """A non-blank line: its number, and its event or why there is none.

    `text` has no line end; it is None if the line was too long to hold.
    """

    number: int
    text: bytes | None
    event: DomainEvent | Rejected


class NdjsonReader:
    """Turns the bytes of one source into batches of lines.

    Feed it bytes, take batches until there is none, and repeat; feeding b"" ends the input. It holds one batch, one
    chunk, and up to `MAX_LINE_BYTES` of a line. It decompresses by itself, and skips a byte order mark and blank lines.
    Not thread-safe.
    """

    def __init__(self, name: str) -> None:
        self._fed: deque[bytes] = deque()
        self._batch: list[NdjsonLine] = []
        self._batch_bytes = 0
        self._splitter = LineSplitter(MAX_LINE_BYTES)
        self._lines = self._splitter.lines(decompress(self._bytes(), name))
        self.number = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes; b"" is the end."""
        self._fed.append(data)

    def batch(self, *, partial: bool) -> list[NdjsonLine] | None:
        """A full batch, or, with `partial`, whatever is there; None if more input is needed.

        Raises `SourceIncomplete` for damaged or truncated compression; `rest` returns the lines before that.
        """
        for text in self._lines:
            if text is None:
                break
            self.number += 1
            if (line := _line(self.number, text)) is None:
                continue
            self._batch.append(line)
            self._batch_bytes += len(line.text or b"")
            if len(self._batch) >= MAX_BATCH_LINES or self._batch_bytes >= MAX_BATCH_BYTES:
                return self.rest()
        return self.rest() if partial and self._batch else None

    def rest(self) -> list[NdjsonLine]:
        """The lines that were read but not returned yet."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch

    def _bytes(self) -> Iterator[bytes | None]:
        while True:
            while not self._fed:
                yield None
            if not (data := self._fed.popleft()):
                return
            yield data


def _line(number: int, held: bytes | OversizedLine) -> NdjsonLine | None:
    """The line; None if it is blank."""
    if isinstance(held, OversizedLine):
        return NdjsonLine(number, None, oversized_line_error(held.size))
    text = strip_line(number, held)
    return NdjsonLine(number, text, _event(text)) if text and not text.isspace() else None


def _event(text: bytes) -> DomainEvent | Rejected:
    try:
        return parse_event(text)
    except Rejected as refused:
        return refused.with_traceback(None)


def strip_line(number: int, text: bytes) -> bytes:
    """A line without its carriage return, and the first one without its byte order mark."""
    if number == 1:
        text = text.removeprefix(BYTE_ORDER_MARK)
    return text.removesuffix(b"\r")


def oversized_line_error(size: int, allowed: int = MAX_EVENT_BYTES) -> Rejected:
    """The error for a line that was too long to hold."""
    return Rejected("", f"has {size} bytes; at most {allowed} are allowed")
