"""In which epoch an event was, had it been appended when it came: for what waited in dead letters meanwhile.

An event that names no epoch enters the current one of its stream. What was said before that began would come there with
a version of the counter that is no more, and stand above everything that was said since.
"""

import msgspec

from pagefold.engine.intake.epoch_registry import EpochRegistry, KnownEpochs, read_note
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.store import Log, StoredEvent
from pagefold.projections.epochs import epoch_of

PAGE = 50
MOST_LOOKED_AT = 2_000
"""Events of a stream that are looked at; one that has more in its newest epochs is told by what was raised alone."""

_state = msgspec.json.Decoder(EventState)


class PastEpochs:
    """The epochs that were current at a moment, fixed-width UTC text."""

    def __init__(self, log: Log, epochs: EpochRegistry, moment: str) -> None:
        self._log = log
        self._epochs = epochs
        self._moment = moment
        self._known = KnownEpochs()

    async def begin(self) -> bool:
        """Whether there may be any that is over."""
        known = await self._epochs.refresh()
        if known.in_use:
            noted = await self._epochs.notes()
            self._known = KnownEpochs().after([event for event in noted if self._was_there(event)])
        return known.in_use

    def _was_there(self, event: StoredEvent) -> bool:
        note = read_note(event)
        return note is not None and note.recorded_at <= self._moment

    async def of(self, stream: str) -> int | None:
        """The epoch that was current in a stream; None when it still is."""
        heads = await self._log.heads([stream])
        head = heads[0] if heads else None
        current = self._epochs.known.current(stream, 0 if head is None else head.originator_version)
        then = self._known.floor(stream)
        if then < current and head is not None:
            then = max(then, await self._entered(head))
        return then if then < current else None

    async def _entered(self, head: StoredEvent) -> int:
        """The epoch of the newest event of a stream that was there at the moment."""
        events, looked_at = [head], 0
        while events and looked_at < MOST_LOOKED_AT:
            for event in events:
                if _recorded_at(event) <= self._moment:
                    return epoch_of(event.originator_version)
            looked_at += len(events)
            events = await self._log.older_events(events[-1], PAGE)
        return 0


def _recorded_at(event: StoredEvent) -> str:
    """When an event was appended; of what an application wrote, at no time that matters."""
    try:
        return _state.decode(event.state).recorded_at
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return "9999"
