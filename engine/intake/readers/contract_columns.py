"""The columns of a table's rows that a contract reads, and what it needs of them."""

from collections.abc import Collection, Iterable, Mapping

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.statement_mapping import StatementMapping, Unsent
from pagefold.projections.transforms.builtin.locales import PLACEHOLDER
from pagefold.projections.transforms.paths import path_names

_ALWAYS, _PERHAPS = ("sku", "sourceVersion"), ("channel", "source", "epoch")

Cells = Mapping[str, object]
"""The cells of a row by column."""


class ContractColumns:
    """The columns that a contract reads: the first name of a path is that of a column, or all of it is.

    `whole` are the paths that decide about a whole row: whether it counts, and which records it has.
    """

    def __init__(self, contract: Contract) -> None:
        self._form = contract.form
        self.whole = contract.only.paths.union(contract.lists, contract.items)
        self._read = self._columns(contract.paths | self.whole)
        self._patterns = self._columns(pattern for each in contract.mappings for pattern in each.patterns)
        tables = contract.statements
        identity = self.whole.union(*(self.deciding(each) | _of_fields(each, _ALWAYS) for each in tables))
        payload = {path for each in tables for mapping in each.payload for path in mapping.paths}
        self._payload = self._columns(payload) - self._columns(identity)

    def has(self, column: str) -> bool:
        """Whether the contract reads a column."""
        return "" in self._read or column in self._read or any(_matches(each, column) for each in self._patterns)

    def is_full(self, row: Cells) -> bool:
        """Whether more than the row's key was sent. In a row of the key alone, a null column means nothing."""
        return any(row.get(name) is not None for name in self._payload) or any(
            value is not None and _matches(each, name) for each in self._patterns for name, value in row.items()
        )

    def deciding(self, table: StatementMapping) -> frozenset[str]:
        """The paths that decide, beside the SKU, whether a row makes a statement, and of which stream."""
        return table.only.paths | _of_fields(table, _PERHAPS) | self.whole

    def missing(self, paths: Iterable[str], row: Cells) -> str | None:
        """The first of the paths whose column a row does not have."""
        return next((path for path in sorted(paths) if row.get(self._column(path)) is None), None)

    def unsent(self, columns: Iterable[str]) -> Unsent:
        """Which paths and patterns read one of these columns."""
        names = frozenset(columns)

        def read(paths: Collection[str], patterns: Collection[str]) -> Collection[str]:
            if not names:
                return ()
            matched = [each for each in patterns if any(_matches(self._column(each), name) for name in names)]
            return [*(path for path in sorted(paths) if self._column(path) in names), *matched]

        return read

    def _columns(self, paths: Iterable[str]) -> frozenset[str]:
        return frozenset(map(self._column, paths))

    def _column(self, path: str) -> str:
        """The column of a path; empty for the row itself."""
        return path if self._form == "columns" else next(iter(path_names(path, "")), "")


def _of_fields(table: StatementMapping, names: Iterable[str]) -> frozenset[str]:
    return frozenset[str]().union(*(table.fields[name].paths for name in names if name in table.fields))


def _matches(pattern: str, column: str) -> bool:
    """Whether a column's name is that of a pattern, or fits it."""
    before, placeholder, after = pattern.partition(PLACEHOLDER)
    if not placeholder:
        return pattern == column
    return len(column) > len(before) + len(after) and column.startswith(before) and column.endswith(after)
