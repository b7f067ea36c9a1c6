"""The types between transforms. Each is a form of JSON, so that what leaves a transform can be stored as it is."""

import re
from collections.abc import Callable, Collection
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum

import msgspec
from msgspec import UNSET

from pagefold.domains.numbers import InexactNumberError, exact_number
from pagefold.domains.values import MAX_INTEGER, MAX_NESTING
from pagefold.projections.transforms.errors import InvalidValue


class ValueType(StrEnum):
    """A type of values; its text is its name in messages and documentation."""

    ANYTHING = "anything"
    TEXT = "text"
    DECIMAL = "decimal text"
    TIMESTAMP = "timestamp"
    DATE = "date"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    OBJECT = "object"
    LOCALIZED = "text by locale"
    METRIC = "metric"


MEANINGS = {
    ValueType.ANYTHING: "any JSON value, checked when the value is seen",
    ValueType.TEXT: "a text",
    ValueType.DECIMAL: 'a text that is an exact decimal number, such as `"19.90"`',
    ValueType.TIMESTAMP: 'a text in RFC 3339, in UTC, such as `"2026-03-31T22:00:00Z"`',
    ValueType.DATE: 'a text such as `"2026-03-31"`',
    ValueType.INTEGER: "an integer up to 2^53−1",
    ValueType.NUMBER: "a JSON number that a double represents exactly",
    ValueType.BOOLEAN: "true or false",
    ValueType.LIST: "an array",
    ValueType.OBJECT: "an object",
    ValueType.LOCALIZED: 'an object of texts, or lists of texts, by canonical BCP 47 tags, such as `{"de": "Hemd"}`',
    ValueType.METRIC: 'an object of a decimal text and a unit, such as `{"amount": "1.25", "unit": "KILOGRAM"}`',
}

_GENERAL = {
    ValueType.DECIMAL: ValueType.TEXT,
    ValueType.TIMESTAMP: ValueType.TEXT,
    ValueType.DATE: ValueType.TEXT,
    ValueType.INTEGER: ValueType.NUMBER,
    ValueType.LOCALIZED: ValueType.OBJECT,
    ValueType.METRIC: ValueType.OBJECT,
}
"""Each type that is a special form of another."""


def accepts(inputs: Collection[ValueType], given: ValueType) -> bool:
    """Whether a transform with these inputs can follow one with this output. What is not known is accepted."""
    return (
        ValueType.ANYTHING in inputs or given is ValueType.ANYTHING or given in inputs or _GENERAL.get(given) in inputs
    )


_decimal_text = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII).fullmatch
_timestamp_text = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z", re.ASCII).fullmatch
_date_text = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII).fullmatch


def _is_metric(value: object) -> bool:
    return isinstance(value, dict) and value.keys() == {"amount", "unit"} and all(map(_is_text, value.values()))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_texts(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(map(_is_text, value)))


def _is_integer(value: object) -> bool:
    return type(value) is int and abs(value) <= MAX_INTEGER


_PREDICATES: dict[ValueType, Callable[[object], bool]] = {
    ValueType.ANYTHING: lambda _: True,
    ValueType.TEXT: _is_text,
    ValueType.DECIMAL: lambda value: isinstance(value, str) and _decimal_text(value) is not None,
    ValueType.TIMESTAMP: lambda value: isinstance(value, str) and _timestamp_text(value) is not None,
    ValueType.DATE: lambda value: isinstance(value, str) and _date_text(value) is not None,
    ValueType.INTEGER: _is_integer,
    ValueType.NUMBER: lambda value: _is_integer(value) or type(value) is float,
    ValueType.BOOLEAN: lambda value: isinstance(value, bool),
    ValueType.LIST: lambda value: isinstance(value, list),
    ValueType.OBJECT: lambda value: isinstance(value, dict),
    ValueType.LOCALIZED: lambda value: isinstance(value, dict) and all(map(_is_text_or_texts, value.values())),
    ValueType.METRIC: _is_metric,
}


def has_type(value: object, expected: ValueType) -> bool:
    """Whether a value has a type, to the letter: 1 is not true, and `"1"` is not an integer."""
    return _PREDICATES[expected](value)


def is_blank(value: object) -> bool:
    """Whether there is nothing: absent, null, or text without anything but space. 0, false and `[]` are values."""
    return value is None or value is UNSET or (type(value) is str and (not value or value.isspace()))


_PLAIN = frozenset({str, int, bool, type(None)})


def to_json(value: object, depth: int = 0) -> object:
    """The JSON form of a value of a record: numbers exactly, moments in UTC. Raises `InvalidValue` if it has none.

    A number with a fraction of zero is an integer, so that `12.0` and `12` are one value whichever way they came.
    `depth` is how many lists and objects are around the value.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if depth > MAX_NESTING:
        raise InvalidValue("not_json", value, f"is nested deeper than {MAX_NESTING} levels")
    if kind is list or kind is tuple:
        return [to_json(each, depth + 1) for each in value]  # type: ignore[attr-defined]  # it is a list or a tuple
    if kind is dict:
        return {name: to_json(each, depth + 1) for name, each in value.items()}  # type: ignore[attr-defined]  # it is a dict
    if kind is Decimal or kind is float:
        return to_json_number(value)  # type: ignore[arg-type]  # it is one of these
    return _written(value)


def to_json_number(value: Decimal | float) -> int | float:
    """An integer if the fraction is zero and it is not beyond 2^53−1, else a double. Raises `InvalidValue`."""
    if isinstance(value, Decimal):
        if not value.is_finite():
            raise InvalidValue("not_json", value, "is not a JSON number")
        if value.copy_abs() <= MAX_INTEGER and value == value.to_integral_value():
            return int(value)
        try:
            return exact_number(str(value))
        except InexactNumberError:
            raise InvalidValue("inexact", value, "is not exact as a double; write it as text (`decimal`)") from None
    if value - value != 0:
        raise InvalidValue("not_json", value, "is not a JSON number")
    return int(value) if value.is_integer() and abs(value) <= MAX_INTEGER else value


def _written(value: object) -> object:
    match value:
        case datetime():
            return timestamp_text(value)
        case date() | time():
            return value.isoformat()
        case _ if type(value).__qualname__ == "UUID":
            return msgspec.to_builtins(value)
        case _:
            raise InvalidValue("not_json", value, "has no JSON form")


def timestamp_text(value: datetime) -> str:
    """RFC 3339 in UTC, with a fraction only where there is one. Raises `InvalidValue` without an offset."""
    if value.utcoffset() is None:
        raise InvalidValue("no_offset", value, "has no offset from UTC; give its `zone`")
    try:
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    except OverflowError:
        raise InvalidValue("out_of_range", value, "is outside the years 1 to 9999 in UTC") from None
