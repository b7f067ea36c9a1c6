"""What a run of a sync found."""

import msgspec

MAX_REFUSALS = 10


class SyncReport(msgspec.Struct, rename="camel"):
    """What a run found: its source, since when it asked, and counts.

    `records` were read; of their statements `appended` were new, `duplicate` known, `echo` what
    the source was sent as a target, `conflict` in conflict with what is
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
    echo: int = 0
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

    @property
    def has_changed_something(self) -> bool:
        """Whether it has stored more than how far it is."""
        return bool(self.appended or self.conflict or self.wanted or self.refused)

    @property
    def details(self) -> dict[str, int | float | str | bool | list[str] | None]:
        """What the audit has of it: its counts, without zeros, and the first refusals."""
        found = {name: value for name, value in msgspec.structs.asdict(self).items() if value}
        del found["source"]
        return found | ({"samples": found.pop("refusals")} if self.refusals else {})

    def refuse(self, problem: str) -> None:
        """Counts what could not be taken."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(problem)
