"""What a run of a sync found."""

import msgspec

MAX_REFUSALS = 10


class SyncReport(msgspec.Struct, rename="camel"):
    """What a run found: its source, since when it asked, and counts.

    `records` were read; of their statements `appended` were new, `duplicate` known, `conflict` in conflict with what is
    known; if they are notifications, `wanted` will be fetched. `refused` could not be made, or were not valid, or wait
    for a reference; `refusals` has the first of them. `held` says what the run would have removed, from `removals`
    streams; it did not, and the next one asks for the same changes again. From `left_out` streams nothing was removed,
    as somebody has decided.
    """

    source: str
    since: str
    resumed: bool = False
    records: int = 0
    appended: int = 0
    duplicate: int = 0
    conflict: int = 0
    wanted: int = 0
    refused: int = 0
    refusals: list[str] = []
    held: str = ""
    removals: int = 0
    left_out: int = 0

    @property
    def needs_attention(self) -> bool:
        """Whether something did not arrive."""
        return bool(self.conflict or self.refused or self.held)

    def refuse(self, problem: str) -> None:
        """Counts what could not be taken."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(problem)
