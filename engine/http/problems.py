"""What went wrong, for the one who asked: problem details (RFC 9457), for every error that there is.

An error that is not expected is logged with where it happened, and answered without a word of what it was.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Literal, TypeAlias, assert_never

import msgspec
from starlette.responses import Response

from pagefold.engine.errors import (
    DeadLetterResolved,
    LogReplaced,
    Overloaded,
    PagesUnfolded,
    Rejected,
    StoreError,
    StoreReadOnly,
    StoreUnavailable,
    UnknownCursor,
    UnknownDeadLetter,
)
from pagefold.engine.http.headers import NO_STORE, SECURITY, Header
from pagefold.engine.runtime.logs import Logger

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 1
"""When it is worth asking again, where nothing better is known."""

CONTENT_TYPE = (b"content-type", MEDIA_TYPE.encode())

NO_CURSOR = "is not what `next` was"

_NEEDS_A_PERSON: dict[type[StoreError], str] = {
    LogReplaced: (
        "the log is not the one that was folded: nothing is taken until its operator has put the right one back, or "
        "has run `pagefold recover`"
    ),
    PagesUnfolded: "the pages were lost, and are being folded again; the same request may be sent again",
}

log = Logger(__name__)


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a request. `path` is inside its body, or names a parameter."""

    path: str
    reason: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong. `title` and `status` are HTTP's own; `detail` is for people; `errors` are the single faults."""

    title: str
    status: int
    type: Literal["about:blank"] = "about:blank"
    detail: str = ""
    errors: list[Fault] = []


class Problem(Exception):  # it is named for what is answered
    """A request that is answered with an error. `headers` come on top of those that every problem has."""

    def __init__(
        self, status: int, detail: str = "", *, errors: Sequence[Fault] = (), headers: Sequence[Header] = ()
    ) -> None:
        super().__init__(detail or HTTPStatus(status).phrase)
        self.status = status
        self.details = ProblemDetails(HTTPStatus(status).phrase, status, detail=detail, errors=list(errors))
        self.headers = tuple(headers)


Sent: TypeAlias = tuple[int, list[Header], bytes]
"""An answer as it goes out: status, headers, body."""


class ClientGone(Exception):  # it is named for what happened
    """Whoever asked has hung up before the request was complete: there is nobody to answer."""


def no_route() -> Problem:
    """The path is none of ours."""
    return Problem(404, "there is no such route; /openapi.json has them all")


def no_channel() -> Problem:
    """The configuration has no channel of that name."""
    return Problem(404, "there is no such channel")


def no_page() -> Problem:
    """There is no page of that SKU in the channel, or none that ever was to be shown."""
    return Problem(404, "there is no such page in this channel")


def misdirected() -> Problem:
    """The request is for somebody else, by its `Host`, and may be a trick to reach this server with a browser."""
    detail = (
        "without tokens this server answers to localhost and the addresses of this machine alone: "
        "`hosts` in [http] has other names"
    )
    return Problem(421, detail)


def invalid(path: str, reason: str) -> Problem:
    """The request is understood, and cannot be meant."""
    return Problem(422, f"{path}: {reason}" if path else reason, errors=[Fault(path, reason)])


def given_twice(header: bytes) -> Problem:
    """A header that can be there once is there again."""
    return Problem(400, f"the header {header.decode()} is given twice")


def not_allowed(method: str, allowed: str) -> Problem:
    """There is such a thing, and this cannot be done with it."""
    return Problem(405, f"there is no {method} here", headers=[(b"allow", allowed.encode())])


def unsupported(taken: str) -> Problem:
    """The body is of another type than is taken."""
    return Problem(415, f"the body must be {taken}", headers=[(b"accept", taken.encode())])


def unavailable(reason: str, seconds: int = RETRY_SECONDS) -> Problem:
    """The server cannot do it now, and may later."""
    return Problem(503, reason, headers=[retry_after(seconds)])


def overloaded(reason: str, seconds: int = RETRY_SECONDS) -> Problem:
    """There is more to do than can be done: nothing was taken, and it is to be sent again."""
    return Problem(429, reason, headers=[retry_after(seconds)])


def as_unavailable(problem: Problem) -> Problem:
    """The same for those who would not send again after 429."""
    return Problem(503, problem.details.detail, headers=problem.headers)


def retry_after(seconds: int) -> Header:
    """When it is worth asking again."""
    return (b"retry-after", b"%d" % seconds)


def problem_of(error: Exception) -> Problem:
    """What the one who asked is told of an error. What nobody expected is logged, and not told."""
    match error:
        case Problem():
            return error
        case Rejected():
            return invalid(error.path, error.reason)
        case UnknownDeadLetter() | UnknownCursor() | DeadLetterResolved():
            return _of_letters(error)
        case Overloaded() | StoreError():
            return _for_now(error)
        case _:
            log.error("unexpected", error=type(error).__name__, exc_info=error)
            return Problem(500, "the server could not answer, and has logged why")


def _for_now(error: Overloaded | StoreError) -> Problem:
    """What may be another answer later."""
    match error:
        case Overloaded():
            return overloaded(str(error))
        case StoreUnavailable():
            log.warning("the store is unavailable", error=str(error))
            return unavailable("the store is unavailable; the same request may be sent again")
        case LogReplaced() | PagesUnfolded():
            log.error("the store needs a person", error=str(error))
            return unavailable(_NEEDS_A_PERSON[type(error)], 10)
        case StoreReadOnly():
            log.warning("nothing can be written", error=str(error))
            return unavailable(error.told or "the store is read-only", 60)
        case StoreError():
            log.error("the store cannot be used", error=str(error))
            return unavailable("the store cannot be used; its operator has been told", 60)
        case _:
            assert_never(error)


def _of_letters(error: UnknownDeadLetter | UnknownCursor | DeadLetterResolved) -> Problem:
    match error:
        case UnknownDeadLetter():
            return Problem(404, "there is no such dead letter")
        case UnknownCursor():
            return invalid("after", NO_CURSOR)
        case DeadLetterResolved():
            return Problem(409, str(error))
        case _:
            assert_never(error)


def sent(problem: Problem) -> Sent:
    """The answer that a problem is."""
    body = msgspec.json.encode(problem.details)
    length = (b"content-length", b"%d" % len(body))
    return problem.status, [CONTENT_TYPE, length, NO_STORE, *SECURITY, *problem.headers], body


def response(problem: Problem) -> Response:
    """The same, for a router."""
    status, headers, body = sent(problem)
    answer = Response(body, status)
    answer.raw_headers = headers
    return answer
