"""The contract of a snapshot: everything that a source has now, row by row, and whether it was complete.

A row is an event. A reader holds one batch of a snapshot at a time.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import NamedTuple

import msgspec

from pagefold.domains.domain import JSON
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import EventEnvelope
from pagefold.engine.snapshots.coverage import NOTHING, Coverage

BATCH_ROWS = 10_000
"""Rows of a batch, at most."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row by its place in the snapshot, from 1, and the event in it, or why there is none.

    Of a JSON row, only the envelope may have been parsed: then `line` is the complete row. If even that is known to be
    valid, only its entry is given, see `Log.head_contents`: then `event` is None.
    """

    number: int
    event: DomainEvent | EventEnvelope | Rejected | None
    line: bytes = b""
    entry: bytes = b""


class Batch(NamedTuple):
    """The next rows.

    `cursor` is where reading continues after them, in another process too; None if it can only start over.
    `done` of `total` is the progress, in the snapshot's `unit`; `total` is None if it is unknown.
    """

    rows: list[Row]
    cursor: JSON
    done: int
    total: int | None


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

    @abstractmethod
    def batches(self, cursor: JSON = None) -> AsyncGenerator[Batch, None]:
        """Every batch after the cursor; None starts at the first. `taken_at` and `end` have the content of the markers.

        A truncated snapshot ends like any other, with `end.complete` false. Raises `SourceFailed` if it cannot be
        read, or not any further at the moment.
        """
