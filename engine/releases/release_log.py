"""What was decided of releases: each decision is an event in the log. Which ones are published, configurations say."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal, TypeAlias

import anyio
import msgspec

from pagefold.engine.applied.applied_configuration import FOLLOW_SECONDS
from pagefold.engine.errors import StoreError
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.store import Store

TOPIC = "pagefold-releases"
"""The topic of these events, and the name of their stream. It is stored, and stays when names here change."""

NEVER = -1
"""The number before the first event."""

Decision: TypeAlias = Literal["created", "scheduled"]


class ReleaseRecord(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A decision about the release `name`, as the log has it, by a person, with the reason. Times are UTC text.

    `scheduled` says when it is to be published and rolled back; a time that is absent is none.
    """

    what: Decision
    name: str
    by: str
    reason: str
    recorded_at: str
    publish_at: str | None = None
    roll_back_at: str | None = None


class Release(msgspec.Struct, frozen=True, rename="camel"):
    """A release: who created it, when and what for; and the schedule that stands, who made it and why."""

    name: str
    created_at: str
    created_by: str
    purpose: str
    publish_at: str | None = None
    roll_back_at: str | None = None
    scheduled_by: str = ""
    scheduled_for: str = ""

    @classmethod
    def of(cls, records: Iterable[ReleaseRecord]) -> "dict[str, Release]":
        """The releases that records make, by name, in the order of their creation. Others' records count nowhere."""
        found: dict[str, Release] = {}
        for record in records:
            if record.what == "created":
                release = cls(record.name, record.recorded_at, record.by, record.reason)
                found.setdefault(record.name, release)
            elif record.name in found:
                found[record.name] = found[record.name].scheduled(record)
        return found

    def scheduled(self, record: ReleaseRecord) -> "Release":
        """The release under another schedule."""
        return msgspec.structs.replace(
            self,
            publish_at=record.publish_at,
            roll_back_at=record.roll_back_at,
            scheduled_by=record.by,
            scheduled_for=record.reason,
        )


class ReleaseLog:
    """The releases of one store. `known` is what was read last, `names` their names, the same set at any time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._records: list[ReleaseRecord] = []
        self.known: dict[str, Release] = {}
        self.names: set[str] = set()

    async def refresh(self) -> dict[str, Release]:
        """Reads what was decided. If nothing was, it costs one look at the newest number."""
        newest = (await self._store.log.newest_versions([TOPIC])).get(TOPIC, NEVER)
        if newest != len(self._records) - 1:
            after = NEVER if newest < len(self._records) else len(self._records) - 1
            kept = self._records if after != NEVER else []
            self._records = [*kept, *await self._read(after, newest)]
            self.known = Release.of(self._records)
            self.names.update(self.known)  # never without a known name: events are validated in another thread, too
            self.names.intersection_update(self.known)
        return self.known

    async def follow(self) -> None:
        """Looks for decisions of others at intervals, until it is cancelled."""
        while True:
            await anyio.sleep(FOLLOW_SECONDS)
            with suppress(StoreError):  # others of this process report it
                await self.refresh()

    async def _read(self, after: int, newest: int) -> list[ReleaseRecord]:
        events = await self._store.records.select(
            "stored_events", TOPIC, after=after, upto=newest, descending=False, limit=newest - after
        )
        return [msgspec.json.decode(event.state, type=ReleaseRecord) for event in events]

    async def append(self, record: ReleaseRecord) -> bool:
        """Appends a decision after those that are known. False if others were appended meanwhile.

        Raises `LogReplaced`.
        """
        event = EncodedEvent(TOPIC, len(self._records), TOPIC, msgspec.json.encode(record), b"")
        [position] = await self._store.log.insert([event])
        await self.refresh()
        return position is not None
