"""The values that a mapping of a contract can give, where the contract itself says which: constants and tables."""

from collections.abc import Mapping

from pagefold.engine.configuration.csv_tables import TableSource

_CONSTANT, _LOOKUP = "constant", "lookup"
MAX_VALUES = 10_000
"""More values than this are not listed: then any value counts as possible."""


def possible_values(written: object, tables: Mapping[str, TableSource]) -> frozenset[str] | None:
    """The texts that a mapping can give, as it is written in a contract; None if it may give any.

    A default counts. A blank value, and one that a table lacks, gives nothing.
    """
    if not isinstance(written, dict):
        return None
    steps = {name: value for name, value in written.items() if name in {_CONSTANT, _LOOKUP}}
    if len(steps) != 1 or not written.keys() <= {"from", "default", "blank", "required", _CONSTANT, _LOOKUP}:
        return None
    values = [steps[_CONSTANT]] if _CONSTANT in steps else _table_values(steps[_LOOKUP], tables)
    if values is None:
        return None
    default = [written["default"]] if "default" in written else []
    return frozenset(str(value).strip() for value in [*values, *default])


def _table_values(lookup: object, tables: Mapping[str, TableSource]) -> list[object] | None:
    """The values of a table; None if a value that is not there is kept, or if the table is a file or large."""
    parameters: Mapping[str, object] = {"table": lookup} if isinstance(lookup, str) else _mapping(lookup)
    if parameters.get("keep") or "locale" in parameters:
        return None
    rows = parameters.get("values")
    if rows is None and (table := tables.get(str(parameters.get("table")))) is not None and table.file is None:
        rows = table.rows
    return [*rows.values()] if isinstance(rows, dict) and 0 < len(rows) <= MAX_VALUES else None


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
