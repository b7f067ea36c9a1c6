"""In which epoch the rows of a snapshot are, and how the log's entries stand beside them. Pure."""

from collections.abc import Iterable
from typing import Protocol, Self

import msgspec

from pagefold.engine.events import ValidatedEvent
from pagefold.engine.intake.epoch_registry import KnownEpochs, source_of
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.store import SEPARATOR
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, version_of, versioned
from pagefold.projections.streams import encode_part

_NEVER_EQUAL = SEPARATOR
"""No row's entry begins with it."""


class PlacedCorrection(Protocol):
    """A correction that a row makes, and the epoch that the row names, if it does."""

    @property
    def originator_id(self) -> str:
        """Its stream."""

    @property
    def originator_version(self) -> int:
        """Its version in the log."""

    @property
    def epoch(self) -> int | None:
        """None where the row names none."""


class Placement:
    """The epochs of one run's rows. A row that names none is in the current epoch of its stream, as an event is."""

    def __init__(self, known: KnownEpochs) -> None:
        self._known = known
        self.in_use = known.in_use

    @classmethod
    def of(cls, known: KnownEpochs, source: str, epoch: int) -> Self:
        """With the source in this epoch, as if it had been raised; 0 is as it is."""
        return cls(known.with_raised(encode_part(source), epoch) if epoch else known)

    def current(self, stream: str, newest: int = 0) -> int:
        """The current epoch of a stream whose newest version is this."""
        return self._known.current(stream, newest)

    def placed(self, statement: ValidatedEvent, newest: int = 0) -> ValidatedEvent:
        """What a row states, with its epoch in its version; `newest` is the version of what stands in its stream."""
        if not self.in_use or statement.epoch is not None:
            return statement
        epoch = self.current(statement.originator_id, newest)
        if epoch == 0:
            return statement
        version = versioned(epoch, statement.originator_version)
        return msgspec.structs.replace(statement, originator_version=version)

    def fence(self, corrections: Iterable[PlacedCorrection]) -> Fence:
        """What must hold of the log for them to be in the epochs where they are."""
        own = self._known.own
        if not own:
            return Fence(self._known.generation, {})
        unsure = [each for each in corrections if each.epoch is None and source_of(each.originator_id) in own]
        epochs = {each.originator_id: epoch_of(each.originator_version) for each in unsure}
        ceilings = {stream: versioned(epoch + 1, 0) for stream, epoch in epochs.items() if epoch < MAX_EPOCH}
        return Fence(self._known.generation, ceilings)

    def comparable(self, entries: Iterable[bytes]) -> dict[bytes, bytes]:
        """By how each would be, had it been said by a row that names no epoch, the entries as they are."""
        return {self._comparable(entry): entry for entry in entries}

    def _comparable(self, entry: bytes) -> bytes:
        stream, version, said = entry.split(SEPARATOR, 2)
        if not version.isdigit():  # applications may use any names
            return entry
        logged = int(version)
        current = self.current(stream.decode(), logged)
        if current > epoch_of(logged):  # whatever a row says is newer
            return _NEVER_EQUAL + entry
        return b"%b\x1f%d\x1f%b" % (stream, version_of(logged), said) if current else entry


PLAIN = Placement(KnownEpochs())
"""Where no epoch was ever raised."""
