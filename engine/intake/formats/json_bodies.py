"""JSON bodies and headers of requests, before their content is interpreted."""

from collections.abc import Iterable
from typing import TypeAlias

import msgspec

from pagefold.domains.domain import DECODE_ERRORS
from pagefold.domains.values import MAX_NESTING
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.strict_json import BYTE_ORDER_MARK, check_keys, decode_rejection
from pagefold.projections.transforms.json_text import decode_exactly

Headers: TypeAlias = Iterable[tuple[bytes, bytes]]
"""The headers of a request as received: lower-case names, and values."""

MAX_REQUEST_EVENTS = 5_000
"""Events in one request, in Pagefold's own form or as CloudEvents. They are one transaction."""

_array = msgspec.json.Decoder(list[msgspec.Raw])
MAX_TOGETHER_BYTES = 1024 * 1024
"""Up to this size, the messages of an array are decoded together."""

_encode = msgspec.json.Encoder().encode
_SPACE = b" \t\r\n"
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def read_document(text: bytes) -> object:
    """Decodes one JSON document strictly, whatever its size. Raises `Rejected`.

    Numbers with a fraction or an exponent keep their digits, as `Decimal`.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    try:
        document: object = decode_exactly(text)
    except DECODE_ERRORS as error:
        raise decode_rejection(error, text) from None
    _check_nesting(text, document)
    check_keys(text, _canonical(document))
    return document


def messages_in(text: bytes) -> list[object] | None:
    """The messages in an array, decoded together; None if they have to be read one by one.

    One of them may be wrong then, or they are so many that they should not be in memory at once.
    """
    if len(text) > MAX_TOGETHER_BYTES or not text.lstrip(_SPACE).startswith(b"["):
        return None
    try:
        messages = read_document(text)
    except Rejected:
        return None
    return messages if isinstance(messages, list) else None


def _canonical(document: object) -> bytes:
    """The document as JSON; empty if it has a number that has no form there."""
    try:
        return _encode(document)
    except (OverflowError, RecursionError):
        return b""


def _check_nesting(text: bytes, document: object) -> None:
    """Rejects a document that is too deep. Of most, the brackets alone show that they are not, far faster."""
    brackets = text.translate(None, _NO_BRACKETS)
    for _ in range(MAX_NESTING // 2):  # at least one level, and at most two
        shorter = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if not shorter:
            return
        if len(shorter) == len(brackets):  # some are in texts
            break
        brackets = shorter
    level = [document]
    for _ in range(MAX_NESTING):
        level = [inner for each in level for inner in _inside(each) if isinstance(inner, dict | list)]
        if not level:
            return
    raise Rejected("", f"is nested deeper than {MAX_NESTING}")


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def documents_in(body: bytes) -> list[bytes]:
    """The documents in a body: the elements of an array, the lines of NDJSON, or all of it, which may not be JSON."""
    body = body.removeprefix(BYTE_ORDER_MARK)
    if body.lstrip(_SPACE).startswith(b"["):
        elements = elements_of(body)
        return [body] if elements is None else elements
    lines = [line for line in body.split(b"\n") if line.strip(_SPACE)]
    if len(lines) < 2 or _is_one_document(body):  # noqa: PLR2004  # one line is one document
        return [body]
    return lines


def elements_of(body: bytes) -> list[bytes] | None:
    """The elements of an array, as written; None if the body is not an array."""
    try:
        return [bytes(element) for element in _array.decode(body)]
    except DECODE_ERRORS:
        return None


def _is_one_document(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except DECODE_ERRORS:
        return False
    return True


def batch_size_error(count: int) -> Rejected | None:
    """Why this many events are rejected; None if they are not."""
    return (
        Rejected("", f"has {count} parts; at most {MAX_REQUEST_EVENTS} are allowed")
        if count > MAX_REQUEST_EVENTS
        else None
    )


def header_of(headers: Headers, name: str) -> bytes | None:
    """The value of a header; None if it is absent. Raises `Rejected` if it is repeated."""
    wanted = name.lower().encode()
    values = [value for key, value in headers if key.lower() == wanted]
    if len(values) > 1:
        raise Rejected(name, "is repeated")
    return values[0].strip(b" \t") if values else None
