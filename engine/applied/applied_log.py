"""Configurations that were applied: each is an event in the log, whole, with who applied it, when and why."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import msgspec

from pagefold.engine.configuration.page_settings import PageSettings
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Store

TOPIC = "pagefold-configuration"
"""The topic of applied configurations, and the name of their stream. It is stored, and stays when names here change."""

NEVER = -1
"""The number before the first applied configuration."""

MAX_NUMBER = 2**53 - 1

STEP = 10
"""Configurations that are read at a time: each may have megabytes of documents."""


class AppliedRecord(msgspec.Struct, frozen=True, rename="camel"):
    """A configuration, as the log has it. `by` is who applied it; `recorded_at` is fixed-width UTC text."""

    settings: PageSettings
    by: str
    reason: str
    recorded_at: str


class Applied(NamedTuple):
    """An applied configuration: its number, from 0, its position in the log, and what the log has of it."""

    number: int
    position: int
    record: AppliedRecord

    @property
    def summary(self) -> dict[str, object]:
        """What people want to know of it: all but the settings, by JSON name."""
        number, position, record = self
        who = {"by": record.by, "reason": record.reason, "recordedAt": record.recorded_at}
        return {"number": number, "position": position, **who}

    @classmethod
    def of(cls, event: StoredEvent) -> Self:
        """The configuration in an event."""
        record = msgspec.json.decode(event.state, type=AppliedRecord)
        return cls(event.originator_version, event.notification_id, record)


class AppliedLog:
    """The configurations that were applied to one store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def newest(self) -> Applied | None:
        """The one that counts; None before the first."""
        found = await self.list(limit=1)
        return found[0] if found else None

    async def newest_number(self) -> int:
        """The number of the one that counts, `NEVER` before the first. Reads no configuration."""
        return (await self._store.log.newest_versions([TOPIC])).get(TOPIC, NEVER)

    async def list(self, limit: int) -> list[Applied]:
        """The newest ones, newest first."""
        events = await self._store.records.select(
            "stored_events", TOPIC, after=NEVER, upto=MAX_NUMBER, descending=True, limit=limit
        )
        return [Applied.of(event) for event in events]

    async def read(self, number: int) -> Applied | None:
        """The one with a number."""
        found = await self._select(number - 1, number, limit=1)
        return found[0] if found else None

    async def after(self, number: int) -> Sequence[Applied]:
        """The next ones after a number, oldest first: some, as long as there are any."""
        return await self._select(number, MAX_NUMBER, limit=STEP)

    async def _select(self, after: int, upto: int, limit: int) -> Sequence[Applied]:
        events = await self._store.records.select(
            "stored_events", TOPIC, after=after, upto=upto, descending=False, limit=limit
        )
        return [Applied.of(event) for event in events]

    async def append(self, settings: PageSettings, *, after: int, by: str, reason: str) -> Applied | None:
        """Applies settings. None if, after the number `after`, somebody else has applied others.

        Raises `LogReplaced`.
        """
        record = AppliedRecord(settings, by, reason, now())
        event = EncodedEvent(TOPIC, after + 1, TOPIC, msgspec.json.encode(record), b"")
        [position] = await self._store.log.insert([event])
        return None if position is None else Applied(after + 1, position, record)
