"""Dead letters, for operators: list, show, retry, correct and discard them."""

from collections import Counter
from typing import Annotated, Literal

import msgspec
from starlette.responses import Response

from pagefold.domains.values import MAX_INTEGER
from pagefold.engine.dead_letters.bulk_decisions import (
    MAX_DISCARDED,
    MAX_RETRIED,
    STEP,
    DiscardResult,
    RetryResult,
)
from pagefold.engine.dead_letters.dead_letter_service import MAX_LISTED
from pagefold.engine.dead_letters.dead_letter_views import (
    CauseSummary,
    DeadLetterDetail,
    DeadLetterSummary,
    summary_of,
    summary_of_cause,
)
from pagefold.engine.errors import CountChanged, Rejected
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Decision, Reason, decision_route, read_decision, read_route
from pagefold.engine.http.problems import Problem, invalid
from pagefold.engine.http.routes.history import DomainName
from pagefold.engine.http.routes.pages import Text
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.stores.dead_letter_records import DeadLetter, DeadLetterFilter, Kind

Cursor = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
CauseKey = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{12}$")]
Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LISTED)]


class DeadLetterQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters are listed: of a kind, a domain, a source, a cause; open or resolved; after a cursor."""

    kind: Kind | None = None
    domain: DomainName | None = None
    source: Text | None = None
    cause: CauseKey | None = None
    resolved: bool = False
    after: Cursor | None = None
    limit: Limit = 100


class DeadLetterChunk(msgspec.Struct, frozen=True):
    """One chunk of dead letters, newest first; `next` is the cursor of the next, null at the end."""

    items: list[DeadLetterSummary]
    next: str | None


class Selected(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The dead letters of a bulk decision: `all`, or those of a kind, domain, source or cause; after a cursor.

    With `dryRun`, they are only counted. With `expect`, nothing is done unless exactly this number is selected; it
    counts without a cursor only.
    """

    all: bool = False
    kind: Kind | None = None
    domain: DomainName | None = None
    source: Text | None = None
    cause: CauseKey | None = None
    after: Cursor | None = None
    expect: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None
    dry_run: bool = False

    def wanted(self) -> DeadLetterFilter:
        """Selects them. Raises `Problem` unless there is exactly one selection."""
        wanted = DeadLetterFilter(self.kind, self.domain, self.source, cause=self.cause)
        if self.all is (wanted != DeadLetterFilter()):
            raise invalid("all", "give kind, domain, source or cause, or set all to true")
        return wanted


class RetryRequest(Selected, frozen=True):
    """Which dead letters are retried."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_RETRIED)] = STEP


class BulkDiscardRequest(Selected, frozen=True, kw_only=True):
    """Which dead letters are discarded, and why. `expect` is required without a cursor."""

    reason: Reason
    limit: Annotated[int, msgspec.Meta(ge=1, le=MAX_DISCARDED)] = MAX_DISCARDED


class RetriedItem(msgspec.Struct, frozen=True):
    """The result of retrying a dead letter. `queued`: a worker delivers its page. `gone`: it was resolved before."""

    id: str
    result: RetryResult


class RetryChunk(msgspec.Struct, frozen=True, rename="camel"):
    """The results of one chunk, oldest first; `next` is the cursor of the next, null at the end.

    After a dry run, `selected` is how many were counted, and nothing else is set.
    """

    resolved: int = 0
    still_dead: int = 0
    gone: int = 0
    items: list[RetriedItem] = []
    next: str | None = None
    selected: int | None = None
    queued: int = 0


class DiscardedItem(msgspec.Struct, frozen=True):
    """The result of discarding a dead letter. `gone`: it was resolved before."""

    id: str
    result: DiscardResult


class DiscardChunk(msgspec.Struct, frozen=True):
    """The results of one chunk, oldest first; `next` is the cursor of the next, null at the end.

    After a dry run, `selected` is how many were counted, and nothing else is set.
    """

    discarded: int = 0
    gone: int = 0
    items: list[DiscardedItem] = []
    next: str | None = None
    selected: int | None = None


class CauseList(msgspec.Struct, frozen=True):
    """The causes of open dead letters, those with the most first."""

    items: list[CauseSummary]


class Correction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The corrected payload; null withdraws. `version` is the dead letter's unless given; `reason` is for the record.

    For a request that could not become events, it is the whole event; for a delivery, the whole document.
    """

    payload: msgspec.Raw
    version: Annotated[int, msgspec.Meta(ge=0, le=MAX_INTEGER)] | None = None
    reason: Reason | None = None


class Corrected(msgspec.Struct, frozen=True):
    """The dead letter is resolved by the event at `position`; a `duplicate` was there before.

    A delivery is `queued`: a worker sends the document, once.
    """

    id: str
    outcome: Literal["appended", "duplicate", "queued"]
    position: int | None


