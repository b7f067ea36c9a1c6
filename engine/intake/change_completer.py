"""Changes that leave out what did not change, completed with what the log has, and with those of the same request."""

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.appender import content_of
from pagefold.engine.intake.epoch_registry import Known
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.intake.formats.partial_event import PartialEvent, complete
from pagefold.engine.intake.formats.request_parts import Faulty, Found, Ignored
from pagefold.engine.stores.store import Store, StoredEvent
from pagefold.projections.epochs import epoch_of, version_of, versioned

Completed: TypeAlias = DomainEvent | Ignored | Faulty


class ChangeCompleter:
    """Completes what one request says, in its order.

    What is in dead letters is unknown: where that lies between what stands and a change, the change cannot be completed
    with what stands, for it would state for ever what was overtaken.
    """

    def __init__(self, door: EventValidator, store: Store, known: Known) -> None:
        self._door = door
        self._store = store
        self._known = known
        self._heads: Mapping[str, StoredEvent] = {}
        self._before: dict[str, list[tuple[int, bytes]]] = {}
        self._unknown: dict[str, set[int]] = {}

    async def complete(self, found: Sequence[Found]) -> list[Completed]:
        """The whole event of each change, or why there is none. A change that comes twice is completed alike."""
        lacking = {each for one in found if (each := self._lacks(one)) is not None}
        if not lacking:
            return [each.event if isinstance(each, PartialEvent) else each for each in found]
        self._before, self._unknown = {}, {stream: set() for stream in lacking}
        self._heads = {head.originator_id: head for head in await self._store.log.heads(sorted(lacking))}
        for stream, version in await self._store.dead_letters.requests_of(sorted(lacking)):
            self._unknown[stream].add(version)
        return [await self._complete(each, lacking) for each in found]

    def _lacks(self, found: Found) -> str | None:
        """The stream of a change that leaves something out."""
        return self._stream_of(found.event) if isinstance(found, PartialEvent) and found.keeps else None

    def _stream_of(self, event: DomainEvent) -> str | None:
        try:
            return self._door.stream_of(event)
        except Rejected:  # the door will say why
            return None

    async def _complete(self, found: Found, lacking: Collection[str]) -> Completed:
        if isinstance(found, Ignored) or found.event is None:
            return found
        stream, version = self._stream_of(found.event), found.event.source_version
        if stream is None or stream not in lacking or not 0 <= version <= MAX_INTEGER:
            return found.event if isinstance(found, PartialEvent) else found
        if isinstance(found, Faulty):
            self._unknown[stream].add(version)
            return found
        try:
            return await self._completed(found, stream, self._placed(stream, found.event))
        except Rejected as refused:
            self._unknown[stream].add(version)
            return Faulty(refused.with_traceback(None), found.event)

    async def _completed(self, change: PartialEvent, stream: str, version: int) -> DomainEvent:
        """`version` is as the log would have it. Raises `Rejected`."""
        standing, since = await self._standing(stream, version)
        lowest = version_of(since) if since >= 0 and epoch_of(since) == epoch_of(version) else -1
        unknown = [each for each in self._unknown[stream] if lowest < each < version_of(version)]
        if change.keeps and unknown:
            problem = f"did not change, and so was not sent; what it was at version {max(unknown)} is in dead letters"
            raise Rejected(change.keeps[0], problem)
        event = complete(change, standing)
        self._before.setdefault(stream, []).append((version, self._door.examine(event).content))
        return event

    def _placed(self, stream: str, event: DomainEvent) -> int:
        """Its version, with the epoch that it names or enters."""
        head = self._heads.get(stream)
        current = self._known.current(stream, 0 if head is None else head.originator_version)
        return versioned(current if event.epoch is None else event.epoch, event.source_version)

    async def _standing(self, stream: str, version: int) -> tuple[bytes | None, int]:
        """The payload of a stream up to a version, and its version: that of the log, unless this request said a newer.

        The version is -1 where nothing was said.
        """
        logged = await self._logged(stream, version)
        said = [each for each in self._before.get(stream, ()) if each[0] <= version]
        newest = max(said, key=lambda each: each[0], default=None)  # of equal ones, the first stands
        if newest is not None and (logged is None or newest[0] > logged.originator_version):
            return newest[1], newest[0]
        return (None, -1) if logged is None else (content_of(logged), logged.originator_version)

    async def _logged(self, stream: str, version: int) -> StoredEvent | None:
        head = self._heads.get(stream)
        if head is None or head.originator_version <= version:
            return head
        behind = StoredEvent(0, stream, version + 1, 0, "", b"")
        return next(iter(await self._store.log.older_events(behind, 1)), None)
