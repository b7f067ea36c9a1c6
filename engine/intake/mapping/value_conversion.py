"""Converts values of databases, CSV cells and JSON members to JSON values.

Text becomes the type that the domain's payload expects at its path, and stays text where text is accepted: a price is
never a number on its way. A value that does not fit is passed on, for the validator to reject.
"""

import math
import re
from collections.abc import Sequence
from datetime import date, datetime, time
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec import UNSET

from pagefold.domains.values import Timestamp
from pagefold.engine.errors import Rejected
from pagefold.engine.intake.mapping.payload_types import ExpectedType
from pagefold.engine.intake.strict_json import decode_rejection

_integer = re.compile(r"([+-]?\d{1,40})(?:\.0+)?", re.ASCII)
_index = re.compile(r"\d{1,9}", re.ASCII)
_NULL = b"null"


def root_payload(value: object) -> bytes | None:
    """A whole payload in one column, as JSON. NULL and `null` withdraw."""
    if value is UNSET:
        raise Rejected("payload", "is required")
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().encode()
    elif isinstance(value, msgspec.Raw):
        text = bytes(value).strip()
    else:
        raise Rejected("payload", f"expected JSON, got {describe_type(value)}")
    return None if text == _NULL else text


def to_json_value(target: str, value: object, expected: ExpectedType) -> object:
    """The JSON form of a value. Raises `Rejected` if it has none."""
    match value:
        case str():
            return value if expected.text else _from_text(value, expected)
        case bool() | int() | msgspec.Raw():
            return value
        case Decimal() if value.is_finite():
            return to_json_value(target, format(value, "f"), expected)
        case list() | tuple():
            return [None if each is None else to_json_value(target, each, _TEXT) for each in value]
        case _:
            return _as_json(target, value)


def _as_json(target: str, value: object) -> object:
    """The same for less common types."""
    match value:
        case float() if math.isfinite(value):
            return value
        case float() | Decimal():
            raise Rejected(target, f"{value} is not a JSON number")
        case datetime():
            return msgspec.to_builtins(to_timestamp(target, value))
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise Rejected(target, f"{describe_type(value)} has no JSON form; convert it to text")


_TEXT = ExpectedType(text=True)


def _from_text(text: str, expected: ExpectedType) -> object:
    """The expected type if the text can be read as it; else the text, for the validator to reject."""
    if expected.null and text == "null":
        return None
    if expected.structure and text.lstrip()[:1] in {"[", "{"} and _is_json(text):
        return msgspec.Raw(text.encode())
    if expected.integer and (integer := _integer.fullmatch(text)):
        return int(integer[1])
    for asked, kind in ((expected.flag, bool), (expected.number, float)):
        if asked:
            try:
                value: object = msgspec.convert(text, kind, strict=False)
            except msgspec.ValidationError:
                continue
            if not isinstance(value, float) or math.isfinite(value):
                return value
    return text


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def to_integer(target: str, value: object) -> int:
    """An integer, from a database value or text. Raises `Rejected`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = format(value, "f") if isinstance(value, Decimal) else value
    if isinstance(text, str) and (integer := _integer.fullmatch(text)) is not None:
        return int(integer[1])
    raise Rejected(
        target, f"expected an integer, got {f'{value!r:.50}' if isinstance(value, str) else describe_type(value)}"
    )


def to_timestamp(target: str, value: object) -> datetime:
    """A timestamp with an offset, from a database value or text. Raises `Rejected`."""
    if isinstance(value, str):
        return parse_timestamp(value, target)
    if not isinstance(value, datetime):
        raise Rejected(target, f"expected a timestamp, got {describe_type(value)}")
    if value.utcoffset() is None:
        problem = "needs its offset from UTC, such as '2026-01-01T00:00:00Z'; in SQL the type is timestamptz"
        raise Rejected(target, problem)
    return value


def describe_type(value: object) -> str:
    """Describes a value for a message: a number as written, anything else by its type."""
    if not isinstance(value, msgspec.Raw):
        return f"a value of type {type(value).__name__}"
    text = bytes(value)
    nested = {b"{": "an object", b"[": "an array"}.get(text[:1])
    return nested or f"{text[:50]!r}"[1:]


def parse_timestamp(text: str, path: str) -> datetime:
    """Parses an RFC 3339 timestamp with an offset. Raises `Rejected`."""
    try:
        moment: datetime = msgspec.convert(text, Timestamp)
    except msgspec.ValidationError as error:
        raise decode_rejection(error, b"", path) from None
    return moment


def value_at(value: object, names: Sequence[str]) -> object:
    """The value at the end of a path; UNSET if there is none."""
    for name in names:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _index.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return UNSET
    return value
