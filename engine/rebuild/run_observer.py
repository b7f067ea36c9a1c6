"""Observes a run in progress."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.event_state import DriftKind

Finding: TypeAlias = DriftKind | Literal["older"]
"""A finding about a stream: its kind of drift, or that its row is older but should not be."""


class RunObserver:
    """Receives the progress of a run. This class ignores it; subclasses override what they need."""

    def begun(self, run_id: str) -> None:
        """The run is recorded, or resumed, under this name. A dry run has none."""

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """Streams have this drift, or are older but should not be."""

    def compared(self, rows: int, total: int) -> None:
        """This many of the rows that had to be sorted are compared, of this many in all."""

    def start_over(self) -> None:
        """The findings so far do not count: everything is read again, sorted, and compared."""
