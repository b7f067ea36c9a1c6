"""Places the rows of a snapshot in epochs, and makes the log's heads comparable with them. Pure."""

from collections.abc import Iterable
from typing import Protocol, Self

import msgspec

from pagefold.engine.events import ValidatedEvent
from pagefold.engine.intake.epoch_registry import KnownEpochs, source_of
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import SEPARATOR
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, version_of, versioned
from pagefold.projections.streams import encode_part

_NEVER_EQUAL = SEPARATOR
"""A prefix that no row's content has."""


class PlacedCorrection(Protocol):
    """A correction made by a row, and the epoch that the row names, if any."""

    @property
    def originator_id(self) -> str:
        """The stream."""

    @property
    def originator_version(self) -> int:
        """The version in the log."""

    @property
    def epoch(self) -> int | None:
        """None if the row names no epoch."""


class Placement:
    """The epochs of one run's rows. Like an event, a row without an epoch belongs to its stream's current one."""

    def __init__(self, known: KnownEpochs) -> None:
        self._known = known
        self.in_use = known.in_use

    @classmethod
    def of(cls, known: KnownEpochs, source: str, epoch: int) -> Self:
        """The placement with the source raised to this epoch; 0 leaves it unchanged."""
        return cls(known.with_raised(encode_part(source), epoch) if epoch else known)

    def current(self, stream: str, newest: int = 0) -> int:
        """The current epoch of a stream whose newest version is `newest`."""
        return self._known.current(stream, newest)

    def placed(self, event: ValidatedEvent, newest: int = 0) -> ValidatedEvent:
        """The row's event with its epoch; `newest` is the version of its stream's head."""
        if not self.in_use or event.epoch is not None:
            return event
        epoch = self.current(event.originator_id, newest)
        if epoch == 0:
            return event
        version = versioned(epoch, event.originator_version)
        return msgspec.structs.replace(event, originator_version=version)

    def fence(self, corrections: Iterable[PlacedCorrection]) -> Fence:
        """The condition of the log under which the corrections are in their epochs."""
        own = self._known.own
        if not own:
            return Fence(self._known.generation, {})
        assumed = [each for each in corrections if each.epoch is None and source_of(each.originator_id) in own]
        epochs = {each.originator_id: epoch_of(each.originator_version) for each in assumed}
        ceilings = {stream: versioned(epoch + 1, 0) for stream, epoch in epochs.items() if epoch < MAX_EPOCH}
        return Fence(self._known.generation, ceilings)

    def comparable(self, entries: Iterable[bytes]) -> dict[bytes, bytes]:
        """The head contents by the form that a row without an epoch would give them."""
        return {self._comparable(entry): entry for entry in entries}

    def _comparable(self, entry: bytes) -> bytes:
        stream, version, content = entry.split(SEPARATOR, 2)
        if not version.isdigit():  # other applications may have streams of any name
            return entry
        logged = int(version)
        current = self.current(stream.decode(), logged)
        if current > epoch_of(logged):  # every row is newer
            return _NEVER_EQUAL + entry
        return b"%b\x1f%d\x1f%b" % (stream, version_of(logged), content) if current else entry


PLAIN = Placement(KnownEpochs())
"""The placement where no epoch was ever raised."""
