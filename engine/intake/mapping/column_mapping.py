"""Maps named columns to events: cells of a CSV file, values of a query's result, members of a JSON object.

The configuration says which column gives which part of the event. Empty values are left out: missing is not zero. So is
null, except where null has a meaning of its own, such as stock that is not counted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.configuration.toml_tables import event_field_error
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
from pagefold.projections.streams import EVERY_CHANNEL

_encoder = msgspec.json.Encoder()
_REQUIRED = ("sku", "sourceVersion", "occurredAt", "type", "payload")
_UNKNOWN = ExpectedType()
_TEXT_ONLY = ExpectedType(text=True)


def default_values(config: Config, source: str) -> dict[str, str]:
    """The parts that a row of a source may leave out, and their values then."""
    domains = config.sources[source].domains
    defaults = {"source": source, "channel": EVERY_CHANNEL}
    return defaults | {"type": domains[0]} if len(domains) == 1 else defaults


class _PayloadField(NamedTuple):
    """A value inside the payload: its column or constant, and its path."""

    target: str
    path: Sequence[str]
    column: int | None
    constant: object = None


class ColumnNames(NamedTuple):
    """How a part of a source's configuration names its values: `table` of `part` has the names, by target."""

    part: str
    table: str
    by_target: Mapping[str, str]
    constants: Mapping[str, object]


class ColumnMapping:
    """Which column gives which part of a source's events. Raises `ConfigurationError` for an invalid mapping."""

    def __init__(self, config: Config, source: str, naming: ColumnNames) -> None:
        self.by_target = naming.by_target
        self._constants = naming.constants
        self._defaults = default_values(config, source)
        self._channels = frozenset([EVERY_CHANNEL, *config.channels])
        self._payloads: dict[str, type[msgspec.Struct]] = {
            domain.name: domain.payload for domain in DOMAINS if domain.name in config.sources[source].domains
        }
        self._key = f"sources.{source}.{naming.part}"
        self._table = naming.table
        for table, targets in ((naming.table, self.by_target), ("constants", self._constants)):
            for target in targets:
                if (problem := self._target_error(target)) is not None:
                    raise config.error(f"{self._key}.{table}.{target}", problem)
        if self.by_target and (missing := self._missing(self.by_target)) is not None:
            raise config.error(f"{self._key}.{self._table}.{missing}", "is required: name its column")

    def bind(self, names: Sequence[str], where: str) -> "BoundColumns":
        """Binds the mapping to the columns of a row. Without configured columns, names are targets.

        Raises `SourceFailed`, which names `where`.
        """
        repeated = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if repeated is not None:
            raise SourceFailed(where, f"has two columns named {repeated!r}")
        if not self.by_target:
            self._check_names(names, where)
        columns = self.by_target or {name: name for name in names}
        for target, name in columns.items():
            if name not in names:
                problem = f"has no column {name!r}, which gives {target}; it has {', '.join(names)}"
                raise SourceFailed(where, problem)
        indices = {target: names.index(name) for target, name in columns.items()}
        return BoundColumns(indices, {**self._defaults, **self._constants}, self._payloads, self._channels)

    def is_text(self, target: str) -> bool:
        """Whether the target only accepts text, as every amount of money does."""
        _, *path = target.split(".")
        places = [expected_type(payload, path) for payload in self._payloads.values()] if path else []
        return any(place is not None and place == _TEXT_ONLY for place in places)

    def _check_names(self, names: Sequence[str], where: str) -> None:
        hint = f"name the columns to use in [{self._key}.{self._table}]"
        for name in names:
            if (problem := self._target_error(name)) is not None:
                raise SourceFailed(where, f"its column {name!r} {problem}; {hint}")
            if name in self._constants:
                raise SourceFailed(where, f"has a column {name!r}, which is also in {self._key}.constants")
        if (missing := self._missing(names)) is not None:
            raise SourceFailed(where, f"has no column {missing!r}; it has {', '.join(names)}; {hint}")

    def _missing(self, targets: Iterable[str]) -> str | None:
        given = {*targets, *self._constants, *self._defaults}
        if any(target.startswith("payload.") for target in given):
            given.add("payload")
        return next((target for target in _REQUIRED if target not in given), None)

    def _target_error(self, target: str) -> str | None:
        if (problem := event_field_error(target)) is not None:
            return problem
        _, *path = target.split(".")
        if path and not any(expected_type(payload, path) for payload in self._payloads.values()):
            fields = [name for payload in self._payloads.values() for name in payload.__struct_encode_fields__]
            return (
                f"is not a field of the {' or '.join(self._payloads)} payload; {suggestion(path[0], fields, 'fields')}"
            )
        return None


