"""The keys of an endpoint: how its pages are requested, and where its rows are."""

from functools import cached_property
from typing import Annotated, Literal, TypeAlias, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, field

from pagefold.engine.configuration.authorization_config import AuthorizationConfig
from pagefold.engine.configuration.export_config import ExportConfig
from pagefold.engine.configuration.toml_tables import Table, values_by_key

ATTEMPTS = 8

_PORTS = {"http": 80, "https": 443}


_Request = TypeVar("_Request", bound="RequestConfig")


class PagingConfig(Table, frozen=True):
    """How pages are found: by number, by the rows before each, or by the last row of the page before."""

    parameter: Annotated[
        str | None, Meta(description="The query parameter with the number of the page, the offset, or the last value.")
    ] = None
    member: Annotated[
        str | None,
        Meta(description="In place of `parameter`: its place in the body, such as `params.args.5.offset`."),
    ] = None
    first: Annotated[int, Meta(ge=0, description="Its value for the first page: 1 unless given, 0 for an offset.")] = -1
    step: Annotated[
        int | Literal["rows"],
        Meta(description="By how much it grows with each page: a number, or `rows`, the rows of the page: an offset."),
    ] = 1
    size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="The rows of a full page: a page with fewer is the last one."),
    ] = None
    overlap: Annotated[
        str | None,
        Meta(
            description='With `step = "rows"`: the path of a row\'s id. Each page is asked for from the last row of '
            "the page before on, which shows that no row has moved in between."
        ),
    ] = None
    after: Annotated[
        str | None,
        Meta(
            description="Keyset paging: the path of a value in a row by which rows are sorted, and that no two of them "
            "share. The next page is asked for with that of the last row; the first page without it."
        ),
    ] = None
    value: Annotated[
        str | None,
        Meta(description="With `after`: what is written, where it is more than the value, which `{after}` stands for."),
    ] = None
    repeats_last: Annotated[
        bool,
        Meta(description="Whether the server answers with the last page again where there is none any more."),
    ] = False

    @cached_property
    def start(self) -> int:
        """The value for the first page."""
        return self.first if self.first >= 0 else int(self.step != "rows")

    @cached_property
    def finds_pages(self) -> bool:
        """Whether it says how pages are found; if not, a cursor leads to them."""
        return any(given is not None for given in (self.parameter, self.member, self.after))


Body: TypeAlias = dict[str, object] | str | None
"""What is sent: a table, as JSON, or a text."""


