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

    Of a row that is JSON, it is enough to have read the envelope: then `line` is the whole. Where even that is known
    to be fine, it is enough to tell its entry, see `Log.head_contents`: then `event` is None.
    """

    number: int
    event: DomainEvent | EventEnvelope | Rejected | None
    line: bytes = b""
    entry: bytes = b""


class Batch(NamedTuple):
    """The next rows.

    `cursor` is where reading goes on behind them, in another process too, or None where it can only begin anew.
    `done` of `total` is how far it is, in the unit of the snapshot's `unit`; `total` is None when nobody knows it.
    """

    rows: list[Row]
    cursor: JSON
    done: int
    total: int | None


class End(NamedTuple):
    """How a snapshot ended. One that is not complete proves nothing of what it does not have; `reason` says why."""

    complete: bool
    reason: str = ""


class Snapshot(ABC):
    """One snapshot of one source, open. Made by `pagefold.engine.snapshots.open_snapshot`."""

    name: str
    """Where it is, without secrets: for people."""

    identity: str
    """Equal for two openings exactly when they read the same snapshot, as far as can be told."""

    unit: str
    """What `done` and `total` count: `bytes` or `rows`."""

    resumable: bool = True
    """Whether what is behind a cursor is the same when it is read later: else a run that goes on begins anew."""

    taken_at: datetime | None = None
    """Since when a change may be missing in it, as the source says; None when it does not say.

    Known with the first batch.
    """

    written_at: datetime | None = None
    """When it was written, by the clock of the machine that holds it: a file's modification time. None when live."""

    coverage: Coverage = NOTHING
    """Which streams its rows can name. Known with the first batch, or when there is none with the end."""

    end: End | None = None
    """How it ended; None until `batches` has ended."""

    rows: int = 0
    """How many rows it has had, once it has ended."""

    surplus: int | None = None
    """How many of its rows must name again what earlier ones named: it is complete then, and else it is not.

    None: that does not matter. Only whoever has put the rows in order knows how many there are.
    """

    by_size: bool = False
    """Whether it has nothing but the number of its rows to show for being complete."""

    @abstractmethod
    def batches(self, cursor: JSON = None) -> AsyncGenerator[Batch, None]:
        """Every batch behind the cursor; None begins. What markers say is in `taken_at` and `end`.

        A snapshot that stops short ends like any other, with `end.complete` false. Raises `SourceFailed` when it
        cannot be read at all, or not any further for now.
        """
