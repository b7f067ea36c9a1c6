"""The `state` column of a domain event: how it is written, and how it is told by its end what it says."""

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.events import ValidatedEvent

_encoder = msgspec.json.Encoder()

DriftKind: TypeAlias = Literal["missing", "newer", "changed", "orphan", "recreated"]
"""Why a rebuild made an event.

The log had none; had an older version; had other content; the snapshot has none; the log had a withdrawal of a higher
version, and the snapshot a row that is proof of a record that was made again.
"""


class EventState(msgspec.Struct, frozen=True, kw_only=True, gc=False, rename="camel", omit_defaults=True):
    """The `state` column of a domain event. Both moments are fixed-width UTC text, as `format_timestamp` gives.

    An event that a rebuild made has the id of its run, and why it was made, and `anew` where its stream had been taken
    back before; one by which an operator corrects a dead letter has the operator's name, and the letter's. The payload
    comes last: what a state says can be told by how it ends, see `state_ending`.
    """

    id: str
    occurred_at: str
    recorded_at: str
    correlation_id: str | None = None
    run_id: str | None = None
    drift: DriftKind | None = None
    anew: bool = False
    operator: str | None = None
    corrects: str | None = None
    payload: msgspec.Raw


def state_ending(content: bytes) -> bytes:
    """How a state ends that has this canonical payload, and no other one does.

    `"payload":` is a key there: in a text its quotes would be escaped. And it is one of the state itself, not one
    inside its payload: behind the content, which is balanced, a single brace is closed.
    """
    return b'"payload":%b}' % content


def head_content(stream: str, version: int, content: bytes) -> bytes:
    """What a stream says with this canonical payload at this version, as `Log.head_contents` has it."""
    return b"%b\x1f%d\x1f%b" % (stream.encode(), version, state_ending(content))


CONTENT_START = len(state_ending(b"")) - len(b"}")
"""Where the canonical payload begins in the last part of an entry; it ends before the last byte."""


class EncodedEvent(NamedTuple):
    """An event that was admitted, in the form in which it is stored. `content` is its canonical payload.

    `epoch` as in `ValidatedEvent`.
    """

    originator_id: str
    originator_version: int
    topic: str
    state: bytes
    content: bytes
    epoch: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """What is unique in the log, but for corrections."""
        return self.originator_id, self.originator_version


class RepairEncoder:
    """Writes the `state` of the events that a rebuild makes: those of one run, at one moment, for one reason.

    `anew` as in `EventState`.
    """

    def __init__(self, run_id: str, recorded_at: str, drift: DriftKind, *, anew: bool = False) -> None:
        self._recorded_at = recorded_at
        self._run_id = run_id
        self._drift: DriftKind = drift
        self._anew = anew
        self._made_id = f"{run_id}-withdrawn-" if drift == "orphan" else f"{run_id}-"
        # of most, only three values differ, and none of them can have what JSON escapes
        text = self._encode("\0", "\1", None, b"\2").replace(b"%", b"%%")
        made_id = self._made_id.encode().replace(b"%", b"%%") + b"%d"
        self._template = text.replace(rb"\u0000", made_id).replace(rb"\u0001", b"%b").replace(b"\2", b"%b")

    def state(self, statement: ValidatedEvent, number: int) -> bytes:
        """That of a statement. If it has no id, one is made of its number, which no other of the run may have."""
        content, occurred_at = statement.content, statement.occurred_at
        if statement.id is None and statement.correlation_id is None:
            return self._template % (number, occurred_at.encode(), content)
        made_id = f"{self._made_id}{number}"
        return self._encode(statement.id or made_id, occurred_at, statement.correlation_id, content)

    def _encode(self, identifier: str, occurred_at: str, correlation_id: str | None, content: bytes) -> bytes:
        return _encoder.encode(
            EventState(
                id=identifier,
                occurred_at=occurred_at,
                recorded_at=self._recorded_at,
                correlation_id=correlation_id,
                run_id=self._run_id,
                drift=self._drift,
                anew=self._anew,
                payload=msgspec.Raw(content),
            )
        )


def state_of_correction(
    statement: ValidatedEvent, recorded_at: str, made_id: str, operator: str, corrects: str
) -> bytes:
    """The `state` of an event by which an operator corrects a dead letter."""
    return _encoder.encode(
        EventState(
            id=statement.id or made_id,
            occurred_at=statement.occurred_at,
            recorded_at=recorded_at,
            payload=msgspec.Raw(statement.content),
            correlation_id=statement.correlation_id,
            operator=operator,
            corrects=corrects,
        )
    )
