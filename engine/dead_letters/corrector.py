"""An operator's word in place of what is in dead letters: it enters by the door, and is an event like any other."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import Rejected
from pagefold.engine.events import AppendResult, DomainEvent, PlacedEvent, ValidatedEvent
from pagefold.engine.intake.appender import content_of, newest_revision
from pagefold.engine.intake.canonical_payloads import is_same_content
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import DeadLetter
from pagefold.engine.stores.epoch_fence import EpochsMoved
from pagefold.engine.stores.event_state import EncodedEvent, EventState, state_of_correction
from pagefold.engine.stores.store import CorrectionEvent, Log, StoredEvent
from pagefold.projections.epochs import describe_version, epoch_of, version_of
from pagefold.projections.streams import NotAStreamError, parse_stream_id

ATTEMPTS = 10
"""How often a revision is looked for that nobody else has taken meanwhile."""

Payload: TypeAlias = Mapping[str, object] | bytes | None

_state = msgspec.json.Decoder(EventState)


def event_in(letter: DeadLetter) -> DomainEvent:
    """The event in a letter, as it was said. Raises `Rejected` when there is none that could be said again."""
    if letter.is_request:
        raise Rejected("", f"{letter.id} is a delivery that could not be made an event")
    try:
        state = _state.decode(letter.state)
        occurred_at = datetime.fromisoformat(state.occurred_at)
    except (*DECODE_ERRORS, ValueError):
        raise Rejected("", f"{letter.id} has no event that could be read") from None
    return _event(letter, _given(bytes(state.payload)), occurred_at, state.id, state.correlation_id)


def correction_event(letter: DeadLetter, payload: Payload, version: int | None) -> DomainEvent:
    """The event by which an operator corrects a letter. Raises `Rejected`.

    It is of the letter's stream, and of its version and epoch unless another version is given: that enters the current
    epoch of the stream. Of a delivery no stream is known: there the payload is the whole event as it stands in files,
    from the delivery's own source.
    """
    event = _whole(letter, payload) if letter.is_request else _instead(letter, payload)
    return event if version is None else msgspec.structs.replace(event, source_version=version, epoch=None)


def _whole(letter: DeadLetter, payload: Payload) -> DomainEvent:
    if not isinstance(payload, bytes):
        raise Rejected("", f"{letter.id} is a delivery: what corrects it is a whole event, as JSON")
    event = parse_event(payload)
    if event.source != letter.source:
        raise Rejected("source", f"{event.source!r:.100} is not {letter.source!r}, whose delivery this is")
    return event


def _instead(letter: DeadLetter, payload: Payload) -> DomainEvent:
    """The letter's event with another payload. When it occurred is as it was, or now, when nobody can tell."""
    given = _given(payload) if isinstance(payload, bytes) else payload
    try:
        before = event_in(letter)
    except Rejected:
        return _event(letter, given, datetime.now(UTC), None, None)
    return msgspec.structs.replace(before, payload=given, id=None)


def _event(
    letter: DeadLetter, payload: Payload, occurred_at: datetime, identifier: str | None, correlation_id: str | None
) -> DomainEvent:
    try:
        stream = parse_stream_id(letter.originator_id)
    except NotAStreamError as error:  # an application of the eventsourcing library wrote it
        raise Rejected("", str(error)) from None
    return PlacedEvent(
        type=stream.domain,
        sku=stream.sku,
        channel=stream.channel,
        source=stream.source,
        source_version=version_of(letter.originator_version),
        occurred_at=occurred_at,
        payload=payload,
        id=identifier,
        correlation_id=correlation_id,
        epoch=epoch_of(letter.originator_version),
    )


def _given(payload: bytes) -> bytes | None:
    return None if payload.strip() == b"null" else payload


class Corrector:
    """Appends corrections of dead letters to the log."""

    def __init__(self, log: Log, validator: EventValidator, epochs: EpochRegistry) -> None:
        self._epochs = epochs
        self._log = log
        self._validator = validator

    async def append(self, letter: DeadLetter, event: DomainEvent, operator: str) -> AppendResult:
        """Appends the event as the next revision of its version, as the first where the version is free.

        `duplicate` when the very content stands there already, and with a reason when that is what could not be folded.
        `rejected` when it breaks a rule of the door. `conflict` when others corrected the same version all the while.
        """
        try:
            statement = self._validator.validate(event)
        except Rejected as refused:
            return AppendResult("rejected", path=refused.path, reason=refused.reason)
        stream, version = statement.originator_id, statement.originator_version
        state = state_of_correction(statement, now(), uuid4().hex, operator, letter.id)
        admission = EncodedEvent(stream, version, statement.topic, state, statement.content, statement.epoch)
        for _ in range(ATTEMPTS):
            [placed], fence = await self._epochs.place([admission])
            stored = await self._log.events_at([placed.key])
            stands = newest_revision(stored) if stored else None
            if stands is not None and _says(stands, statement):
                return _duplicate(letter, stands)
            revision = 0 if stands is None else stands.revision + 1
            try:
                [position] = await self._log.correct(
                    [CorrectionEvent(*placed.key, revision, placed.topic, state)], fence
                )
            except EpochsMoved:
                await self._epochs.refresh()
                continue
            if position is not None:
                return AppendResult("appended", position)
        return AppendResult("conflict", reason=f"{_named(statement)} is being corrected by others; try again")


def _duplicate(letter: DeadLetter, stands: StoredEvent) -> AppendResult:
    same = stands[1:4] == (letter.originator_id, letter.originator_version, letter.revision)
    if letter.kind == "projection" and same:
        return AppendResult("duplicate", stands.notification_id, reason="this is the content that could not be folded")
    return AppendResult("duplicate", stands.notification_id)


def _named(statement: ValidatedEvent) -> str:
    return f"version {describe_version(statement.originator_version)} of {statement.originator_id}"


def _says(event: StoredEvent, statement: ValidatedEvent) -> bool:
    content = content_of(event)
    return content is not None and is_same_content(statement.topic, content, statement.content)
