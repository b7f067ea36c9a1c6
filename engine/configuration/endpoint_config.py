"""The keys of an endpoint: how its pages are requested, and where its rows are."""

from collections.abc import Iterator
from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, field

from pagefold.engine.configuration.authorization_config import AuthorizationConfig, check_authorization
from pagefold.engine.configuration.header_filters import header_name
from pagefold.engine.configuration.toml_tables import Table, check_path, check_variable
from pagefold.engine.errors import ConfigurationError

_OWN_HEADERS = frozenset({"accept", "authorization", "connection", "content-length", "host", "transfer-encoding"})
"""Headers that are set otherwise; a token is given by `token_variable`."""

_PORTS = {"http": 80, "https": 443}


class PagingConfig(Table, frozen=True):
    """How the pages of an endpoint are numbered: by page, or by the rows before each."""

    parameter: Annotated[str, Meta(description="The query parameter with the number of the page, or the offset.")]
    first: Annotated[int, Meta(ge=0, description="Its value for the first page: 1 unless given, 0 for an offset.")] = -1
    step: Annotated[
        int | Literal["rows"],
        Meta(description="By how much it grows with each page: a number, or `rows`, the rows of the page: an offset."),
    ] = 1

    @cached_property
    def start(self) -> int:
        """The value for the first page."""
        return self.first if self.first >= 0 else int(self.step != "rows")


class EndpointConfig(Table, frozen=True):
    """An endpoint that returns rows in pages of JSON."""

    url: Annotated[str | None, Meta(description="The address of an endpoint's first page.")] = None
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
    paging: Annotated[
        PagingConfig | None,
        Meta(description="How pages are numbered. The last one is the first that reaches the total, or has no rows."),
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
    requests_per_second: Annotated[
        float,
        Meta(gt=0, le=1_000, description="Maximum of requests per second to one server, from all snapshots together."),
    ] = 10.0
    concurrency: Annotated[int, Meta(ge=1, le=64, description="Maximum of concurrent requests to one server.")] = 2
    timeout_seconds: Annotated[
        float, Meta(gt=0, le=600, description="Seconds that each step of a request may take.")
    ] = 30.0

    @cached_property
    def origins(self) -> frozenset[str]:
        """The origins (scheme, host and port) that may be requested, including the endpoint's own."""
        own = urlsplit(self.url or "")
        return frozenset(origin_at(each, own.scheme) for each in (f"{own.scheme}://{own.netloc}", *self.hosts))


def check_endpoint(key: str, endpoint: EndpointConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    empty = [name for name in EndpointConfig.__struct_fields__ if getattr(endpoint, name) == ""]
    problem = _url_problem(endpoint.url or "")
    if empty or problem is not None:
        yield from (ConfigurationError(f"{key}.{name}", "is empty") for name in empty)
        if problem is not None and "url" not in empty:
            yield ConfigurationError(f"{key}.url", problem)
        return
    for name in ("items", "cursor", "total"):
        path: str | None = getattr(endpoint, name)
        if path is not None:
            yield from check_path(f"{key}.{name}", path, f"data.{name}")
    if endpoint.cursor_parameter is not None and endpoint.cursor is None:
        problem = "needs cursor as well: the path of the value that it carries"
        yield ConfigurationError(f"{key}.cursor_parameter", problem)
    yield from _check_paging(key, endpoint)
    yield from _check_secrets(key, endpoint)
    for host in endpoint.hosts:
        yield from _check_host(f"{key}.hosts", host, urlsplit(endpoint.url or "").scheme)


def _url_problem(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        return "is not an address such as 'https://erp.example/api/prices'"
    if parts.username is not None:
        return "must not hold a user or a password; token_variable names an environment variable with a token"
    return None


def _check_secrets(key: str, endpoint: EndpointConfig) -> Iterator[ConfigurationError]:
    if endpoint.token_variable is not None:
        yield from check_variable(f"{key}.token_variable", endpoint.token_variable)
    for name, variable in endpoint.header_variables.items():
        if header_name.fullmatch(name) is None or name.lower() in _OWN_HEADERS:
            yield ConfigurationError(f"{key}.header_variables.{name}", "is not a header that may be given here")
        yield from check_variable(f"{key}.header_variables.{name}", variable)
    if endpoint.authorization is not None:
        yield from check_authorization(f"{key}.authorization", endpoint.authorization)
        if endpoint.token_variable is not None:
            yield ConfigurationError(f"{key}.token_variable", "is given beside authorization; one of them is enough")


def _check_paging(key: str, endpoint: EndpointConfig) -> Iterator[ConfigurationError]:
    paging = endpoint.paging
    if paging is None:
        return
    if endpoint.cursor is not None:
        yield ConfigurationError(f"{key}.paging", "contradicts cursor: pages are numbered, or lead to the next one")
    if not paging.parameter:
        yield ConfigurationError(f"{key}.paging.parameter", "is empty")
    if isinstance(paging.step, int) and paging.step < 1:
        yield ConfigurationError(f"{key}.paging.step", f"expected 1 or more, or 'rows', got {paging.step}")


def _check_host(key: str, host: str, scheme: str) -> Iterator[ConfigurationError]:
    try:
        origin_at(host, scheme)
    except ValueError:
        shown = host.rpartition("@")[2]
        problem = f"{shown!r} is not a host such as 'files.pim.example' or 'https://files.pim.example:8443'"
        yield ConfigurationError(key, problem)


def origin_at(text: str, scheme: str) -> str:
    """The origin of `host`, `host:port` or `https://host:port`. Raises `ValueError` for anything else."""
    parts = urlsplit(text if "://" in text else f"{scheme}://{text}")
    port = parts.port or _PORTS.get(parts.scheme)
    has_more = parts.path not in {"", "/"} or parts.query or parts.fragment or "@" in parts.netloc
    if has_more or port is None or not parts.hostname or not parts.hostname.strip(".") or " " in parts.netloc:
        raise ValueError(text)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"
