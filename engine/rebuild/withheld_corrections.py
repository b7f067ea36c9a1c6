"""Keeps corrections back, in bounded memory, until it is known how much they would remove in total."""

from collections.abc import Iterator, Sequence

from pagefold.engine.rebuild.epoch_placement import PLAIN, Placement
from pagefold.engine.rebuild.row_comparer import PendingRepair
from pagefold.engine.rebuild.spill import Spill


class Withheld:
    """Corrections in a temporary file that is lost with the process: a resumed run must find them again."""

    def __init__(self) -> None:
        self._spill = Spill(PendingRepair)
        self.placement = PLAIN
        """The epochs known when the first correction was made: others may have been raised since."""

    def add(self, corrections: Sequence[PendingRepair], placement: Placement = PLAIN) -> None:
        """Stores corrections. Raises `SpillFailed`."""
        if corrections and not self._spill:
            self.placement = placement
        self._spill.add(corrections)

    def batches(self) -> Iterator[list[PendingRepair]]:
        """All corrections, in their original order."""
        return self._spill.batches()

    def clear(self) -> None:
        """Deletes the file."""
        self._spill.clear()
