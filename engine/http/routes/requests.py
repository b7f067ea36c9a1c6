"""Requests to workers, for operators: rebuilds, verifications, and decisions about held syncs."""

import msgspec
from starlette.responses import Response

from pagefold.engine.http.json_response import reply
from pagefold.engine.http.operator_routes import Decision, Reason, decision_route, read_decision, read_route
from pagefold.engine.http.problems import Problem
from pagefold.engine.http.routing import Call, ResponseSpec
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import Request, SampleSize, SourceName, StreamCount, SyncDecision
from pagefold.engine.runtime.store_timeout import with_timeout
from pagefold.engine.stores.schedule_records import RunState

MAX_NUMBER_DIGITS = 18
DEFAULT_SAMPLE = 1_000


class RebuildDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The source of which a dry run is asked for, and why."""

    source: SourceName
    reason: Reason


class StartDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The number of streams that the dry run would change, and why its rebuild is started."""

    expect: StreamCount
    reason: Reason


class VerifyDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many SKUs are compared with the log, chosen at random, and why."""

    reason: Reason
    sample: SampleSize = DEFAULT_SAMPLE


class SyncDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of what the sync of a source holds; the number of streams from which it would remove something."""

    source: SourceName
    decision: SyncDecision
    expect: StreamCount
    reason: Reason


class RequestDocument(msgspec.Struct, frozen=True, rename="camel"):
    """A request: what was asked for, by whom and why; how it is; and once it has ended, what was found.

    The result of a rebuild is its `report` and some `orphans`; of a verification what it counted, and `differences`.
    """

    number: int
    task: str
    state: RunState
    detail: str
    by: str
    reason: str
    requested_at: str
    started_at: str | None
    ended_at: str | None
    result: msgspec.Raw | None

    @classmethod
    def of(cls, request: Request) -> "RequestDocument":
        """A request."""
        run, asked = request.run, request.asked
        return cls(
            run.number,
            run.task,
            run.state,
            run.detail,
            asked.by,
            asked.reason,
            requested_at=run.due,
            started_at=run.started_at if request.has_begun else None,
            ended_at=run.ended_at,
            result=None if request.result is None else msgspec.Raw(request.result.encode()),
        )


async def one(call: Call) -> Response:
    """Shows a request."""
    return reply(RequestDocument.of(await with_timeout(_service(call).get(number_in(call.path["number"])))))


async def dry_running(call: Call) -> Response:
    """Asks for a dry run of a rebuild, under the name of the caller's token."""
    wanted = await call.json(RebuildDocument)
    await call.service.check_store_answers()
    return _accepted(await _service(call).dry_run(wanted.source, by=call.grant.name, reason=wanted.reason))


async def starting(call: Call) -> Response:
    """Asks for the rebuild of a dry run, under the name of the caller's token."""
    wanted, number = await call.json(StartDocument), number_in(call.path["number"])
    await call.service.check_store_answers()
    start = _service(call).start
    return _accepted(await start(number, by=call.grant.name, reason=wanted.reason, expected=wanted.expect))


async def verifying(call: Call) -> Response:
    """Asks for a verification, under the name of the caller's token."""
    wanted = await call.json(VerifyDocument)
    await call.service.check_store_answers()
    return _accepted(await _service(call).verify(wanted.sample, by=call.grant.name, reason=wanted.reason))


async def deciding(call: Call) -> Response:
    """Asks for a decision about a held sync to be carried out, under the name of the caller's token."""
    wanted = await call.json(SyncDocument)
    await call.service.check_store_answers()
    decide = _service(call).decide_sync
    by, reason = call.grant.name, wanted.reason
    return _accepted(await decide(wanted.source, wanted.decision, by=by, reason=reason, expected=wanted.expect))


async def cancelling(call: Call) -> Response:
    """Takes a request back, under the name of the caller's token."""
    number, decision = number_in(call.path["number"]), await read_decision(call, Decision)
    cancel = _service(call).cancel
    return reply(RequestDocument.of(await cancel(number, by=call.grant.name, reason=decision.reason)))


def number_in(text: str) -> int:
    """The number of a request in a path. Raises `Problem`, 404, if it is none."""
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_NUMBER_DIGITS):
        raise Problem(404, "there is no such request")
    return int(text)


def _service(call: Call) -> RequestService:
    return RequestService(call.service.shop)


def _accepted(request: Request) -> Response:
    return reply(RequestDocument.of(request), 202)


ACCEPTED = ResponseSpec(202, "It is recorded; a worker takes it up within seconds", RequestDocument)
ASKED = {409: "It was asked for already, and has not ended"}

ROUTES = (
    decision_route(
        "/v1/requests:rebuild",
        dry_running,
        "requestRebuild",
        "Ask for a dry run of a rebuild of a source: what it would change",
        ACCEPTED,
        body=RebuildDocument,
        problems=ASKED,
    ),
    decision_route(
        "/v1/requests:verify",
        verifying,
        "requestVerification",
        "Ask for a comparison of some SKUs, chosen at random, with the log",
        ACCEPTED,
        body=VerifyDocument,
        problems=ASKED,
    ),
    decision_route(
        "/v1/requests:sync",
        deciding,
        "decideHeldSync",
        "Append what the sync of a source holds, or leave it out",
        ACCEPTED,
        body=SyncDocument,
        problems={409: "Nothing is held, or from another number of streams; or it was asked for already"},
    ),
    decision_route(
        "/v1/requests/{number}:start",
        starting,
        "startRequestedRebuild",
        "Ask for the rebuild whose dry run was seen",
        ACCEPTED,
        body=StartDocument,
        problems={
            404: "Unknown request",
            409: "It would change another number of streams, has not ended well, or is out of date",
        },
    ),
    decision_route(
        "/v1/requests/{number}:cancel",
        cancelling,
        "cancelRequest",
        "Take a request back that no worker has taken up",
        ResponseSpec(200, "The request, which has the state `stopped` now", RequestDocument),
        body=Decision,
        problems={404: "Unknown request", 409: "It has begun, or has ended"},
    ),
    read_route(
        "/v1/requests/{number}",
        one,
        "getRequest",
        "Show a request: whether a worker has done it, and what was found",
        ResponseSpec(200, "The request", RequestDocument),
        problems={404: "Unknown request"},
    ),
)
