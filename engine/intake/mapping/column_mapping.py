"""Named columns as events: the cells of a CSV file, the values of a query's result, the members of a JSON object.

The configuration says which column gives which part of the event. What is empty is left out: missing is not zero. So is
null, but where it says something of its own, as of stock that is not counted.
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
from pagefold.engine.errors import ConfigurationError, Rejected, SourceFailed
from pagefold.engine.events import DomainEvent
from pagefold.engine.intake.mapping.payload_types import ExpectedType, expected_type
from pagefold.engine.intake.mapping.value_conversion import integer_of, kind_of, leaf_value, moment_of, whole_payload
from pagefold.projections.streams import EVERY_CHANNEL

_encoder = msgspec.json.Encoder()
_REQUIRED = ("sku", "sourceVersion", "occurredAt", "type", "payload")
_NOTHING = ExpectedType()
_ONLY_TEXT = ExpectedType(text=True)


def made_plain(config: Config, source: str) -> dict[str, str]:
    """What a row of a source may leave out, and what holds then."""
    domains = config.sources[source].domains
    plain = {"source": source, "channel": EVERY_CHANNEL}
    return plain | {"type": domains[0]} if len(domains) == 1 else plain


class _Leaf(NamedTuple):
    """A value inside the payload: the column that gives it, or the constant, and where it goes."""

    target: str
    path: Sequence[str]
    column: int | None
    constant: object = None


class Naming(NamedTuple):
    """How a part of a source's configuration names what it sends: `table` of `part` has the names, by target."""

    part: str
    table: str
    by_target: Mapping[str, str]
    constants: Mapping[str, object]


class Columns:
    """Which column gives which part of a source's events. Raises `ConfigurationError` for what cannot work."""

    def __init__(self, config: Config, source: str, naming: Naming) -> None:
        self.by_target = naming.by_target
        self._constants = naming.constants
        self._plain = made_plain(config, source)
        self._channels = frozenset([EVERY_CHANNEL, *config.channels])
        self._payloads: dict[str, type[msgspec.Struct]] = {
            domain.name: domain.payload for domain in DOMAINS if domain.name in config.sources[source].domains
        }
        self._key = f"sources.{source}.{naming.part}"
        self._table = naming.table
        for table, targets in ((naming.table, self.by_target), ("constants", self._constants)):
            for target in targets:
                if (fault := self._fault(target)) is not None:
                    raise ConfigurationError(f"{self._key}.{table}.{target}", fault)
        if self.by_target and (missing := self._missing(self.by_target)) is not None:
            raise ConfigurationError(f"{self._key}.{self._table}.{missing}", "is required: name what has it")

    def bind(self, names: Sequence[str], where: str) -> "Bound":
        """These columns, as they stand in a row; without configured ones they are named as their targets.

        Raises `SourceFailed`, which names `where`.
        """
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise SourceFailed(where, f"has two columns named {twice!r}")
        if not self.by_target:
            self._check_names(names, where)
        columns = self.by_target or {name: name for name in names}
        for target, name in columns.items():
            if name not in names:
                problem = f"has no column {name!r}, which is to give {target}; it has {', '.join(names)}"
                raise SourceFailed(where, problem)
        indices = {target: names.index(name) for target, name in columns.items()}
        return Bound(indices, {**self._plain, **self._constants}, self._payloads, self._channels)

    def is_text(self, target: str) -> bool:
        """Whether nothing but text may stand there, as with every amount of money."""
        _, *path = target.split(".")
        places = [expected_type(payload, path) for payload in self._payloads.values()] if path else []
        return any(place is not None and place == _ONLY_TEXT for place in places)

    def _check_names(self, names: Sequence[str], where: str) -> None:
        hint = f"name the columns that count in [{self._key}.{self._table}]"
        for name in names:
            if (fault := self._fault(name)) is not None:
                raise SourceFailed(where, f"its column {name!r} {fault}; {hint}")
            if name in self._constants:
                raise SourceFailed(where, f"has a column {name!r}, which {self._key}.constants gives as well")
        if (missing := self._missing(names)) is not None:
            raise SourceFailed(where, f"has no column {missing!r}; it has {', '.join(names)}; {hint}")

    def _missing(self, targets: Iterable[str]) -> str | None:
        given = {*targets, *self._constants, *self._plain}
        if any(target.startswith("payload.") for target in given):
            given.add("payload")
        return next((target for target in _REQUIRED if target not in given), None)

    def _fault(self, target: str) -> str | None:
        if (fault := event_field_error(target)) is not None:
            return fault
        _, *path = target.split(".")
        if path and not any(expected_type(payload, path) for payload in self._payloads.values()):
            fields = [name for payload in self._payloads.values() for name in payload.__struct_encode_fields__]
            return (
                f"is not a field of the {' or '.join(self._payloads)} payload; {suggestion(path[0], fields, 'fields')}"
            )
        return None


