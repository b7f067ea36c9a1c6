"""The contract of a store for the ledger of fields: what the records of sources have, and since when.

Both stores keep it: see `pagefold.engine.stores.store`. It is no part of the log, and decides no page.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

Alert: TypeAlias = Literal["new", "vanished", "type", "value"]
"""What an operator should know of a field: it is new, it has vanished, its values have another type.

`value`: a value that no table has, or a name that is no locale; each has an entry like that of a field, without types.
"""

ALERT_WORDS: Mapping[Alert, str] = {
    "new": "new, and not mapped",
    "vanished": "gone",
    "type": "of another type than before",
    "value": "in no table",
}
"""What a field is that has an alert, in words for people."""

MIN_ABSENT_RECORDS = 1_000
"""Records without a field after which it may have vanished from a source that sends single records."""

ABSENT_GAPS = 40
"""How many times longer than usual it has to be absent for that."""

RARE = 50
"""A field that fewer than one record in so many had does not vanish: it is too rare."""


class FieldKey(NamedTuple):
    """A field of the records that one contract of a source reads. `family` is "" where records have none."""

    source: str
    contract: str
    family: str
    field: str


FIRST_FIELD = FieldKey("", "", "", "")
"""Before all fields."""


class Sighting(NamedTuple):
    """What some records have at a field: how many of them, of how many of the family, a value; its types as bits.

    `example` is one of the values. `mapped`: the contract reads it. `alert` is raised if the ledger does not have the
    field yet.
    """

    family: str
    field: str
    records: int
    all_records: int
    types: int
    mapped: bool
    example: str
    alert: Alert | None = None


class Sightings(NamedTuple):
    """What some records of a source have, at a time (UTC text): how many records by family, and their fields.

    Each family and each field once, and no family that is not among the families. `alert_type`: a field whose type the
    ledger does not have raises an alert.
    """

    source: str
    contract: str
    at: str
    families: Sequence[tuple[str, int]]
    fields: Sequence[Sighting]
    alert_type: bool


class FieldEntry(NamedTuple):
    """What the ledger has of a field.

    `records` had a value, of `all_records` of its family since it was first seen. `types` are bits: see `kinds_in`.
    Those that raised an alert are not in `accepted_types` until it is acknowledged.
    """

    source: str
    contract: str
    family: str
    field: str
    first_seen: str
    last_seen: str
    records: int
    all_records: int
    types: int
    accepted_types: int
    mapped: bool
    example: str
    alert: Alert | None
    alerted_at: str | None

    @property
    def key(self) -> FieldKey:
        """Its place in the order of the ledger."""
        return FieldKey(*self[:4])


class FieldFilter(NamedTuple):
    """Which fields of the ledger: of any source, contract and field, or one; `alerts`: only those with an alert."""

    source: str | None = None
    contract: str | None = None
    field: str | None = None
    alerts: bool = False


EVERY_FIELD = FieldFilter()


class Absence(NamedTuple):
    """Which fields of a contract have vanished, at a time.

    With `since`: those that no record had since that time, in families that records had since. Without: those that are
    absent far longer than usual. `unmapped`: those that the contract does not read as well. Fields that fewer than one
    record in `rare` had do not vanish.
    """

    source: str
    contract: str
    at: str
    since: str | None
    unmapped: bool
    rare: int = RARE


class FieldLedger(ABC):
    """Counts of the fields of records, by source, contract, family and field."""

    @abstractmethod
    async def add(self, sightings: Sightings) -> None:
        """Adds what some records have, in one transaction. A field that had vanished has not any more."""

    @abstractmethod
    async def mark_absent(self, absence: Absence) -> int:
        """Raises the alert `vanished` of the fields that have vanished, once until they are back. Returns how many.

        With a `since`, alerts of values that no record had since end.
        """

    @abstractmethod
    async def known_since(self, source: str, contract: str) -> tuple[str, int] | None:
        """When the first record of a contract was seen, and the number of its fields; None before."""

    @abstractmethod
    async def entries(
        self, selection: FieldFilter = EVERY_FIELD, *, after: FieldKey = FIRST_FIELD, limit: int = 1_000
    ) -> list[FieldEntry]:
        """The next fields, by source, contract, family and field."""

    async def all_entries(self, selection: FieldFilter = EVERY_FIELD) -> AsyncIterator[FieldEntry]:
        """All fields, in the same order. Read in bounded steps."""
        after = FIRST_FIELD
        while step := await self.entries(selection, after=after):
            for each in step:
                yield each
            after = step[-1].key

    @abstractmethod
    async def alert_counts(self) -> list[tuple[str, Alert, int]]:
        """How many alerts there are, by source and kind."""

    @abstractmethod
    async def acknowledge(self, selection: FieldFilter, alerts: Collection[Alert]) -> int:
        """Ends the alerts of these kinds, and accepts the types of their fields; returns how many."""
