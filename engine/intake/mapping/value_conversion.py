"""Values of a source as JSON has them: of a database, of a CSV file's cells, of the members of an object.

Text becomes what the domain's payload wants in that place, and stays text where it wants text: a price is never a
number on its way. What does not suit is passed on as it is, for the door to refuse.
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
from pagefold.engine.intake.strict_json import refusal
from pagefold.engine.intake.written_numbers import WrittenNumber, encode_written

_integer = re.compile(r"([+-]?\d{1,40})(?:\.0+)?", re.ASCII)
_index = re.compile(r"\d{1,9}", re.ASCII)
_NULL = b"null"


def whole_payload(value: object) -> bytes | None:
    """A payload in one column, as JSON. NULL withdraws, as `null` does."""
    if value is UNSET:
        raise Rejected("payload", "is required")
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().encode()
    elif isinstance(value, msgspec.Raw):
        text = bytes(value).strip()
    else:
        raise Rejected("payload", f"expected JSON, got {kind_of(value)}")
    return None if text == _NULL else text


def leaf_value(target: str, value: object, wanted: ExpectedType) -> object:
    """A value as JSON has it. Raises `Rejected` for what JSON has nothing like."""
    match value:
        case str():
            return value if wanted.text else _from_text(value, wanted)
        case bool() | int() | msgspec.Raw():
            return value
        case Decimal() if value.is_finite():
            return leaf_value(target, format(value, "f"), wanted)
        case list() | tuple():
            return [None if each is None else leaf_value(target, each, _TEXT) for each in value]
        case _:
            return _as_json(target, value)


def _as_json(target: str, value: object) -> object:
    """The same for what is rarer."""
    match value:
        case float() if math.isfinite(value):
            return value
        case float() | Decimal():
            raise Rejected(target, f"{value} is not a JSON number")
        case datetime():
            return msgspec.to_builtins(moment_of(target, value))
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise Rejected(target, f"{kind_of(value)} has no form in JSON; make it text")


_TEXT = ExpectedType(text=True)


def _from_text(text: str, wanted: ExpectedType) -> object:
    """What is wanted, where the text says it; else the text, for the door to refuse."""
    if wanted.null and text == "null":
        return None
    if wanted.structure and text.lstrip()[:1] in {"[", "{"} and _is_json(text):
        return msgspec.Raw(text.encode())
    if wanted.integer and (integer := _integer.fullmatch(text)):
        return int(integer[1])
    for asked, kind in ((wanted.flag, bool), (wanted.number, float)):
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


def integer_of(target: str, value: object) -> int:
    """A whole number, of a database or in text. Raises `Rejected`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = format(value, "f") if isinstance(value, Decimal) else value
    if isinstance(text, str) and (integer := _integer.fullmatch(text)) is not None:
        return int(integer[1])
    raise Rejected(target, f"expected an integer, got {f'{value!r:.50}' if isinstance(value, str) else kind_of(value)}")


def moment_of(target: str, value: object) -> datetime:
    """A moment with its offset, of a database or in text. Raises `Rejected`."""
    if isinstance(value, str):
        return moment_in(value, target)
    if not isinstance(value, datetime):
        raise Rejected(target, f"expected a moment, got {kind_of(value)}")
    if value.utcoffset() is None:
        problem = "needs its offset from UTC, such as '2026-01-01T00:00:00Z'; in SQL the type is timestamptz"
        raise Rejected(target, problem)
    return value


def kind_of(value: object) -> str:
    """What a value is, for a message: a number as it is written, of anything else no more than its type."""
    if not isinstance(value, msgspec.Raw):
        return f"a value of type {type(value).__name__}"
    text = bytes(value)
    nested = {b"{": "an object", b"[": "an array"}.get(text[:1])
    return nested or f"{text[:50]!r}"[1:]


def moment_in(text: str, path: str) -> datetime:
    """A moment with its offset, as RFC 3339 has it. Raises `Rejected`."""
    try:
        moment: datetime = msgspec.convert(text, Timestamp)
    except msgspec.ValidationError as error:
        raise refusal(error, b"", path) from None
    return moment


def member(raw: msgspec.Raw | None) -> object:
    """A member of an object as a value. What is nested, and a number with a fraction, stays as it is written."""
    if raw is None:
        return UNSET
    text = bytes(raw)
    if text.startswith((b"{", b"[")) or (text.lstrip(b"-")[:1].isdigit() and not text.lstrip(b"-").isdigit()):
        return raw
    value: object = msgspec.json.decode(text)
    return value


def value_at(value: object, names: Sequence[str]) -> object:
    """What stands at the end of a path; UNSET when there is no such place."""
    for name in names:
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and _index.fullmatch(name) and int(name) < len(value):
            value = value[int(name)]
        else:
            return UNSET
    return value


def as_written(value: object) -> object:
    """Objects, arrays and numbers with a fraction go on as JSON: nothing inside them has a target."""
    return msgspec.Raw(encode_written(value)) if isinstance(value, dict | list | float | WrittenNumber) else value
