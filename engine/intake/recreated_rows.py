"""Rows of a source's tables that were deleted and inserted again: in which epoch each change of one request is.

The database itself tells when it made a change, and in which order. So a row that it states at a moment after the
deletion with which its stream ends was made again, whatever its version: it is in the next epoch of its stream. Of one
moment, it was made again unless that very statement is older than the deletion, and came again.

What comes again once its stream is in another epoch belongs to the epoch in which it was said: it is told by its
version, its moment and its content.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from pagefold.domains.values import MAX_INTEGER, format_timestamp
from pagefold.engine.errors import Rejected
from pagefold.engine.events import NULL, DomainEvent, placed_in
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.intake.epoch_registry import Epochs, Known, source_of
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.partial_event import PartialEvent
from pagefold.engine.intake.formats.request_parts import Found
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.store import Log, StoredEvent
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned

_state = msgspec.json.Decoder(EventState)


class _Said(NamedTuple):
    """What stands somewhere in a stream, in the log or by this request."""

    version: int
    content: bytes
    occurred_at: str


class Incarnations:
    """Finds the epochs of one request's changes, in their order. Changes that name theirs, or no moment, stay."""

    def __init__(self, door: EventValidator, log: Log, epochs: Epochs) -> None:
        self._door = door
        self._log = log
        self._epochs = epochs
        self._heads: dict[str, _Said] = {}
        self._said: dict[str, list[_Said]] = {}

    async def place(self, changes: Sequence[Found]) -> list[Found]:
        """The changes, with epochs where they are not in the current one."""
        if not any(isinstance(each, PartialEvent) and each.moment is not None for each in changes):
            return list(changes)
        known = await self._epochs.refresh()
        streams = {id(each): self._stream(each.event) for each in changes if isinstance(each, PartialEvent)}
        concerned = {
            stream
            for each in changes
            if isinstance(each, PartialEvent)
            and (stream := streams[id(each)])
            and (each.creates or _has_own(known, stream))
        }
        for head in await self._log.heads(await self._doubtful(changes, streams, concerned)):
            if (said := _said_by(head)) is not None:
                self._heads[head.originator_id] = said
        placed: list[Found] = []
        for each in changes:
            stream = streams[id(each)] if isinstance(each, PartialEvent) else ""
            placed.append(
                await self._place(each, stream, known)
                if isinstance(each, PartialEvent) and stream in concerned
                else each
            )
        return placed

    async def _doubtful(
        self, changes: Sequence[Found], streams: Mapping[int, str], concerned: Collection[str]
    ) -> list[str]:
        """The streams in which something stands that a change is not simply newer than. Of most, only that is read."""
        newest = await self._log.newest_versions(concerned)
        doubtful = {stream for stream, version in newest.items() if epoch_of(version)}
        for each in changes:
            stream = streams[id(each)] if isinstance(each, PartialEvent) else ""
            if isinstance(each, PartialEvent) and stream in newest and each.event.source_version <= newest[stream]:
                doubtful.add(stream)
        return sorted(doubtful)

    def _stream(self, event: DomainEvent) -> str:
        """Its stream; "" for what the door will refuse."""
        try:
            stream = self._door.stream_of(event)
        except Rejected:
            return ""
        return stream if 0 <= event.source_version <= MAX_INTEGER else ""

    async def _place(self, change: PartialEvent, stream: str, known: Known) -> PartialEvent:
        event, head = change.event, self._heads.get(stream)
        entered = known.current(stream, 0 if head is None else head.version)
        if event.epoch is None and change.moment is not None and head is not None and entered == epoch_of(head.version):
            epoch = await self._epoch(change, change.moment, stream, head)
            if epoch is not None:
                event = placed_in(epoch, event)
        self._note(stream, event, versioned(entered if event.epoch is None else event.epoch, event.source_version))
        return change._replace(event=event)

    async def _epoch(self, change: PartialEvent, moment: datetime, stream: str, head: _Said) -> int | None:
        """The epoch that a change is in, other than the one of its stream's head, which is the current one."""
        event, current = change.event, epoch_of(head.version)
        if current and (former := await self._former(change, stream, current - 1)) is not None:
            return former
        is_newer = versioned(current, event.source_version) > head.version
        if event.payload is None or head.content != NULL or is_newer or current == MAX_EPOCH:
            return None
        said = format_timestamp(moment)
        if said == head.occurred_at and await self._former(change, stream, current) is not None:
            return None
        return current + 1 if said >= head.occurred_at else None

    async def _former(self, change: PartialEvent, stream: str, upto: int) -> int | None:
        """The last epoch up to one in which this very statement is in the log, or in this request before it."""
        event = change.event
        keys = [(stream, versioned(epoch, event.source_version)) for epoch in range(upto + 1)]
        found = [said for each in await self._log.events_at(keys) if (said := _said_by(each)) is not None]
        found += [each for each in self._said.get(stream, ()) if (stream, each.version) in keys]
        same = [epoch_of(each.version) for each in found if self._is_same(change, each)]
        return max(same, default=None)

    def _is_same(self, change: PartialEvent, said: _Said) -> bool:
        """Whether a change says that, at that moment. Of what it leaves out, nobody can tell."""
        try:
            statement = self._door.examine(change.event)
        except Rejected:
            return False
        known = (
            is_same_content(statement.topic, said.content, statement.content)
            if not change.keeps
            else said.content != NULL
        )
        return known and statement.occurred_at == said.occurred_at

    def _note(self, stream: str, event: DomainEvent, version: int) -> None:
        """Remembers what the request has said, for what is behind it there."""
        try:
            statement = self._door.examine(event)
        except Rejected:
            return
        said = _Said(version, statement.content, statement.occurred_at)
        self._said.setdefault(stream, []).append(said)
        head = self._heads.get(stream)
        if head is None or said.version > head.version:
            self._heads[stream] = said


def _has_own(known: Known, stream: str) -> bool:
    return source_of(stream) in known.own


def _said_by(event: StoredEvent) -> _Said | None:
    """What an event says; None for what an application wrote."""
    try:
        state = _state.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return _Said(event.originator_version, bytes(state.payload), state.occurred_at)
