"""The contract of a snapshot: everything that a source has now, row by row, and whether it was complete.

A row is an event, or a record that the source's contract reads. A reader holds one batch of a snapshot at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from pagefold.domains.domain import JSON
from pagefold.engine.snapshots.contract_rows import ContractRows
from pagefold.engine.snapshots.coverage import NOTHING, Coverage
from pagefold.engine.snapshots.row import Row
from pagefold.projections.streams import encode_part

BATCH_ROWS = 10_000
"""Rows of a batch, at most."""


class Batch(NamedTuple):
    """The next rows.

    `cursor` is where reading continues after them, in another process too; None if it can only start over.
    `done` of `total` is the progress, in the snapshot's `unit`; `total` is None if it is unknown. If a contract reads
    the rows, `identities` has a number for each, equal for a row and its repetition.
    """

    rows: list[Row]
    cursor: JSON
    done: int
    total: int | None
    identities: Sequence[int] = ()


NO_PROOF = "has neither an end marker nor a total"
"""Why a snapshot is incomplete of which nothing is known to be missing."""

MAY_HAVE_MOVED = "ends with a short page, but rows may have moved between its pages; a total or paging.after shows more"
"""The same, where the pages of an endpoint have numbers."""

UNPROVEN = frozenset({NO_PROOF, MAY_HAVE_MOVED})
"""Why snapshots are incomplete that were read to their end."""


class End(NamedTuple):
    """How a snapshot ended. An incomplete one proves no deletion; `reason` says why it is incomplete."""

    complete: bool
    reason: str = ""


class Snapshot(ABC):
    """One snapshot of one source, open. Made by `pagefold.engine.snapshots.open_snapshot`."""

    name: str
    """Its address without secrets, for people."""

    identity: str
    """Equal for two openings exactly when they read the same snapshot, as far as is known."""

    unit: str
    """What `done` and `total` count: `bytes` or `rows`."""

    resumable: bool = True
    """Whether the rows after a cursor are the same when they are read later; if not, a resumed run starts over."""

    taken_at: datetime | None = None
    """Since when a change may be missing in it, according to the source; None if the source does not say.

    Known with the first batch.
    """

    written_at: datetime | None = None
    """When it was written, by the clock of the machine that holds it: a file's modification time. None when live."""

    coverage: Coverage = NOTHING
    """Which streams its rows can name. Known with the first batch, or at the end if there are no rows."""

    end: End | None = None
    """How it ended; None until `batches` has ended."""

    rows: int = 0
    """The number of its rows, once it has ended."""

    surplus: int | None = None
    """The number of rows that must repeat a stream of earlier rows for it to be complete.

    None if this does not matter. Repetitions can be counted only once the rows are sorted.
    """

    by_size: bool = False
    """Whether only the number of its rows shows that it is complete."""

    records: ContractRows | None = None
    """What its contract makes of its rows, and counts in them; None if they are in Pagefold's own form."""

    def other_suffixes(self, domains: Collection[str]) -> list[str]:
        """The ends of the streams of other sources that its contract names, for a run of some of its own domains."""
        named = () if self.records is None else self.records.coverage.other_sources(domains)
        return [f"/{domain}/{encode_part(name)}" for domain, name in named]

    @abstractmethod
    def batches(self, cursor: JSON = None) -> AsyncGenerator[Batch, None]:
        """Every batch after the cursor; None starts at the first. `taken_at` and `end` have the content of the markers.

        A truncated snapshot ends like any other, with `end.complete` false. Raises `SourceFailed` if it cannot be
        read, or not any further at the moment.
        """
