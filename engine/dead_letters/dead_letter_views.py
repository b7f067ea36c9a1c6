"""Dead letters in the form shown to people and programs."""

from base64 import b64encode
from typing import Literal

import msgspec

from pagefold.domains.domain import DECODE_ERRORS, JSON
from pagefold.engine.stores.dead_letter_records import (
    MAX_COUNTED,
    DeadLetter,
    DeadLetterCause,
    DeadLetterHeader,
    Kind,
    ResolutionKind,
)
from pagefold.engine.stores.event_state import EventState
from pagefold.engine.stores.log_records import StoredEvent
from pagefold.engine.stores.store import Log
from pagefold.projections.epochs import epoch_of, version_of
from pagefold.projections.field_changes import AnyJSON, FieldChange, changes_between, flatten
from pagefold.projections.streams import NotAStreamError, Stream, parse_stream_id

_state = msgspec.json.Decoder(EventState)


class DeadLetterSummary(msgspec.Struct, frozen=True, rename="camel"):
    """A dead letter in a list.

    `version` is the source's own, within its `epoch`. `error` may be shortened. For a request that could not be turned
    into events, `via` is its route, and often only the source is known. A delivery has its target as `source`, and no
    version. `resolution` is null while the dead letter is
    open; `position` is that of the event that resolved it. `purgedAt` is null until its content was removed.
    """

    id: str
    kind: Kind
    domain: str | None
    sku: str | None
    channel: str | None
    source: str | None
    version: int | None
    revision: int | None
    error: str
    recorded_at: str
    resolution: ResolutionKind | None
    resolved_at: str | None
    resolved_by: str | None
    reason: str | None
    position: int | None
    via: Literal["webhook", "cdc", "cloudevents", "snapshot", "delta", "fetch"] | None
    purged_at: str | None
    purged_by: str | None
    epoch: int | None
    cause: str


class CauseSummary(msgspec.Struct, frozen=True):
    """A cause in a list: what is wrong with its open dead letters, `text` without and `error` with values.

    `letters` is how many there are, at least, if there are `more`. `first` and `last` are when the oldest and the
    newest was added or reopened; `error` is that of the `newest`.
    """

    cause: str
    letters: int
    more: bool
    kind: Kind
    domain: str | None
    source: str
    text: str
    first: str
    last: str
    newest: str
    error: str


class DeadLetterDetail(DeadLetterSummary, frozen=True, kw_only=True):
    """A dead letter with its content.

    `event` is its event, or the body of a request, or the document that a target would be sent, null for a withdrawal;
    content that is not JSON is shown as text, and its bytes are in `base64`; removed content is null. `differences` of
    an open conflict lead from the stored event to the dead letter's.
    """

    event: AnyJSON
    base64: str | None
    headers: dict[str, str]
    differences: list[FieldChange] | None


def summary_of(dead_letter: DeadLetterHeader) -> DeadLetterSummary:
    """The dead letter as shown in a list."""
    stream = _stream(dead_letter)
    has_version = dead_letter.has_stream and not dead_letter.is_delivery
    return DeadLetterSummary(
        id=dead_letter.id,
        kind=dead_letter.kind,
        domain=dead_letter.domain or None,
        sku=stream.sku or None if stream else None,
        channel=stream.channel or None if stream else None,
        source=stream.source if stream else None,
        version=version_of(dead_letter.originator_version) if has_version else None,
        revision=None if dead_letter.is_request or dead_letter.is_delivery else dead_letter.revision,
        error=dead_letter.error,
        recorded_at=dead_letter.recorded_at,
        resolution=dead_letter.resolution,
        resolved_at=dead_letter.resolved_at,
        resolved_by=dead_letter.resolved_by,
        reason=dead_letter.reason,
        position=dead_letter.position,
        via=dead_letter.via or None,
        purged_at=dead_letter.purged_at,
        purged_by=dead_letter.purged_by,
        epoch=epoch_of(dead_letter.originator_version) if has_version else None,
        cause=dead_letter.cause,
    )


def summary_of_cause(cause: DeadLetterCause) -> CauseSummary:
    """The cause as shown in a list."""
    return CauseSummary(
        cause=cause.key,
        letters=min(cause.letters, MAX_COUNTED),
        more=cause.letters > MAX_COUNTED,
        kind=cause.kind,
        domain=cause.domain or None,
        source=cause.source,
        text=cause.text,
        first=cause.first,
        last=cause.last,
        newest=cause.newest,
        error=cause.error,
    )


async def detail_of(dead_letter: DeadLetter, log: Log) -> DeadLetterDetail:
    """The dead letter with its content and, for a conflict, the difference from the stored event."""
    event, base64 = _decoded(dead_letter.state) if dead_letter.purged_at is None else (None, None)
    conflict = dead_letter.kind == "ingest" and dead_letter.resolution is None and not dead_letter.is_request
    conflict = conflict and dead_letter.purged_at is None
    return DeadLetterDetail(
        **msgspec.structs.asdict(summary_of(dead_letter)),
        event=event,
        base64=base64,
        headers=msgspec.json.decode(dead_letter.headers, type=dict[str, str]),
        differences=await _differences(dead_letter, log) if conflict else None,
    )


def _stream(dead_letter: DeadLetterHeader) -> Stream | None:
    try:
        return parse_stream_id(dead_letter.originator_id)
    except NotAStreamError:  # an application of the eventsourcing library wrote it
        return None


def _decoded(state: bytes) -> tuple[JSON, str | None]:
    """The content as JSON, or, if it is not JSON, as text and in base64."""
    try:
        event: JSON = msgspec.json.decode(state)
    except DECODE_ERRORS:
        return state.decode(errors="backslashreplace"), b64encode(state).decode()
    return event, None


async def _differences(dead_letter: DeadLetter, log: Log) -> list[FieldChange]:
    found = await log.events_at([(dead_letter.originator_id, dead_letter.originator_version)])
    stored = max(found, key=lambda event: event.revision, default=None)
    return changes_between(_fields(stored), _fields(dead_letter))


def _fields(event: StoredEvent | DeadLetter | None) -> dict[str, JSON]:
    if event is None:
        return {}
    try:
        return flatten(msgspec.json.decode(_state.decode(event.state).payload))
    except DECODE_ERRORS:
        return {}
