"""Snapshots in one JSON document: the elements of an array are the rows."""

from collections.abc import Iterator, Sequence

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import SourceIncomplete
from pagefold.engine.intake.contracts.export_rows import document_rows
from pagefold.engine.intake.input_files import InputFile, decompress
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK
from pagefold.engine.snapshots.json_rows import ContractJSON, Found, JSONRows, RowCounter
from pagefold.engine.snapshots.line_rows import FileToRead, LineCursor, LineReading

_ITEM_BYTES = 2_000
"""Bytes that an item of a document counts as: it is not written again to measure it."""

MAX_FIRST_LINE_BYTES = 1024 * 1024
"""Bytes of the first line that are looked at. A file with a longer one is one document."""


class DocumentReading(LineReading):
    """Reads one row per element of an array; any other document is divided. The document is held in memory."""

    def __init__(self, file: FileToRead, place: LineCursor, counter: RowCounter, rows: JSONRows | ContractJSON) -> None:
        super().__init__(file, place, counter)
        self._rows = rows

    def found(self, chunks: Iterator[bytes | None]) -> Iterator[Found]:
        """The content of the elements."""
        rows = document_rows(self.name, (chunk for chunk in chunks if chunk is not None))
        for size, found in self._divided(rows):
            self.line += 1
            if self.line > self.place.line:
                self.size += size
                yield found

    def _divided(self, rows: Sequence[msgspec.Raw]) -> Iterator[tuple[int, Found]]:
        """The content of each row, and its bytes."""
        if len(rows) == 1 and isinstance(self._rows, ContractJSON):
            for found in self._rows.divide(bytes(rows[0])):
                yield _ITEM_BYTES, found
            return
        for row in rows:
            text = bytes(row)
            yield len(text), self._rows.read(text)


def holds_lines(name: str) -> bool:
    """Whether a file has a JSON value in each line, rather than one document. Raises `SourceFailed`."""
    start = b""
    with InputFile(name) as file:
        try:
            for chunk in decompress(file.chunks(), name):
                start = (start + (chunk or b"")).removeprefix(BYTE_ORDER_MARK).lstrip()
                if start.startswith(b"[") or b"\n" in start or len(start) > MAX_FIRST_LINE_BYTES:
                    break
        except SourceIncomplete:  # reading will report it
            return False
    line, newline, _ = start.partition(b"\n")
    if start.startswith(b"[") or not newline:
        return False
    try:
        msgspec.json.decode(line)
    except DECODE_ERRORS:
        return False
    return True
