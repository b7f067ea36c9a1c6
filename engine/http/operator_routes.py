"""What the routes for operators have in common: scope, bodies and reasons."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from pagefold.engine.http.routing import JSON_TYPE, Handler, NoQuery, ResponseSpec, Route
from pagefold.engine.intake.operators import MAX_REASON_LENGTH

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_LENGTH)]

NO_PROBLEMS: Mapping[int, str] = {}


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
    return Route("POST", path, handler, name, summary, "operate", bodies=bodies, answers=[answer], problems=problems)
