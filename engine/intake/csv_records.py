"""The records of a CSV file as other systems write it: any usual delimiter, quoted cells, damaged records.

RFC 4180, in UTF-8, with a header. A first line `sep=;` names the delimiter, as spreadsheets write and read it.
"""

import csv
from collections.abc import Iterator
from typing import Self

from pagefold.engine.errors import Rejected, SourceFailed, SourceIncomplete
from pagefold.engine.intake.input_files import OversizedLine
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK

DELIMITERS = ",;\t|"
"""The characters that may be between the cells of a header, unless the delimiter is given."""

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR = "sep="


class CSVRecords:
    """The header and the records of a file, from its lines. `max_bytes` is the size that a record may have.

    `texts` has the number of lines read so far, and the bytes of the last record. Raises `SourceIncomplete` for a file
    without a header, and `SourceFailed` for one that is not CSV in UTF-8.
    """

    def __init__(
        self, name: str, lines: Iterator[bytes | OversizedLine], *, delimiter: str | None, max_bytes: int
    ) -> None:
        if csv.field_size_limit() < max_bytes:  # it is the whole process's: never made smaller
            csv.field_size_limit(max_bytes)
        self.texts = RecordTexts(name, lines, max_bytes)
        first = self.texts.peek()
        if first.lower().startswith(_SEPARATOR) and len(first) == len(_SEPARATOR) + 1:
            delimiter = first[-1]
            self.texts.skip()
            first = self.texts.peek()
        self._records = _records(self.texts, delimiter or _delimiter(first))
        self.header = self._header(name)

    def __iter__(self) -> Iterator[list[str] | Rejected]:
        """Every record that is not blank, or why it cannot be read."""
        return self._records

    @property
    def content(self) -> int:
        """A number that is equal for records with the same text."""
        return hash(self.texts.held)

    def skip_line(self) -> bool:
        """Leaves a line out. False when there is none."""
        return self.texts.skip()

    def _header(self, name: str) -> list[str]:
        header = next(self._records, None)
        if header is None:
            raise SourceIncomplete(name, "is empty: it needs a header")
        if isinstance(header, Rejected):
            raise SourceFailed(name, f"its header cannot be read: {header}")
        if any("\0" in cell for cell in header):
            raise SourceFailed(name, "its header has NUL characters: it may be UTF-16; export it as UTF-8")
        return header


def _delimiter(header: str) -> str:
    """The character that separates most columns of a header, outside of quotation marks."""
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def _records(texts: "RecordTexts", delimiter: str) -> Iterator[list[str] | Rejected]:
    records = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        texts.begin_record()
        try:
            record = next(records)
        except StopIteration:
            return
        except _TooLongError:
            yield Rejected("", f"has {texts.pass_over()} bytes; at most {texts.max_bytes} are allowed")
        except csv.Error as error:
            yield Rejected("", f"is not CSV: {error}")
        else:
            if texts.damaged:
                yield Rejected("", "is not UTF-8")
            elif record:
                yield record


class _TooLongError(Exception):  # carries nothing, never seen outside
    pass


class RecordTexts:
    """Lines for the CSV parser, which takes as many as a record needs, within bounds.

    `line` counts all of them, `size` the bytes of one record, `held` is its line, or a hash of its lines,
    and `damaged` is whether some of them were not valid text.
    """

    def __init__(self, name: str, lines: Iterator[bytes | OversizedLine], max_bytes: int) -> None:
        self._name = name
        self._lines = lines
        self._peeked: list[bytes | OversizedLine] = []
        self._quotes = 0
        self.max_bytes = max_bytes
        self.line = 0
        self.size = 0
        self.held: bytes | int | None = None
        self.damaged = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        held = self._next()
        if self.size > self.max_bytes or isinstance(held, OversizedLine):
            raise _TooLongError
        try:
            return held.decode() + "\n"
        except UnicodeDecodeError:
            self.damaged = True
            return held.decode(errors="replace") + "\n"

    def peek(self) -> str:
        """The next line that is not blank, which stays the next one; empty if it is too long to hold, or there is none.

        Raises `SourceFailed` for a file in UTF-16.
        """
        held = next(self._lines, b"")
        if isinstance(held, bytes) and self.line == 0:
            if held.startswith(_UTF_16):
                raise SourceFailed(self._name, "is UTF-16; export it as UTF-8")
            held = held.removeprefix(BYTE_ORDER_MARK)
        while isinstance(held, bytes) and not held.strip() and (more := next(self._lines, None)) is not None:
            self.line += 1
            held = more
        self._peeked.append(held)
        return held.decode(errors="replace").rstrip("\r") if isinstance(held, bytes) else ""

    def begin_record(self) -> None:
        """What comes next is another record."""
        self._quotes = self.size = 0
        self.held = None
        self.damaged = False

    def skip(self) -> bool:
        """Leaves a line out. False when there is none."""
        self.line += 1
        return bool(self._peeked and [self._peeked.pop()]) or next(self._lines, self) is not self

    def pass_over(self) -> int:
        """Leaves out the rest of a record, which ends where every quotation mark is closed; gives its bytes."""
        while self._quotes % 2:
            try:
                self._next()
            except StopIteration:
                break
        return self.size

    def _next(self) -> bytes | OversizedLine:
        held = self._peeked.pop() if self._peeked else next(self._lines)
        self.line += 1
        if isinstance(held, OversizedLine):
            self.size += held.size + 1
            self._quotes += held.quotes
        else:
            self.size += len(held) + 1
            self.held = held if self.held is None else hash((self.held, held))
            self._quotes += held.count(b'"')
        return held
