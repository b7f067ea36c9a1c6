"""What a route is: one operation of the server, described once, for the router and for the OpenAPI document.

To add one, write a handler, `async def handler(call: Call) -> Response`, and describe it in the `ROUTES` of its module:

    Route("POST", "/v1/events", append, "appendEvents", "Append events", scope="ingest",
          bodies={"application/json": list[Event]}, answers=[Answer(202, "All were taken", Outcomes)])

and put these `ROUTES` into `engine/http/route_table.py`. When the handler runs, the caller has the scope, and the
parameters are what they are declared to be. It raises `Problem`, or any error of the store: what is answered then is
decided in `problems.py`. What every route of a kind may answer (401, 403, 413 and so on) need not be declared.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive

from pagefold.engine.http.headers import Header, value_of
from pagefold.engine.http.request_body import check_said, read_body, read_json
from pagefold.engine.stores.grants import Grant, Scope

if TYPE_CHECKING:
    from pagefold.engine.http.server_context import ServerContext

Value = TypeVar("Value")
Handler: TypeAlias = "Callable[[Call], Awaitable[Response]]"
Query = TypeVar("Query", bound=msgspec.Struct)

JSON_TYPE = "application/json"


def never(_headers: list[Header]) -> bool:
    """No body is taken but of the types that the route declares."""
    return False


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The parameters of a route that has none."""


class HeaderField(NamedTuple):
    """A header, in a request that may have it or in an answer that has it."""

    name: str
    description: str


class ResponseSpec(NamedTuple):
    """One of the answers of a route, when it succeeds. `content` is the type of its body, None where there is none.

    `headers` are those that belong to this very answer.
    """

    status: int
    description: str
    content: object = None
    media_type: str = JSON_TYPE
    headers: Sequence[HeaderField] = ()


class Route(msgspec.Struct, frozen=True):
    """One operation. `path` has its parameters in braces; `name` is the operation's in the OpenAPI document.

    `scope` is what its caller must have been granted, None where anybody may ask; `private` ones need a token for it
    even where reads are open. `query` has a field for each parameter behind the question mark, `headers` those that
    belong to this route; `bodies` has the type of the body by media type, and none where there is no body. A body of
    another type is taken all the same where `takes` says so of its headers. Callers of a `pushed` one take any 4xx for
    good, or may do so: when there is too much to do, they are told 503.
    `problems` are the errors of this very route, by status, beside those that every such route has.
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
    """One request, as its handler gets it. `path` has the parameters of the path, decoded."""

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
        """The parameters behind the question mark, as the route declares them."""
        assert isinstance(self._query, kind)  # noqa: S101  # a handler that asks for another type is wrong itself
        return self._query

    def header(self, name: str) -> str | None:
        """A header, by its name in small letters."""
        value = value_of(self.headers, name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def media_type(self) -> str:
        """The media type of the body, in small letters and without parameters; one of those that the route takes."""
        return (self.header("content-type") or "").partition(";")[0].strip().lower()

    async def body(self) -> bytes:
        """The body as it came, with something in it.

        Raises `Problem` for one that is empty, too large or compressed, or for now; `ClientGone` for one that was cut
        short.
        """
        body = await self._read()
        check_said(body)
        return body

    def end(self) -> None:
        """The handler is done with the body."""
        self.service.incoming.bytes -= self._held
        self._held = 0

    async def json(self, kind: type[Value]) -> Value:
        """The body, decoded; an empty one is no JSON. Raises `Problem`, 422 with the place of the fault, as well."""
        return read_json(await self._read(), kind)

    async def _read(self) -> bytes:
        limit = self.service.config.http.max_body_bytes
        body = await read_body(self.headers, self._receive, limit, self.service.incoming)
        self._held += len(body)
        return body


_encoder = msgspec.json.Encoder()