class Bound:
    """Columns in their order: `event` makes an event of a row's values.

    `fixed` has, by target, what no column gives: it is the same in every event.
    """

    def __init__(
        self,
        indices: Mapping[str, int],
        otherwise: Mapping[str, object],
        payloads: Mapping[str, type[msgspec.Struct]],
        channels: Collection[str],
    ) -> None:
        self._indices = indices
        self._channels = channels
        self._otherwise = otherwise
        leaves = [_Leaf(target, target.split(".")[1:], index) for target, index in indices.items()]
        leaves += [_Leaf(target, target.split(".")[1:], None, value) for target, value in otherwise.items()]
        self._leaves = [leaf for leaf in leaves if leaf.path]
        self._wanted = {
            name: [expected_type(payload, leaf.path) or _NOTHING for leaf in self._leaves]
            for name, payload in payloads.items()
        }
        self._unknown = [_NOTHING] * len(self._leaves)
        self.fixed = {target: value for target, value in otherwise.items() if target not in indices}

    def event(self, values: Sequence[object]) -> DomainEvent:
        """The event in the values of one row; UNSET is left out, and so is None. Raises `Rejected`."""
        return self._event(values, self._payload(values, self._text("type", values)))

    def withdrawal(self, values: Sequence[object]) -> DomainEvent:
        """The same without its payload: the source takes back what it said. Raises `Rejected`."""
        return self._event(values, None)

    def place(self, values: Sequence[object]) -> DomainEvent | None:
        """Where the event in the values would belong, without its payload; None where that cannot be told."""
        try:
            return self.withdrawal(values)
        except Rejected:
            return None

    def other_channel(self, values: Sequence[object]) -> str | None:
        """The name in the place of the channel, when no channel has it: what is said there is for another shop."""
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
            source_version=integer_of("sourceVersion", version),
            occurred_at=moment_of("occurredAt", self._value("occurredAt", values)),
            payload=payload,
            id=self._optional_text("id", values),
            correlation_id=self._optional_text("correlationId", values),
            epoch=self._epoch(values),
        )

    def _value(self, target: str, values: Sequence[object]) -> object:
        index = self._indices.get(target)
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._otherwise.get(target, UNSET)
        if value is UNSET:
            raise Rejected(target, "is required")
        return value

    def _text(self, target: str, values: Sequence[object]) -> str:
        """Numbers and UUIDs name things, too."""
        value = self._value(target, values)
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | Decimal | UUID):
            raise Rejected(target, f"expected a string, got {kind_of(value)}")
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def _optional_text(self, target: str, values: Sequence[object]) -> str | None:
        if target not in self._indices and target not in self._otherwise:
            return None
        try:
            return self._text(target, values)
        except Rejected as refused:
            if refused.reason == "is required":
                return None
            raise

    def _epoch(self, values: Sequence[object]) -> int | None:
        index = self._indices.get("epoch")
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._otherwise.get("epoch")
        return None if value is None else integer_of("epoch", value)

    def _payload(self, values: Sequence[object], domain: str) -> bytes | None:
        if (index := self._indices.get("payload")) is not None:
            return whole_payload(values[index])
        if "payload" in self._otherwise:
            return whole_payload(self._otherwise["payload"])
        payload: dict[str, object] = {}
        for (target, path, column, constant), wanted in zip(
            self._leaves, self._wanted.get(domain, self._unknown), strict=True
        ):
            value = constant if column is None else values[column]
            if value is UNSET or (value is None and not wanted.null):
                continue
            into = payload
            for name in path[:-1]:
                into = into.setdefault(name, {})  # type: ignore[assignment]  # no target stands inside another
            into[path[-1]] = None if value is None else leaf_value(target, value, wanted)
        return _encoder.encode(payload)
