"""What the routes for operators have in common: scope, bodies and reasons."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, TypeVar

import msgspec
from starlette.responses import Response

from pagefold.engine.http.routing import JSON_TYPE, Call, Handler, NoQuery, ResponseSpec, Route
from pagefold.engine.intake.operators import MAX_REASON_LENGTH
from pagefold.engine.runtime.origin import Origin, acting

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_LENGTH)]

Body = TypeVar("Body")

NO_PROBLEMS: Mapping[int, str] = {}


class Decision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is decided."""

    reason: Reason


def read_route(  # noqa: PLR0913  # as many as a route has
    path: str,
    handler: Handler,
    name: str,
    summary: str,
    answer: ResponseSpec,
    *,
    query: type[msgspec.Struct] = NoQuery,
    problems: Mapping[int, str] = NO_PROBLEMS,
) -> Route:
    """A route that an operator reads."""
    return Route("GET", path, handler, name, summary, "operate", query=query, answers=[answer], problems=problems)


def decision_route(  # noqa: PLR0913  # likewise
    path: str,
    handler: Handler,
    name: str,
    summary: str,
    answer: ResponseSpec,
    *,
    body: object = None,
    problems: Mapping[int, str] = NO_PROBLEMS,
) -> Route:
    """A route by which an operator decides something, with a `body` if there is one."""
    bodies = {} if body is None else {JSON_TYPE: body}
    audited = partial(_as_caller, handler)
    return Route("POST", path, audited, name, summary, "operate", bodies=bodies, answers=[answer], problems=problems)


async def read_decision(call: Call, kind: type[Body]) -> Body:
    """The body of a decision. Raises `Problem`, also if the store does not answer: then nothing is begun."""
    decision = await call.json(kind)
    await call.service.check_store_answers()
    return decision


async def _as_caller(handler: Handler, call: Call) -> Response:
    """What a handler decides is the caller's decision."""
    with acting(Origin("http", call.grant.name, f"POST {call.route.path.format(**call.path)}")):
        return await handler(call)
