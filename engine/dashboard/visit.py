"""One request to the dashboard, as its handler gets it."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from starlette.responses import Response
from xxhash import xxh3_128_hexdigest

from pagefold.engine.access.session_service import SessionService
from pagefold.engine.dashboard.rendering import has_part, render, render_part
from pagefold.engine.dashboard.visitors import (
    TOAST,
    Visitor,
    cookie_header,
    cookie_in,
    csrf_token,
    is_encrypted,
    session_cookie,
    signature,
)
from pagefold.engine.http.headers import NO_STORE, Header, value_of
from pagefold.engine.http.problems import no_route
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.shop import Shop

Values = TypeVar("Values", bound=msgspec.Struct)
Kept = TypeVar("Kept")

HTML: Header = (b"content-type", b"text/html; charset=utf-8")
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY: tuple[Header, ...] = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every response of the dashboard: scripts and styles are its own files, and no other site frames it."""

TOAST_SECONDS = 60


class Toast(NamedTuple):
    """What the next page says about a decision: a sentence, and links as pairs of words and address."""

    text: str
    links: Sequence[tuple[str, str]] = ()


class Site(NamedTuple):
    """What all visits share. `frame` reads what is around a screen, for a visitor who may see it or for others.

    `kept` has what screens keep from one visit to the next, by its type.
    """

    service: ServerContext
    sessions: SessionService
    frame: Callable[[bool], Awaitable[dict[str, Any]]]
    kept: dict[type, Any]


