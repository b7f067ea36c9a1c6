"""CSV files beside a configuration or a contract: the rows of small tables. Other parts read large files."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from pagefold.engine.configuration.encodings import encoding_error

DELIMITERS = ",;\t|"
"""The characters that may be between the cells of a header, unless the delimiter is given."""

MAX_TABLE_ROWS = 100_000
"""Rows of a table: every process has them in its configuration."""


class TableSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the rows of a table are: `rows`, or columns of a CSV `file`.

    `key` is the column of the keys; `value` that of the values, or `values` the columns of texts by locale. `where` are
    the values that a row must have, by column.
    """

    rows: dict[str, object] = {}
    file: str | None = None
    key: str | None = None
    value: str | None = None
    values: dict[str, str] = {}
    where: dict[str, str] = {}
    delimiter: str | None = None
    encoding: str | None = None
    ignore_case: bool = False

    @property
    def columns(self) -> list[str]:
        """The columns that it reads."""
        return [self.key or "", *([self.value] if self.value is not None else self.values.values()), *self.where]

    def keeps(self, row: Mapping[str, str]) -> bool:
        """Whether a row has the values of `where`."""
        return all(row[column] == value for column, value in self.where.items())


class UnusableTable(Exception):
    """What is wrong with a file, and the key of the setting that is wrong."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(problem)
        self.setting = setting
        self.problem = problem


class CSVRow(NamedTuple):
    """A row of a table, and the line at which it ends."""

    line: int
    cells: dict[str, str]


def csv_rows(
    file: Path, columns: Sequence[str], *, delimiter: str | None = None, encoding: str | None = None
) -> Iterator[CSVRow]:
    """The rows of a file that has these columns. Raises `UnusableTable`.

    Without a delimiter, it is the one that the header has; without an encoding, UTF-8.
    """
    if encoding is not None and (problem := encoding_error(encoding)) is not None:
        raise UnusableTable("encoding", problem)
    try:
        with file.open(encoding=encoding or "utf-8-sig", newline="") as opened:
            header = opened.readline()
            opened.seek(0)
            reader = csv.DictReader(opened, delimiter=delimiter or delimiter_of(header), strict=True)
            yield from _rows(file.name, reader, columns)
    except OSError as error:
        raise UnusableTable("file", f"{file.name} cannot be read: {error.strerror}") from None
    except (UnicodeError, csv.Error, TypeError) as error:
        raise UnusableTable("file", f"{file.name} is not such a CSV file: {error}") from None


def _rows(name: str, reader: "csv.DictReader[str]", columns: Sequence[str]) -> Iterator[CSVRow]:
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise UnusableTable(
            "file", f"{name} has no column {missing[0]!r:.60}; it has {', '.join(reader.fieldnames or ())}"
        )
    for number, cells in enumerate(reader):
        if number >= MAX_TABLE_ROWS:
            raise UnusableTable("file", f"{name} has more than {MAX_TABLE_ROWS:,} rows")
        if None in cells or None in cells.values():
            raise UnusableTable("file", f"line {reader.line_num} of {name} has other columns")
        yield CSVRow(reader.line_num, cells)


def delimiter_of(header: str) -> str:
    """The character that separates most columns of a header, outside of quotation marks."""
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)
