"""A requirement set of a table of families, such as the `families.csv` of Akeneo."""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import TypeAlias

import msgspec

from pagefold.engine.configuration.csv_tables import UnusableTable, csv_rows

Document: TypeAlias = dict[str, object]

COLUMNS = "requirements-"
"""What the columns of channels begin with."""


class FamilyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CSV file with a row for each family, and columns of required attributes, which are separated by commas.

    `column` is that of a channel; without it, there is only one that begins with `requirements-`. `family` is the
    column of the families, `identifier` the attribute that is the SKU. The set counts from the day `valid_from` on.
    """

    file: str
    column: str = ""
    family: str = "code"
    identifier: str = "sku"
    name: str = ""
    version: int = 1
    valid_from: date | None = None
    delimiter: str | None = None
    encoding: str | None = None


def family_requirements(table: FamilyTable, folder: Path) -> Document:
    """The set, whose file is relative to `folder`. A text that is not in the channel's language counts as missing.

    Raises `UnusableTable`.
    """
    file = folder / table.file
    column = table.column or _only_column(file, table)
    families: dict[str, list[str]] = {}
    needed = [table.family, column]
    for _, cells in csv_rows(file, needed, delimiter=table.delimiter, encoding=table.encoding):
        for attribute in dict.fromkeys(name.strip() for name in cells[column].split(",")):
            if attribute and (family := cells[table.family].strip()):
                families.setdefault(attribute, []).append(family)
    head: Document = {"name": table.name or file.stem, "version": table.version}
    begins = {} if table.valid_from is None else {"valid_from": table.valid_from.isoformat()}
    return {**head, **begins, "requires": _requires(families, table.identifier)}


def _requires(families: Mapping[str, list[str]], identifier: str) -> list[Document]:
    """Attributes of the same families together. A product always has its SKU, which counts."""
    attributes: dict[tuple[str, ...], list[str]] = {}
    for attribute, names in families.items():
        attributes.setdefault(tuple(sorted(names)), []).append(attribute)
    found: list[Document] = []
    for family, required in sorted(attributes.items()):
        if identifier in required:
            found.append({"fields": ["sku"], "family": [*family]})
        if others := sorted(name for name in required if name != identifier):
            found.append({"attributes": others, "family": [*family], "locale": "channel"})
    return found


def _only_column(file: Path, table: FamilyTable) -> str:
    row = next(csv_rows(file, [table.family], delimiter=table.delimiter, encoding=table.encoding), None)
    found = [name for name in (row.cells if row is not None else ()) if name.startswith(COLUMNS)]
    if len(found) != 1:
        has = ", ".join(found) or "none"
        raise UnusableTable("column", f"is needed: {file.name} has {has} of the columns {COLUMNS}CHANNEL")
    return found[0]
