"""Where a source's sync continues: notes in the log, each written with the events that it covers.

A note and its events are one transaction, so the place is never ahead of the log, nor the counts. The version of a note
is its number: of two processes that write the same one, the second learns that it lost.
"""

import msgspec

from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.store import Store
from pagefold.projections.field_changes import FieldChange

TOPIC = "pagefold-sync"
"""The topic of notes. It is stored, and stays when names here change."""


class SyncNote(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """How far a run is, or how it ended.

    The run of a source asks for changes since `since`, where its period begins, and continues after `cursor`, in the
    form of its snapshot; once it is `complete`, the next one asks for changes since `following`. It began at
    `begun_at`, and the newest complete one at `synced_at`: what changed before that was seen. Counts are those of the
    run so far. Times are fixed-width UTC text, "" where they are not known. `lost`: something could not be taken, and
    is not kept either. `held` says what a run would have removed, until one is complete: from `removals` streams, of
    which `samples` has some, each with what it would lose.
    """

    run: str
    source: str
    since: str
    following: str
    recorded_at: str
    begun_at: str = ""
    synced_at: str = ""
    cursor: object = None
    complete: bool = False
    records: int = 0
    statements: int = 0
    refused: int = 0
    lost: bool = False
    held: str = ""
    removals: int = 0
    samples: list[tuple[str, list[FieldChange]]] = []

    @property
    def synced(self) -> str:
        """When the newest complete run began, "" if none did. Notes of earlier releases say when it ended."""
        return self.synced_at or (self.recorded_at if self.complete else "")

    def completed(self) -> "SyncNote":
        """The note of a run that has read everything."""
        synced_at = self.begun_at or self.recorded_at
        return msgspec.structs.replace(self, complete=True, cursor=None, synced_at=synced_at).not_held()

    def not_held(self) -> "SyncNote":
        """The note without what a run would have removed."""
        return msgspec.structs.replace(self, held="", removals=0, samples=[])


class SyncNotes:
    """The notes of one source. `number` is that of the next one."""

    def __init__(self, store: Store, source: str) -> None:
        self._store = store
        self._stream = f"{TOPIC}:{source}"
        self.number = 0

    async def newest(self) -> SyncNote | None:
        """The newest note; None before the first."""
        events = await self._store.records.select(
            "stored_events", self._stream, after=-1, upto=2**53 - 1, descending=True, limit=1
        )
        self.number = events[0].originator_version + 1 if events else 0
        return msgspec.json.decode(events[0].state, type=SyncNote) if events else None

    def event(self, note: SyncNote) -> EncodedEvent:
        """The next note, to be appended."""
        return EncodedEvent(self._stream, self.number, TOPIC, msgspec.json.encode(note), b"", 0)
