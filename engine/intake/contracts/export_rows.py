"""The rows of an export: a CSV file, lines of JSON, or one JSON document."""

import csv
from collections.abc import Iterator
from decimal import Decimal
from pathlib import PurePath
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.errors import SourceFailed
from pagefold.engine.intake.input_files import InputFile, LineSplitter, OversizedLine, decompress
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK

Format: TypeAlias = Literal["csv", "ndjson", "json"]

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
MAX_ROW_BYTES = 64 * 1024 * 1024
DELIMITERS = ",;\t|"

_FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json"}
_COMPRESSED = (".gz", ".zst")

_decode = msgspec.json.Decoder(float_hook=Decimal).decode
"""Numbers keep every digit."""


class Damaged(NamedTuple):
    """A row that cannot be read, and why."""

    reason: str


Row: TypeAlias = tuple[int, object]
"""The line, from 1, at which a row ends, and its value, or `Damaged`."""


def format_of(name: str) -> Format | None:
    """The format that a file's name shows, compressed or not."""
    path = PurePath(name)
    if path.suffix.lower() in _COMPRESSED:
        path = path.with_suffix("")
    return _FORMATS.get(path.suffix.lower())


def export_rows(name: str, kind: Format, delimiter: str | None = None) -> Iterator[Row]:
    """The rows of a file: objects by column, or JSON values. Raises `SourceFailed`, `SourceIncomplete`."""
    with InputFile(name) as file:
        chunks = (chunk for chunk in decompress(file.chunks(), name) if chunk is not None)
        if kind == "csv":
            yield from _csv_rows(name, _texts(chunks), delimiter)
        elif kind == "ndjson":
            yield from _json_lines(chunks)
        else:
            yield from _document(name, chunks)


def _document(name: str, chunks: Iterator[bytes]) -> Iterator[Row]:
    """A list is as many rows; anything else is one."""
    text = bytearray()
    for chunk in chunks:
        text += chunk
        if len(text) > MAX_DOCUMENT_BYTES:
            raise SourceFailed(name, f"is one JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes; export lines")
    try:
        value = _decode(bytes(text).removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise SourceFailed(name, f"is not JSON: {error}") from None
    yield from enumerate(value, start=1) if isinstance(value, list) else [(1, value)]


def _json_lines(chunks: Iterator[bytes]) -> Iterator[Row]:
    for number, line in enumerate(_lines(chunks), start=1):
        if isinstance(line, OversizedLine):
            yield number, Damaged(f"has {line.size:,} bytes")
        elif line.strip():
            try:
                yield number, _decode(line.removeprefix(BYTE_ORDER_MARK))
            except (msgspec.MsgspecError, RecursionError) as error:
                yield number, Damaged(f"is not JSON: {error}")


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | OversizedLine]:
    return (line for line in LineSplitter(MAX_ROW_BYTES).lines(chunks) if line is not None)


def _texts(chunks: Iterator[bytes]) -> Iterator[str]:
    """Lines of text, with their ends."""
    for number, line in enumerate(_lines(chunks)):
        held = b"" if isinstance(line, OversizedLine) else line
        yield (held if number else held.removeprefix(BYTE_ORDER_MARK)).decode(errors="replace") + "\n"


def _csv_rows(name: str, texts: Iterator[str], delimiter: str | None) -> Iterator[Row]:
    first = next(texts, "")
    if csv.field_size_limit() < MAX_ROW_BYTES:
        csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(_again(first, texts), delimiter=delimiter or _delimiter(first), strict=True)
    header = next(reader, None)
    if not header:
        raise SourceFailed(name, "is empty: it needs a header")
    if len(set(header)) < len(header):
        repeated = next(column for column in header if header.count(column) > 1)
        raise SourceFailed(name, f"has two columns named {repeated!r}")
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield reader.line_num, Damaged(f"is not CSV: {error}")
            continue
        if cells is None:
            return
        if len(cells) == len(header):
            yield reader.line_num, dict(zip(header, cells, strict=True))
        elif cells:
            yield reader.line_num, Damaged(f"has {len(cells):,} cells; the header has {len(header):,}")


def _again(first: str, texts: Iterator[str]) -> Iterator[str]:
    yield first
    yield from texts


def _delimiter(header: str) -> str:
    """The character that most columns of a header are separated by."""
    return max(DELIMITERS, key=header.count)
