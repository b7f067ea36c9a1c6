"""Webhooks: a valid signature is accepted, and parts that cannot be appended are kept in dead letters.

The sender of a webhook cannot correct its data. Every request with a valid signature is therefore answered 202: its
parts are appended, duplicates, kept in dead letters, or ignored. An unsigned one that is a ping does nothing. When
there is no room, the sender has to repeat its request, or the request is kept whole, as the configuration says.
"""

from datetime import UTC, datetime

import anyio
from starlette.responses import Response

from pagefold.engine.dead_letters.webhook_retrier import Request
from pagefold.engine.errors import Overloaded, Rejected, SourceFailed, StoreUnavailable
from pagefold.engine.http.delivery_answers import ANSWERS, OVERLOADED, accepted, any_type, request_of
from pagefold.engine.http.ingest_outcomes import ItemOutcome, Outcomes
from pagefold.engine.http.json_response import reply
from pagefold.engine.http.problems import Problem, as_unavailable, problem_of, response, unavailable
from pagefold.engine.http.request_intake import Hook, RequestIntake
from pagefold.engine.http.routing import JSON_TYPE, Call, HeaderField, ResponseSpec, Route
from pagefold.engine.intake.formats.webhook_signatures import IDENTIFIER, SIGNATURE, TIMESTAMP
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.runtime.store_timeout import with_timeout

KEY_RETRY_SECONDS = 10
"""`Retry-After` while the key of a signature cannot be had."""

log = Logger(__name__)

_CHALLENGE = (b"www-authenticate", b'Signature realm="pagefold"')


async def receive(call: Call) -> Response:
    """Takes one request of a source if its signature is valid."""
    source, intake = call.path["source"], call.service.intake
    hook = intake.hooks.get(source)
    if hook is None:
        raise Problem(404, "no webhook is configured for this source")
    deadline = None if hook.answer_seconds is None else anyio.current_time() + hook.answer_seconds
    full = await _full(intake)
    if full is not None and hook.busy != "keep":
        return _refused(full, hook)
    body = await call.body()
    reason = await _reason_not_to_read(hook, call, body)
    if reason is not None:
        call.service.shop.counters.add_aside(source, "message")
        return reply(Outcomes([ItemOutcome("ignored", reason=reason)]), 200)
    request = request_of(call, "webhook", source, body, hook.reader)
    return await (_take(intake, hook, request, deadline) if full is None else _keep(intake, hook, request, full))


async def _reason_not_to_read(hook: Hook, call: Call, body: bytes) -> str | None:
    """Why a request is not to be read; None if it is. Raises `Problem` if its sender is not the source, or unknown."""
    try:
        return await hook.signatures.check(call.headers, body, datetime.now(UTC))
    except Rejected as refused:
        if body not in hook.pings:
            raise Problem(401, str(refused), headers=[_CHALLENGE]) from None
        return "a ping"
    except SourceFailed as failure:
        log.warning("a webhook cannot be verified", source=call.path["source"], error=str(failure))
        problem = unavailable("the signature cannot be verified now; repeat the request", KEY_RETRY_SECONDS)
    raise problem


async def _full(intake: RequestIntake) -> Problem | None:
    """Why nothing can be accepted at the moment; None if it can."""
    try:
        await intake.check_room()
    except (Overloaded, StoreUnavailable, Problem) as error:
        return problem_of(error)
    return None


async def _take(intake: RequestIntake, hook: Hook, request: Request, deadline: float | None) -> Response:
    """Takes a request, or keeps it if it cannot be taken in time, and the sender does not repeat it."""
    taking = intake.take(request, hook.reader)
    try:
        if deadline is None:
            return accepted(await taking)
        return accepted(await with_timeout(taking, max(deadline - anyio.current_time(), 0.0)))
    except (Overloaded, StoreUnavailable) as error:
        problem = problem_of(error)
    return await _keep(intake, hook, request, problem) if hook.busy == "keep" else _refused(problem, hook)


async def _keep(intake: RequestIntake, hook: Hook, request: Request, problem: Problem) -> Response:
    reason = f"waits for its turn, because it came when it could not be taken: {problem.details.detail}"
    return accepted([[await intake.keep(request, hook.reader, reason)]])


def _refused(problem: Problem, hook: Hook) -> Response:
    """The response to a sender that has to repeat its request. Some take 429 as final, and for some it is better."""
    return response(problem if hook.busy == "429" else as_unavailable(problem))


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
        answers=(*ANSWERS, ResponseSpec(200, "A ping, or a message that is not about records", Outcomes)),
        problems=OVERLOADED
        | {
            401: "The signature is missing or not valid",
            404: "No webhook is configured for the source",
            429: 'There is no room, and the source is configured with busy = "429"',
        },
    ),
)
