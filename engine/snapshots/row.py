"""A row of a snapshot: an event, a statement that a contract makes of it, or why there is none."""

import msgspec

from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.event_parser import EventEnvelope


class RefusedStatement(msgspec.Struct, frozen=True, gc=False):
    """A statement that a contract could not make of a row: its event without a payload, and why.

    Its stream is known, so that the stream does not count as absent.
    """

    event: DomainEvent
    path: str
    reason: str

    @property
    def rejected(self) -> Rejected:
        """The reason as an error."""
        return Rejected(self.path, self.reason)


class Row(msgspec.Struct, frozen=True, gc=False):
    """A row by its place in the snapshot, from 1, and the event in it, or why there is none.

    A row that a contract reads may have several events: then several of these have its number.
    Of a JSON row, only the envelope may have been parsed: then `line` is the complete row. If even that is known to be
    valid, only its entry is given, see `Log.head_contents`: then `event` is None.
    """

    number: int
    event: DomainEvent | EventEnvelope | RefusedStatement | Rejected | None
    line: bytes = b""
    entry: bytes = b""
