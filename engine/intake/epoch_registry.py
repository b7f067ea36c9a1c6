"""Epochs: which were raised, which one an event enters, and how operators raise them.

The rules, all of them functions of the log:

* The current epoch of a stream is the highest of three: that raised for its source, that raised for the stream itself,
  and that of its newest event. 0 where there is none of them.
* An event that names no epoch enters the current epoch of its stream, as it is when its transaction appends it. Within
  one transaction, events that name an epoch count for those of the same stream behind them.
* An event that names an epoch enters that one, whatever is current. So the source itself raises its stream's epoch, up
  to the lower half of all, see `named_epochs.py`; a lower one than the current is history, as an older version is.
* A row of a snapshot enters an epoch by the same rules. Of a complete snapshot, one that is proof of life enters the
  epoch behind that of its stream's newest event, see `rebuild/recreated_records.py`.

What is raised for a source or a stream is an event of the stream `EPOCHS`, and so is an operator's word that a source
which looks reset is none, and the note that a source has streams with epochs of their own. There are few of them, and
every appender holds them in memory. The transaction that appends compares how many there are with what the appender
knows, and of streams that may have epochs of their own that none is newer: so nothing enters an epoch that was over.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.epoch_fence import EPOCHS, EpochsMoved, Fence
from pagefold.engine.stores.event_state import EncodedEvent
from pagefold.engine.stores.store import Log, StoredEvent
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, versioned

TOPIC = "engine.epochs:Noted"
"""The topic of the events in `EPOCHS`. It stays, whatever becomes of the names here."""

What: TypeAlias = Literal["raised", "own", "dismissed"]


class Note(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An event of the stream `EPOCHS`.

    `raised`: the scope, a source or a stream by its name in the log, has this `epoch` from now on. `own`: there are
    streams of the source that have epochs of their own. `dismissed`: that the source looks reset was looked into, in a
    domain or in all, and is nothing. `operator` is who said so, `run_id` the rebuild that did; neither for `own`.
    """

    what: What
    scope: str
    recorded_at: str
    epoch: int = 0
    domain: str | None = None
    operator: str | None = None
    run_id: str | None = None
    reason: str = ""


class _Event(NamedTuple):
    """As the log takes it."""

    originator_id: str
    originator_version: int
    topic: str
    state: bytes


_note = msgspec.json.Decoder(Note)


class Known(msgspec.Struct, frozen=True):
    """What the first `generation` events of `EPOCHS` say: epochs by scope, and sources with streams of their own."""

    generation: int = 0
    raised: Mapping[str, int] = {}
    own: frozenset[str] = frozenset()

    @property
    def in_use(self) -> bool:
        """Whether an event may have to enter another epoch than 0."""
        return self.generation > 0

    def floor(self, stream: str) -> int:
        """The epoch that was raised for a stream, or for its source."""
        return max(self.raised.get(source_of(stream), 0), self.raised.get(stream, 0))

    def current(self, stream: str, newest: int = 0) -> int:
        """The current epoch of a stream whose newest version is this."""
        return max(self.floor(stream), epoch_of(newest))

    def with_raised(self, source: str, epoch: int) -> "Known":
        """As it would be, were this epoch raised as the next."""
        return Known(max(self.generation, 1), {**self.raised, source: epoch}, self.own)

    def after(self, events: Sequence[StoredEvent]) -> "Known":
        """This, and what the next events say."""
        raised, own = dict(self.raised), set(self.own)
        for event in events:
            note = read_note(event)
            if note is None:
                continue
            if note.what == "raised":
                raised[note.scope] = max(note.epoch, raised.get(note.scope, 0))
            elif note.what == "own":
                own.add(note.scope)
        return Known(self.generation + len(events), raised, frozenset(own))


def read_note(event: StoredEvent) -> Note | None:
    """What an event of `EPOCHS` says; None for what an application wrote under that name."""
    try:
        return _note.decode(event.state)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def source_of(stream: str) -> str:
    """The source of a stream, as it is written in the log."""
    return stream.rpartition("/")[2]


class Epochs:
    """The epochs of one log, as this process knows them. Nothing is read before it is needed."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.known = Known()

    async def refresh(self) -> Known:
        """Learns what others have raised meanwhile."""
        generation = await self._log.generation()
        known = self.known
        if generation < known.generation:  # the log is another one than before: it is read from its beginning
            known = Known()
        if generation != self.known.generation:
            self.known = known.after(await self.notes(known.generation))
        return self.known

    async def notes(self, after: int = 0) -> list[StoredEvent]:
        """The events of `EPOCHS` from the generation `after` on."""
        place = (EPOCHS, after - 1, 0) if after else None
        return [event async for event in self._log.history(EPOCHS, place) if event.originator_id == EPOCHS]

    async def place(self, admissions: Sequence[EncodedEvent]) -> tuple[Sequence[EncodedEvent], Fence]:
        """The events with their epochs in their versions, and what must hold of the log when they are appended."""
        if not self.known.in_use and not any([each[5] for each in admissions]):  # noqa: C419  # half the time
            return admissions, Fence(self.known.generation)
        await self._declare(admissions)
        known = self.known
        unsure = {each.originator_id for each in admissions if each.epoch is None} if known.own else set()
        unsure = {stream for stream in unsure if source_of(stream) in known.own}
        newest = await self._log.newest_versions(unsure)
        current = {stream: known.current(stream, newest.get(stream, 0)) for stream in unsure}
        ceilings = {stream: versioned(epoch + 1, 0) for stream, epoch in current.items() if epoch < MAX_EPOCH}
        return _placed(admissions, known, current), Fence(known.generation, ceilings)

    async def _declare(self, admissions: Sequence[EncodedEvent]) -> None:
        """Notes which sources have streams of their own, before any event relies on it."""
        for each in admissions:
            source = source_of(each.originator_id)
            while each.epoch and each.epoch > self.known.floor(each.originator_id) and source not in self.known.own:
                await self.note(Note("own", source, now()))

    async def declare(self, source: str) -> None:
        """Notes that a source has streams with epochs of their own, unless that is known."""
        while source not in (await self.refresh()).own:
            await self.note(Note("own", source, now()))

    async def note(self, note: Note) -> bool:
        """Appends an event to `EPOCHS`, durably, if nobody else has since: then False, and what they said is known."""
        event = _Event(EPOCHS, self.known.generation, TOPIC, msgspec.json.encode(note))
        try:
            [position] = await self._log.insert([event], Fence(self.known.generation))
        except EpochsMoved:
            position = None
        await self.refresh()
        return position is not None


def _placed(admissions: Sequence[EncodedEvent], known: Known, current: dict[str, int]) -> list[EncodedEvent]:
    """Each with the epoch that it names, or enters. `current` are those that differ from what was raised."""
    placed: list[EncodedEvent] = []
    for each in admissions:
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
