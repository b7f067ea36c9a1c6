"""Webhooks: a valid signature is accepted, and parts that cannot be appended are kept in dead letters.

The sender of a webhook cannot correct its data. Every request with a valid signature is therefore answered 202: its
parts are appended, duplicates, kept in dead letters, or ignored.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from starlette.responses import Response

from pagefold.engine.errors import Rejected
from pagefold.engine.http.delivery_answers import ANSWERS, OVERLOADED, accepted, any_type, request_of
from pagefold.engine.http.headers import Header
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.request_intake import Hook
from pagefold.engine.http.routing import JSON_TYPE, Call, HeaderField, Route
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
    _check_signature(hook, call.headers, body)
    return accepted(await intake.take(request_of(call, "webhook", source, body, hook.reader), hook.reader))


def _check_signature(hook: Hook, headers: Sequence[Header], body: bytes) -> None:
    try:
        hook.signatures.check(headers, body, datetime.now(UTC))
    except Rejected as refused:
        raise Problem(401, str(refused), headers=[_CHALLENGE]) from None


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
        answers=ANSWERS,
        problems=OVERLOADED
        | {
            401: "The signature is missing or not valid",
            404: "No webhook is configured for the source",
        },
    ),
)