class BoundColumns:
    """Columns in order: `event` turns the values of a row into an event.

    `fixed` holds, by target, the values that no column gives; they are the same in every event.
    """

    def __init__(
        self,
        indices: Mapping[str, int],
        constants: Mapping[str, object],
        payloads: Mapping[str, type[msgspec.Struct]],
        channels: Collection[str],
    ) -> None:
        self._indices = indices
        self._channels = channels
        self._constants = constants
        fields = [_PayloadField(target, target.split(".")[1:], index) for target, index in indices.items()]
        fields += [_PayloadField(target, target.split(".")[1:], None, value) for target, value in constants.items()]
        self._fields = [field for field in fields if field.path]
        self._expected = {
            name: [expected_type(payload, field.path) or _UNKNOWN for field in self._fields]
            for name, payload in payloads.items()
        }
        self._unknown = [_UNKNOWN] * len(self._fields)
        self.fixed = {target: value for target, value in constants.items() if target not in indices}

    def event(self, values: Sequence[object]) -> DomainEvent:
        """The event of one row. UNSET and None are left out. Raises `Rejected`."""
        return self._event(values, self._payload(values, self._text("type", values)))

    def withdrawal(self, values: Sequence[object]) -> DomainEvent:
        """The same event without a payload, which withdraws. Raises `Rejected`."""
        return self._event(values, None)

    def place(self, values: Sequence[object]) -> DomainEvent | None:
        """The event of one row without its payload; None if its stream is unknown."""
        try:
            return self.withdrawal(values)
        except Rejected:
            return None

    def unknown_channel(self, values: Sequence[object]) -> str | None:
        """The row's channel if the configuration does not have it: the row belongs to another shop."""
        try:
            name = self._text("channel", values)
        except Rejected:
            return None
        return None if name in self._channels else name

    def _event(self, values: Sequence[object], payload: bytes | None) -> DomainEvent:
        version = self._value("sourceVersion", values)
        return DomainEvent(
            type=self._text("type", values),
            sku=self._text("sku", values),
            channel=self._text("channel", values),
            source=self._text("source", values),
            source_version=to_integer("sourceVersion", version),
            occurred_at=to_timestamp("occurredAt", self._value("occurredAt", values)),
            payload=payload,
            id=self._optional_text("id", values),
            correlation_id=self._optional_text("correlationId", values),
            epoch=self._epoch(values),
        )

    def _value(self, target: str, values: Sequence[object]) -> object:
        index = self._indices.get(target)
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._constants.get(target, UNSET)
        if value is UNSET:
            raise Rejected(target, "is required")
        return value

    def _text(self, target: str, values: Sequence[object]) -> str:
        """The value as text; numbers and UUIDs can be names, too."""
        value = self._value(target, values)
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | Decimal | UUID):
            raise Rejected(target, f"expected a string, got {describe_type(value)}")
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def _optional_text(self, target: str, values: Sequence[object]) -> str | None:
        if target not in self._indices and target not in self._constants:
            return None
        try:
            return self._text(target, values)
        except Rejected as rejection:
            if rejection.reason == "is required":
                return None
            raise

    def _epoch(self, values: Sequence[object]) -> int | None:
        index = self._indices.get("epoch")
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._constants.get("epoch")
        return None if value is None else to_integer("epoch", value)

    def _payload(self, values: Sequence[object], domain: str) -> bytes | None:
        if (index := self._indices.get("payload")) is not None:
            return root_payload(values[index])
        if "payload" in self._constants:
            return root_payload(self._constants["payload"])
        payload: dict[str, object] = {}
        for (target, path, column, constant), expected in zip(
            self._fields, self._expected.get(domain, self._unknown), strict=True
        ):
            value = constant if column is None else values[column]
            if value is UNSET or (value is None and not expected.null):
                continue
            into = payload
            for name in path[:-1]:
                into = into.setdefault(name, {})  # type: ignore[assignment]  # no target is inside another
            into[path[-1]] = None if value is None else to_json_value(target, value, expected)
        return _encoder.encode(payload)
