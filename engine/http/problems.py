"""Problem details (RFC 9457) for every error.

An unexpected error is logged with its traceback, and answered without details.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal, TypeAlias, assert_never

import msgspec
from starlette.responses import Response

from pagefold.engine.delivery.target_errors import TargetNotStopped, UnknownTarget
from pagefold.engine.errors import (
    CountChanged,
    DeadLetterResolved,
    FeedReset,
    LogReplaced,
    Overloaded,
    PagesUnfolded,
    PlanDecided,
    PlanOutdated,
    Rejected,
    ReleaseConflict,
    RequestConflict,
    RunStateError,
    RunTakenOver,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
    UnknownCursor,
    UnknownDeadLetter,
    UnknownPlan,
    UnknownRelease,
    UnknownRequest,
    UnknownRun,
)
from pagefold.engine.http.headers import NO_STORE, SECURITY, Header
from pagefold.engine.runtime.logs import Logger
from pagefold.engine.sagas.saga_errors import SagaStateError, SagaTakenOver, UnknownSaga

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""When to retry, if nothing better is known."""

CONTENT_TYPE = (b"content-type", MEDIA_TYPE.encode())

NO_CURSOR = "is not a cursor; pass the `next` of the previous list"

_NEEDS_A_PERSON: dict[type[StoreError], str] = {
    LogReplaced: (
        "the log is not the one that was folded: nothing is accepted until its operator has put the right one back, or "
        "has run `pagefold recover`"
    ),
    PagesUnfolded: "the pages were lost, and are being folded again; the same request may be sent again",
}

_UNKNOWN = (UnknownPlan, UnknownRun, UnknownRequest, UnknownSaga, UnknownTarget)
_CONFLICTS = (
    PlanDecided,
    PlanOutdated,
    RequestConflict,
    RunStateError,
    RunTakenOver,
    SagaStateError,
    SagaTakenOver,
    TargetNotStopped,
)

log = Logger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """One error in a request. `path` is inside its body, or names a parameter."""

    path: str
    reason: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details. `title` and `status` are HTTP's; `detail` is for people; `errors` lists each error."""

    title: str
    status: int
    type: Literal["about:blank"] = "about:blank"
    detail: str = ""
    errors: list[Fault] = []


class Problem(Exception):  # it is named for what is answered
    """A request that is answered with an error. `headers` are added to those of every problem."""

    def __init__(
        self, status: int, detail: str = "", *, errors: Sequence[Fault] = (), headers: Sequence[Header] = ()
    ) -> None:
        super().__init__(detail or HTTPStatus(status).phrase)
        self.status = status
        self.details = ProblemDetails(HTTPStatus(status).phrase, status, detail=detail, errors=list(errors))
        self.headers = tuple(headers)


Sent: TypeAlias = tuple[int, list[Header], bytes]
"""A response as sent: status, headers, body."""


class ClientGone(Exception):  # it is named for what happened
    """The client disconnected before the request was complete."""


def no_route() -> Problem:
    """No route has this path."""
    return Problem(404, "unknown path; /openapi.json lists the routes")


def no_channel() -> Problem:
    """The configuration has no such channel."""
    return Problem(404, "unknown channel")


def no_page() -> Problem:
    """The SKU has no page in the channel, or none that was ever visible."""
    return Problem(404, "this channel has no such page")


def misdirected() -> Problem:
    """`Host` names another server: the request may be a trick to reach this one through a browser."""
    detail = (
        "without tokens this server answers only to localhost and this machine's own addresses: "
        "add other names to `hosts` in [http]"
    )
    return Problem(421, detail)


def invalid(path: str, reason: str) -> Problem:
    """The request is well-formed, but its content is invalid."""
    return Problem(422, f"{path}: {reason}" if path else reason, errors=[Fault(path, reason)])


def given_twice(header: bytes) -> Problem:
    """A header that must not be repeated is repeated."""
    return Problem(400, f"the header {header.decode()} is repeated")


