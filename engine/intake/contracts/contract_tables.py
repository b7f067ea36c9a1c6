"""The tables of a contract: rows in the contract itself, or in a CSV file beside it. Read once, when it is compiled."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pagefold.engine.configuration.csv_tables import TableSource
from pagefold.engine.configuration.encodings import encoding_error
from pagefold.engine.errors import SourceFailed, SourceIncomplete
from pagefold.engine.intake.contracts.export_rows import Damaged, export_rows
from pagefold.engine.intake.csv_records import CSVForm
from pagefold.projections.transforms import InvalidMapping, LookupTable, RateTable, text_table

RATE_COLUMNS = ("base", "quote", "day", "rate")


class RateSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CSV `file` with exchange rates: the columns `base`, `quote`, `day` and `rate`."""

    file: str
    delimiter: str | None = None
    encoding: str | None = None


def lookup_table(name: str, source: TableSource, folder: Path) -> LookupTable:
    """A table to look values up in. Raises `InvalidMapping`."""
    key = f"tables.{name}"
    if source.file is None:
        if not source.rows:
            raise InvalidMapping(key, "needs either `rows` or a `file`")
        return text_table(name, source.rows, ignore_case=source.ignore_case)
    if source.rows or source.key is None or (source.value is None) == (not source.values):
        raise InvalidMapping(key, "of a file needs `key`, and either `value` or `values`, and no `rows`")
    found = filter(source.keeps, _rows(key, folder / source.file, source, source.columns))
    pairs = ((row[source.key], _value(row, source)) for row in found)
    return LookupTable(name, pairs, locales=tuple(source.values), ignore_case=source.ignore_case)


def _value(row: Mapping[str, str], source: TableSource) -> object:
    if source.value is not None:
        return row[source.value]
    return tuple(row[column] or None for column in source.values.values())


def rate_table(name: str, source: RateSource, folder: Path) -> RateTable:
    """A table of exchange rates. Raises `InvalidMapping`."""
    found = _rows(f"rates.{name}", folder / source.file, source, RATE_COLUMNS)
    return RateTable(name, ((row["base"], row["quote"], row["day"], row["rate"]) for row in found))


def _rows(
    key: str, file: Path, source: TableSource | RateSource, columns: list[str] | tuple[str, ...]
) -> Iterator[dict[str, str]]:
    """The rows of a file that has these columns. Raises `InvalidMapping`, also for a row that cannot be read."""
    if source.encoding is not None and (problem := encoding_error(source.encoding)) is not None:
        raise InvalidMapping(f"{key}.encoding", problem)
    try:
        for line, row in export_rows(str(file), "csv", CSVForm(source.delimiter, source.encoding), columns):
            if isinstance(row, Damaged):
                raise InvalidMapping(f"{key}.file", f"line {line} of {file.name} {row.reason}")
            cells: dict[str, str] = row  # type: ignore[assignment]  # a row of CSV
            for column in columns:
                if column not in cells:
                    has = ", ".join(cells)
                    raise InvalidMapping(f"{key}.file", f"{file.name} has no column {column!r}; it has {has}")
            yield cells
    except (SourceFailed, SourceIncomplete) as error:
        raise InvalidMapping(f"{key}.file", str(error)) from None
