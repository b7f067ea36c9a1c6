"""Dead letters, for operators: list, show, retry, correct and discard them."""

from collections import Counter
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.dead_letters.dead_letter_service import MAX_LISTED, MAX_RETRIED, STEP, RetryResult
from pagefold.engine.dead_letters.dead_letter_views import DeadLetterDetail, DeadLetterSummary, summary_of
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Reason, decision_route, read_route
from pagefold.engine.http.problems import Problem, invalid
from pagefold.engine.http.routes.history import DomainName
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter, Kind

Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)]


class DeadLetterQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters are listed: of a kind, a domain, a source; open or resolved; after a cursor."""

    kind: Kind | None = None
    domain: DomainName | None = None
    source: Text | None = None
    resolved: bool = False
    after: Cursor | None = None
    limit: Limit = 100


class DeadLetterChunk(msgspec.Struct, frozen=True):
    """One chunk of dead letters, newest first; `next` is the cursor of the next, null at the end."""

    items: list[DeadLetterSummary]
    next: str | None


class RetryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters are retried: `all`, or those of a kind, domain or source; after a cursor."""

    all: bool = False
    kind: Kind | None = None
    domain: DomainName | None = None
    source: Text | None = None
    after: Cursor | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_RETRIED)] = STEP


class RetriedItem(msgspec.Struct, frozen=True):
    """The result of retrying a dead letter. `gone`: it was resolved before."""

    id: str
    result: RetryResult


class RetryChunk(msgspec.Struct, frozen=True, rename="camel"):
    """The results of one chunk, oldest first; `next` is the cursor of the next, null at the end."""

    resolved: int
    still_dead: int
    gone: int
    items: list[RetriedItem]
    next: str | None


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The corrected payload; null withdraws. `version` is the dead letter's unless given.

    For a request that could not become events, it is the whole event.
    """

    payload: msgspec.Raw
    version: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None


class Corrected(msgspec.Struct, frozen=True):
    """The dead letter is resolved by the event at `position`; a `duplicate` was there before."""

    id: str
    outcome: Literal["appended", "duplicate"]
    position: int | None


class DiscardRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a dead letter is discarded."""

    reason: Reason


async def listing(call: Call) -> Response:
    """Lists dead letters, newest first."""
    query = call.query(DeadLetterQuery)
    wanted = DeadLetterFilter(query.kind, query.domain, query.source, query.resolved)
    page = await with_timeout(call.service.shop.dead_letters.page(wanted, after=query.after, limit=query.limit))
    return reply(DeadLetterChunk([summary_of(dead_letter) for dead_letter in page.dead_letters], page.next))


async def one(call: Call) -> Response:
    """Shows a dead letter with its event and, for a conflict, the difference from the stored event."""
    return reply(await with_timeout(call.service.shop.dead_letters.describe(await _dead_letter(call))))


async def retry(call: Call) -> Response:
    """Retries a dead letter."""
    dead_letter = await _dead_letter(call)
    return reply(
        RetriedItem(dead_letter.id, await call.service.shop.dead_letters.retry(dead_letter, by=call.grant.name))
    )


async def retry_many(call: Call) -> Response:
    """Retries one chunk of dead letters."""
    choice = await call.json(RetryRequest)
    wanted = DeadLetterFilter(choice.kind, choice.domain, choice.source)
    if choice.all is (wanted != DeadLetterFilter()):
        raise invalid("all", "give kind, domain or source, or set all to true")
    await call.service.check_store_answers()
    results, following = await call.service.shop.dead_letters.retry_some(
        wanted, after=choice.after, limit=choice.limit, by=call.grant.name
    )
    counts = Counter(result for _, result in results)
    items = [RetriedItem(*each) for each in results]
    return reply(RetryChunk(counts["resolved"], counts["still dead"], counts["gone"], items, following))


async def correct(call: Call) -> Response:
    """Replaces a dead letter's payload, under the name of the caller's token."""
    dead_letter, correction = await _dead_letter(call), await call.json(Correction)
    result = await call.service.shop.dead_letters.correct(
        dead_letter, bytes(correction.payload), call.grant.name, version=correction.version
    )
    if result.outcome == "rejected":
        raise invalid(result.path or "", result.reason or "")
    if result.outcome == "conflict" or result.reason is not None:
        raise Problem(409, result.reason or "")
    return reply(Corrected(dead_letter.id, result.outcome, result.position))


async def discard(call: Call) -> Response:
    """Discards a dead letter, with the caller's reason."""
    dead_letter, discarding = await _dead_letter(call), await call.json(DiscardRequest)
    dead_letters = call.service.shop.dead_letters
    await dead_letters.discard(dead_letter, discarding.reason, call.grant.name)
    return reply(summary_of(await dead_letters.get(dead_letter.id)))


async def _dead_letter(call: Call) -> DeadLetter:
    return await with_timeout(call.service.shop.dead_letters.get(call.path["id"]))


NO_DEAD_LETTER = {404: "Unknown dead letter"}
RESOLVED = {409: "It is resolved already, or being changed by others: nothing was changed"}

ROUTES = (
    read_route(
        "/v1/dead-letters",
        listing,
        "listDeadLetters",
        "List dead letters, newest first",
        ResponseSpec(200, "One chunk, and the cursor of the next", DeadLetterChunk),
        query=DeadLetterQuery,
    ),
    decision_route(
        "/v1/dead-letters:retry",
        retry_many,
        "retryDeadLetters",
        "Retry one chunk of dead letters, oldest first",
        ResponseSpec(200, "The results, and the cursor of the next chunk", RetryChunk),
        body=RetryRequest,
    ),
    decision_route(
        "/v1/dead-letters/{id}:retry",
        retry,
        "retryDeadLetter",
        "Retry a dead letter",
        ResponseSpec(200, "The result", RetriedItem),
        problems=NO_DEAD_LETTER,
    ),
    decision_route(
        "/v1/dead-letters/{id}:correct",
        correct,
        "correctDeadLetter",
        "Correct a dead letter's payload, by an event in the log",
        ResponseSpec(200, "It is resolved", Corrected),
        body=Correction,
        problems=NO_DEAD_LETTER | RESOLVED,
    ),
    decision_route(
        "/v1/dead-letters/{id}:discard",
        discard,
        "discardDeadLetter",
        "Discard a dead letter, with a reason",
        ResponseSpec(200, "It is resolved, and kept with the reason", DeadLetterSummary),
        body=DiscardRequest,
        problems=NO_DEAD_LETTER | RESOLVED,
    ),
    read_route(
        "/v1/dead-letters/{id}",
        one,
        "getDeadLetter",
        "Show a dead letter",
        ResponseSpec(200, "Its error and its event", DeadLetterDetail),
        problems=NO_DEAD_LETTER,
    ),
)
