"""References as stores keep and return them, and the contract for them.

Both stores keep it: see `pagefold.engine.stores.store`.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from pagefold.engine.events import Reference
from pagefold.projections.streams import decode_part

MAX_STATED = 10_000
"""Statements of one reference that are returned. No group is larger."""


class StoredReference(NamedTuple):
    """What the head of a stream states: its SKU (by name) has this id. Ordered by stream, kind and id.

    Kinds that begin with `@` are links, by which parents find their variants: see `pagefold.projections.inheritance`.
    """

    stream: str
    kind: str
    id: str
    sku: str


FIRST_ROW = StoredReference("", "", "", "")
FIRST_REFERENCE = Reference("", "")

References: TypeAlias = Mapping[str, Mapping[str, Sequence[str]]]
"""The references of some streams: by stream, the ids of each kind. A stream without any may be left out."""


class KindCount(NamedTuple):
    """How many ids of a kind are known, by how many statements, and how many of the ids several SKUs have."""

    kind: str
    ids: int
    statements: int
    shared: int


class KnownId(NamedTuple):
    """An id, the first and the last of the SKUs that have it, and how many statements of it there are."""

    kind: str
    id: str
    first_sku: str
    last_sku: str
    statements: int

    @property
    def is_shared(self) -> bool:
        """Whether several SKUs have it."""
        return self.first_sku != self.last_sku


def reference_rows(references: References) -> list[StoredReference]:
    """The rows of the references of some streams, in order."""
    return sorted(
        StoredReference(stream, kind, identifier, decode_part(stream.partition("/")[0]))
        for stream, by_kind in references.items()
        for kind, ids in by_kind.items()
        for identifier in ids
    )


class ReferenceChange(NamedTuple):
    """How the stored references of a stream differ from those of its head."""

    stream: str
    removed: list[StoredReference]
    added: list[StoredReference]


def changes_of_references(stored: Collection[StoredReference], references: References) -> list[ReferenceChange]:
    """The changes of every stream whose stored references are not these, by stream."""
    before, after = set(stored), set(reference_rows(references))
    if before == after:
        return []
    changes: dict[str, ReferenceChange] = {}
    for row in sorted(before ^ after):
        change = changes.setdefault(row.stream, ReferenceChange(row.stream, [], []))
        (change.removed if row in before else change.added).append(row)
    return list(changes.values())


class WholeGroup(NamedTuple):
    """The newest version, with its epoch, at which a source said what all of a group is.

    `occurred_at` is when that was, as fixed-width UTC text. `settled`: what it lacked, or an earlier one, has been
    withdrawn.
    """

    source: str
    group: Reference
    version: int
    occurred_at: str
    settled: bool


class KnownReferences(ABC):
    """The references that the heads of the log state, as far as their domain is folded.

    Only fold transactions write them, with the sections of the same heads.
    """

    @abstractmethod
    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        """The statements of these references, read at one moment, in no order; at most `MAX_STATED` of each."""

    @abstractmethod
    async def of_streams(self, streams: Collection[str]) -> list[StoredReference]:
        """What is stored for some streams, in order."""

    @abstractmethod
    async def list_ids(
        self, kind: str | None = None, *, after: Reference = FIRST_REFERENCE, limit: int = 100, shared: bool = False
    ) -> list[KnownId]:
        """The next ids by (kind, id), of one kind or any, but no links; if `shared`, those that several SKUs have."""

    @abstractmethod
    async def next_rows(self, after: StoredReference = FIRST_ROW, limit: int = 1_000) -> list[StoredReference]:
        """The next rows by stream, kind and id."""

    @abstractmethod
    async def count_kinds(self) -> list[KindCount]:
        """What is known of each kind, by name, without links."""

    @abstractmethod
    async def keep_whole(self, whole: WholeGroup) -> WholeGroup:
        """Remembers, durably, what a source said of a group, unless it has said something newer; returns the newest."""
