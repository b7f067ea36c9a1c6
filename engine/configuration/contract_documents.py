"""The contract of a channel, as a document that has the rows of its tables in it."""

import csv
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import msgspec

from pagefold.engine.configuration.encodings import encoding_error
from pagefold.engine.configuration.toml_lines import KeyLines
from pagefold.engine.errors import ConfigurationError
from pagefold.projections.channel_contracts import parse_contract
from pagefold.projections.transforms import InvalidMapping

Document: TypeAlias = dict[str, object]

MAX_TABLE_ROWS = 100_000
"""Rows of a table: every process has them in its configuration."""


class TableFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CSV file with the rows of a table: see the documentation of channel contracts."""

    file: str
    key: str
    value: str | None = None
    values: dict[str, str] = {}
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    ignore_case: bool = False


def read_contract(file: Path) -> Document:
    """The contract in a TOML file. Its name is that of the file, unless it has another.

    Raises `ConfigurationError`, with the line.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        return checked_contract({"name": file.stem, **tomllib.loads(text)}, file.parent)
    except OSError as error:
        raise ConfigurationError("", f"cannot be read: {error.strerror}", str(file)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError("", f"is not TOML: {error}", str(file)) from None
    except InvalidMapping as error:
        raise placed_error(file, text, error) from None


def placed_error(file: Path, text: str, error: InvalidMapping) -> ConfigurationError:
    """The error of a place in a document, with its line."""
    line = KeyLines(text).line_of(error.key)
    return ConfigurationError(error.key, error.problem, f"{file}:{line}" if line else str(file))


def checked_contract(document: Mapping[str, object], folder: Path) -> Document:
    """The contract with the rows of its tables, whose files are in `folder`. Raises `InvalidMapping`."""
    tables = document.get("tables")
    if isinstance(tables, dict):
        document = {**document, "tables": {name: _with_rows(name, each, folder) for name, each in tables.items()}}
    parse_contract(document)
    return dict(document)


def _with_rows(name: str, table: object, folder: Path) -> object:
    """A table, with the rows of its file if it names one."""
    if not isinstance(table, dict) or "file" not in table:
        return table
    key = f"tables.{name}"
    settings = _settings(key, table)
    rows: Document = {}
    for cells in _rows(key, folder / settings.file, settings):
        code, value = cells[settings.key].strip(), _value(cells, settings)
        if code and rows.setdefault(code, value) != value:
            raise InvalidMapping(f"{key}.file", f"two rows have the key {code!r:.60}, with other values")
        if len(rows) > MAX_TABLE_ROWS:
            raise InvalidMapping(f"{key}.file", f"has more than {MAX_TABLE_ROWS:,} rows")
    return {"rows": rows, "ignore_case": settings.ignore_case}


def _settings(key: str, table: Document) -> TableFile:
    try:
        settings = msgspec.convert(table, TableFile)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(f"{key}{place.removesuffix('`')}", problem[:1].lower() + problem[1:]) from None
    if (settings.value is None) == (not settings.values):
        raise InvalidMapping(key, "of a file needs either `value` or `values`")
    if (unknown := encoding_error(settings.encoding)) is not None:
        raise InvalidMapping(f"{key}.encoding", unknown)
    return settings


def _value(cells: Mapping[str, str], settings: TableFile) -> object:
    if settings.value is not None:
        return cells[settings.value]
    return {locale: cells[column] for locale, column in settings.values.items() if cells[column].strip()}


def _rows(key: str, file: Path, settings: TableFile) -> Iterator[dict[str, str]]:
    """The rows of a file that has the columns. Raises `InvalidMapping`."""
    columns = [settings.key, *([] if settings.value is None else [settings.value]), *settings.values.values()]
    try:
        with file.open(encoding=settings.encoding, newline="") as opened:
            reader = csv.DictReader(opened, delimiter=settings.delimiter, strict=True)
            missing = [column for column in columns if column not in (reader.fieldnames or ())]
            if missing:
                raise InvalidMapping(f"{key}.file", f"{file.name} has no column {missing[0]!r:.60}")
            for cells in reader:
                if None in cells or None in cells.values():
                    raise InvalidMapping(f"{key}.file", f"line {reader.line_num} of {file.name} has other columns")
                yield cells
    except OSError as error:
        raise InvalidMapping(f"{key}.file", f"{file.name} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error, TypeError) as error:
        raise InvalidMapping(f"{key}.file", f"{file.name} is not such a CSV file: {error}") from None
