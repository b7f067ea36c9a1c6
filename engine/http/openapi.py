"""The OpenAPI 3.1 document, generated from the routes and types with which the server validates."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
import orjson

from pagefold.engine.http.problems import MEDIA_TYPE, ProblemDetails
from pagefold.engine.http.routing import HeaderField, Route
from pagefold.engine.runtime.version import version

Document: TypeAlias = dict[str, Any]  # `Any`, because JSON Schema is any JSON

REFERENCE = "#/components/schemas/{name}"
_parameter = re.compile(r"\{(\w+)\}")

ALWAYS = {
    400: "The request is not valid HTTP, repeats a header or key, or its body is not JSON",
    408: "The request was not complete in time",
    421: "There are no tokens, and `Host` is neither this machine nor in `hosts` of the configuration",
    429: "The server is overloaded",
    431: "The headers are too large, or too many",
    500: "The server failed; see its log",
    501: "The body has a transfer coding other than chunked",
    503: "The store is unavailable, or there are too many connections: the same request can be sent again",
    505: "The HTTP version is neither 1.0 nor 1.1",
}
RETRY = [HeaderField("Retry-After", "Seconds after which to try again.")]
HEADERS = {
    401: [HeaderField("WWW-Authenticate", "The authentication scheme.")],
    429: RETRY,
    503: RETRY,
}
"""The headers of problems, by status."""

SCOPED = {401: "The token is missing or not valid", 403: "The token does not have the scope"}
WITH_BODY = {
    413: "The body is too large",
    415: "The body has an unsupported type, or is compressed",
    422: "The body is not valid, or is empty",
}
WITH_PARAMETERS = {422: "A parameter is invalid"}


def document(routes: Sequence[Route]) -> bytes:
    """The document, as JSON."""
    schemas, components = msgspec.json.schema_components(_types(routes), schema_hook=_any, ref_template=REFERENCE)
    of = dict(zip(map(_key, _types(routes)), schemas, strict=True))
    paths: dict[str, Document] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, of)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {"title": "Pagefold", "version": version(), "summary": "Ready-made product pages"},
            "paths": paths,
            "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        }
    )


def _any(kind: object) -> Document:
    """The schema of `object`: any JSON. Raises `NotImplementedError` for types without a schema."""
    if kind is not object:
        raise NotImplementedError
    return {"description": "Any JSON."}


def _types(routes: Iterable[Route]) -> list[Any]:
    """Every type of a body or response."""
    return [ProblemDetails, *(each for route in routes for each in _types_of(route))]


def _types_of(route: Route) -> Iterator[object]:
    yield from route.bodies.values()
    yield from (answer.content for answer in route.answers if answer.content is not None)


def _key(kind: object) -> str:
    return repr(kind)


def _operation(route: Route, of: Mapping[str, Document]) -> Document:
    parameters = [*_in_path(route), *_in_query(route), *_in_headers(route)]
    found: Document = {
        "operationId": route.name,
        "summary": route.summary,
        "responses": dict(_answers(route, of)),
        "security": [] if route.scope is None else [{"token": [route.scope]}],
    }
    if parameters:
        found["parameters"] = parameters
    if route.bodies:
        content = {media_type: {"schema": of[_key(kind)]} for media_type, kind in route.bodies.items()}
        found["requestBody"] = {"required": True, "content": content}
    return found


def _in_path(route: Route) -> Iterator[Document]:
    for name in _parameter.findall(route.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(route: Route) -> Iterator[Document]:
    [schema], components = msgspec.json.schema_components([route.query], ref_template=REFERENCE)
    properties = components[schema["$ref"].rpartition("/")[2]]["properties"]
    for field in msgspec.structs.fields(route.query):
        yield {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _without_null(properties[field.encode_name]),
        }


def _in_headers(route: Route) -> Iterator[Document]:
    for name, description in route.headers:
        yield {
            "name": name,
            "in": "header",
            "required": False,
            "description": description,
            "schema": {"type": "string"},
        }


def _without_null(schema: Document) -> Document:
    """A parameter may be left out, but not null."""
    choices = [each for each in schema.get("anyOf", ()) if each.get("type") != "null"]
    if "enum" in schema:
        return {**schema, "enum": [each for each in schema["enum"] if each is not None]}
    return choices[0] if len(choices) == 1 else {key: value for key, value in schema.items() if value is not None}


def _answers(route: Route, of: Mapping[str, Document]) -> Iterator[tuple[str, Document]]:
    declared: dict[str, Document] = {}
    for status, description in sorted(_problems(route).items()):
        declared[str(status)] = _problem(status, description)
    for answer in route.answers:
        found: Document = {"description": answer.description, **_headers(answer.headers)}
        if answer.content is not None:
            found["content"] = {answer.media_type: {"schema": of[_key(answer.content)]}}
        declared[str(answer.status)] = found
    yield from sorted(declared.items())


def _problems(route: Route) -> dict[int, str]:
    found = {**ALWAYS, **(SCOPED if route.scope is not None else {}), **(WITH_BODY if route.bodies else {})}
    if not route.bodies:
        found |= WITH_PARAMETERS
    if route.pushed:
        del found[429]
    return {**found, **route.problems}


def _headers(headers: Iterable[HeaderField]) -> Document:
    described = {
        name: {"description": description, "required": True, "schema": {"type": "string"}}
        for name, description in headers
    }
    return {"headers": described} if described else {}


def _problem(status: int, description: str) -> Document:
    return {
        "description": description,
        **_headers(HEADERS.get(status, ())),
        "content": {MEDIA_TYPE: {"schema": {"$ref": REFERENCE.format(name="ProblemDetails")}}},
    }
