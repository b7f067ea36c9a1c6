"""Decodes values by their Kafka Connect schemas.

Without its schema, a decimal in bytes looks like text, and a timestamp in microseconds like a number.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from pagefold.engine.errors import Rejected
from pagefold.projections.transforms import InvalidValue
from pagefold.projections.transforms.json_text import parse_json

_DECIMAL = "org.apache.kafka.connect.data.Decimal"
_VARIABLE_DECIMAL = "io.debezium.data.VariableScaleDecimal"
_JSON = "io.debezium.data.Json"
_DATES = frozenset({"io.debezium.time.Date", "org.apache.kafka.connect.data.Date"})
_MICROSECONDS = {
    "io.debezium.time.Timestamp": (1_000, 1),
    "org.apache.kafka.connect.data.Timestamp": (1_000, 1),
    "io.debezium.time.MicroTimestamp": (1, 1),
    "io.debezium.time.NanoTimestamp": (1, 1_000),
}
"""By type: the factor and the divisor that turn a value into microseconds."""

_MAX_DECIMAL_BYTES = 64
"""Bytes."""

_MAX_DECIMAL_SCALE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ConnectType(NamedTuple):
    """The type of a column by its name; `scale` is that of a decimal."""

    name: str
    scale: str | None = None


class _Field(msgspec.Struct, frozen=True):
    field: str | None = None
    name: str | None = None
    parameters: dict[str, object] | None = None
    fields: list["_Field"] | None = None


def column_types(schema: object, part: str) -> dict[str, ConnectType]:
    """The named types of the columns in a part of an envelope. Raises `Rejected` for an invalid schema."""
    if schema is None:
        return {}
    try:
        whole = msgspec.convert(schema, _Field)
    except msgspec.ValidationError as error:
        raise Rejected("schema", f"is not a Kafka Connect schema: {error}") from None
    columns = [column for field in whole.fields or () if field.field == part for column in field.fields or ()]
    return {
        column.field: ConnectType(column.name, str((column.parameters or {}).get("scale")))
        for column in columns
        if column.field is not None and column.name is not None
    }


def decode_value(target: str, value: object, kind: ConnectType) -> object:
    """A value as its schema defines it. Raises `Rejected`.

    A moment of a column without a time zone has no offset. What is before the year 1 or after 9999 is an open end.
    """
    if value is None:
        return None
    if kind.name == _DECIMAL and isinstance(value, str):
        return _decimal(target, value, kind.scale)
    if kind.name == _VARIABLE_DECIMAL and isinstance(value, Mapping):
        return _decimal(target, str(value.get("value")), str(value.get("scale")))
    if kind.name == _JSON and isinstance(value, str):
        return _json(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(value, kind)
    return value


def timestamp_at(target: str, microseconds: int) -> datetime:
    """The timestamp that is this far from 1970. Raises `Rejected`."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise Rejected(target, "is outside the years 1 to 9999 in UTC") from None


def _number(value: int, kind: ConnectType) -> object:
    try:
        if kind.name in _MICROSECONDS:
            factor, divisor = _MICROSECONDS[kind.name]
            return (_EPOCH + timedelta(microseconds=value * factor // divisor)).replace(tzinfo=None)
        return date(1970, 1, 1) + timedelta(days=value) if kind.name in _DATES else value
    except OverflowError:
        return "infinity" if value > 0 else "-infinity"


def _decimal(target: str, encoded: str, scale: str | None) -> Decimal:
    """The decimal whose unscaled integer is given as big-endian bytes in base64."""
    try:
        unscaled = base64.b64decode(encoded, validate=True)
        exponent = int(scale or "")
    except (binascii.Error, ValueError):
        raise Rejected(target, "is not a Kafka Connect decimal: expected base64, and a scale in the schema") from None
    if not 0 < len(unscaled) <= _MAX_DECIMAL_BYTES or abs(exponent) > _MAX_DECIMAL_SCALE:
        raise Rejected(target, "has too many digits for a decimal")
    number = int.from_bytes(unscaled, "big", signed=True)
    digits = tuple(int(digit) for digit in str(abs(number)))
    return Decimal((int(number < 0), digits, -exponent))


def _json(text: str) -> object:
    """JSON given in a text; text that is not JSON stays text."""
    try:
        return parse_json(text)
    except InvalidValue:
        return text
