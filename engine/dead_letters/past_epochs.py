"""The epoch that was current when an event arrived, for events that waited in dead letters.

An event without an epoch enters the current one of its stream. An event of before that epoch began would enter it with
a version of the old counter, and win over everything sent since.
"""

import msgspec

from pagefold.engine.intake.epoch_registry import EpochRegistry, KnownEpochs, read_note
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import epoch_of

CHUNK_EVENTS = 50
MAX_EXAMINED = 2_000
"""Events of a stream that are examined. If its newest epochs have more, only raised epochs count."""

_state = msgspec.json.Decoder(EventState)


class PastEpochs:
    """The epochs that were current at a moment, given as fixed-width UTC text."""

    def __init__(self, log: Log, epochs: EpochRegistry, moment: str) -> None:
        self._log = log
        self._epochs = epochs
        self._moment = moment
        self._known = KnownEpochs()

    async def begin(self) -> bool:
        """Reads the epochs. Returns whether any may have ended."""
        known = await self._epochs.refresh()
        if known.in_use:
            noted = await self._epochs.notes()
            self._known = KnownEpochs().after([event for event in noted if self._was_there(event)])
        return known.in_use

    def _was_there(self, event: StoredEvent) -> bool:
        note = read_note(event)
        return note is not None and note.recorded_at <= self._moment

    async def of(self, stream: str) -> int | None:
        """The epoch that was current in a stream; None if it still is."""
        heads = await self._log.heads([stream])
        head = heads[0] if heads else None
        current = self._epochs.known.current(stream, 0 if head is None else head.originator_version)
        then = self._known.floor(stream)
        if then < current and head is not None:
            then = max(then, await self._entered(head))
        return then if then < current else None

    async def _entered(self, head: StoredEvent) -> int:
        """The epoch of the newest event that the stream had at the moment."""
        events, looked_at = [head], 0
        while events and looked_at < MAX_EXAMINED:
            for event in events:
                if _recorded_at(event) <= self._moment:
                    return epoch_of(event.originator_version)
            looked_at += len(events)
            events = await self._log.older_events(events[-1], CHUNK_EVENTS)
        return 0


def _recorded_at(event: StoredEvent) -> str:
    """When an event was appended; after every moment for one that another application wrote."""
    try:
        return _state.decode(event.state).recorded_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "9999"
