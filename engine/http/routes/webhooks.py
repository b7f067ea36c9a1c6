"""Webhooks: who signs for a source is let in, and what cannot be taken is kept for those who can mend it.

The sender of a webhook cannot mend what is wrong with it. So whatever has a signature that holds is answered 202: it is
in the log, it was there already, it is kept in dead letters, or nobody here asks for it.
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
    """Takes one delivery of a source, when its signature holds."""
    source, intake = call.path["source"], call.service.intake
    hook = intake.hooks.get(source)
    if hook is None:
        raise Problem(404, "there are no webhooks of such a source")
    await intake.check_room()
    body = await call.body()
    _check_signature(hook, call.headers, body)
    return accepted(await intake.take(request_of(call, "webhook", source, body), hook.reader))


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
        "Take a webhook of a source, by its signature",
        headers=[
            HeaderField(IDENTIFIER, "Of Standard Webhooks: what the delivery is called, whenever it is sent."),
            HeaderField(TIMESTAMP, "Of Standard Webhooks: when it was signed, in seconds since 1970."),
            HeaderField(SIGNATURE, "Of Standard Webhooks: `v1,` and base64, several with a space between."),
        ],
        bodies={JSON_TYPE: object},
        takes=any_type,
        pushed=True,
        answers=ANSWERS,
        problems=OVERLOADED
        | {
            401: "The signature is not there, or does not hold",
            404: "The source has no webhooks",
        },
    ),
)
