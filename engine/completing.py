"""Changes that leave out what did not change, completed with what the log has, and with those of the same request."""

from collections.abc import Collection, Mapping, Sequence

from domains.values import LARGEST_INTEGER
from engine.appending import content_of
from engine.config import Config
from engine.door import Door, Statement
from engine.errors import Refused
from engine.events import DomainEvent
from engine.formats.changes import Change, complete
from engine.stores.store import Log, StoredEvent


class Completer:
    """Completes the changes of one request, in their order."""

    def __init__(self, config: Config, log: Log) -> None:
        self._door = Door(config)
        self._log = log
        self._heads: Mapping[str, StoredEvent] = {}
        self._before: dict[str, list[Statement]] = {}

    async def complete(self, changes: Sequence[Change | Refused]) -> list[DomainEvent | Refused]:
        """The whole event of each change, or why there is none. A change that comes twice is completed alike."""
        lacking = {each for change in changes if (each := self._lacks(change)) is not None}
        if not lacking:
            return [each.event if isinstance(each, Change) else each for each in changes]
        self._heads = {head.originator_id: head for head in await self._log.heads(sorted(lacking))}
        return [each if isinstance(each, Refused) else await self._complete(each, lacking) for each in changes]

    def _lacks(self, change: Change | Refused) -> str | None:
        """The stream of a change that leaves something out."""
        return self._stream_of(change.event) if isinstance(change, Change) and change.keeps else None

    def _stream_of(self, event: DomainEvent) -> str | None:
        try:
            return self._door.stream_of(event)
        except Refused:  # the door will say why
            return None

    async def _complete(self, change: Change, lacking: Collection[str]) -> DomainEvent | Refused:
        stream = self._stream_of(change.event)
        if stream is None or stream not in lacking or not 0 <= change.event.source_version <= LARGEST_INTEGER:
            return change.event
        try:
            event = complete(change, await self._standing(stream, change.event.source_version))
            self._before.setdefault(stream, []).append(self._door.examine(event))
        except Refused as refused:
            return refused.with_traceback(None)
        return event

    async def _standing(self, stream: str, version: int) -> bytes | None:
        """The payload of a stream up to a version: that of the log, unless this request has said something newer."""
        logged = await self._logged(stream, version)
        said = [each for each in self._before.get(stream, ()) if each.originator_version <= version]
        newest = max(said, key=lambda each: each.originator_version, default=None)  # of equal ones, the first stands
        if newest is not None and (logged is None or newest.originator_version > logged.originator_version):
            return newest.content
        return None if logged is None else content_of(logged)

    async def _logged(self, stream: str, version: int) -> StoredEvent | None:
        head = self._heads.get(stream)
        if head is None or head.originator_version <= version:
            return head
        behind = StoredEvent(0, stream, version + 1, 0, "", b"")
        return next(iter(await self._log.before(behind, 1)), None)