async def listing(call: Call) -> Response:
    """Lists dead letters, newest first."""
    query = call.query(DeadLetterQuery)
    wanted = DeadLetterFilter(query.kind, query.domain, query.source, query.resolved, query.cause)
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
    """Retries one chunk of dead letters, or counts them."""
    choice = await read_decision(call, RetryRequest)
    wanted = choice.wanted()
    if choice.dry_run:
        return reply(RetryChunk(selected=await _expected(call, choice)))
    results, following = await call.service.shop.dead_letters.retry_some(
        wanted, after=choice.after, limit=choice.limit, by=call.grant.name, expect=choice.expect
    )
    counts = Counter(result for _, result in results)
    items = [RetriedItem(*each) for each in results]
    others = counts["resolved"], counts["still dead"], counts["gone"]
    return reply(RetryChunk(*others, items, following, queued=counts["queued"]))


async def discard_many(call: Call) -> Response:
    """Discards one chunk of dead letters, with the caller's reason, or counts them."""
    choice = await read_decision(call, BulkDiscardRequest)
    wanted = choice.wanted()
    if choice.dry_run:
        return reply(DiscardChunk(selected=await _expected(call, choice)))
    if choice.after is None and choice.expect is None:
        raise invalid("expect", "give the number of dead letters to be discarded; dryRun counts them")
    results, following = await call.service.shop.dead_letters.discard_some(
        wanted, choice.reason, call.grant.name, after=choice.after, limit=choice.limit, expect=choice.expect
    )
    counts = Counter(result for _, result in results)
    items = [DiscardedItem(*each) for each in results]
    return reply(DiscardChunk(counts["discarded"], counts["gone"], items, following))


async def _expected(call: Call, choice: Selected) -> int:
    """How many dead letters are selected. Raises `CountChanged`."""
    found = await with_timeout(call.service.shop.dead_letters.count(choice.wanted()))
    if choice.expect is not None and found != choice.expect:
        raise CountChanged(choice.expect, found)
    return found


async def causes(call: Call) -> Response:
    """Lists the causes of open dead letters."""
    found = await with_timeout(call.service.shop.dead_letters.causes())
    return reply(CauseList([summary_of_cause(cause) for cause in found]))


async def correct(call: Call) -> Response:
    """Replaces a dead letter's payload, under the name of the caller's token."""
    dead_letter, correction = await _dead_letter(call), await call.json(Correction)
    if dead_letter.is_delivery:
        return await _edit(call, dead_letter, correction)
    result = await call.service.shop.dead_letters.correct(
        dead_letter,
        bytes(correction.payload),
        call.grant.name,
        version=correction.version,
        reason=correction.reason,
    )
    if result.outcome == "rejected":
        raise invalid(result.path or "", result.reason or "")
    if result.outcome == "conflict" or result.reason is not None:
        raise Problem(409, result.reason or "")
    outcome: Literal["appended", "duplicate"] = "appended" if result.outcome == "appended" else "duplicate"
    return reply(Corrected(dead_letter.id, outcome, result.position))


async def _edit(call: Call, dead_letter: DeadLetter, correction: Correction) -> Response:
    """Has another document sent."""
    if correction.version is not None:
        raise invalid("version", "a delivery has none")
    document = bytes(correction.payload)
    try:
        await call.service.shop.dead_letters.edit(dead_letter, document, call.grant.name, reason=correction.reason)
    except Rejected as rejected:
        raise invalid(rejected.path or "payload", rejected.reason) from None
    return reply(Corrected(dead_letter.id, "queued", None))


async def discard(call: Call) -> Response:
    """Discards a dead letter, with the caller's reason."""
    dead_letter, discarding = await _dead_letter(call), await call.json(Decision)
    dead_letters = call.service.shop.dead_letters
    await dead_letters.discard(dead_letter, discarding.reason, call.grant.name)
    return reply(summary_of(await dead_letters.get(dead_letter.id)))


async def _dead_letter(call: Call) -> DeadLetter:
    return await with_timeout(call.service.shop.dead_letters.get(call.path["id"]))


CHANGED = {409: "Another number than expected is selected: nothing was changed"}
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
    read_route(
        "/v1/dead-letters:causes",
        causes,
        "listDeadLetterCauses",
        "List what is wrong with the open dead letters, most letters first",
        ResponseSpec(200, "The causes", CauseList),
    ),
    decision_route(
        "/v1/dead-letters:discard",
        discard_many,
        "discardDeadLetters",
        "Discard one chunk of dead letters, oldest first, with a reason",
        ResponseSpec(200, "The results, and the cursor of the next chunk", DiscardChunk),
        body=BulkDiscardRequest,
        problems=CHANGED,
    ),
    decision_route(
        "/v1/dead-letters:retry",
        retry_many,
        "retryDeadLetters",
        "Retry one chunk of dead letters, oldest first",
        ResponseSpec(200, "The results, and the cursor of the next chunk", RetryChunk),
        body=RetryRequest,
        problems=CHANGED,
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
        "Correct a dead letter's payload, by an event in the log; of a delivery, its document",
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
        body=Decision,
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
