"""Events in Pagefold's own form and CloudEvents, on one route."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Literal, TypeAlias

import msgspec
from starlette.responses import Response

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.errors import Rejected
from pagefold.engine.events import AppendResult, DomainEvent
from pagefold.engine.http.authorization import check_source
from pagefold.engine.http.delivery_answers import outcome_of_part, request_of
from pagefold.engine.http.headers import Header
from pagefold.engine.http.ingest_outcomes import ANSWERS, OVERLOADED, ItemOutcome, answer, outcome_of
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routes.history import DomainName
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import JSON_TYPE, Call, HeaderField, Route
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.formats.cloudevents import (
    BATCH,
    BINARY_HEADERS,
    STRUCTURED,
    CloudEventReader,
    ForeignEvent,
    in_cloudevents_terms,
    mode_of,
)
from pagefold.engine.intake.formats.json_bodies import Headers, batch_size_error, documents_in, elements_of
from pagefold.engine.intake.text_limits import MAX_IDENTIFIER_LENGTH
from pagefold.engine.stores.grants import Grant
from pagefold.projections.epochs import MAX_NAMED_EPOCH

NDJSON_TYPE = "application/x-ndjson"

Found: TypeAlias = Sequence[DomainEvent | ForeignEvent | Rejected]
Epoch = Annotated[int, msgspec.Meta(ge=0, le=MAX_NAMED_EPOCH)]
Version = Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_IDENTIFIER_LENGTH)]

_SPACE = b" \t\r\n"


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The full current state of one domain of one SKU according to one source, at that source's version.

    A payload of null withdraws it. The channel `*` means every channel. An event of a higher epoch is newer than all of
    lower epochs, whatever its version; without an epoch, it enters the current one of its stream. `basedOn` is what its
    source had seen: a position of the log, or the `sourceVersions` of a page.
    """

    type: DomainName
    sku: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    channel: Text
    source: Text
    source_version: Version
    occurred_at: Annotated[datetime, msgspec.Meta(tz=True)]
    payload: dict[str, object] | None
    id: Identifier | None = None
    correlation_id: Identifier | None = None
    epoch: Epoch | None = None
    based_on: dict[str, Version] | Version | None = None


class CloudEvent(msgspec.Struct, frozen=True):
    """The same as a CloudEvent 1.0: `subject` is the SKU, `sequence` the version, `data` the payload."""

    specversion: Literal["1.0"]
    id: Identifier
    source: Annotated[str, msgspec.Meta(min_length=1)]
    type: Annotated[str, msgspec.Meta(min_length=1)]
    subject: Annotated[str, msgspec.Meta(min_length=1)]
    time: Annotated[datetime, msgspec.Meta(tz=True)]
    sequence: int | str
    data: object
    channel: Text = "*"
    epoch: Epoch | str | None = None


async def receive(call: Call) -> Response:
    """Appends events of the sources that the caller may write for."""
    intake = call.service.intake
    await intake.check_room()
    read = partial(_read, intake.cloudevents, call.headers, call.media_type)
    found = _of_the_callers(await intake.read(read, await call.body()), call.grant)
    own = [each for each in found if not isinstance(each, ForeignEvent)]
    results = iter(await intake.append(own) if own or not found else ())
    foreign = await _taken_by_contracts(call, found) if len(own) < len(found) else {}
    in_words = _in_cloudevents_terms if mode_of(call.headers) else outcome_of
    return answer(
        [
            foreign[number]
            if isinstance(each, ForeignEvent)
            else (in_words if isinstance(each, DomainEvent) else outcome_of)(next(results))
            for number, each in enumerate(found)
        ],
        foreign,
    )


async def _taken_by_contracts(call: Call, found: Found) -> dict[int, ItemOutcome]:
    """Takes the CloudEvents that contracts read, and returns the outcome of each, by its place among all."""
    places: dict[str, list[tuple[int, bytes]]] = {}
    for number, each in enumerate(found):
        if isinstance(each, ForeignEvent):
            places.setdefault(each.source, []).append((number, each.text))
    outcomes: dict[int, ItemOutcome] = {}
    for source, events in places.items():
        texts = [text for _, text in events]
        body = texts[0] if len(texts) == 1 else b"[%b]" % b",".join(texts)
        reader = call.service.intake.foreign_events[source]
        parts = await call.service.intake.take(request_of(call, "cloudevents", source, body, reader), reader)
        outcomes |= {number: outcome_of_part(part) for (number, _), part in zip(events, parts, strict=True)}
    return outcomes


def _read(cloudevents: CloudEventReader, headers: Headers, media_type: str, body: bytes) -> Found:
    """The events of a body, or why each is rejected. Raises `Problem` or `Rejected` for the whole body."""
    match mode_of(headers):
        case "structured":
            return [cloudevents.structured(body)]
        case "batch":
            return cloudevents.batch(body)
        case "binary":
            return [cloudevents.binary(headers, body)]
        case None:
            documents = _lines_of(body) if media_type == NDJSON_TYPE else _documents_in(body)
            if (refused := batch_size_error(len(documents))) is not None:
                raise refused
            return [_event_in(document) for document in documents]


def _lines_of(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line.strip(_SPACE)]


def _documents_in(body: bytes) -> list[bytes]:
    if body.lstrip(_SPACE).startswith(b"[") and elements_of(body) is None:
        raise Problem(400, "the body is not JSON: the array is not complete")
    return documents_in(body)


def _event_in(document: bytes) -> DomainEvent | Rejected:
    try:
        return parse_event(document)
    except Rejected as refused:
        return refused.with_traceback(None)


def _of_the_callers(found: Found, grant: Grant) -> Found:
    """Rejects events of other sources than the token's. Raises `Problem`, 403, if all are."""
    if grant.source is None:
        return found
    others = [not isinstance(each, Rejected) and each.source != grant.source for each in found]
    if found and all(others):
        [first, *_] = [each.source for each in found if not isinstance(each, Rejected)]
        check_source(grant, first)
    refused = Rejected("source", f"the token is for the source {grant.source} only")
    return [refused if is_other else each for each, is_other in zip(found, others, strict=True)]


def _in_cloudevents_terms(result: AppendResult) -> ItemOutcome:
    if result.path is None:
        return outcome_of(result)
    refused = in_cloudevents_terms(Rejected(result.path, result.reason or ""))
    return outcome_of(AppendResult(result.outcome, result.position, refused.path, refused.reason))


def _is_binary(headers: list[Header]) -> bool:
    """Whether it is a CloudEvent in binary mode, whose data may have any JSON type."""
    return mode_of(headers) == "binary"


def _fields_of_binary_mode() -> list[HeaderField]:
    """The headers of a CloudEvent in binary mode."""
    return [
        HeaderField(name, f"In binary mode, {'required' if each.required else 'optional'}. {each.meaning}.")
        for name, each in BINARY_HEADERS.items()
    ]


ROUTES = (
    Route(
        "POST",
        "/v1/events",
        receive,
        "appendEvents",
        "Append events: one, an array, one per line, or CloudEvents",
        scope="ingest",
        headers=_fields_of_binary_mode(),
        bodies={
            JSON_TYPE: Event | list[Event],
            NDJSON_TYPE: str,
            STRUCTURED: CloudEvent,
            BATCH: list[CloudEvent],
        },
        takes=_is_binary,
        answers=ANSWERS,
        problems=OVERLOADED,
    ),
)
