"""The dashboard as an ASGI application: finds the screen and the visitor of a request, and answers it with a page."""

import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

from pagefold.engine.access.session_service import SessionService, new_secret
from pagefold.engine.dashboard.addresses import address_of, href, mounted_at
from pagefold.engine.dashboard.forms import CSRF, fields_in, form_in
from pagefold.engine.dashboard.live_parts import LiveParts
from pagefold.engine.dashboard.screen import NoForm, Screen, ScreenRoute
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.dashboard.screens.sign_in import sign_in_again
from pagefold.engine.dashboard.side_bar import SideBar
from pagefold.engine.dashboard.static_files import static_response
from pagefold.engine.dashboard.visit import Site, Visit
from pagefold.engine.dashboard.visitors import check_csrf, check_origin, find_visitor, secret_in
from pagefold.engine.http.headers import Header, value_of
from pagefold.engine.http.problems import ClientGone, Problem, problem_of
from pagefold.engine.http.request_body import MAX_PARAMETERS, read_query
from pagefold.engine.http.request_log import UNKNOWN
from pagefold.engine.http.route_lookup import path_parameters, route_of
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.runtime import clock
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.runtime.store_timeout import with_timeout

PART = b"part="
FRAME_PARTS = "/ui/frame/{part}"
STATIC = "/ui/static/{digest}/{name}"
PAGE_SECONDS = 10.0
"""How long a screen may take: it may ask for more than a page read does."""


class FrameQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Around which screen the frame is."""

    screen: str = ""


class Dashboard:
    """All screens over one server. Its requests are those below `/ui`."""

    def __init__(self, service: ServerContext, screens: Sequence[Screen] = SCREENS) -> None:
        self.service = service
        self.sessions = SessionService(service.shop.store, service.shop.tokens)
        self.side_bar = SideBar(service.shop, screens)
        self.site = Site(service, self.sessions, self.frame, {})
        self.live_parts = LiveParts()
        by_path: dict[str, tuple[Screen, dict[str, ScreenRoute]]] = {}
        for screen in screens:
            for route in screen.routes:
                by_path.setdefault(route.path, (screen, {}))[1][route.method] = route
        paths = [Path(path, ScreenEndpoint(self, path, *found)) for path, found in by_path.items()]
        frame = {"GET": ScreenRoute("GET", FRAME_PARTS, _frame_part, query=FrameQuery)}
        paths += [Path(STATIC, _static), Path(FRAME_PARTS, ScreenEndpoint(self, FRAME_PARTS, None, frame))]
        unknown = ScreenEndpoint(self, UNKNOWN, None, {})
        self._router = Router(paths, redirect_slashes=False, default=unknown)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request. Its path is matched undecoded, so that an encoded slash separates nothing."""
        with mounted_at(quote(scope.get("root_path", ""))):
            await self._router({**scope, "path": scope["raw_path"].decode("latin-1"), "root_path": ""}, receive, send)

    async def visit(self, screen: Screen | None, scope: Scope) -> Visit:
        """The visit of a request. Raises `StoreUnavailable` if its session cannot be looked up."""
        headers: list[Header] = scope["headers"]
        secret = secret_in(headers)
        visitor = await with_timeout(find_visitor(self.service.access.anonymous, self.sessions, secret))
        given = secret or new_secret()
        return Visit(
            self.site,
            None if screen is None else screen.name,
            visitor,
            given,
            address_of(scope["path"]),
            headers,
            is_new=secret is None,
        )

    async def frame(self, is_known: bool) -> dict[str, Any]:  # noqa: FBT001  # the only thing that it depends on
        """What is around every screen: the side bar for visitors who may see it."""
        now = clock.moment()
        groups = await self.side_bar.groups() if is_known else []
        return {"groups": groups, "now": now, "signed_in": self._signs_in()}

    def _signs_in(self) -> bool:
        """Whether visitors have sessions, which they can end."""
        return self.service.access.anonymous is None or not self.service.access.anonymous.scopes >= {"operate"}


