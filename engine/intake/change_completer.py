"""Completes changes that leave something out, from the log and from earlier changes of the same request.

A change of a database leaves out columns that did not change; a part of a record says nothing of the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.canonical_payloads import content_of
from pagefold.engine.intake.epoch_registry import KnownEpochs
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, ParsedPart, RejectedPart, Wanted
from pagefold.engine.intake.statement import Statement, fill_unchanged, place_text
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.epochs import epoch_of, version_of, versioned

Completed: TypeAlias = DomainEvent | IgnoredMessage | RejectedPart | Wanted


class ChangeCompleter:
    """Completes the changes of one request, in order.

    A change in dead letters has an unknown value. If one lies between the stored version and a change, the change
    cannot be completed from the stored version, which may be out of date. A part of a record is completed all the same:
    what it does not have, it does not claim.
    """

    def __init__(self, validator: EventValidator, store: Store, known: KnownEpochs) -> None:
        self._validator = validator
        self._store = store
        self._known = known
        self._heads: Mapping[str, StoredEvent] = {}
        self._before: dict[str, list[tuple[int, bytes]]] = {}
        self._unknown: dict[str, set[int]] = {}

    async def complete(self, found: Sequence[ParsedPart]) -> list[Completed]:
        """Returns the full event of each change, or why there is none. A repeated change gives the same event."""
        incomplete = {each for one in found if (each := self._incomplete_stream(one)) is not None}
        if not incomplete:
            return [each.event if isinstance(each, Statement) else each for each in found]
        self._before, self._unknown = {}, {stream: set() for stream in incomplete}
        self._heads = {head.originator_id: head for head in await self._store.log.heads(sorted(incomplete))}
        for stream, version in await self._store.dead_letters.requests_of(sorted(incomplete)):
            self._unknown[stream].add(version)
        return [await self._complete(each, incomplete) for each in found]

    def _incomplete_stream(self, found: ParsedPart) -> str | None:
        """The stream of a change that leaves something out, else None."""
        return self._stream_of(found.event) if isinstance(found, Statement) and not found.is_complete else None

    def _stream_of(self, event: DomainEvent) -> str | None:
        try:
            return self._validator.stream_of(event)
        except Rejected:  # the validator will report the reason
            return None

    async def _complete(self, found: ParsedPart, incomplete: Collection[str]) -> Completed:
        if isinstance(found, IgnoredMessage | Wanted) or found.event is None:
            return found
        stream, version = self._stream_of(found.event), found.event.source_version
        if stream is None or stream not in incomplete or not 0 <= version <= MAX_INTEGER:
            return found.event if isinstance(found, Statement) else found
        if isinstance(found, RejectedPart):
            self._unknown[stream].add(version)
            return found
        try:
            return await self._completed(found, stream, self._full_version(stream, found.event))
        except Rejected as rejection:
            self._unknown[stream].add(version)
            return RejectedPart(rejection.with_traceback(None), found.event)

    async def _completed(self, change: Statement, stream: str, version: int) -> DomainEvent:
        """Completes a change. `version` includes the epoch. Raises `Rejected`."""
        newest_payload, since = await self._newest_payload(stream, version)
        lowest = version_of(since) if since >= 0 and epoch_of(since) == epoch_of(version) else -1
        unknown = [each for each in self._unknown[stream] if lowest < each < version_of(version)]
        if change.unchanged and not change.is_part and unknown:
            problem = f"did not change, so it was not sent; version {max(unknown)}, which has it, is in dead letters"
            raise Rejected(place_text(change.unchanged[0]), problem)
        event = fill_unchanged(change, newest_payload)
        self._before.setdefault(stream, []).append((version, self._validator.validate(event).content))
        return event

    def _full_version(self, stream: str, event: DomainEvent) -> int:
        """The event's version, with the epoch that it names or enters."""
        head = self._heads.get(stream)
        current = self._known.current(stream, 0 if head is None else head.originator_version)
        return versioned(current if event.epoch is None else event.epoch, event.source_version)

    async def _newest_payload(self, stream: str, version: int) -> tuple[bytes | None, int]:
        """The stream's newest payload up to a version, from the log or this request, and its version.

        The version is -1 if there is none.
        """
        stored = await self._newest_event(stream, version)
        said = [each for each in self._before.get(stream, ()) if each[0] <= version]
        newest = max(said, key=lambda each: each[0], default=None)  # the first of equal versions counts
        if newest is not None and (stored is None or newest[0] > stored.originator_version):
            return newest[1], newest[0]
        return (None, -1) if stored is None else (content_of(stored), stored.originator_version)

    async def _newest_event(self, stream: str, version: int) -> StoredEvent | None:
        head = self._heads.get(stream)
        if head is None or head.originator_version <= version:
            return head
        beyond = StoredEvent(0, stream, version + 1, 0, "", b"")
        return next(iter(await self._store.log.older_events(beyond, 1)), None)
