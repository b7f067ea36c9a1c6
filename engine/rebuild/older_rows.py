"""Rows older than the log: what a run records of them, and of the epochs that it begins.

If the snapshot was taken after the newer event was sent, such a row indicates a restarted counter or, if that event is
a withdrawal, a recreated record. Rows of the latter are kept whole until the snapshot is known to be complete: only
then are they proof. See `pagefold.engine.rebuild.recreated_records`.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from eventsourcing.utils import register_topic

from pagefold.engine.events import ValidatedEvent
from pagefold.engine.rebuild.excerpts import MAX_EXAMPLES
from pagefold.engine.rebuild.run_aggregate import RebuildRun, RunCounts
from pagefold.engine.rebuild.run_observer import Finding

MAX_EVENT_BYTES = 2 * 1024 * 1024
"""Bytes of the rows in one event of a run; the last row may exceed them."""


class RecreatedCandidate(NamedTuple):
    """A row that may be a recreated record, as JSON can hold it."""

    number: int
    stream: str
    version: int
    topic: str
    content: str
    occurred_at: str
    id: str | None
    correlation_id: str | None

    @classmethod
    def of(cls, number: int, statement: ValidatedEvent) -> "RecreatedCandidate":
        """The row of this number, which names no epoch."""
        stream, version, topic = statement.originator_id, statement.originator_version, statement.topic
        content, occurred_at = statement.content.decode(), statement.occurred_at
        return cls(number, stream, version, topic, content, occurred_at, statement.id, statement.correlation_id)

    def statement(self, version: int) -> ValidatedEvent:
        """Its event, at a version of the log."""
        content = self.content.encode()
        return ValidatedEvent(self.stream, version, self.topic, content, self.occurred_at, self.id, self.correlation_id)


class OlderRows(NamedTuple):
    """Rows older than the log: streams that look reset, and records that may have been recreated."""

    reset: list[str]
    again: list[RecreatedCandidate]


NO_OLDER_ROWS = OlderRows([], [])


class OlderRowsFound(RebuildRun.Event):
    """Rows of the next chunk are older than the log was before the snapshot was taken."""

    TOPIC = "engine.rebuild.overtaken:OvertakenFound"
    reset: list[str]
    again: list[list[object]]

    def apply(self, run: RebuildRun) -> None:
        """Keeps a few of them."""
        run.older = [*run.older, *self.reset][:MAX_EXAMPLES]

    @property
    def streams(self) -> list[tuple[str, Finding]]:
        """All of them, with the finding."""
        reset: list[tuple[str, Finding]] = [(stream, "older") for stream in self.reset]
        return [*reset, *((row.stream, "recreated") for row in self.rows)]

    @property
    def rows(self) -> list[RecreatedCandidate]:
        """Those that may have been made again."""
        return msgspec.convert(self.again, list[RecreatedCandidate])


class Recreated(RebuildRun.Event):
    """Recreated records up to a stream are in their next epochs, except those that changed since."""

    TOPIC = "engine.rebuild.overtaken:Recreated"
    streams: list[str]
    after: str

    def apply(self, run: RebuildRun) -> None:
        """They no longer count as older."""
        run.counts += RunCounts(recreated=len(self.streams), older=-len(self.streams))
        run.recreated = [*run.recreated, *self.streams][:MAX_EXAMPLES]
        run.recreated_after = self.after


class EpochBegun(RebuildRun.Event):
    """The whole source enters this epoch, with every row of the snapshot."""

    TOPIC = "engine.rebuild.overtaken:EpochBegun"
    epoch: int

    def apply(self, run: RebuildRun) -> None:
        """The epoch is raised before anything is compared."""
        run.epoch = self.epoch


for _event in (OlderRowsFound, Recreated, EpochBegun):
    register_topic(_event.TOPIC, _event)  # the topic names no module


def record_epoch(run: RebuildRun, epoch: int) -> None:
    """Starts an epoch for the source; 0 starts none."""
    if epoch:
        run.trigger_event(EpochBegun, epoch=epoch)


def record_older_rows(run: RebuildRun, older: OlderRows) -> None:
    """Records older rows in the run, with the chunk that is recorded next."""
    reset, rows = older.reset, iter(older.again)
    while (again := [list[object](each) for each in _first(rows)]) or reset:
        run.trigger_event(OlderRowsFound, reset=reset, again=again)
        reset = []


def _first(rows: Iterable[RecreatedCandidate]) -> Iterator[RecreatedCandidate]:
    """As many rows as one event takes."""
    size = 0
    for row in rows:
        yield row
        size += len(row.content)
        if size >= MAX_EVENT_BYTES:
            return
