"""The options of commands that read an export of a source: its format, and how it is written if it is CSV."""

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from pagefold.engine.command.options import UsageError
from pagefold.engine.configuration.encodings import encoding_error
from pagefold.engine.intake.contracts.export_rows import Format, format_of
from pagefold.engine.intake.csv_records import CSVForm

RecordSource: TypeAlias = Annotated[str, Parameter(help="The source whose records these are.")]
ExportFormat: TypeAlias = Annotated[
    Literal["csv", "ndjson", "json"] | None,
    Parameter(help="The format of the file, if its name does not show it."),
]
Delimiter: TypeAlias = Annotated[
    str | None,
    Parameter(help="The delimiter of a CSV file; by default the one that its header has."),
]
Encoding: TypeAlias = Annotated[
    str | None,
    Parameter(help="The encoding of a CSV file, such as cp1252; by default UTF-8."),
]


def export_kind(export: str, given: Format | None) -> Format:
    """The format of an export, given or by its name. Raises `UsageError`."""
    kind = given or format_of(export)
    if kind is None:
        raise UsageError("--format", f"the name {export!r} does not show the format: csv, ndjson or json")
    return kind


def csv_form(delimiter: str | None, encoding: str | None) -> CSVForm:
    """How an export is written, if it is CSV. Raises `UsageError` for a delimiter or an encoding that is none."""
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n'):
        raise UsageError("--delimiter", f"{delimiter!r} is not one character such as ',' or ';'")
    if encoding is not None and (problem := encoding_error(encoding)) is not None:
        raise UsageError("--encoding", problem)
    return CSVForm(delimiter, encoding)
