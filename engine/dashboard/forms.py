"""Reads the fields of a form: `application/x-www-form-urlencoded`, within the limits of every request."""

from collections import Counter
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive

from pagefold.engine.http.headers import Header, value_of
from pagefold.engine.http.problems import Problem, invalid, unsupported
from pagefold.engine.http.request_body import read_body
from pagefold.engine.http.server_context import ServerContext
from pagefold.engine.intake.strict_json import decode_rejection

Form = TypeVar("Form", bound=msgspec.Struct)

MEDIA_TYPE = b"application/x-www-form-urlencoded"
MAX_FIELDS = 50
CSRF = "csrf"
"""The field that every form has, made by `ui.form`."""


async def fields_in(service: ServerContext, headers: list[Header], receive: Receive) -> dict[str, str]:
    """The fields of a form. Raises `Problem` for another type, a repeated field, or too large a form; `ClientGone`."""
    given = (value_of(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    if given != MEDIA_TYPE:
        raise unsupported(MEDIA_TYPE.decode())
    body = await read_body(headers, receive, service.config.http.max_body_bytes, service.incoming)
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:  # including wrong encoding and too many fields
        raise Problem(400, "the form cannot be read") from None
    finally:
        service.incoming.bytes -= len(body)
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise invalid(name, "is repeated")
    return dict(pairs)


def form_in(fields: Mapping[str, str], kind: type[Form]) -> Form:
    """The fields as declared by a route. A field left blank counts as absent. Raises `Problem`, 422."""
    given = {name: value.replace("\r\n", "\n") for name, value in fields.items() if name != CSRF and value.strip()}
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        fault = decode_rejection(error, b"")
        raise invalid(fault.path, fault.reason) from None
