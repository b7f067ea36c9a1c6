"""What the routes of operators have in common: who may ask, what is taken, and why something is decided."""

from collections.abc import Mapping
from typing import Annotated

import msgspec

from pagefold.engine.http.routing import JSON_TYPE, Handler, NoQuery, ResponseSpec, Route
from pagefold.engine.intake.operators import MAX_REASON_LENGTH

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON_LENGTH)]

NO_PROBLEMS: Mapping[int, str] = {}


def look_at(  # noqa: PLR0913  # as many as a route has
    path: str,
    handler: Handler,
    name: str,
    summary: str,
    answer: ResponseSpec,
    *,
    query: type[msgspec.Struct] = NoQuery,
    problems: Mapping[int, str] = NO_PROBLEMS,
) -> Route:
    """The route of what an operator looks at."""
    return Route("GET", path, handler, name, summary, "operate", query=query, answers=[answer], problems=problems)


def decide(  # noqa: PLR0913  # likewise
    path: str,
    handler: Handler,
    name: str,
    summary: str,
    answer: ResponseSpec,
    *,
    body: object = None,
    problems: Mapping[int, str] = NO_PROBLEMS,
) -> Route:
    """The route of what an operator decides, and says in a `body`, where there is one."""
    bodies = {} if body is None else {JSON_TYPE: body}
    return Route("POST", path, handler, name, summary, "operate", bodies=bodies, answers=[answer], problems=problems)
