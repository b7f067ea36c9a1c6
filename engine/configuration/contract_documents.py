"""The contract of a channel, as a document that has the rows of its tables in it."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from pagefold.engine.configuration.csv_tables import TableSource, UnusableTable, csv_rows
from pagefold.engine.configuration.toml_documents import Document, read_document
from pagefold.projections.channel_contracts import parse_contract
from pagefold.projections.transforms import InvalidMapping


def read_contract(file: Path) -> Document:
    """The contract in a TOML file. Its name is that of the file, unless it has another.

    Raises `ConfigurationError`, with the line.
    """
    return read_document(file, lambda document, _: checked_contract(document, file.parent))


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
    source = _source(key, table)
    try:
        rows = _file_rows(folder / table["file"], source)
    except UnusableTable as error:
        raise InvalidMapping(f"{key}.{error.setting}", error.problem) from None
    return {"rows": rows, "ignore_case": source.ignore_case}


def _file_rows(file: Path, source: TableSource) -> Document:
    """Values, or texts by locale, by key. Raises `UnusableTable`."""
    rows: Document = {}
    for _, cells in csv_rows(file, source.columns, delimiter=source.delimiter, encoding=source.encoding):
        code, value = cells[source.key or ""].strip(), _value(cells, source)
        if source.keeps(cells) and code and rows.setdefault(code, value) != value:
            raise UnusableTable("file", f"two rows have the key {code!r:.60}, with other values")
    return rows


def _source(key: str, table: Document) -> TableSource:
    try:
        source = msgspec.convert(table, TableSource)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        raise InvalidMapping(f"{key}{place.removesuffix('`')}", problem[:1].lower() + problem[1:]) from None
    if source.rows or source.key is None or (source.value is None) == (not source.values):
        raise InvalidMapping(key, "of a file needs `key`, and either `value` or `values`, and no `rows`")
    return source


def _value(cells: Mapping[str, str], source: TableSource) -> object:
    if source.value is not None:
        return cells[source.value]
    return {locale: cells[column] for locale, column in source.values.items() if cells[column].strip()}
