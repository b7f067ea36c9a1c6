"""Routes: each operation of the server, described once for the router and for the OpenAPI document.

To add one, write a handler, `async def handler(call: Call) -> Response`, and describe it in the `ROUTES` of its module:

    Route("POST", "/v1/events", append, "appendEvents", "Append events", scope="ingest",
          bodies={"application/json": list[Event]}, answers=[ResponseSpec(202, "All were accepted", Outcomes)])

and add these `ROUTES` to `engine/http/route_table.py`. When the handler runs, the caller has the scope, and the
parameters are validated. It raises `Problem`, or any error of the store; `problems.py` decides the response. Errors
that every route of a kind may give (401, 403, 413 and so on) need not be declared.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from pagefold.engine.http.headers import Header, value_of
from pagefold.engine.http.request_body import check_not_empty, read_body, read_json
from pagefold.engine.stores.grants import Grant, Scope

if TYPE_CHECKING:
    from pagefold.engine.http.server_context import ServerContext

Value = TypeVar("Value")
Handler: TypeAlias = "Callable[[Call], Awaitable[Response]]"
Query = TypeVar("Query", bound=msgspec.Struct)

JSON_TYPE = "application/json"


def never(_headers: list[Header]) -> bool:
    """Accepts no body types but those that the route declares."""
    return False


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a route without any."""


class HeaderField(NamedTuple):
    """A header of a request or a response."""

    name: str
    description: str


class ResponseSpec(NamedTuple):
    """A successful response of a route. `content` is the type of its body, None if it has none.

    `headers` are those of this response.
    """

    status: int
    description: str
    content: object = None
    media_type: str = JSON_TYPE
    headers: Sequence[HeaderField] = ()


class Route(msgspec.Struct, frozen=True):
    """One operation. `path` has its parameters in braces; `name` is its operation id in the OpenAPI document.

    `scope` is what the caller must have been granted, None for a public route; `private` routes need a token even where
    reads are open. `query` has a field for each query parameter, `headers` the request headers of this route; `bodies`
    has the type of the body by media type, empty if there is no body. `takes` may accept other bodies by their headers.
    Callers of `pushed` routes may take any 4xx as final, so overload is answered with 503. `problems` are the errors of
    this route, by status, besides those that every such route has.
    """

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    scope: Scope | None = None
    private: bool = False
    query: type[msgspec.Struct] = NoQuery
    headers: Sequence[HeaderField] = ()
    bodies: Mapping[str, object] = {}
    takes: Callable[[list[Header]], bool] = never
    pushed: bool = False
    answers: Sequence[ResponseSpec] = ()
    problems: Mapping[int, str] = {}


class Call:
    """One request, as passed to its handler. `path` has the path parameters, decoded."""

    def __init__(  # noqa: PLR0913, PLR0917  # a request has that many parts
        self,
        service: "ServerContext",
        route: Route,
        grant: Grant,
        path: Mapping[str, str],
        query: msgspec.Struct,
        headers: list[Header],
        receive: Receive,
    ) -> None:
        self.service = service
        self.route = route
        self.grant = grant
        self.path = path
        self.headers = headers
        self._query = query
        self._receive = receive
        self._held = 0

    def query(self, kind: type[Query]) -> Query:
        """The query parameters, as declared by the route."""
        assert isinstance(self._query, kind)  # noqa: S101  # a handler that asks for another type is wrong itself
        return self._query

    def header(self, name: str) -> str | None:
        """A header, by its lower-case name."""
        value = value_of(self.headers, name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def media_type(self) -> str:
        """The media type of the body, in lower case and without parameters; one that the route accepts."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    async def body(self) -> bytes:
        """The body, which is not empty.

        Raises `Problem` if it is empty, too large or compressed, or on overload; `ClientGone` if it was cut off.
        """
        body = await self._read()
        check_not_empty(body)
        return body

    def end(self) -> None:
        """Releases the body's bytes once the handler is done."""
        self.service.incoming.bytes -= self._held
        self._held = 0

    async def json(self, kind: type[Value]) -> Value:
        """The body, decoded from JSON. Raises `Problem`, also 422 with the path of the error."""
        return read_json(await self._read(), kind)

    async def _read(self) -> bytes:
        limit = self.service.config.http.max_body_bytes
        body = await read_body(self.headers, self._receive, limit, self.service.incoming)
        self._held += len(body)
        return body


_encoder = msgspec.json.Encoder()