def not_allowed(method: str, allowed: str) -> Problem:
    """The path does not support the method."""
    return Problem(405, f"{method} is not allowed here; allowed: {allowed}", headers=[(b"allow", allowed.encode())])


def unsupported(taken: str) -> Problem:
    """The body's type is not supported."""
    return Problem(415, f"the body must be {taken}", headers=[(b"accept", taken.encode())])


def unavailable(reason: str, seconds: int = RETRY_SECONDS) -> Problem:
    """The server cannot answer now, but may later."""
    return Problem(503, reason, headers=[retry_after(seconds)])


def overloaded(reason: str, seconds: int = RETRY_SECONDS) -> Problem:
    """The server is overloaded: nothing was done, and the request should be sent again."""
    return Problem(429, reason, headers=[retry_after(seconds)])


def as_unavailable(problem: Problem) -> Problem:
    """The same as 503, for senders that would not retry after 429."""
    return Problem(503, problem.details.detail, headers=problem.headers)


def retry_after(seconds: int) -> Header:
    """The `Retry-After` header."""
    return (b"retry-after", b"%d" % seconds)


def problem_of(error: Exception) -> Problem:  # one for each kind of error
    """The problem for an error. An unexpected one is logged, and answered without details."""
    match error:
        case Problem():
            return error
        case Rejected():
            return _of_rejected(error)
        case UnknownDeadLetter() | UnknownCursor() | DeadLetterResolved() | CountChanged() | FeedReset():
            return _of_lists(error)
        case Overloaded() | StoreError():
            return _for_now(error)
        case _ if isinstance(error, _UNKNOWN + _CONFLICTS):
            return Problem(404 if isinstance(error, _UNKNOWN) else 409, str(error))
        case _:
            log.error("unexpected", error=type(error).__name__, exc_info=error)
            return Problem(500, "the server failed; see its log")


def _of_rejected(error: Rejected) -> Problem:
    match error:
        case UnknownRelease():
            return Problem(404, error.reason)
        case ReleaseConflict():
            return Problem(409, error.reason)
        case _:
            return invalid(error.path, error.reason)


def _for_now(error: Overloaded | StoreError) -> Problem:
    """The problem for errors that may be temporary."""
    match error:
        case Overloaded():
            return overloaded(str(error))
        case StoreUnavailable():
            log.warning("the store is unavailable", error=str(error))
            return unavailable("the store is unavailable; the same request may be sent again")
        case LogReplaced() | PagesUnfolded():
            log.error("the store needs an operator", error=str(error))
            return unavailable(_NEEDS_A_PERSON[type(error)], 10)
        case StoreReadOnly():
            log.warning("nothing can be written", error=str(error))
            return unavailable(error.public_message or "the store is read-only", 60)
        case StoreError():
            log.error("the store cannot be used", error=str(error))
            return unavailable("the store cannot be used; see the server's log", 60)
        case _:
            assert_never(error)


def _of_lists(error: UnknownDeadLetter | UnknownCursor | DeadLetterResolved | CountChanged | FeedReset) -> Problem:
    match error:
        case FeedReset():
            return Problem(410, str(error))
        case UnknownDeadLetter():
            return Problem(404, "unknown dead letter")
        case UnknownCursor():
            return invalid("after", NO_CURSOR)
        case DeadLetterResolved() | CountChanged():
            return Problem(409, str(error))
        case _:
            assert_never(error)


def sent(problem: Problem) -> Sent:
    """The response for a problem."""
    body = msgspec.json.encode(problem.details)
    length = (b"content-length", b"%d" % len(body))
    return problem.status, [CONTENT_TYPE, length, NO_STORE, *SECURITY, *problem.headers], body


def response(problem: Problem) -> Response:
    """The same, for a router."""
    status, headers, body = sent(problem)
    answer = Response(body, status)
    answer.raw_headers = headers
    return answer
