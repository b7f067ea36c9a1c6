"""The results of comparisons, before they are recorded in the run."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pagefold.domains.domain import JSON
from pagefold.engine.rebuild.row_comparer import Comparison
from pagefold.engine.rebuild.row_order import MAX_REFUSALS, Refusal, SkippedRows
from pagefold.engine.rebuild.run_aggregate import RunCounts


@dataclass(slots=True)
class Findings:
    """What is still to be recorded: rows that were put aside, and pages in which nothing had drifted.

    `place` is behind the last of these pages, None where there is none: in the snapshot, and in the log.
    """

    counts: RunCounts = field(default_factory=RunCounts)
    live: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    place: tuple[JSON, str] | None = None
    repetitions: int = 0

    def with_skipped(self, skipped: SkippedRows) -> "Findings":
        """These findings and skipped rows."""
        counts = RunCounts(
            rows=skipped.refused + skipped.repeated + skipped.elsewhere,
            refused=skipped.refused,
            unreadable=skipped.unreadable,
            repeated=skipped.repeated,
            elsewhere=skipped.elsewhere,
        )
        return replace(
            self,
            counts=self.counts + counts,
            refusals=[*self.refusals, *skipped.refusals][:MAX_REFUSALS],
            repetitions=self.repetitions + skipped.repetitions,
        )


class ComparedChunk(NamedTuple):
    """The result of comparing a chunk.

    `place` is where a run resumes after it, in the snapshot and in the log; None if it cannot resume there. `skipped` are
    the rows skipped before it, `sorted` is as in `RowChunk`. `withheld` counts corrections that wait.
    """

    comparison: Comparison
    place: tuple[JSON, str] | None
    skipped: SkippedRows = SkippedRows()
    sorted: tuple[int, int] | None = None
    withheld: int = 0
