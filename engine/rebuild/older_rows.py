"""What a run records of rows that are older than the log, and of the epoch that it begins.

If the snapshot was taken after the newer event was sent, such a row indicates a restarted counter or, if that event is
a withdrawal, a recreated record. The run keeps the latter rows in full until the snapshot is known to be complete: only
then do they prove anything. See `pagefold.engine.rebuild.recreated_records`.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
from eventsourcing.utils import register_topic

from pagefold.engine.events import ValidatedEvent
from pagefold.engine.rebuild.excerpts import MAX_EXAMPLES
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.rebuild.run_records import RunCounts

MAX_EVENT_BYTES = 2 * 1024 * 1024
"""Maximum bytes of the rows in one event of a run; the last row may exceed it."""


class RecreatedCandidate(NamedTuple):
    """A row that may be a recreated record, in a form that JSON can hold."""

    number: int
    stream: str
    version: int
    topic: str
    content: str
    occurred_at: str
    id: str | None
    correlation_id: str | None

    @classmethod
    def of(cls, number: int, event: ValidatedEvent) -> "RecreatedCandidate":
        """The candidate for a row, by its number and its event, which names no epoch."""
        stream, version, topic = event.originator_id, event.originator_version, event.topic
        content, occurred_at = event.content.decode(), event.occurred_at
        return cls(number, stream, version, topic, content, occurred_at, event.id, event.correlation_id)

    def event(self, version: int) -> ValidatedEvent:
        """The row's event, at a version of the log."""
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
        """Keeps some of them as samples."""
        run.older = [*run.older, *self.reset][:MAX_EXAMPLES]

    @property
    def streams(self) -> list[tuple[str, Finding]]:
        """Their streams, each with its finding."""
        reset: list[tuple[str, Finding]] = [(stream, "older") for stream in self.reset]
        return [*reset, *((row.stream, "recreated") for row in self.candidates)]

    @property
    def candidates(self) -> list[RecreatedCandidate]:
        """The rows that may be recreated records."""
        return msgspec.convert(self.again, list[RecreatedCandidate])


class Recreated(RebuildRun.Event):
    """Recreated records up to a stream were appended in their next epochs, except those that changed since."""

    TOPIC = "engine.rebuild.overtaken:Recreated"
    streams: list[str]
    after: str

    def apply(self, run: RebuildRun) -> None:
        """They no longer count as older."""
        run.counts += RunCounts(recreated=len(self.streams), older=-len(self.streams))
        run.recreated = [*run.recreated, *self.streams][:MAX_EXAMPLES]
        run.recreated_after = self.after


class EpochBegun(RebuildRun.Event):
    """The whole source enters this epoch: every row of the snapshot belongs to it."""

    TOPIC = "engine.rebuild.overtaken:EpochBegun"
    epoch: int

    def apply(self, run: RebuildRun) -> None:
        """The epoch is raised before anything is compared."""
        run.epoch = self.epoch


for _event in (OlderRowsFound, Recreated, EpochBegun):
    register_topic(_event.TOPIC, _event)  # the topic names no module


def record_epoch(run: RebuildRun, epoch: int) -> None:
    """Records that the source begins an epoch; 0 records nothing."""
    if epoch:
        run.trigger_event(EpochBegun, epoch=epoch)


def record_older_rows(run: RebuildRun, older: OlderRows) -> None:
    """Records older rows in the run; they are saved with the next chunk."""
    reset, rows = older.reset, iter(older.again)
    while (again := [list[object](each) for each in _take_event_rows(rows)]) or reset:
        run.trigger_event(OlderRowsFound, reset=reset, again=again)
        reset = []


def _take_event_rows(rows: Iterable[RecreatedCandidate]) -> Iterator[RecreatedCandidate]:
    """As many rows as fit in one event."""
    size = 0
    for row in rows:
        yield row
        size += len(row.content)
        if size >= MAX_EVENT_BYTES:
            return
