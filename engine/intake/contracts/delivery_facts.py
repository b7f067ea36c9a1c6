"""What a delivery says beside its records, as paths of a contract: when a snapshot was taken, a header, an LSN."""

from collections.abc import Mapping
from threading import local

from msgspec import UNSET

from pagefold.projections.transforms.paths import Reader

NO_FACTS: Mapping[str, object] = {}

FACTS: Mapping[str, str] = {
    "@lsn": "the log sequence number of a change in the source's database",
    "@committed": "when the source's database made the change",
    "@table": "the table of the row, as `schema.table`",
    "@taken": "when a snapshot was taken: its begin marker, else the time of its file, or when it was asked for",
    "@received": "when the delivery came in",
}
"""The paths of facts, and what they are. Every other path that begins with `@` is one of the record."""

TAKEN = "@taken"
"""The fact that says when a snapshot was taken."""

HEADER = "@header."
"""Before the name of a header, whatever its case."""


class _Current(local):
    """The facts of the delivery that this thread reads."""

    def __init__(self) -> None:
        self.facts: Mapping[str, object] = NO_FACTS


class DeliveryFacts:
    """The facts of the delivery that a thread reads, which the compiled readers of a contract see.

    They are by path; names of headers are in lower case. `paths` are those that the contract reads.
    """

    def __init__(self) -> None:
        self._current = _Current()
        self.paths: set[str] = set()

    def begin(self, facts: Mapping[str, object]) -> None:
        """Sets the facts of what this thread reads next."""
        self._current.facts = facts

    def reader(self, path: str) -> Reader | None:
        """Reads a fact, whatever the record; UNSET where the delivery lacks it. None for a path of the record."""
        if path.startswith(HEADER):
            path = path.lower()
        elif path not in FACTS:
            return None
        self.paths.add(path)
        current = self._current
        return lambda _record: current.facts.get(path, UNSET)

    @property
    def headers(self) -> frozenset[str]:
        """The names of the headers that the contract reads, in lower case."""
        return frozenset(path.removeprefix(HEADER) for path in self.paths if path.startswith(HEADER))
