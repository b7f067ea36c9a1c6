"""SQL files: named statements, and numbered migrations."""

import re
from collections.abc import Mapping
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

_header = re.compile(r"^-- (\w+) --\n((?:^-- .*\n)+)", re.MULTILINE)


class Migration(NamedTuple):
    """A numbered migration. Migrations are applied in order, each once, and never change after a release."""

    number: int
    name: str
    sql: str


def statements(package: str, folder: str = "statements") -> Mapping[str, str]:
    """Every statement in the `.sql` files of a folder of a package, by name."""
    found: dict[str, str] = {}
    for file in _sql_files(files(package) / folder):
        pieces = _header.split(file.read_text(encoding="utf-8"))
        for name, sql in zip(pieces[1::3], pieces[3::3], strict=True):
            if name in found:
                raise ValueError(name)  # two statements have this name
            found[name] = sql.strip()
    return found


def migrations(package: str, folder: str = "migrations") -> list[Migration]:
    """The migrations in a folder of a package, in order: files named `0001_what_it_does.sql`."""
    found: list[Migration] = []
    for file in _sql_files(files(package) / folder):
        number, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(number), name, file.read_text(encoding="utf-8")))
    return found


def _sql_files(folder: Traversable) -> list[Traversable]:
    return sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
