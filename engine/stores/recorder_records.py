"""The contract of a store for the `eventsourcing` library. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, TypeAlias

from pagefold.engine.stores.log_records import NewEvent, StoredEvent

RecordTable: TypeAlias = Literal["stored_events", "stored_snapshots"]


class Records(ABC):
    """The log as the `eventsourcing` library sees it: raw events of any topic, snapshots, tracking."""

    @abstractmethod
    async def insert(
        self, table: RecordTable, events: Sequence[NewEvent], tracking: tuple[str, int] | None
    ) -> list[int]:
        """Inserts all of the events and moves the tracking position, or nothing. Returns positions, [] for snapshots.

        Raises `AlreadyRecorded` if a version is taken, or if tracking would not move forward.
        """

    @abstractmethod
    async def select(
        self, table: RecordTable, originator_id: str, *, after: int, upto: int, descending: bool, limit: int
    ) -> list[StoredEvent]:
        """Events of one stream with after < version <= upto, by (version, revision). Snapshots have position 0."""

    @abstractmethod
    async def notifications(self, start: int, stop: int, topics: Sequence[str], limit: int) -> list[StoredEvent]:
        """Events with start <= position <= stop, of these topics or, if there are none, of any, in order."""

    @abstractmethod
    async def tracked(self, application: str) -> int | None:
        """The tracked position of a downstream application, None if it has none."""
