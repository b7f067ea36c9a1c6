"""`pagefold requirements`: requirement sets that come with Pagefold, and those made of schemas and of families."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from pagefold.engine.command.console import print_message, printable, show_table
from pagefold.engine.command.options import Exit, UsageError
from pagefold.engine.configuration.channel_documents import set_in_box, sets_in_box
from pagefold.engine.configuration.csv_tables import UnusableTable
from pagefold.engine.configuration.family_requirements import FamilyTable, family_requirements
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.intake.contracts.toml_text import inline_value, key_text
from pagefold.engine.runtime.extras import needs_extra

requirements = App(name="requirements", help="Show and make requirement sets.", help_epilogue="")


@requirements.command(name="list")
def list_sets() -> int:
    """List the requirement sets that come with Pagefold."""
    documents = [tomllib.loads(_text(name)) for name in sets_in_box()]
    rows = [(str(each["name"]), str(each["version"]), str(each["description"])) for each in documents]
    show_table(("name", "version", "what"), rows, wrapped=("what",))
    return Exit.DONE


@requirements.command
def show(name: str, /) -> int:
    """Print a requirement set that comes with Pagefold, as a file to begin with.

    Parameters
    ----------
    name
        The set, as `pagefold requirements list` has it.
    """
    if set_in_box(name) is None:
        raise UsageError("NAME", f"there is no requirement set {name!r}; {suggestion(name, sets_in_box(), 'sets')}")
    print(_text(name), end="")
    return Exit.DONE


@requirements.command(name="import")
def import_set(
    file: Path,
    /,
    *,
    name: Annotated[str | None, Parameter(help="The name of the set, instead of that of the file.")] = None,
    column: Annotated[str, Parameter(help="The column of a channel, such as requirements-ecommerce.")] = "",
    identifier: Annotated[str, Parameter(help="The attribute that is the SKU.")] = "sku",
) -> int:
    """Print the requirement set that a JSON Schema of products gives, or a table of families.

    Of a schema, it takes what is required, and the rules for values. Exit code 1 if the schema says something that a
    requirement set cannot, which is listed. A table of families is a CSV file such as Akeneo exports: a column `code`,
    and one of required attributes for each channel.

    Parameters
    ----------
    file
        The schema, JSON, or the table, CSV.
    """
    if file.suffix.lower() == ".csv":
        return _import_families(file, FamilyTable(str(file), column, identifier=identifier, name=name or ""))
    schema = _schema(file)
    with needs_extra("`pagefold requirements import`", "contracts"):
        from pagefold.projections.schema_requirements import SchemaRequirements  # noqa: PLC0415  # an extra
        from pagefold.projections.transforms.errors import InvalidMapping  # noqa: PLC0415  # likewise
    try:
        found = SchemaRequirements(schema, name or file.name.removesuffix(".json").removesuffix(".schema"))
    except InvalidMapping as error:
        raise UsageError("FILE", f"{file}: {error}") from None
    print("\n".join(_lines(found.document)))
    for place in found.left_out:
        print_message(f"left out: {printable(place)}")
    return Exit.REFUSED if found.left_out else Exit.DONE


def _import_families(file: Path, table: FamilyTable) -> int:
    try:
        document = family_requirements(table, Path())
    except UnusableTable as error:
        raise UsageError("--column" if error.setting == "column" else "FILE", f"{file}: {error}") from None
    print("\n".join(_lines(document)))
    return Exit.DONE


def _text(name: str) -> str:
    file = set_in_box(name)
    return "" if file is None else file.read_text(encoding="utf-8")


def _schema(file: Path) -> dict[str, object]:
    try:
        schema = json.loads(file.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise UsageError("FILE", f"{file} is not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError("FILE", f"{file} is no JSON Schema: expected an object")
    return schema


def _lines(document: Mapping[str, object]) -> Iterator[str]:
    """A requirement set as TOML."""
    for key, value in document.items():
        if isinstance(value, list):
            for table in value:
                yield f"\n[[{key}]]"
                yield from (f"{key_text(name)} = {inline_value(each)}" for name, each in table.items())
        else:
            yield f"{key_text(key)} = {inline_value(value)}"
