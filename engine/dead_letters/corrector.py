"""Corrects dead letters: the operator's payload is validated and appended as an event like any other."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeAlias
from uuid import uuid4

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.engine.errors import Rejected
from pagefold.engine.events import AppendResult, DomainEvent, PlacedEvent, ValidatedEvent
from pagefold.engine.intake.appender import newest_revision
from pagefold.engine.intake.canonical_payloads import content_of, is_same_content
from pagefold.engine.intake.epoch_registry import EpochRegistry
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.dead_letter_records import DeadLetter
from pagefold.engine.stores.epoch_fence import EpochsMoved
from pagefold.engine.stores.event_state import EncodedEvent, EventState, state_of_correction
from pagefold.engine.stores.log_records import CorrectionEvent, StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import describe_version, epoch_of, version_of
from pagefold.projections.streams import NotAStreamError, parse_stream_id

ATTEMPTS = 10
"""How often a free revision is tried while others take them."""

Payload: TypeAlias = Mapping[str, object] | bytes | None

_state = msgspec.json.Decoder(EventState)


def event_in(dead_letter: DeadLetter) -> DomainEvent:
    """The event in a dead letter. Raises `Rejected` if it has none that can be appended again."""
    if dead_letter.is_request:
        raise Rejected("", f"{dead_letter.id} is a request that could not be turned into events")
    try:
        state = _state.decode(dead_letter.state)
        occurred_at = datetime.fromisoformat(state.occurred_at)
    except (*DECODE_ERRORS, ValueError):
        raise Rejected("", f"{dead_letter.id} has no readable event") from None
    return _event(dead_letter, _given(bytes(state.payload)), occurred_at, state.id, state.correlation_id)


def correction_event(dead_letter: DeadLetter, payload: Payload, version: int | None) -> DomainEvent:
    """The event by which an operator corrects a dead letter. Raises `Rejected`.

    It belongs to the dead letter's stream, version and epoch; another `version` enters the stream's current epoch. A
    request has no known stream: its payload is the whole event, as in files, from the request's source.
    """
    event = _event_of_request(dead_letter, payload) if dead_letter.is_request else _with_payload(dead_letter, payload)
    return event if version is None else msgspec.structs.replace(event, source_version=version, epoch=None)


def _event_of_request(dead_letter: DeadLetter, payload: Payload) -> DomainEvent:
    if not isinstance(payload, bytes):
        raise Rejected("", f"{dead_letter.id} is a request: correct it with a whole event, as JSON")
    event = parse_event(payload)
    if event.source != dead_letter.source:
        raise Rejected("source", f"{event.source!r:.100} is not {dead_letter.source!r}, the source of this request")
    return event


def _with_payload(dead_letter: DeadLetter, payload: Payload) -> DomainEvent:
    """The dead letter's event with another payload. `occurredAt` stays, or is now if it is unknown."""
    given = _given(payload) if isinstance(payload, bytes) else payload
    try:
        before = event_in(dead_letter)
    except Rejected:
        return _event(dead_letter, given, datetime.now(UTC), None, None)
    return msgspec.structs.replace(before, payload=given, id=None)


def _event(
    dead_letter: DeadLetter, payload: Payload, occurred_at: datetime, identifier: str | None, correlation_id: str | None
) -> DomainEvent:
    try:
        stream = parse_stream_id(dead_letter.originator_id)
    except NotAStreamError as error:  # an application of the eventsourcing library wrote it
        raise Rejected("", str(error)) from None
    return PlacedEvent(
        type=stream.domain,
        sku=stream.sku,
        channel=stream.channel,
        source=stream.source,
        source_version=version_of(dead_letter.originator_version),
        occurred_at=occurred_at,
        payload=payload,
        id=identifier,
        correlation_id=correlation_id,
        epoch=epoch_of(dead_letter.originator_version),
    )


def _given(payload: bytes) -> bytes | None:
    return None if payload.strip() == b"null" else payload


class Corrector:
    """Appends corrections of dead letters to the log."""

    def __init__(self, log: Log, validator: EventValidator, epochs: EpochRegistry) -> None:
        self._epochs = epochs
        self._log = log
        self._validator = validator

    async def append(self, dead_letter: DeadLetter, event: DomainEvent, operator: str) -> AppendResult:
        """Appends the event as the next revision of its version, or the first if the version is free.

        `duplicate`: this content is stored already; it has a reason if that content is what could not be folded.
        `rejected`: it breaks a rule. `conflict`: others kept correcting the same version meanwhile.
        """
        try:
            valid = self._validator.validate(event)
        except Rejected as refused:
            return AppendResult("rejected", path=refused.path, reason=refused.reason)
        stream, version = valid.originator_id, valid.originator_version
        state = state_of_correction(valid, now(), uuid4().hex, operator, dead_letter.id)
        encoded = EncodedEvent(stream, version, valid.topic, state, valid.content, valid.epoch)
        for _ in range(ATTEMPTS):
            [placed], fence = await self._epochs.place([encoded])
            stored = await self._log.events_at([placed.key])
            stored_event = newest_revision(stored) if stored else None
            if stored_event is not None and _has_content_of(stored_event, valid):
                return _duplicate(dead_letter, stored_event)
            revision = 0 if stored_event is None else stored_event.revision + 1
            try:
                [position] = await self._log.correct(
                    [CorrectionEvent(*placed.key, revision, placed.topic, state)], fence
                )
            except EpochsMoved:
                await self._epochs.refresh()
                continue
            if position is not None:
                return AppendResult("appended", position)
        return AppendResult("conflict", reason=f"{_describe_version(valid)} is being corrected by others; try again")


def _duplicate(dead_letter: DeadLetter, stored_event: StoredEvent) -> AppendResult:
    same = stored_event[1:4] == (dead_letter.originator_id, dead_letter.originator_version, dead_letter.revision)
    if dead_letter.kind == "projection" and same:
        return AppendResult(
            "duplicate", stored_event.notification_id, reason="this is the content that could not be folded"
        )
    return AppendResult("duplicate", stored_event.notification_id)


def _describe_version(valid: ValidatedEvent) -> str:
    return f"version {describe_version(valid.originator_version)} of {valid.originator_id}"


def _has_content_of(event: StoredEvent, valid: ValidatedEvent) -> bool:
    content = content_of(event)
    return content is not None and is_same_content(valid.topic, content, valid.content)
