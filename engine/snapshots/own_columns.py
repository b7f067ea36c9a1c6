"""Columns that are named like the fields of an event: tables in Pagefold's own form, which need no contract.

They are no contract: Pagefold's own form is strict, and what other systems mean with a value does not count. Only text
becomes the type that its field expects. Empty values are left out: missing is not zero. So is null, except where null
has a meaning of its own, such as stock that is not counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import Rejected, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.mapping.payload_types import ExpectedType, expected_type
from pagefold.engine.intake.mapping.value_conversion import (
    describe_type,
    root_payload,
    to_integer,
    to_json_value,
    to_timestamp,
)
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.json_rows import default_values, fixed_parts

EVENT_FIELDS = (
    "type",
    "sku",
    "channel",
    "source",
    "sourceVersion",
    "occurredAt",
    "id",
    "correlationId",
    "epoch",
    "payload",
)
"""The fields of an event that a column may give; inside the payload, `payload.` and dotted names."""

_encoder = msgspec.json.Encoder()
_REQUIRED = ("sku", "sourceVersion", "occurredAt", "type", "payload")
_UNKNOWN = ExpectedType()


class _PayloadField(NamedTuple):
    """A value inside the payload: its name as a column, its path, and its column."""

    target: str
    path: Sequence[str]
    column: int


class EventColumns:
    """Finds the columns of a source's events in a table, which `where` names. Raises `ConfigurationError`."""

    def __init__(self, config: Config, source: str, where: str) -> None:
        self._config = config
        self._source = source
        self._where = where
        self._fixed = fixed_parts(config, source)
        self._defaults = default_values(config, source)
        self._payloads: dict[str, type[msgspec.Struct]] = {
            domain.name: domain.payload for domain in DOMAINS if domain.name in config.sources[source].domains
        }

    def bind(self, names: Sequence[str]) -> tuple["BoundColumns", Coverage]:
        """The columns among these names, and what their rows cover.

        Raises `SourceFailed` unless each is a field of an event, once, and those that are required are there.
        """
        repeated = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if repeated is not None:
            raise SourceFailed(self._where, f"has two columns named {repeated!r}")
        self._check(names)
        indices = {name: index for index, name in enumerate(names)}
        constants = {**self._defaults, **self._fixed}
        bound = BoundColumns(indices, constants, self._payloads)
        fixed = {target: value for target, value in constants.items() if target not in indices}
        return bound, Coverage.of_events(self._config, self._source, fixed)

    def _check(self, names: Sequence[str]) -> None:
        hint = "a contract says what columns with other names mean"
        for name in names:
            if (problem := self._error(name)) is not None:
                raise SourceFailed(self._where, f"its column {name!r} {problem}; {hint}")
            if name in self._fixed:
                key = f"sources.{self._source}.snapshot.constants"
                raise SourceFailed(self._where, f"has a column {name!r}, which is also in {key}")
        if (missing := self._missing(names)) is not None:
            raise SourceFailed(self._where, f"has no column {missing!r}; it has {', '.join(names)}; {hint}")

    def _missing(self, names: Iterable[str]) -> str | None:
        given = {*names, *self._fixed, *self._defaults}
        if any(name.startswith("payload.") for name in given):
            given.add("payload")
        return next((name for name in _REQUIRED if name not in given), None)

    def _error(self, name: str) -> str | None:
        """Why a column of this name cannot be part of an event; None if it can."""
        first, *path = name.split(".")
        if name not in EVENT_FIELDS and not (first == "payload" and all(path)):
            hint = suggestion(name, EVENT_FIELDS, "fields")
            return f"is not a field of an event; {hint}, and payload.… for those inside"
        if path and not any(expected_type(payload, path) for payload in self._payloads.values()):
            fields = [field for payload in self._payloads.values() for field in payload.__struct_encode_fields__]
            domains = " or ".join(self._payloads)
            return f"is not a field of the {domains} payload; {suggestion(path[0], fields, 'fields')}"
        return None


class BoundColumns:
    """Columns in their order: `event` turns the values of a row into an event."""

    def __init__(
        self,
        indices: Mapping[str, int],
        constants: Mapping[str, str],
        payloads: Mapping[str, type[msgspec.Struct]],
    ) -> None:
        self._indices = indices
        self._constants = constants
        fields = [_PayloadField(name, name.split(".")[1:], index) for name, index in indices.items()]
        self._fields = [field for field in fields if field.path]
        self._expected = {
            name: [expected_type(payload, field.path) or _UNKNOWN for field in self._fields]
            for name, payload in payloads.items()
        }
        self._unknown = [_UNKNOWN] * len(self._fields)

    def event(self, values: Sequence[object]) -> DomainEvent:
        """The event of one row. UNSET and None are left out. Raises `Rejected`."""
        domain = self._text("type", values)
        return DomainEvent(
            type=domain,
            sku=self._text("sku", values),
            channel=self._text("channel", values),
            source=self._text("source", values),
            source_version=to_integer("sourceVersion", self._value("sourceVersion", values)),
            occurred_at=to_timestamp("occurredAt", self._value("occurredAt", values)),
            payload=self._payload(values, domain),
            id=self._optional_text("id", values) if "id" in self._indices else None,
            correlation_id=self._optional_text("correlationId", values) if "correlationId" in self._indices else None,
            epoch=self._epoch(values) if "epoch" in self._indices else None,
        )

    def _given(self, name: str, values: Sequence[object]) -> object:
        """The value of a column; UNSET if it has none."""
        index = self._indices.get(name)
        value = UNSET if index is None else values[index]
        return UNSET if value is None else value

    def _value(self, name: str, values: Sequence[object]) -> object:
        index = self._indices.get(name)
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._constants.get(name, UNSET)
            if value is UNSET:
                raise Rejected(name, "is required")
        return value

    def _text(self, name: str, values: Sequence[object]) -> str:
        """The value as text; numbers and UUIDs can be names, too."""
        value = self._value(name, values)
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | Decimal | UUID):
            raise Rejected(name, f"expected a string, got {describe_type(value)}")
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def _optional_text(self, name: str, values: Sequence[object]) -> str | None:
        return None if self._given(name, values) is UNSET else self._text(name, values)

    def _epoch(self, values: Sequence[object]) -> int | None:
        value = self._given("epoch", values)
        return None if value is UNSET else to_integer("epoch", value)

    def _payload(self, values: Sequence[object], domain: str) -> bytes | None:
        if (index := self._indices.get("payload")) is not None:
            return root_payload(values[index])
        payload: dict[str, object] = {}
        expected_types = self._expected.get(domain, self._unknown)
        for (target, path, column), expected in zip(self._fields, expected_types, strict=True):
            value = values[column]
            if value is UNSET or (value is None and not expected.null):
                continue
            into = payload
            for name in path[:-1]:
                into = into.setdefault(name, {})  # type: ignore[assignment]  # no column is inside another
            into[path[-1]] = None if value is None else to_json_value(target, value, expected)
        return _encoder.encode(payload)
