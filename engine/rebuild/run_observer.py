"""Who hears of a run while it goes on."""

from collections.abc import Sequence
from typing import Literal, TypeAlias

from pagefold.engine.snapshots.snapshot import Batch
from pagefold.engine.stores.event_state import DriftKind

Finding: TypeAlias = DriftKind | Literal["older"]
"""What a run may find of a stream: that it has drifted, and how, or that its row is older, and should not be."""


class RunObserver:
    """Who is told what a run does, while it does it. This one does not care; others care for what they override."""

    def begun(self, run_id: str) -> None:
        """It is recorded, or gone on with, under this name. A dry run has none."""

    def read(self, batch: Batch) -> None:
        """A batch of the snapshot was read."""

    def found(self, drift: Finding, streams: Sequence[str]) -> None:
        """Streams have drifted in this way, or are older and should not be."""

    def compared(self, rows: int, total: int) -> None:
        """Of rows that had to be sorted, so many are compared, and there are that many in all."""

    def start_over(self) -> None:
        """What was found does not count: everything is read again, to be sorted, and then compared."""
