"""Reading what a request says: its body, within limits, and the parameters behind the question mark."""

from collections import Counter
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Message, Receive

from pagefold.engine.errors import Rejected
from pagefold.engine.http.headers import Header, value_of, values_of
from pagefold.engine.http.problems import ClientGone, Problem, given_twice, invalid, overloaded
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK, check_repeated_keys, decode_rejection

Value = TypeVar("Value")

MOST_PARAMETERS = 20


class BodyBudget:
    """What has arrived of all bodies that are not answered yet, in bytes, and how many there may be.

    A body may be as large as it is allowed to be, but not all of them at once: whoever sends a thousand, and none of
    them to its end, would fill the memory, and so would a thousand that wait to be read.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0


async def read_body(headers: list[Header], receive: Receive, limit: int, incoming: BodyBudget) -> bytes:
    """The body, whole, which counts as incoming until the caller takes it out. Raises `ClientGone`.

    Raises `Problem` for one that is compressed or too large, or when too much arrives at a time: then nothing of it
    counts.
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
            raise too_many()


def _part(message: Message) -> bytes:
    if message["type"] == "http.disconnect":
        raise ClientGone
    part: bytes = message.get("body", b"")
    return part


def check_said(body: bytes) -> None:
    """Something must be in it: whatever lost a body on its way would else be told that it was taken.

    Raises `Problem`, 422.
    """
    text = body.removeprefix(BYTE_ORDER_MARK)
    if not text or text.isspace():
        raise invalid("", "the body is empty: what was to be in it has not come, and nothing was taken")


def single_value(headers: list[Header], name: bytes) -> bytes | None:
    """The value of a header that is given once; None when there is none. Raises `Problem`, 400 for one given twice.

    Of two, one would be believed here and the other by whoever stands in between.
    """
    values = values_of(headers, name)
    if len(values) > 1:
        raise given_twice(name)
    return values[0] if values else None


def check_encoding(headers: list[Header]) -> None:
    """Nothing is unpacked: a kilobyte may hold a gigabyte. Raises `Problem`, 415."""
    for value in values_of(headers, b"content-encoding"):
        if value.strip().lower() not in {b"", b"identity"}:
            raise Problem(415, "the body must not be compressed", headers=[(b"accept-encoding", b"identity")])


def too_many() -> Problem:
    """Bodies arrive, of which each is small enough, and all together are not."""
    return overloaded("too many large requests arrive at a time")


def too_large(limit: int) -> Problem:
    """The body has more bytes than are taken. What is left of it is not read."""
    return Problem(413, f"the body has more than {limit} bytes", headers=[(b"connection", b"close")])


def read_json(body: bytes, kind: type[Value]) -> Value:
    """A JSON document of that type. Raises `Problem`, 400 for what is no JSON, else 422 with the place of the fault."""
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


def read_query(text: bytes, kind: type[Value]) -> Value:
    """The parameters behind the question mark. Raises `Problem`, 422 for one that is unknown, doubled or wrong."""
    try:
        pairs = parse_qsl(text.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:  # among them those of its text and of its count
        raise invalid("", "the parameters behind the question mark cannot be read") from None
    for name, count in Counter(name for name, _ in pairs).items():
        if count > 1:
            raise invalid(name, "is given twice")
    try:
        value = msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        fault = decode_rejection(error, b"")
        raise invalid(fault.path, fault.reason) from None
    for name, _ in pairs:
        if getattr(value, name) is None:  # the word `null` was taken for it
            raise invalid(name, "cannot be null; leave it out")
    return value
