"""What all entrances behind a contract have in common: an authenticated sender gets 2xx once its request is durable."""

import re
from collections.abc import Sequence

from starlette.responses import Response

from pagefold.engine.dead_letters.webhook_retrier import Entrance, Outcome, Reader, Request
from pagefold.engine.http.headers import Header, value_of
from pagefold.engine.http.ingest_outcomes import ItemOutcome, ItemOutcomeKind, Outcomes, outcome_of
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.intake.formats.request_parts import IgnoredMessage, RejectedPart, Wanted
from pagefold.engine.intake.formats.webhook_signatures import IDENTIFIER
from pagefold.engine.runtime.clock import now

_worth_keeping = re.compile(
    rb"content-type|user-agent|webhook-id|webhook-timestamp"
    rb"|x-[a-z0-9-]+-(?:topic|event|event-id|webhook-id|delivery|triggered-at)"
)

_IMPORTANCE: Sequence[ItemOutcomeKind] = (
    "kept",
    "rejected",
    "conflict",
    "appended",
    "wanted",
    "duplicate",
    "echo",
    "ignored",
)

ANSWERS = (
    ResponseSpec(202, "Each part is durably in the log or in dead letters, will be fetched, or is ignored", Outcomes),
)
OVERLOADED = {503: "The store is unavailable, or the append queue is full: send the same request again"}
"""Some senders take 429 as final: Saleor does not retry a 4xx, Akeneo and WooCommerce pause. 503 means temporary."""


def request_of(call: Call, via: Entrance, source: str, body: bytes, reader: Reader) -> Request:
    """The request of a sender that cannot correct it, in an HTTP request."""
    identifier = value_of(call.headers, IDENTIFIER.encode()) or b""
    kept = {
        name.decode(): value.decode("latin-1")
        for name, value in call.headers
        if _worth_keeping.fullmatch(name) is not None or name.decode("latin-1") in reader.headers
    }
    return Request(via, source, body, now(), call.headers, kept, identifier.decode("latin-1"))


def accepted(parts: Sequence[Sequence[Outcome]]) -> Response:
    """The response once everything is stored: the sender has nothing left to do."""
    return reply(Outcomes([item_outcome(outcome) for part in parts for outcome in part]), 202)


def outcome_of_part(outcomes: Sequence[Outcome]) -> ItemOutcome:
    """One outcome for all that a part made: the one that matters most."""
    if not outcomes:
        return ItemOutcome("ignored", reason="the contract makes no statement of it")
    return min(map(item_outcome, outcomes), key=lambda each: _IMPORTANCE.index(each.outcome))


def item_outcome(outcome: Outcome) -> ItemOutcome:
    """The outcome of one thing that a part made."""
    match outcome:
        case IgnoredMessage(_, reason):
            return ItemOutcome("ignored", reason=reason)
        case RejectedPart(refused, _):
            return ItemOutcome("kept", path=refused.path or None, reason=refused.reason)
        case Wanted():
            return ItemOutcome("wanted")
        case _:
            return outcome_of(outcome)


def any_type(_headers: list[Header]) -> bool:
    """Accepts any content type: the body can be parsed, or is kept in dead letters."""
    return True
