"""Webhooks: who signs for a source is let in, and what cannot be read is kept for those who can mend it.

The sender of a webhook cannot mend what is wrong with it. So whatever has a signature that holds is answered 202: it is
in the log, it was there already, or it is kept whole in dead letters.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.responses import Response

from engine.dead_letters import undeliverable
from engine.deliveries import fault_in
from engine.errors import Refused
from engine.formats.signatures import IDENTIFIER, SIGNATURE, TIMESTAMP
from engine.formats.webhooks import Unmapped
from engine.http.headers import Header, value_of
from engine.http.ingest.intake import Hook
from engine.http.ingest.outcomes import ItemOutcome, Outcomes, outcome_of
from engine.http.problems import Problem
from engine.http.routes import JSON_TYPE, Answer, Call, HeaderField, Route, reply
from engine.shop import Shop

_worth_keeping = re.compile(
    rb"content-type|user-agent|webhook-id|webhook-timestamp"
    rb"|x-[a-z0-9-]+-(?:topic|event|event-id|webhook-id|delivery|triggered-at)"
)
_CHALLENGE = (b"www-authenticate", b'Signature realm="pagefold"')


async def receive(call: Call) -> Response:
    """Takes one delivery of a source, when its signature holds."""
    source = call.path["source"]
    intake = call.service.intake
    hook = intake.hooks.get(source)
    if hook is None:
        raise Problem(404, "there are no webhooks of such a source")
    await intake.check_room()
    body = await call.body()
    _check_signature(hook, call.headers, body)
    found = await intake.read(hook.reader.read, body)
    if isinstance(found, Unmapped):
        await _keep(call.service.shop, source, call.headers, body, found.reason)
        return _accepted([ItemOutcome("kept", reason=found.reason)])
    results = await intake.append(found)
    if (fault := fault_in(results)) is not None:
        await _keep(call.service.shop, source, call.headers, body, fault)
    return _accepted([_without_blame(outcome_of(result)) for result in results])


def _check_signature(hook: Hook, headers: Sequence[Header], body: bytes) -> None:
    try:
        hook.signatures.check(headers, body, datetime.now(UTC))
    except Refused as refused:
        raise Problem(401, str(refused), headers=[_CHALLENGE]) from None


async def _keep(shop: Shop, source: str, headers: list[Header], body: bytes, reason: str) -> None:
    """Keeps a delivery as it came, durably. Sent again, it is the same letter."""
    identifier = value_of(headers, IDENTIFIER.encode()) or b""
    kept = {
        name.decode(): value.decode("latin-1") for name, value in headers if _worth_keeping.fullmatch(name) is not None
    }
    letter = undeliverable(source, body, reason, identifier=identifier.decode("latin-1"), headers=kept)
    await shop.store.dead_letters.keep([letter])


def _without_blame(outcome: ItemOutcome) -> ItemOutcome:
    """What is rejected elsewhere is kept here."""
    if outcome.outcome != "rejected":
        return outcome
    return ItemOutcome("kept", path=outcome.path, reason=outcome.reason)


def _accepted(outcomes: list[ItemOutcome]) -> Response:
    return reply(Outcomes(outcomes), 202)


def _any_type(_headers: list[Header]) -> bool:
    """What a delivery says of its type is the sender's affair: it is JSON, or it is kept."""
    return True


ROUTES = (
    Route(
        "POST",
        "/v1/webhooks/{source}",
        receive,
        "receiveWebhook",
        "Take a webhook of a source, by its signature",
        headers=[
            HeaderField(IDENTIFIER, "Of Standard Webhooks: what the delivery is called, whenever it is sent."),
            HeaderField(TIMESTAMP, "Of Standard Webhooks: when it was signed, in seconds since 1970."),
            HeaderField(SIGNATURE, "Of Standard Webhooks: `v1,` and base64, several with a space between."),
        ],
        bodies={JSON_TYPE: object},
        takes=_any_type,
        answers=[Answer(202, "It is in the log, or in dead letters, durably", Outcomes)],
        problems={
            401: "The signature is not there, or does not hold",
            404: "The source has no webhooks",
            429: "More waits to be done than may: nothing was taken; `Retry-After` says when to send it again",
        },
    ),
)