class Visit:
    """One request. `screen` is the name of its screen, if it is for one; `path` has the path parameters, decoded.

    `part` is the live part that is asked for, if any. `secret` is that of the browser's cookie; it is new if `is_new`,
    and the response sets it.
    """

    def __init__(  # noqa: PLR0913  # a request has that many parts
        self,
        site: Site,
        screen: str | None,
        visitor: Visitor | None,
        secret: str,
        address: str,
        headers: list[Header],
        *,
        is_new: bool = False,
    ) -> None:
        self.sessions = site.sessions
        self.screen = screen
        self._site = site
        self._visitor = visitor
        self.secret = secret
        self.is_new = is_new
        self.address = address
        self.headers = headers
        self.path: Mapping[str, str] = {}
        self.pairs: Sequence[tuple[str, str]] = ()
        self.part: str | None = None
        self._query: msgspec.Struct = msgspec.Struct()
        self._form: msgspec.Struct = msgspec.Struct()

    @property
    def shop(self) -> Shop:
        """The open shop."""
        return self._site.service.shop

    @property
    def visitor(self) -> Visitor:
        """Who asks."""
        assert self._visitor is not None  # noqa: S101  # a handler runs for visitors only, if its route is not public
        return self._visitor

    @property
    def is_known(self) -> bool:
        """Whether the visitor may see the dashboard."""
        return self._visitor is not None

    @property
    def is_live(self) -> bool:
        """Whether a live part asks, which only takes the place of itself."""
        return self.part is not None or value_of(self.headers, b"hx-request") is not None

    def give(self, query: msgspec.Struct, form: msgspec.Struct) -> None:
        """Sets what was sent, once it is checked."""
        self._query, self._form = query, form

    def query(self, kind: type[Values]) -> Values:
        """The query parameters, as declared by the route."""
        assert isinstance(self._query, kind)  # noqa: S101  # a handler that asks for another type is wrong itself
        return self._query

    def form(self, kind: type[Values]) -> Values:
        """The fields of a decision, as declared by the route."""
        assert isinstance(self._form, kind)  # noqa: S101  # likewise
        return self._form

    def kept(self, kind: type[Kept], make: Callable[[], Kept]) -> Kept:
        """What a screen keeps from one visit to the next: made once, and shared by all visitors."""
        if kind not in self._site.kept:
            self._site.kept[kind] = make()
        found: Kept = self._site.kept[kind]
        return found

    def wants(self, *parts: str) -> bool:
        """Whether any of these live parts is needed: always for a whole page."""
        return self.part is None or self.part in parts

    def address_with(self, **query: object) -> str:
        """The address of this page with other query parameters; None removes one."""
        kept = [(name, value) for name, value in self.pairs if name not in query]
        pairs = [*kept, *((name, value) for name, value in query.items() if value is not None)]
        return f"{self.address}?{urlencode(pairs)}" if pairs else self.address

    async def page(self, template: str, status: int = 200, **values: Any) -> Response:  # noqa: ANN401  # what the template shows
        """A template with these values, or the part of it that was asked for. Raises `Problem`, 404, without it."""
        if self.part is not None:
            if not has_part(template, self.part):
                raise no_route()
            frame = {**self._bare_frame(), **values.get("frame", {})}
            return self.fragment(render_part(template, self.part, {**values, "frame": frame}).encode())
        frame = await self.frame()
        text = render(template, {**values, "frame": {**self._bare_frame(), **frame, "toast": self._toast()}})
        return self._response(text, status)

    async def frame(self) -> dict[str, Any]:
        """What is around the screen."""
        return await self._site.frame(self.is_known)

    def data(self, value: object) -> Response:
        """A document as JSON."""
        body = value if isinstance(value, bytes) else msgspec.json.format(msgspec.json.encode(value), indent=1)
        answer = Response(body)
        length = (b"content-length", b"%d" % len(body))
        answer.raw_headers = [(b"content-type", b"application/json"), length, NO_STORE, *SECURITY]
        return answer

    def redirect(self, address: str, toast: Toast | None = None, cookies: Sequence[Header] = ()) -> Response:
        """Sends the browser to another page by GET. That page shows the toast."""
        answer = Response(status_code=303)
        location = (b"location", quote(address, safe="/:?&=%#+,;~@!$'()*").encode())
        cookie = [] if toast is None else [self._toast_cookie(toast)]
        length = (b"content-length", b"0")
        answer.raw_headers = [location, length, NO_STORE, *SECURITY, *self._new_cookie(), *cookie, *cookies]
        return answer

    def _bare_frame(self) -> dict[str, Any]:
        """What every template has."""
        return {
            "screen": self.screen,
            "shop": self._site.service.config.identity,
            "visitor": self._visitor,
            "may_operate": self._visitor is not None and self._visitor.may_operate,
            "csrf": csrf_token(self.secret),
            "address": self.address,
            "address_with": self.address_with,
            "here": self.address_with(),
        }

    def fragment(self, body: bytes) -> Response:
        """A live part, which is sent only if it has changed since this visitor got it."""
        tag = f'"{xxh3_128_hexdigest(body)}"'.encode()
        same = value_of(self.headers, b"if-none-match") == tag
        answer = Response(b"" if same else body, 304 if same else 200)
        length = [] if same else [(b"content-length", b"%d" % len(body))]
        answer.raw_headers = [HTML, *length, NO_STORE, (b"etag", tag), *SECURITY]
        return answer

    def _response(self, text: str, status: int) -> Response:
        body = text.encode()
        answer = Response(body, status)
        length = (b"content-length", b"%d" % len(body))
        answer.raw_headers = [HTML, length, NO_STORE, *SECURITY, *self._new_cookie(), *self._seen_toast()]
        return answer

    def _new_cookie(self) -> list[Header]:
        return [session_cookie(self.secret, secure=is_encrypted(self.headers))] if self.is_new else []

    def _toast_cookie(self, toast: Toast) -> Header:
        text = urlsafe_b64encode(json.dumps([toast.text, list(toast.links)]).encode()).decode()
        value = f"{text}.{signature(self.secret, text)}"
        return cookie_header(TOAST, value, seconds=TOAST_SECONDS, secure=is_encrypted(self.headers))

    def _seen_toast(self) -> list[Header]:
        if cookie_in(self.headers, TOAST) is None:
            return []
        return [cookie_header(TOAST, "", seconds=0, secure=is_encrypted(self.headers))]

    def _toast(self) -> Toast | None:
        """The toast that a redirect has left for this page, if this server has made it."""
        text, _, proof = (cookie_in(self.headers, TOAST) or "").strip('"').partition(".")
        if not proof or proof != signature(self.secret, text):
            return None
        said, links = json.loads(urlsafe_b64decode(text))
        return Toast(said, [(words, address) for words, address in links])