class RequestConfig(Table, frozen=True):
    """Requests whose responses are pages of rows in JSON."""

    url: Annotated[str | None, Meta(description="The address of an endpoint's first page.")] = None
    method: Annotated[
        Literal["GET", "POST"] | None, Meta(description="The method: GET, or POST if there is a body.")
    ] = None
    body: Annotated[Body, Meta(description="What is sent: a table, as JSON, or a text.")] = None
    headers: Annotated[dict[str, str], Meta(description="Headers that the endpoint needs, without secrets.")] = field(
        default_factory=dict
    )
    items: Annotated[
        str | None,
        Meta(description="The path of the rows in a response. Without it, the response is the array of rows."),
    ] = None
    cursor: Annotated[
        str | None,
        Meta(description="The path of the next page's cursor or address. Without it, the Link header has the address."),
    ] = None
    cursor_parameter: Annotated[
        str | None, Meta(description="The query parameter that takes the cursor. Without it, the cursor is an address.")
    ] = None
    cursor_member: Annotated[
        str | None,
        Meta(description="In place of `cursor_parameter`: the cursor's place in the body, such as `variables.after`."),
    ] = None
    has_more: Annotated[
        str | None,
        Meta(description="The path of a boolean that is false in the last page, which shows that all rows were read."),
    ] = None
    errors: Annotated[
        str | list[str] | None,
        Meta(
            description="The path of errors in a response that has a good status, or several: if something is there, "
            "the request is retried as after a status of 500, and fails in the end with what it says."
        ),
    ] = None
    paging: Annotated[
        PagingConfig | None,
        Meta(description="How pages are found. The last one is the first that reaches the total, or has no rows."),
    ] = None
    total: Annotated[
        str | None,
        Meta(
            description="The path of the number of all rows. Without it, `X-Total-Count` or an end marker must show "
            "that the snapshot is complete."
        ),
    ] = None
    stable: Annotated[
        bool,
        Meta(
            description="Whether rows stay on their page while others are added and removed, as with a cursor that "
            "names the last row. If not, a repeated row means that another was skipped, and nothing is withdrawn."
        ),
    ] = False
    link_ends: Annotated[
        bool,
        Meta(
            description="Whether a page that leads to no next one, by a Link header or a cursor, shows that all rows "
            "were read."
        ),
    ] = False
    hosts: Annotated[
        tuple[str, ...], Meta(description="Other hosts to which the next page may lead. They get no token.")
    ] = ()
    authorization: Annotated[
        AuthorizationConfig | None,
        Meta(description="How the endpoint knows who asks, if a token or headers are not enough."),
    ] = None
    token_variable: Annotated[str | None, Meta(description="The environment variable with the bearer token.")] = None
    header_variables: Annotated[
        dict[str, str],
        Meta(description="By header that the endpoint needs, the environment variable with its value."),
    ] = field(default_factory=dict)
    body_variables: Annotated[
        dict[str, str],
        Meta(description="By place in the body, such as `params.args.2`, the environment variable with its value."),
    ] = field(default_factory=dict)
    requests_per_second: Annotated[
        float,
        Meta(gt=0, le=1_000, description="Maximum of requests per second to one server, from all snapshots together."),
    ] = 10.0
    concurrency: Annotated[int, Meta(ge=1, le=64, description="Maximum of concurrent requests to one server.")] = 2
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="Seconds that each step of a request may take.")
    ] = 30.0

    @property
    def attempts(self) -> int:
        """How many requests of one page are made, while they fail in a way that may pass."""
        return ATTEMPTS

    @property
    def takes_object(self) -> bool:
        """Whether the rows of a response may be one object, which is the row."""
        return False

    @cached_property
    def origins(self) -> frozenset[str]:
        """The origins (scheme, host and port) that may be requested, including the endpoint's own."""
        own = urlsplit(self.url or "")
        return frozenset([self.own_origin, *(origin_at(each, own.scheme) for each in self.hosts)])

    @cached_property
    def own_origin(self) -> str:
        """The origin of its address."""
        own = urlsplit(self.url or "")
        return origin_at(f"{own.scheme}://{own.netloc}", own.scheme)

    @cached_property
    def verb(self) -> Literal["GET", "POST"]:
        """The method of a request."""
        return self.method or ("GET" if self.body is None else "POST")

    @cached_property
    def error_paths(self) -> list[str]:
        """The paths of errors in a response."""
        return [self.errors] if isinstance(self.errors, str) else self.errors or []

    @cached_property
    def is_sorted(self) -> bool:
        """Whether each page begins after the last row of the one before, so that rows cannot move between pages."""
        return self.stable or (self.paging is not None and self.paging.after is not None)


class ChildConfig(RequestConfig, frozen=True):
    """Rows that belong to a row of an endpoint: more requests for each."""

    only: Annotated[
        dict[str, object],
        Meta(description="By path in a row, the values with which it has such rows. Of others, none are asked for."),
    ] = field(default_factory=dict)

    @cached_property
    def values_of(self) -> dict[str, list[object]]:
        """The accepted values of each path in `only`."""
        return values_by_key(self.only)


class EndpointConfig(RequestConfig, frozen=True):
    """An endpoint that returns rows in pages of JSON."""

    children: Annotated[
        dict[str, ChildConfig],
        Meta(
            description="By the member of a row that gets them: more requests, made for each row, in whose address or "
            "body `{path}` stands for a value of the row."
        ),
    ] = field(default_factory=dict)
    export: Annotated[
        ExportConfig | None,
        Meta(description="The request starts an export, whose rows are downloaded when it is done."),
    ] = None


_SHARED = ("headers", "errors", "requests_per_second", "concurrency", "timeout_seconds")
_SECRET = ("authorization", "token_variable", "header_variables", "body_variables")


def inheriting(request: _Request, parent: RequestConfig) -> _Request:
    """A request with the headers and limits of another where it has none of its own.

    At the same origin, it is also authorized in the same way, unless it says how.
    """
    plain = RequestConfig()
    shared = [name for name in _SHARED if getattr(request, name) == getattr(plain, name)]
    is_own = any(getattr(request, name) != getattr(plain, name) for name in _SECRET)
    if not is_own and request.own_origin == parent.own_origin:
        shared += _SECRET
    return msgspec.structs.replace(request, **{name: getattr(parent, name) for name in shared})


def origin_at(text: str, scheme: str) -> str:
    """The origin of `host`, `host:port` or `https://host:port`. Raises `ValueError` for anything else."""
    parts = urlsplit(text if "://" in text else f"{scheme}://{text}")
    port = parts.port or _PORTS.get(parts.scheme)
    has_more = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
    if has_more or port is None or not parts.hostname or not parts.hostname.strip(".") or " " in parts.netloc:
        raise ValueError(text)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"
