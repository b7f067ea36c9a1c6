"""Results of comparisons that are not yet recorded in the run."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

from pagefold.domains.domain import JSON
from pagefold.engine.rebuild.row_comparer import Comparison
from pagefold.engine.rebuild.row_order import MAX_REFUSALS, Refusal, SkippedRows
from pagefold.engine.rebuild.run_records import RunCounts


@dataclass(slots=True)
class Findings:
    """Results still to be recorded: skipped rows, and chunks without drift.

    `place` is where a run resumes after the last of these chunks, in the snapshot and in the log; None if there is no
    such chunk.
    """

    counts: RunCounts = field(default_factory=RunCounts)
    live: int = 0
    refusals: list[Refusal] = field(default_factory=list)
    place: tuple[JSON, str] | None = None
    repetitions: int = 0

    def with_skipped(self, skipped: SkippedRows) -> "Findings":
        """These findings and skipped rows."""
        counts = RunCounts(
            rows=skipped.refused + skipped.repeated + skipped.elsewhere + skipped.left_out,
            refused=skipped.refused,
            unreadable=skipped.unreadable,
            repeated=skipped.repeated,
            elsewhere=skipped.elsewhere,
            left_out=skipped.left_out,
        )
        return replace(
            self,
            counts=self.counts + counts,
            refusals=[*self.refusals, *skipped.refusals][:MAX_REFUSALS],
            repetitions=self.repetitions + skipped.repetitions,
        )


class ComparedChunk(NamedTuple):
    """The result of comparing a chunk.

    `place` is where a run resumes after it, in the snapshot and in the log; None if it cannot resume there. `skipped`
    are the rows skipped before it, `sort_progress` is as in `RowChunk`. `withheld` counts corrections that wait.
    """

    comparison: Comparison
    place: tuple[JSON, str] | None
    skipped: SkippedRows = SkippedRows()
    sort_progress: tuple[int, int] | None = None
    withheld: int = 0
