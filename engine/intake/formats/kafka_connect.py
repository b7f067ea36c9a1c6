"""Kafka Connect's schemas, beside the values that they describe: what a number or a text stands for.

Without its schema, a decimal in bytes or a moment in microseconds cannot be told from a text and a number.
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

import msgspec

from pagefold.engine.errors import Rejected
from pagefold.engine.intake.mapping.value_conversion import as_written

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
"""By name of a moment: what it is multiplied with, then divided by."""

_LONGEST_DECIMAL = 64
"""Bytes."""

_LARGEST_SCALE = 1_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ConnectType(NamedTuple):
    """What a column holds, by the name of its type; `scale` is that of a decimal."""

    name: str
    scale: str | None = None


class _Field(msgspec.Struct, frozen=True):
    field: str | None = None
    name: str | None = None
    parameters: dict[str, object] | None = None
    fields: list["_Field"] | None = None


def kinds_in(schema: object, part: str) -> dict[str, ConnectType]:
    """The columns of a part of an envelope whose types have names. Raises `Rejected` for what is no schema."""
    if schema is None:
        return {}
    try:
        whole = msgspec.convert(schema, _Field)
    except msgspec.ValidationError as error:
        raise Rejected("schema", f"is no schema of Kafka Connect: {error}") from None
    columns = [column for field in whole.fields or () if field.field == part for column in field.fields or ()]
    return {
        column.field: ConnectType(column.name, str((column.parameters or {}).get("scale")))
        for column in columns
        if column.field is not None and column.name is not None
    }


def plain_value(target: str, value: object, kind: ConnectType | None) -> object:
    """A value as its schema means it; without one, as it stands. Raises `Rejected`."""
    if kind is None or value is None:
        return as_written(value)
    if kind.name == _DECIMAL and isinstance(value, str):
        return _decimal(target, value, kind.scale)
    if kind.name == _VARIABLE_DECIMAL and isinstance(value, Mapping):
        return _decimal(target, str(value.get("value")), str(value.get("scale")))
    if kind.name == _JSON and isinstance(value, str):
        return _json(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(target, value, kind)
    return as_written(value)


def moment_at(target: str, microseconds: int) -> datetime:
    """A moment by its distance from 1970. Raises `Rejected`."""
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise Rejected(target, "is outside the years 1 to 9999 in UTC") from None


def _number(target: str, value: int, kind: ConnectType) -> object:
    if kind.name in _MICROSECONDS:
        factor, divisor = _MICROSECONDS[kind.name]
        return moment_at(target, value * factor // divisor)
    if kind.name in _DATES:
        try:
            return date(1970, 1, 1) + timedelta(days=value)
        except OverflowError:
            raise Rejected(target, "is outside the years 1 to 9999") from None
    return value


def _decimal(target: str, encoded: str, scale: str | None) -> Decimal:
    """The unscaled integer in big-endian bytes, in base64."""
    try:
        unscaled = base64.b64decode(encoded, validate=True)
        exponent = int(scale or "")
    except (binascii.Error, ValueError):
        raise Rejected(target, "is no decimal of Kafka Connect: base64, and its scale in the schema") from None
    if not 0 < len(unscaled) <= _LONGEST_DECIMAL or abs(exponent) > _LARGEST_SCALE:
        raise Rejected(target, "is a decimal of more digits than any column has")
    number = int.from_bytes(unscaled, "big", signed=True)
    digits = tuple(int(digit) for digit in str(abs(number)))
    return Decimal((int(number < 0), digits, -exponent))


def _json(text: str) -> object:
    """JSON in a text, as itself; what is none stays text, for the door to refuse."""
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return text
    return msgspec.Raw(text.encode())