class _NoFragment(Exception):  # nothing is wrong
    """A handler answers with something else than a live part, which is not kept."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


class ScreenEndpoint:
    """All routes of one path."""

    def __init__(
        self, dashboard: Dashboard, path: str, screen: Screen | None, routes: Mapping[str, ScreenRoute]
    ) -> None:
        self._dashboard = dashboard
        self._path = path
        self._screen = screen
        self._routes = {**routes, **({"HEAD": routes["GET"]} if "GET" in routes else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        traffic = self._dashboard.service.traffic
        started = time.perf_counter() if traffic.logs_next() else None
        method = scope["method"] if scope["method"] in self._routes else UNKNOWN
        try:
            answer = await self._guarded(scope, receive)
        except ClientGone:
            traffic.gone += 1
            return
        size = len(answer.body)
        if method == "HEAD":
            answer.body = b""
        await answer(scope, receive, send)
        traffic.note(method, self._path, answer.status_code, size, started)

    async def _guarded(self, scope: Scope, receive: Receive) -> Response:
        """The response to a request; every error is one."""
        visit: Visit | None = None
        try:
            visit = await self._dashboard.visit(self._screen, scope)
            return await self._answer(visit, scope, receive)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001  # every error is answered
            unknown = Visit(self._dashboard.site, None, None, new_secret(), address_of(scope["path"]), scope["headers"])
            return await _error_page(visit or unknown, problem_of(error))

    async def _answer(self, visit: Visit, scope: Scope, receive: Receive) -> Response:
        route = route_of(self._routes, scope["method"])
        visit.pairs, visit.part, query = _query_of(scope["query_string"])
        visit.path = path_parameters(scope)
        if not (route.public or visit.is_known):
            return await _sign_in_first(visit, scope["method"])
        form: Any = NoForm()
        if route.method == "POST":
            fields = await fields_in(self._dashboard.service, visit.headers, receive)
            check_origin(visit.headers)
            check_csrf(None if visit.is_new else visit.secret, fields.get(CSRF, ""))
            if not (route.public or visit.visitor.may_operate):
                raise Problem(403, "this needs a token of the scope operate; yours only reads")
            form = form_in(fields, route.form)
        visit.give(read_query(query, route.query), form)
        if route.method == "POST":
            with acting(Origin("dashboard", visit.visitor.name if visit.is_known else None)):
                return await route.handler(visit)
        if visit.part is None or route.public:
            return await with_timeout(_awaited(route, visit), PAGE_SECONDS)
        return await self._live_part(visit, route, scope["query_string"])

    async def _live_part(self, visit: Visit, route: ScreenRoute, query: bytes) -> Response:
        """A live part, made once for all tabs of a visitor that show the same."""

        async def make() -> bytes:
            headers, visit.headers = visit.headers, [each for each in visit.headers if each[0] != b"if-none-match"]
            try:
                answer = await with_timeout(_awaited(route, visit), PAGE_SECONDS)
            finally:
                visit.headers = headers
            if answer.status_code != HTTPStatus.OK:
                raise _NoFragment(answer)
            return bytes(answer.body)

        try:
            return visit.fragment(await self._dashboard.live_parts.get((visit.address, query, visit.visitor), make))
        except _NoFragment as other:
            return other.answer


async def _awaited(route: ScreenRoute, visit: Visit) -> Response:
    return await route.handler(visit)


def _query_of(text: bytes) -> tuple[list[tuple[str, str]], str | None, bytes]:
    """The query parameters of a page, and the live part of it that is asked for; and the parameters as they came."""
    kept = b"&".join(each for each in text.split(b"&") if not each.startswith(PART))
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:
        raise Problem(400, "the query parameters cannot be read") from None
    part = next((value for name, value in pairs if name == "part"), None)
    return [each for each in pairs if each[0] != "part"], part, kept


async def _sign_in_first(visit: Visit, method: str) -> Response:
    """Sends a browser without a session to sign in, and back.

    One that comes from another site has not sent its cookie: the page that it gets asks again, from here.
    """
    if visit.is_live:
        raise Problem(401, "you were signed out")
    if method != "POST" and visit.is_new and value_of(visit.headers, b"sec-fetch-site") == b"cross-site":
        return await visit.page("arrival", next=visit.address_with())
    if method == "POST":
        return await sign_in_again(visit)
    return visit.redirect(href("sign-in", next=visit.address_with()))


async def _error_page(visit: Visit, problem: Problem) -> Response:
    """A page that says what is wrong, for people; a fragment has no page, only a status."""
    if visit.is_live:
        return Response(problem.details.detail, problem.status, {"cache-control": "no-store"}, "text/plain")
    title = HTTPStatus(problem.status).phrase
    answer = await visit.page("error", problem.status, title=title, problem=problem.details)
    answer.raw_headers += [each for each in problem.headers if each[0] != b"www-authenticate"]
    return answer


async def _frame_part(visit: Visit) -> Response:
    """A live part of the frame: the line at the top, or the side bar, for the screen in `screen`."""
    visit.part = visit.path["part"]
    frame = {**(await visit.frame()), "screen": visit.query(FrameQuery).screen}
    return await visit.page("frame", frame=frame)


async def _static(request: Request) -> Response:
    """A style sheet or a script, for everybody."""
    try:
        return static_response(request.path_params["name"])
    except Problem as problem:
        return Response(str(problem), problem.status)
