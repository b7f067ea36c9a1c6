"""Epochs: which were raised, and which one an event enters.

The rules, all of them functions of the log:

* The current epoch of a stream is the highest of: the epoch raised for its source, the epoch raised for the stream, and
  the epoch of its newest event. 0 if there is none.
* An event that names no epoch enters the current epoch of its stream at the time of its transaction. Within a
  transaction, an event that names an epoch counts for later events of the same stream.
* An event that names an epoch enters that one. A source can thus raise its stream's epoch, within the lower half of all
  epochs (`named_epochs.py`). A lower epoch than the current one is history, as an older version is.
* Snapshot rows follow the same rules. In a complete snapshot, a row that is proof of life enters the epoch after that
  of its stream's newest event (`rebuild/recreated_records.py`).

Raised epochs are events of the stream `EPOCHS`. So are an operator's dismissal of a reset alarm, and the note that a
source has streams with epochs of their own. There are few, and every appender holds them in memory. The append
transaction checks that no epoch was raised since, in `EPOCHS` or by the streams concerned, so no event enters an
outdated epoch.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.epoch_fence import EPOCHS, EpochsMoved, Fence
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned

TOPIC = "engine.epochs:Noted"
"""The topic of the events in `EPOCHS`. It is stored, and stays when names here change."""

NoteKind: TypeAlias = Literal["raised", "own", "dismissed"]


class Note(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An event of the stream `EPOCHS`.

    `raised`: the scope, a source or a stream by its name in the log, is in this `epoch` from now on. `own`: the source
    has streams with epochs of their own. `dismissed`: a reset alarm of the source was checked and dismissed, for one
    domain or all. `operator` is who decided, `run_id` the rebuild that did; neither for `own`.
    """

    what: NoteKind
    scope: str
    recorded_at: str
    epoch: int = 0
    domain: str | None = None
    operator: str | None = None
    run_id: str | None = None
    reason: str = ""


class _Event(NamedTuple):
    """A row for the log."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


_note = msgspec.json.Decoder(Note)


class KnownEpochs(msgspec.Struct, frozen=True):
    """The first `generation` events of `EPOCHS`, summed up: epochs by scope, and sources with epochs by stream."""

    generation: int = 0
    raised: Mapping[str, int] = {}
    own: frozenset[str] = frozenset()

    @property
    def in_use(self) -> bool:
        """Whether any event may enter another epoch than 0."""
        return self.generation > 0

    def floor(self, stream: str) -> int:
        """The epoch that was raised for a stream or for its source."""
        return max(self.raised.get(source_of(stream), 0), self.raised.get(stream, 0))

    def current(self, stream: str, newest: int = 0) -> int:
        """The current epoch of a stream whose newest version is `newest`."""
        return max(self.floor(stream), epoch_of(newest))

    def with_raised(self, source: str, epoch: int) -> "KnownEpochs":
        """A copy in which this epoch was raised for the source."""
        return KnownEpochs(max(self.generation, 1), {**self.raised, source: epoch}, self.own)

    def after(self, events: Sequence[StoredEvent]) -> "KnownEpochs":
        """A copy that includes the next events."""
        raised, own = dict(self.raised), set(self.own)
        for event in events:
            note = read_note(event)
            if note is None:
                continue
            if note.what == "raised":
                raised[note.scope] = max(note.epoch, raised.get(note.scope, 0))
            elif note.what == "own":
                own.add(note.scope)
        return KnownEpochs(self.generation + len(events), raised, frozenset(own))


def read_note(event: StoredEvent) -> Note | None:
    """The note in an event of `EPOCHS`; None if another application wrote it."""
    try:
        return _note.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def source_of(stream: str) -> str:
    """The source of a stream, as written in the log."""
    return stream.rpartition("/")[2]


class EpochRegistry:
    """The epochs of one log, as known to this process. Nothing is read before it is needed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.known = KnownEpochs()

    async def refresh(self) -> KnownEpochs:
        """Reads the epochs that others have raised since."""
        generation = await self._log.generation()
        known = self.known
        if generation < known.generation:  # another log than before: read from its beginning
            known = KnownEpochs()
        if generation != self.known.generation:
            self.known = known.after(await self.notes(known.generation))
        return self.known

    async def notes(self, after: int = 0) -> list[StoredEvent]:
        """The events of `EPOCHS` from the generation `after` on."""
        place = (EPOCHS, after - 1, 0) if after else None
        return [event async for event in self._log.history(EPOCHS, place) if event.originator_id == EPOCHS]

    async def place(self, events: Sequence[EncodedEvent]) -> tuple[Sequence[EncodedEvent], Fence]:
        """Puts each event in its epoch, and returns the condition under which the log may take them."""
        if not self.known.in_use and not any([each[5] for each in events]):  # noqa: C419  # half the time
            return events, Fence(self.known.generation)
        await self._declare(events)
        known = self.known
        unsure = {each.originator_id for each in events if each.epoch is None} if known.own else set()
        unsure = {stream for stream in unsure if source_of(stream) in known.own}
        newest = await self._log.newest_versions(unsure)
        current = {stream: known.current(stream, newest.get(stream, 0)) for stream in unsure}
        ceilings = {stream: versioned(epoch + 1, 0) for stream, epoch in current.items() if epoch < MAX_EPOCH}
        return _placed(events, known, current), Fence(known.generation, ceilings)

    async def _declare(self, events: Sequence[EncodedEvent]) -> None:
        """Notes the sources whose streams have epochs of their own, before an event relies on it."""
        for each in events:
            source = source_of(each.originator_id)
            while each.epoch and each.epoch > self.known.floor(each.originator_id) and source not in self.known.own:
                await self.note(Note("own", source, now()))

    async def declare(self, source: str) -> None:
        """Notes that a source has streams with epochs of their own, unless that is noted."""
        while source not in (await self.refresh()).own:
            await self.note(Note("own", source, now()))

    async def note(self, note: Note) -> bool:
        """Appends a note durably and returns True, or False if others appended one since; theirs is then known."""
        event = _Event(EPOCHS, self.known.generation, TOPIC, msgspec.json.encode(note))
        try:
            [position] = await self._log.insert([event], Fence(self.known.generation))
        except EpochsMoved:
            position = None
        await self.refresh()
        return position is not None


def _placed(events: Sequence[EncodedEvent], known: KnownEpochs, current: dict[str, int]) -> list[EncodedEvent]:
    """The events with their epochs. `current` holds the streams whose epoch differs from the raised one."""
    placed: list[EncodedEvent] = []
    for each in events:
        stream, epoch = each.originator_id, each.epoch
        entered = current.get(stream)
        if entered is None:
            entered = known.floor(stream)
        if epoch is None:
            placed.append(each._replace(originator_version=versioned(entered, each.originator_version)))
        else:
            placed.append(each)
            current[stream] = max(entered, epoch)
    return placed
