"""The `state` column of a domain event: how it is encoded, and how its end identifies its payload."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.events import BasedOn, Tie, ValidatedEvent

_encoder = msgspec.json.Encoder()

DriftKind: TypeAlias = Literal["missing", "newer", "changed", "orphan", "recreated"]
"""Why a rebuild appended an event.

The log had none; had an older version; had other content; the snapshot has none; the log had a withdrawal of a higher
version, and the snapshot a row, which proves that the record was created again.
"""


class EventState(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The `state` column of a domain event.

    Timestamps are fixed-width UTC text, as `format_timestamp` writes them. An event from a rebuild has the id of its
    run and its `drift`, and `was_withdrawn` (stored as `anew`) if its stream was withdrawn before. A correction of a
    dead letter has the operator's name and the dead letter's id. `based_on` is what its source had seen. The payload
    comes last, so that the end of a state identifies it: see `state_ending`.
    """

    id: str
    occurred_at: str
    recorded_at: str
    correlation_id: str | None = None
    run_id: str | None = None
    drift: DriftKind | None = None
    was_withdrawn: bool = msgspec.field(default=False, name="anew")
    operator: str | None = None
    corrects: str | None = None
    based_on: int | dict[str, int] | None = None
    payload: msgspec.Raw


def state_ending(content: bytes) -> bytes:
    """The end of every state with this canonical payload, and of no other state.

    `"payload":` is a key there, since a text would escape its quotes; and it is a key of the state itself, not of its
    payload, since after the balanced content only one brace is closed.
    """
    return b'"payload":%b}' % content


def head_content(stream: str, version: int, content: bytes) -> bytes:
    """A head with this canonical payload at this version, as `Log.head_contents` returns it."""
    return b"%b\x1f%d\x1f%b" % (stream.encode(), version, state_ending(content))


CONTENT_START = len(state_ending(b"")) - len(b"}")
"""Where the canonical payload begins in the last part of a head content. It ends before the last byte."""


class EncodedEvent(NamedTuple):
    """A validated event, encoded as it is stored.

    `content` is its canonical payload. `epoch` as in `ValidatedEvent`, `tie` as in `DomainEvent`.
    """

    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    content: bytes
    epoch: int | None = None
    tie: Tie = "keep"

    @property
    def key(self) -> tuple[str, int]:
        """Its unique key in the log, apart from corrections."""
        return self.originator_id, self.originator_version


def stored_based_on(based_on: BasedOn | None) -> int | dict[str, int] | None:
    """What an event is based on, as it is stored: versions in order."""
    return based_on if based_on is None or isinstance(based_on, int) else dict(sorted(based_on.items()))


def with_based_on(event: EncodedEvent, versions: Mapping[str, int]) -> EncodedEvent:
    """The event with what it is based on; unchanged if it says that itself."""
    ending = state_ending(event.content)
    start = event.state.removesuffix(ending)
    if b'"basedOn":' in start or start == event.state:  # a text would escape the quotes
        return event
    based_on = _encoder.encode(dict(sorted(versions.items())))
    return event._replace(state=b'%b"basedOn":%b,%b' % (start, based_on, ending))


class StateEncoder:
    """Encodes the `state` of events that are recorded together: at one time, for one reason.

    An event without an id gets one: `made_id` and its number, which must be unique under that. `template` is for events
    that have neither an id nor a correlation id: `template % (number, occurred_at, content)`, both as bytes.
    `was_withdrawn` as in `EventState`.
    """

    def __init__(
        self,
        made_id: str,
        recorded_at: str,
        *,
        run_id: str | None = None,
        drift: DriftKind | None = None,
        was_withdrawn: bool = False,
    ) -> None:
        self._made_id = made_id
        self._recorded_at = recorded_at
        self._run_id = run_id
        self._drift: DriftKind | None = drift
        self._was_withdrawn = was_withdrawn
        # in most, only three values differ, none of which needs JSON escapes
        text = self._encode("\0", "\1", None, b"\2").replace(b"%", b"%%")
        prefix = made_id.encode().replace(b"%", b"%%") + b"%d"
        self.template = text.replace(rb"\u0000", prefix).replace(rb"\u0001", b"%b").replace(b"\2", b"%b")

    def state(self, valid: ValidatedEvent, number: int) -> bytes:
        """The state of an event."""
        content, occurred_at = valid.content, valid.occurred_at
        if valid.id is None and valid.correlation_id is None and valid.based_on is None:
            return self.template % (number, occurred_at.encode(), content)
        identifier = valid.id or f"{self._made_id}{number}"
        return self._encode(identifier, occurred_at, valid.correlation_id, content, valid.based_on)

    def _encode(
        self,
        identifier: str,
        occurred_at: str,
        correlation_id: str | None,
        content: bytes,
        based_on: BasedOn | None = None,
    ) -> bytes:
        return _encoder.encode(
            EventState(
                id=identifier,
                occurred_at=occurred_at,
                recorded_at=self._recorded_at,
                correlation_id=correlation_id,
                run_id=self._run_id,
                drift=self._drift,
                was_withdrawn=self._was_withdrawn,
                based_on=stored_based_on(based_on),
                payload=msgspec.Raw(content),
            )
        )


def repair_encoder(run_id: str, recorded_at: str, drift: DriftKind, *, was_withdrawn: bool = False) -> StateEncoder:
    """Encodes the `state` of the events of a rebuild: those of one run, at one time, for one reason."""
    made_id = f"{run_id}-withdrawn-" if drift == "orphan" else f"{run_id}-"
    return StateEncoder(made_id, recorded_at, run_id=run_id, drift=drift, was_withdrawn=was_withdrawn)


def state_of_correction(
    statement: ValidatedEvent, recorded_at: str, made_id: str, operator: str, corrects: str
) -> bytes:
    """The `state` of an event that corrects a dead letter."""
    return _encoder.encode(
        EventState(
            id=statement.id or made_id,
            occurred_at=statement.occurred_at,
            recorded_at=recorded_at,
            payload=msgspec.Raw(statement.content),
            correlation_id=statement.correlation_id,
            operator=operator,
            corrects=corrects,
            based_on=stored_based_on(statement.based_on),
        )
    )
