"""The route of a method, and the parameters of its path: for the API, and for the dashboard."""

from collections.abc import Mapping
from typing import TypeVar

from starlette.types import Scope

from pagefold.engine.http.page_reads import decoded
from pagefold.engine.http.problems import no_route, not_allowed

AnyRoute = TypeVar("AnyRoute")


def route_of(routes: Mapping[str, AnyRoute], method: str) -> AnyRoute:
    """The one of a method, of those of a path. Raises `Problem`: 404 if there is none, 405 if others are allowed."""
    if not routes:
        raise no_route()
    if method not in routes:
        raise not_allowed(method, ", ".join(sorted(routes)))
    return routes[method]


def path_parameters(scope: Scope) -> dict[str, str]:
    """The parameters of the path, decoded. Raises `Problem`."""
    return {name: decoded(value.encode("latin-1")) for name, value in scope["path_params"].items()}
