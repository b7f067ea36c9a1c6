"""Webhooks: a valid signature is accepted, and parts that cannot be appended are kept in dead letters.

The sender of a webhook cannot correct its data. Every request with a valid signature is therefore answered 202: its
parts are appended, duplicates, kept in dead letters, or ignored. An unsigned one that is a ping does nothing.
"""

from datetime import UTC, datetime

from starlette.responses import Response

from pagefold.engine.errors import Rejected
from pagefold.engine.http.delivery_answers import ANSWERS, OVERLOADED, accepted, any_type, request_of
from pagefold.engine.http.ingest_outcomes import ItemOutcome, Outcomes
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routing import JSON_TYPE, Call, HeaderField, ResponseSpec, Route
from pagefold.engine.intake.formats.webhook_signatures import IDENTIFIER, SIGNATURE, TIMESTAMP

_CHALLENGE = (b"www-authenticate", b'Signature realm="pagefold"')


async def receive(call: Call) -> Response:
    """Takes one request of a source if its signature is valid."""
    source, intake = call.path["source"], call.service.intake
    hook = intake.hooks.get(source)
    if hook is None:
        raise Problem(404, "no webhook is configured for this source")
    await intake.check_room()
    body = await call.body()
    try:
        hook.signatures.check(call.headers, body, datetime.now(UTC))
    except Rejected as refused:
        if body not in hook.pings:
            raise Problem(401, str(refused), headers=[_CHALLENGE]) from None
        call.service.shop.counters.add_aside(source, "message")
        return reply(Outcomes([ItemOutcome("ignored", reason="a ping")]), 200)
    return accepted(await intake.take(request_of(call, "webhook", source, body, hook.reader), hook.reader))


ROUTES = (
    Route(
        "POST",
        "/v1/webhooks/{source}",
        receive,
        "receiveWebhook",
        "Receive a signed webhook of a source",
        headers=[
            HeaderField(IDENTIFIER, "Standard Webhooks: the id of the delivery, the same in every attempt."),
            HeaderField(TIMESTAMP, "Standard Webhooks: when it was signed, in seconds since 1970."),
            HeaderField(SIGNATURE, "Standard Webhooks: `v1,` and base64; several are separated by spaces."),
        ],
        bodies={JSON_TYPE: object},
        takes=any_type,
        pushed=True,
        answers=(*ANSWERS, ResponseSpec(200, "A ping, as the configuration describes it: nothing is done", Outcomes)),
        problems=OVERLOADED
        | {
            401: "The signature is missing or not valid",
            404: "No webhook is configured for the source",
        },
    ),
)
