"""The rows of an export: a CSV file, lines of JSON, or one JSON document."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import PurePath
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import Rejected, SourceFailed
from pagefold.engine.intake.csv_records import DEFAULT_FORM, CSVForm, CSVRecords
from pagefold.engine.intake.input_files import InputFile, LineSplitter, OversizedLine, decompress
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK, check_repeated_keys, decode_rejection
from pagefold.projections.transforms.json_text import decode_exactly

Format: TypeAlias = Literal["csv", "ndjson", "json"]

MAX_DOCUMENT_BYTES = 512 * 1024 * 1024
MAX_ROW_BYTES = 16 * 1024 * 1024
"""Bytes of a row that a contract reads: it may hold a product with thousands of variants."""

_FORMATS: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".json": "json"}
_COMPRESSED = (".gz", ".zst")

_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)

encode_json = msgspec.json.Encoder().encode


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


def decode_record(text: bytes) -> object:
    """The value of a row in JSON: numbers keep every digit. Raises `Rejected`, also for a repeated key."""
    try:
        value = decode_exactly(text)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, text) from None
    if not _is_flat(text, value) and text.count(b":") != encode_json(value).count(b":"):
        check_repeated_keys(text)  # a repeated key is dropped with its colon
    return value


def _is_flat(text: bytes, value: object) -> bool:
    """Whether counting alone shows that a text is one object without a repeated key."""
    if type(value) is not dict or b"\\" in text or text.count(b"{") != 1:
        return False
    return text.count(b'":') == len(value)  # without escapes, a quotation mark and a colon are the end of a key


def document_rows(name: str, chunks: Iterator[bytes]) -> list[msgspec.Raw]:
    """The rows of one JSON document, undecoded: the elements of an array; anything else is one row.

    Raises `SourceFailed`.
    """
    text = bytearray()
    for chunk in chunks:
        text += chunk
        if len(text) > MAX_DOCUMENT_BYTES:
            raise SourceFailed(name, f"is one JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes; export lines")
    document = bytes(text).removeprefix(BYTE_ORDER_MARK).strip()
    try:
        return _array.decode(document) if document.startswith(b"[") else [_any.decode(document)]
    except DECODE_ERRORS as error:
        raise SourceFailed(name, f"is not JSON: {decode_rejection(error, document)}") from None


def check_width(cells: Sequence[str], columns: int) -> None:
    """Raises `Rejected` if a record of CSV has more or fewer cells than the header has columns."""
    if len(cells) != columns:
        raise Rejected("", f"has {len(cells):,} cells; the header has {columns:,}")


def cells_by_column(header: Sequence[str], cells: Sequence[str]) -> dict[str, str]:
    """A record of CSV by the names of its columns. Raises `Rejected` as `check_width` does."""
    check_width(cells, len(header))
    return dict(zip(header, cells, strict=True))


def repeated_column(header: Sequence[str], needed: Collection[str]) -> str | None:
    """A needed column that is there more than once. Others may have no name, or the same one."""
    return next((name for name, number in Counter(header).items() if number > 1 and name in needed), None)


def export_rows(name: str, kind: Format, form: CSVForm = DEFAULT_FORM, columns: Collection[str] = ()) -> Iterator[Row]:
    """The rows of a file: objects by column, or JSON values. `form` and `columns` are of CSV.

    Raises `SourceFailed`, also if one of `columns` is there twice, and `SourceIncomplete`.
    """
    with InputFile(name) as file:
        chunks = (chunk for chunk in decompress(file.chunks(), name) if chunk is not None)
        if kind == "csv":
            yield from _csv_rows(name, chunks, form, columns)
        elif kind == "ndjson":
            yield from _json_lines(chunks)
        else:
            rows = enumerate(document_rows(name, chunks), start=1)
            yield from ((number, _value(bytes(row))) for number, row in rows)


def _value(text: bytes) -> object:
    try:
        return decode_record(text)
    except Rejected as rejection:
        return Damaged(str(rejection))


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | OversizedLine]:
    return (line for line in LineSplitter(MAX_ROW_BYTES).lines(chunks) if line is not None)


def _json_lines(chunks: Iterator[bytes]) -> Iterator[Row]:
    for number, line in enumerate(_lines(chunks), start=1):
        if isinstance(line, OversizedLine):
            yield number, Damaged(f"has {line.size:,} bytes")
        elif text := (line if number > 1 else line.removeprefix(BYTE_ORDER_MARK)).strip():
            yield number, _value(text)


def _csv_rows(name: str, chunks: Iterator[bytes], form: CSVForm, columns: Collection[str]) -> Iterator[Row]:
    records = CSVRecords(name, chunks, form=form, max_bytes=MAX_ROW_BYTES)
    if (repeated := repeated_column(records.header, columns)) is not None:
        raise SourceFailed(name, f"has two columns named {repeated!r}")
    for cells in records:
        yield records.texts.line, _row(records.header, cells)


def _row(header: Sequence[str], cells: list[str] | Rejected) -> object:
    if isinstance(cells, Rejected):
        return Damaged(str(cells))
    try:
        return cells_by_column(header, cells)
    except Rejected as rejection:
        return Damaged(str(rejection))
