"""The application: page reads first, then the router; every error is answered as a problem."""

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from pagefold.engine.http.authorization import authorize
from pagefold.engine.http.handover import is_of_dashboard
from pagefold.engine.http.headers import Header
from pagefold.engine.http.openapi import document
from pagefold.engine.http.page_reads import Application, PageReads
from pagefold.engine.http.problems import (
    ClientGone,
    Problem,
    as_unavailable,
    problem_of,
    response,
    unsupported,
)
from pagefold.engine.http.request_body import check_encoding, read_query, single_value
from pagefold.engine.http.request_log import UNKNOWN
from pagefold.engine.http.route_lookup import path_parameters, route_of
from pagefold.engine.http.route_table import ROUTES
from pagefold.engine.http.routing import Call, Route
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.stores.grants import Grant

PUBLIC_GRANT = Grant("anybody", frozenset(), None)
"""The grant of a caller on a public route."""


def application(
    service: ServerContext, routes: Sequence[Route] = ROUTES, dashboard: Application | None = None
) -> Application:
    """The whole server as one ASGI application. The `dashboard` answers requests below `/ui`."""
    service.description = document(routes)
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, {})[route.method] = route
    paths = [Path(path, Endpoint(service, path, methods)) for path, methods in by_path.items()]
    router = Router(paths, redirect_slashes=False, default=Endpoint(service, UNKNOWN, {}))
    return PageReads(service, _UndecodedPaths(router, dashboard))


class _UndecodedPaths:
    """Passes requests to the router with the undecoded path, so that an encoded slash does not separate segments."""

    def __init__(self, router: Router, dashboard: Application | None) -> None:
        self._router = router
        self._dashboard = dashboard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._dashboard is not None and is_of_dashboard(scope["raw_path"]):
            await self._dashboard(scope, receive, send)
        elif scope["type"] == "http":
            await self._router({**scope, "path": scope["raw_path"].decode("latin-1"), "root_path": ""}, receive, send)
        elif scope["type"] == "lifespan":
            await self._router(scope, receive, send)
        else:
            await send({"type": "websocket.close"})


class Endpoint:
    """All operations of one path."""

    def __init__(self, service: ServerContext, path: str, routes: Mapping[str, Route]) -> None:
        self._service = service
        self._path = path
        self._routes = {**routes, **({"HEAD": routes["GET"]} if "GET" in routes else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        traffic = self._service.traffic
        started = time.perf_counter() if traffic.logs_next() else None
        try:
            answer = await self._answer(scope, receive)
        except ClientGone:
            traffic.gone += 1
            return
        except Exception as error:  # noqa: BLE001  # every error is answered
            answer = response(self._problem(error, scope["method"]))
        await answer(scope, receive, send)
        method = scope["method"] if scope["method"] in self._routes else UNKNOWN
        traffic.note(method, self._path, answer.status_code, len(answer.body), started)

    def _problem(self, error: Exception, method: str) -> Problem:
        problem, route = problem_of(error), self._routes.get(method)
        is_pushed = route is not None and route.pushed
        return as_unavailable(problem) if problem.status == HTTPStatus.TOO_MANY_REQUESTS and is_pushed else problem

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        route = route_of(self._routes, scope["method"])
        headers: list[Header] = scope["headers"]
        grant, authorization = PUBLIC_GRANT, single_value(headers, b"authorization")
        if route.scope is not None:
            grant = await authorize(self._service.access, authorization, route.scope, private=route.private)
        path = path_parameters(scope)
        query = read_query(scope["query_string"], route.query)
        _check_media_type(route, headers)
        call = Call(self._service, route, grant, path, query, headers, receive)
        try:
            return await route.handler(call)
        finally:
            call.end()


def _check_media_type(route: Route, headers: list[Header]) -> None:
    if not route.bodies:
        return
    check_encoding(headers)
    given = (single_value(headers, b"content-type") or b"").partition(b";")[0].strip().lower().decode("latin-1")
    if given not in route.bodies and not route.takes(headers):
        raise unsupported(", ".join(route.bodies))
