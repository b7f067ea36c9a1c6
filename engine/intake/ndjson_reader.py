"""Reading NDJSON as it comes: compressed or not, from a file or a pipe, in batches of bounded size."""

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import LARGEST_EVENT, parse_event
from pagefold.engine.intake.input_files import LineSplitter, OversizedLine, decompress
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK

BATCH_LINES = 5_000
BATCH_BYTES = 8 * 1024 * 1024
"""A batch is full when it has so many lines, or so many bytes."""

LONGEST_LINE = LARGEST_EVENT + 4
"""Bytes of a line that are held: an event, a byte order mark, a carriage return."""


class Line(NamedTuple):
    """A line that is not blank, with its number in the file, and the event in it or why there is none.

    `text` is without its end, and None where the line was too long to be held.
    """

    number: int
    text: bytes | None
    event: DomainEvent | Rejected


class LineReader:
    """Makes batches of lines from the bytes of one source.

    Feed it, take batches until there is none, feed it again; feeding nothing ends it. It holds a batch and a chunk, and
    of a line at most `LONGEST_LINE`. Compression is recognised by the first bytes; a byte order mark and blank lines
    are skipped. Not for two threads at a time.
    """

    def __init__(self, name: str) -> None:
        self._fed: deque[bytes] = deque()
        self._batch: list[Line] = []
        self._batch_bytes = 0
        self._splitter = LineSplitter(LONGEST_LINE)
        self._lines = self._splitter.lines(decompress(self._bytes(), name))
        self.number = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes; empty is the end."""
        self._fed.append(data)

    def batch(self, *, partial: bool) -> list[Line] | None:
        """A full batch; with `partial`, what there is, when there is any; None when more must be fed first.

        Raises `SourceIncomplete` for damaged or incomplete compression; `rest` gives what was read before that.
        """
        for text in self._lines:
            if text is None:
                break
            self.number += 1
            if (line := _line(self.number, text)) is None:
                continue
            self._batch.append(line)
            self._batch_bytes += len(line.text or b"")
            if len(self._batch) >= BATCH_LINES or self._batch_bytes >= BATCH_BYTES:
                return self.rest()
        return self.rest() if partial and self._batch else None

    def rest(self) -> list[Line]:
        """What was read and not yet taken."""
        batch, self._batch, self._batch_bytes = self._batch, [], 0
        return batch

    def _bytes(self) -> Iterator[bytes | None]:
        while True:
            while not self._fed:
                yield None
            if not (data := self._fed.popleft()):
                return
            yield data


def _line(number: int, held: bytes | OversizedLine) -> Line | None:
    """The line, None when it is blank."""
    if isinstance(held, OversizedLine):
        return Line(number, None, too_long(held.size))
    text = bare(number, held)
    return Line(number, text, _event(text)) if text and not text.isspace() else None


def _event(text: bytes) -> DomainEvent | Rejected:
    try:
        return parse_event(text)
    except Rejected as refused:
        return refused.with_traceback(None)


def bare(number: int, text: bytes) -> bytes:
    """A line of a file without its carriage return, and the first one without a byte order mark."""
    if number == 1:
        text = text.removeprefix(BYTE_ORDER_MARK)
    return text.removesuffix(b"\r")


def too_long(size: int) -> Rejected:
    """What is said of a line that could not be held."""
    return Rejected("", f"has {size} bytes; at most {LARGEST_EVENT} are allowed")
