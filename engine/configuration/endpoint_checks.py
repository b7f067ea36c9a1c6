"""Checks of the keys of an endpoint that their types do not make."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from pagefold.engine.configuration.authorization_config import check_authorization
from pagefold.engine.configuration.endpoint_config import (
    Body,
    ChildConfig,
    EndpointConfig,
    PagingConfig,
    RequestConfig,
    origin_at,
)
from pagefold.engine.configuration.export_config import check_export
from pagefold.engine.configuration.header_filters import header_name
from pagefold.engine.configuration.request_templates import (
    AFTER,
    body_places,
    has_place_in_host,
    places_in,
    with_member,
)
from pagefold.engine.configuration.toml_tables import check_path, check_values, check_variable
from pagefold.engine.errors import ConfigurationError

_OWN_HEADERS = frozenset({"accept", "authorization", "connection", "content-length", "host", "transfer-encoding"})
"""Headers that are set otherwise; a token is given by `token_variable`."""

_FORMAT_HEADERS = frozenset({"accept"})
"""Of these, those that have a value of their own unless another is configured."""

_PAGED = ("items", "cursor", "paging", "total", "has_more", "children")

_EMPTY = ("parameter", "member", "after", "value")


def check_endpoint(key: str, endpoint: EndpointConfig) -> Iterator[ConfigurationError]:
    """Yields every problem that the types of the table do not exclude."""
    yield from check_request(key, endpoint)
    for name, child in endpoint.children.items():
        yield from _check_child(f"{key}.children.{name}", child)
    if endpoint.export is not None:
        yield from check_export(f"{key}.export", endpoint.export)
        if has_place_in_host(endpoint.export.url or ""):
            yield ConfigurationError(f"{key}.export.url", "has a place for a value where it says which server is asked")
        for name in _PAGED:
            if getattr(endpoint, name):
                yield ConfigurationError(f"{key}.{name}", "goes with pages; the rows of an export are lines of a file")


def _check_child(key: str, child: ChildConfig) -> Iterator[ConfigurationError]:
    yield from check_request(key, child)
    yield from check_values(f"{key}.only", child.only, "the values of rows that have children, such as ['variable']")
    if has_place_in_host(child.url or ""):
        yield ConfigurationError(f"{key}.url", "has a place for a value where it says which server is asked")
    elif not (places_in(child.url or "") or body_places(child.body)):
        yield ConfigurationError(f"{key}.url", "needs a place for a value of the row, such as {id}")


def check_request(key: str, endpoint: RequestConfig) -> Iterator[ConfigurationError]:
    """The same of requests alone."""
    empty = [name for name in RequestConfig.__struct_fields__ if getattr(endpoint, name) == ""]
    problem = _url_problem(endpoint.url or "")
    if empty or problem is not None:
        yield from (ConfigurationError(f"{key}.{name}", "is empty") for name in empty)
        if problem is not None and "url" not in empty:
            yield ConfigurationError(f"{key}.url", problem)
        return
    for name in ("items", "cursor", "total", "has_more"):
        path: str | None = getattr(endpoint, name)
        if path is not None:
            yield from check_path(f"{key}.{name}", path, f"data.{name}")
    for path in endpoint.error_paths:
        yield from check_path(f"{key}.errors", path, "data.errors")
    yield from _check_cursor(key, endpoint)
    if endpoint.paging is not None:
        yield from _check_paging(f"{key}.paging", endpoint, endpoint.paging)
    yield from _check_body(key, endpoint)
    yield from _check_headers(key, endpoint)
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


def _check_cursor(key: str, endpoint: RequestConfig) -> Iterator[ConfigurationError]:
    given = [name for name in ("cursor_parameter", "cursor_member") if getattr(endpoint, name) is not None]
    if given and endpoint.cursor is None:
        yield ConfigurationError(f"{key}.{given[0]}", "needs cursor as well: the path of the value that it carries")
    if len(given) > 1:
        yield ConfigurationError(f"{key}.cursor_member", "is given beside cursor_parameter; one of them is enough")
    elif endpoint.cursor_member is not None:
        yield from _check_member(f"{key}.cursor_member", endpoint.body, endpoint.cursor_member)


def _check_body(key: str, endpoint: RequestConfig) -> Iterator[ConfigurationError]:
    if endpoint.body is not None and endpoint.method == "GET":
        yield ConfigurationError(f"{key}.method", "is GET, whose requests have no body")


def _check_headers(key: str, endpoint: RequestConfig) -> Iterator[ConfigurationError]:
    secret = {name.lower() for name in endpoint.header_variables}
    for name, value in endpoint.headers.items():
        if header_name.fullmatch(name) is None or name.lower() in _OWN_HEADERS - _FORMAT_HEADERS:
            yield ConfigurationError(f"{key}.headers.{name}", "is not a header that may be given here")
        elif name.lower() in secret:
            yield ConfigurationError(f"{key}.headers.{name}", "is given in header_variables, too")
        elif not (value and value.isascii() and value.isprintable()):
            yield ConfigurationError(
                f"{key}.headers.{name}", "is empty, or has characters that a header cannot contain"
            )


def _check_secrets(key: str, endpoint: RequestConfig) -> Iterator[ConfigurationError]:
    if endpoint.token_variable is not None:
        yield from check_variable(f"{key}.token_variable", endpoint.token_variable)
    for name, variable in endpoint.header_variables.items():
        if header_name.fullmatch(name) is None or name.lower() in _OWN_HEADERS:
            yield ConfigurationError(f"{key}.header_variables.{name}", "is not a header that may be given here")
        yield from check_variable(f"{key}.header_variables.{name}", variable)
    for place, variable in endpoint.body_variables.items():
        yield from _check_member(f"{key}.body_variables.{place}", endpoint.body, place)
        yield from check_variable(f"{key}.body_variables.{place}", variable)
    if endpoint.authorization is not None:
        yield from check_authorization(f"{key}.authorization", endpoint.authorization)
        if endpoint.token_variable is not None:
            yield ConfigurationError(f"{key}.token_variable", "is given beside authorization; one of them is enough")


def _check_paging(key: str, endpoint: RequestConfig, paging: PagingConfig) -> Iterator[ConfigurationError]:
    if not paging.finds_pages:
        if endpoint.cursor is None:
            yield ConfigurationError(f"{key}.parameter", "is required, or member: what says which page is asked for")
    elif endpoint.cursor is not None:
        yield ConfigurationError(key, "contradicts cursor: pages are numbered, or lead to the next one")
    elif endpoint.link_ends:
        yield ConfigurationError(key, "contradicts link_ends: numbered pages lead to no next one")
    if paging.parameter is not None and paging.member is not None:
        yield ConfigurationError(f"{key}.member", "is given beside parameter; one of them is enough")
    yield from (ConfigurationError(f"{key}.{name}", "is empty") for name in _EMPTY if getattr(paging, name) == "")
    if paging.member:
        yield from _check_member(f"{key}.member", endpoint.body, paging.member)
    if paging.after:
        yield from _check_keyset(key, endpoint, paging)
    elif paging.value is not None:
        yield ConfigurationError(f"{key}.value", "goes with after")
    yield from _check_steps(key, paging)


def _check_steps(key: str, paging: PagingConfig) -> Iterator[ConfigurationError]:
    if paging.overlap is not None:
        yield from check_path(f"{key}.overlap", paging.overlap, "id")
        if paging.step != "rows" or paging.after is not None:
            yield ConfigurationError(f"{key}.overlap", 'goes with step = "rows": pages that are asked for by offset')
    if isinstance(paging.step, int) and paging.step < 1:
        yield ConfigurationError(f"{key}.step", f"expected 1 or more, or 'rows', got {paging.step}")


def _check_keyset(key: str, endpoint: RequestConfig, paging: PagingConfig) -> Iterator[ConfigurationError]:
    yield from check_path(f"{key}.after", paging.after or "", "node.id")
    for name in ("first", "step", "repeats_last"):
        if getattr(paging, name) != getattr(PagingConfig(), name):
            yield ConfigurationError(f"{key}.{name}", "goes with pages that have a number; with after, they have none")
    if endpoint.total is not None:
        yield ConfigurationError(f"{key}.after", "goes without total: the last page is one with fewer rows")
    if paging.value is not None and AFTER not in paging.value:
        yield ConfigurationError(f"{key}.value", f"needs {AFTER}: where the value of the last row goes")


def _check_member(key: str, body: Body, path: str) -> Iterator[ConfigurationError]:
    """Yields an error if the body has no place for a value at a path."""
    if not isinstance(body, dict):
        yield ConfigurationError(key, "needs a body that is a table")
        return
    try:
        with_member(body, path, None)
    except ValueError as error:
        yield ConfigurationError(key, str(error))


def _check_host(key: str, host: str, scheme: str) -> Iterator[ConfigurationError]:
    try:
        origin_at(host, scheme)
    except ValueError:
        shown = host.rpartition("@")[2]
        problem = f"{shown!r} is not a host such as 'files.pim.example' or 'https://files.pim.example:8443'"
        yield ConfigurationError(key, problem)
