"""Reads snapshots one batch ahead: the next batch is prepared while the previous one is used."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from datetime import datetime

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from pagefold.domains.domain import JSON
from pagefold.engine.runtime.task_groups import forward
from pagefold.engine.snapshots.coverage import NOTHING, Coverage
from pagefold.engine.snapshots.snapshot import Batch, End, Snapshot


class SnapshotPass(ABC):
    """One pass over a snapshot. As in `Snapshot`, the end and what belongs to it is known at the end."""

    taken_at: datetime | None = None
    coverage: Coverage = NOTHING
    surplus: int | None = None
    by_size: bool = False
    end: End = End(complete=False, reason="was not read to its end")

    @property
    @abstractmethod
    def rows(self) -> int:
        """The number of rows so far, including those before the place where the pass began."""

    @abstractmethod
    def batches(self) -> AsyncGenerator[Batch, None]:
        """Every batch. Raises `SourceFailed`."""


class ReadAhead(Snapshot):
    """A snapshot whose batches are made by a task of the group. Reading it again ends the previous pass."""

    def __init__(self, group: TaskGroup) -> None:
        self._group = group
        self._scope = anyio.CancelScope()

    @abstractmethod
    def reading(self, cursor: JSON) -> SnapshotPass:
        """A pass over what follows the cursor."""

    async def batches(self, cursor: JSON = None) -> AsyncGenerator[Batch, None]:
        """Every batch after the cursor."""
        self._scope.cancel()
        self._scope = anyio.CancelScope()
        self.taken_at = self.end = None
        reading = self.reading(cursor)
        failures: list[Exception] = []
        send, receive = anyio.create_memory_object_stream[Batch](0)
        self._group.start_soon(_make, reading, send, failures, self._scope)
        async with receive:
            async for batch in receive:
                self.taken_at, self.coverage = reading.taken_at, reading.coverage
                yield batch
        if failures:
            raise failures[0]
        self.taken_at, self.coverage = reading.taken_at, reading.coverage
        self.end, self.rows, self.surplus = reading.end, reading.rows, reading.surplus
        self.by_size = reading.by_size


async def _make(
    reading: SnapshotPass, send: MemoryObjectSendStream[Batch], failures: list[Exception], scope: anyio.CancelScope
) -> None:
    with scope:
        await forward(reading.batches(), send, failures)
