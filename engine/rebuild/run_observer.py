"""Observes a run in progress."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.event_state import DriftKind

Finding: TypeAlias = DriftKind | Literal["older"]
"""A finding about a stream: its kind of drift, or that its row is older than the log although it should not be."""


class RunObserver:
    """Receives the progress of a run. This class ignores it; subclasses override what they need."""

    def begun(self, run_id: str) -> None:
        """The run with this id was recorded or resumed. Not called for a dry run."""

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """These streams have this finding."""

    def compared(self, rows: int, total: int) -> None:
        """This many sorted rows are compared, of a total."""

    def start_over(self) -> None:
        """The findings so far are void: the snapshot is read again, sorted, and compared."""
