"""Counts the fields of the records that a contract reads, for the ledger of fields."""

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from pagefold.engine.intake.contracts.record_fields import KIND_BITS, RecordFields, kind_of
from pagefold.engine.intake.contracts.statement_mapping import Record
from pagefold.projections.transforms.errors import excerpt

MAX_FIELDS = 5_000
"""How many fields are counted. Names that are ever new, as ids are, would have no end."""

COMPLETE_RECORDS = 1_000
"""The first records, of which each is counted."""

SAMPLED = 64
"""After those, one record in so many is counted, and each that has a name that none had before."""

MAX_FAMILIES = 200
"""How many families are counted on their own."""

MAX_PATH_CHARACTERS = 500
MAX_FAMILY_CHARACTERS = 100
MAX_EXAMPLE_CHARACTERS = 100


@dataclass(slots=True)
class FieldCount:
    """How many records had a value, the bits of its kinds, whether the contract reads it, and an example."""

    mapped: bool
    records: int = 0
    types: int = 0
    example: str = ""


@dataclass(slots=True)
class FieldCounts:
    """Counts of records by family, and of fields by family and path."""

    families: dict[str, int] = field(default_factory=dict)
    fields: dict[tuple[str, str], FieldCount] = field(default_factory=dict)

    @property
    def records(self) -> int:
        """The records of all families."""
        return sum(self.families.values())


class FieldObserver:
    """Counts the fields of records, of all of them or of a sample. Its memory is bounded.

    Several threads may use it.
    """

    def __init__(self, fields: RecordFields, family: Callable[[Record], str], *, sampled: int = SAMPLED) -> None:
        self._fields = fields
        self._family = family
        self._sampled = sampled
        self._seen = 0
        self._names: set[str] = set()
        self._families: set[str] = set()
        self._counts = FieldCounts()
        self._lock = Lock()

    def note(self, record: Record) -> None:
        """Counts a record, or passes it by."""
        with self._lock:
            self._note(record)

    def _note(self, record: Record) -> None:
        self._seen += 1
        if self._seen > COMPLETE_RECORDS and self._seen % self._sampled and not self._has_news(record):
            return
        family = self._known_family(self._family(record)[:MAX_FAMILY_CHARACTERS])
        counts = self._counts
        counts.families[family] = counts.families.get(family, 0) + 1
        counted: set[str] = set()
        for path, value, mapped in self._fields.of(record):
            known = counts.fields.get((family, path))
            if known is None:
                if len(counts.fields) >= MAX_FIELDS or len(path) > MAX_PATH_CHARACTERS:
                    continue
                known = counts.fields[family, path] = FieldCount(mapped)
            known.types |= KIND_BITS[kind_of(value)]
            if path not in counted:
                counted.add(path)
                known.records += 1
                known.example = known.example or _example(value)

    def _known_family(self, family: str) -> str:
        """The family; "" for one beyond the first `MAX_FAMILIES`."""
        if family not in self._families:
            if len(self._families) >= MAX_FAMILIES:
                return ""
            self._families.add(family)
        return family

    def take(self) -> FieldCounts:
        """What was counted since the last call. Every text can be stored."""
        with self._lock:
            taken, self._counts = self._counts, FieldCounts()
        families = {storable(family): records for family, records in taken.families.items()}
        fields = {(storable(family), storable(path)): each for (family, path), each in taken.fields.items()}
        return FieldCounts(families, fields)

    def _has_news(self, record: Record) -> bool:
        """Whether a record has a name that none had before. Only the outermost names are compared."""
        inner = record[0] if isinstance(record, tuple) else record
        if not isinstance(inner, dict) or self._names.issuperset(inner):
            return False
        if len(self._names) < MAX_FIELDS:
            self._names.update(inner)
        return True


def _example(value: object) -> str:
    text = value if isinstance(value, str) else excerpt(value)
    return storable(text[:MAX_EXAMPLE_CHARACTERS])


def storable(text: str) -> str:
    """The text without characters that a database refuses."""
    return text.replace("\0", " ").encode(errors="replace").decode()
