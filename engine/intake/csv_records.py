"""The records of a CSV file as other systems write it: any usual delimiter, quoted cells, damaged records.

RFC 4180, with a header, in UTF-8 unless the encoding is given. A first line `sep=;` names the delimiter, as
spreadsheets write and read it.
"""

import csv
from collections.abc import Iterator
from typing import NamedTuple, Self

from pagefold.engine.configuration.csv_tables import delimiter_of
from pagefold.engine.configuration.encodings import foreign_encoding
from pagefold.engine.errors import Rejected, SourceFailed, SourceIncomplete
from pagefold.engine.intake.input_files import LineSplitter, OversizedLine
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.intake.transcoding import damaged_byte, transcode

_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SEPARATOR = "sep="
_HINT = "export it as UTF-8, or give its encoding"


class CSVForm(NamedTuple):
    """How a CSV file is written: its delimiter, None for that of the header; and its encoding, None for UTF-8."""

    delimiter: str | None = None
    encoding: str | None = None


DEFAULT_FORM = CSVForm()


class CSVRecords:
    """The header and the records of a file, from its chunks. `max_bytes` is the size that a record may have, in UTF-8.

    `texts` has the number of lines read so far, and the bytes of the last record. Raises `SourceIncomplete` for a file
    without a header, and `SourceFailed` for one that is not CSV in its encoding.
    """

    def __init__(
        self, name: str, chunks: Iterator[bytes | None], *, form: CSVForm = DEFAULT_FORM, max_bytes: int
    ) -> None:
        if csv.field_size_limit() < max_bytes:  # it is the whole process's: never made smaller
            csv.field_size_limit(max_bytes)
        delimiter, encoding = form.delimiter, foreign_encoding(form.encoding)
        lines = LineSplitter(max_bytes).lines(transcode(chunks, encoding))
        self.texts = RecordTexts(name, (line for line in lines if line is not None), max_bytes, encoding)
        first = self.texts.peek()
        if first.lower().startswith(_SEPARATOR) and len(first) == len(_SEPARATOR) + 1:
            delimiter = first[-1]
            self.texts.skip()
            first = self.texts.peek()
        self._records = _records(self.texts, delimiter or delimiter_of(first))
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
            raise SourceFailed(name, f"its header has NUL characters: it may be UTF-16; {_HINT}")
        return header


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
            if texts.damage:
                yield Rejected("", texts.damage)
            elif record:
                yield record


class _TooLongError(Exception):  # carries nothing, never seen outside
    pass


class RecordTexts:
    """Lines for the CSV parser, which takes as many as a record needs, within bounds.

    `line` counts all of them, `size` the bytes of one record, `held` is its line, or a hash of its lines,
    and `damage` says where one of them was not valid text.
    """

    def __init__(
        self, name: str, lines: Iterator[bytes | OversizedLine], max_bytes: int, encoding: str | None = None
    ) -> None:
        self._encoding = encoding
        self._name = name
        self._lines = lines
        self._peeked: list[bytes | OversizedLine] = []
        self._quotes = 0
        self.max_bytes = max_bytes
        self.line = 0
        self.size = 0
        self.held: bytes | int | None = None
        self.damage = ""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> str:
        held = self._next()
        if self.size > self.max_bytes or isinstance(held, OversizedLine):
            raise _TooLongError
        try:
            return held.decode() + "\n"
        except UnicodeDecodeError as error:
            self.damage = self.damage or self._damage(held, error)
            return held.decode(errors="replace") + "\n"

    def _damage(self, held: bytes, error: UnicodeDecodeError) -> str:
        """Where a line is not text in the encoding of its file."""
        byte = damaged_byte(held, error, self._encoding)
        return f"is not {self._encoding or 'UTF-8'}: line {self.line:,} has the byte 0x{byte:02x}"

    def peek(self) -> str:
        """The next line that is not blank, which stays the next one; empty if it is too long to hold, or there is none.

        Raises `SourceFailed` for a file in UTF-16.
        """
        held = next(self._lines, b"")
        if isinstance(held, bytes) and self.line == 0:
            if held.startswith(_UTF_16):
                raise SourceFailed(self._name, f"is UTF-16; {_HINT}")
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
        self.damage = ""

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
