"""Finds the epoch of each change to a table row: rows may be deleted and inserted again.

The database says when it made a change, and in which order. A row that it reports later than the deletion at the head
of its stream was inserted again, whatever its version, and belongs to the stream's next epoch. At the same moment, it
was inserted again unless the same event is in the log before the deletion: then it is a repetition.

A repeated change belongs to the epoch in which it was first reported. It is recognised by version, moment and content.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, DomainEvent, placed_in
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.intake.epoch_registry import EpochRegistry, KnownEpochs, source_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import ParsedPart
from pagefold.engine.intake.statement import Statement
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned

_state = msgspec.json.Decoder(EventState)


class _StreamEvent(NamedTuple):
    """An event of a stream, from the log or from this request."""

    version: int
    content: bytes
    occurred_at: str


class RecreatedRows:
    """Finds the epochs of one request's changes, in order. Skips changes with an epoch or no moment."""

    def __init__(self, validator: EventValidator, log: Log, epochs: EpochRegistry) -> None:
        self._validator = validator
        self._log = log
        self._epochs = epochs
        self._heads: dict[str, _StreamEvent] = {}
        self._earlier: dict[str, list[_StreamEvent]] = {}

    async def place(self, changes: Sequence[ParsedPart]) -> list[ParsedPart]:
        """The changes, with epochs where they are not in the current one."""
        if not any(isinstance(each, Statement) and each.moment is not None for each in changes):
            return list(changes)
        epochs_ = await self._epochs.refresh()
        streams = {id(each): self._stream(each.event) for each in changes if isinstance(each, Statement)}
        relevant = {
            stream
            for each in changes
            if isinstance(each, Statement)
            and (stream := streams[id(each)])
            and (each.creates or _has_own_epochs(epochs_, stream))
        }
        for head in await self._log.heads(await self._not_newer(changes, streams, relevant)):
            if (earlier := _stream_event(head)) is not None:
                self._heads[head.originator_id] = earlier
        placed: list[ParsedPart] = []
        for each in changes:
            stream = streams[id(each)] if isinstance(each, Statement) else ""
            placed.append(
                await self._place(each, stream, epochs_) if isinstance(each, Statement) and stream in relevant else each
            )
        return placed

    async def _not_newer(
        self, changes: Sequence[ParsedPart], streams: Mapping[int, str], relevant: Collection[str]
    ) -> list[str]:
        """The streams that hold an event that some change is not newer than. Only their heads are read."""
        newest = await self._log.newest_versions(relevant)
        not_newer = {stream for stream, version in newest.items() if epoch_of(version)}
        for each in changes:
            stream = streams[id(each)] if isinstance(each, Statement) else ""
            if isinstance(each, Statement) and stream in newest and each.event.source_version <= newest[stream]:
                not_newer.add(stream)
        return sorted(not_newer)

    def _stream(self, event: DomainEvent) -> str:
        """The stream of an event; "" if the validator will reject it."""
        try:
            stream = self._validator.stream_of(event)
        except Rejected:
            return ""
        return stream if 0 <= event.source_version <= MAX_INTEGER else ""

    async def _place(self, change: Statement, stream: str, epochs_: KnownEpochs) -> Statement:
        event, head = change.event, self._heads.get(stream)
        entered = epochs_.current(stream, 0 if head is None else head.version)
        if event.epoch is None and change.moment is not None and head is not None and entered == epoch_of(head.version):
            epoch = await self._epoch(change, change.moment, stream, head)
            if epoch is not None:
                event = placed_in(epoch, event)
        self._remember(stream, event, versioned(entered if event.epoch is None else event.epoch, event.source_version))
        return change._replace(event=event)

    async def _epoch(self, change: Statement, moment: datetime, stream: str, head: _StreamEvent) -> int | None:
        """The epoch of a change if it is not that of its stream's head, which is the current one; else None."""
        event, current = change.event, epoch_of(head.version)
        if current and (repeated := await self._repeated_epoch(change, stream, current - 1)) is not None:
            return repeated
        is_newer = versioned(current, event.source_version) > head.version
        if event.payload is None or head.content != NULL or is_newer or current == MAX_EPOCH:
            return None
        earlier = format_timestamp(moment)
        if earlier == head.occurred_at and await self._repeated_epoch(change, stream, current) is not None:
            return None
        return current + 1 if earlier >= head.occurred_at else None

    async def _repeated_epoch(self, change: Statement, stream: str, upto: int) -> int | None:
        """The last epoch up to `upto` that holds the same event, in the log or earlier in this request."""
        event = change.event
        keys = [(stream, versioned(epoch, event.source_version)) for epoch in range(upto + 1)]
        found = [earlier for each in await self._log.events_at(keys) if (earlier := _stream_event(each)) is not None]
        found += [each for each in self._earlier.get(stream, ()) if (stream, each.version) in keys]
        same = [epoch_of(each.version) for each in found if self._is_same(change, each)]
        return max(same, default=None)

    def _is_same(self, change: Statement, earlier: _StreamEvent) -> bool:
        """Whether a change equals a stored event. The content of a partial change is not compared."""
        try:
            valid = self._validator.validate(change.event)
        except Rejected:
            return False
        epochs_ = (
            is_same_content(valid.topic, earlier.content, valid.content)
            if change.is_complete
            else earlier.content != NULL
        )
        return epochs_ and valid.occurred_at == earlier.occurred_at

    def _remember(self, stream: str, event: DomainEvent, version: int) -> None:
        """Remembers an event for later changes of the request."""
        try:
            valid = self._validator.validate(event)
        except Rejected:
            return
        earlier = _StreamEvent(version, valid.content, valid.occurred_at)
        self._earlier.setdefault(stream, []).append(earlier)
        head = self._heads.get(stream)
        if head is None or earlier.version > head.version:
            self._heads[stream] = earlier


def _has_own_epochs(epochs_: KnownEpochs, stream: str) -> bool:
    return source_of(stream) in epochs_.own


def _stream_event(event: StoredEvent) -> _StreamEvent | None:
    """A stored event; None if another application wrote it."""
    try:
        state = _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return _StreamEvent(event.originator_version, bytes(state.payload), state.occurred_at)
