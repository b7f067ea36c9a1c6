"""Reads a request's body, within limits, and its query parameters."""

from collections import Counter
from collections.abc import Hashable
from functools import lru_cache
from typing import TypeVar, cast
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Message, Receive

from pagefold.engine.errors import Rejected
from pagefold.engine.http.headers import Header, value_of, values_of
from pagefold.engine.http.problems import ClientGone, Problem, given_twice, invalid, overloaded
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK, check_repeated_keys, decode_rejection

Value = TypeVar("Value")

MAX_PARAMETERS = 20


class BodyBudget:
    """The bytes of all bodies that are not answered yet, and the maximum.

    Each body may be as large as allowed, but not all at once: a thousand incomplete or waiting bodies would fill the
    memory.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0


async def read_body(headers: list[Header], receive: Receive, limit: int, incoming: BodyBudget) -> bytes:
    """Reads the whole body, which counts as incoming until the caller removes it. Raises `ClientGone`.

    Raises `Problem` if it is compressed or too large, or if too much arrives at once; nothing of it counts then.
    """
    check_encoding(headers)
    length = value_of(headers, b"content-length")
    if length is not None and length.isdigit() and int(length) > limit:
        raise too_large(limit)
    body = bytearray()
    try:
        await _fill(body, receive, limit, incoming)
    except BaseException:
        incoming.bytes -= len(body)
        raise
    return bytes(body)


async def _fill(body: bytearray, receive: Receive, limit: int, incoming: BodyBudget) -> None:
    while True:
        message = await receive()
        part = _part(message)
        body += part
        incoming.bytes += len(part)
        if len(body) > limit:
            raise too_large(limit)
        if not message.get("more_body"):
            return
        if incoming.bytes > incoming.most:
            raise too_many_bodies()


def _part(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    return part


def check_not_empty(body: bytes) -> None:
    """Rejects an empty body: otherwise a sender whose body was lost would get a 202.

    Raises `Problem`, 422.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    if not text or text.isspace():
        raise invalid("", "the body is empty; nothing was accepted")


def single_value(headers: list[Header], name: bytes) -> bytes | None:
    """The value of a header that must not be repeated; None if absent. Raises `Problem`, 400, if repeated.

    A proxy might use one of two values and this server the other.
    """
    values = values_of(headers, name)
    if len(values) > 1:
        raise given_twice(name)
    return values[0] if values else None


def check_encoding(headers: list[Header]) -> None:
    """Rejects compressed bodies: a kilobyte may expand to a gigabyte. Raises `Problem`, 415."""
    for value in values_of(headers, b"content-encoding"):
        if value.strip().lower() not in {b"", b"identity"}:
            raise Problem(415, "the body must not be compressed", headers=[(b"accept-encoding", b"identity")])


def too_many_bodies() -> Problem:
    """The bodies that are arriving are too large together."""
    return overloaded("too many large requests at a time")


def too_large(limit: int) -> Problem:
    """The body is larger than allowed. The rest of it is not read."""
    return Problem(413, f"the body has more than {limit} bytes", headers=[(b"connection", b"close")])


def read_json(body: bytes, kind: type[Value]) -> Value:
    """Decodes a JSON document. Raises `Problem`: 400 if it is not JSON, else 422 with the path of the error."""
    body = body.removeprefix(BYTE_ORDER_MARK)
    try:
        value = msgspec.json.decode(body, type=kind)
        check_repeated_keys(body)
    except msgspec.ValidationError as error:
        fault = decode_rejection(error, body)
        raise invalid(fault.path, fault.reason) from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {decode_rejection(error, body)}") from None
    except Rejected as refused:
        raise Problem(400, str(refused)) from None
    return value


@lru_cache
def _lists(kind: Hashable) -> frozenset[str]:
    """The parameters that are lists."""
    [schema], components = msgspec.json.schema_components([kind])
    fields = components[schema["$ref"].rpartition("/")[2]]["properties"]
    return frozenset([name for name, field in fields.items() if field.get("type") == "array"])


def read_query(text: bytes, kind: type[Value]) -> Value:
    """Decodes the query parameters. Raises `Problem`, 422, for an unknown, repeated or invalid one.

    A parameter that is a list is given once for each item.
    """
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError:  # including wrong encoding and too many parameters
        raise invalid("", "the query parameters cannot be read") from None
    given: dict[str, str | list[str]] = dict(pairs)
    for name, count in Counter(name for name, _ in pairs).items():
        if name in _lists(cast("Hashable", kind)):
            given[name] = [value for other, value in pairs if other == name]
        elif count > 1:
            raise invalid(name, "is repeated")
    try:
        value = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        fault = decode_rejection(error, b"")
        raise invalid(fault.path, fault.reason) from None
    for name, _ in pairs:
        if getattr(value, name) is None:  # the text `null` was accepted as None
            raise invalid(name, "cannot be null; leave it out")
    return value
