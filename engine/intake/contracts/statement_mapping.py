"""One table of a contract, compiled: how a record becomes a statement of one domain."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.engine.events import DomainEvent, Tie
from pagefold.engine.intake.contracts.payload_places import EVERY_MEMBER, PayloadPlace
from pagefold.engine.intake.mapping.value_filters import is_one_of
from pagefold.engine.intake.statement import Statement
from pagefold.projections.streams import EVERY_CHANNEL
from pagefold.projections.transforms import WITHDRAW, Compiler, InvalidMapping, InvalidValue, ValueType
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.mapping import BlankPolicy

Versions: TypeAlias = Literal["integer", "moment", "none"]
"""What `sourceVersion` is: an integer, or a moment, whose microseconds since 1970 are the version.

None: the records have no version. Every statement has version 0 then, and its content decides.
"""

FIELDS: Mapping[str, ValueType] = {
    "sku": ValueType.TEXT,
    "channel": ValueType.TEXT,
    "source": ValueType.TEXT,
    "sourceVersion": ValueType.INTEGER,
    "occurredAt": ValueType.TIMESTAMP,
    "epoch": ValueType.INTEGER,
    "id": ValueType.TEXT,
    "correlationId": ValueType.TEXT,
}
"""The fields of an event beside its domain and its payload, and their types."""

REQUIRED = ("sku", "sourceVersion", "occurredAt")

TIES: Mapping[Versions, Sequence[Tie]] = {
    "integer": ("keep", "replace"),
    "moment": ("keep", "replace"),
    "none": ("content",),
}
"""The tie rules that a contract may have; the first is the one that it has unless it says another."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Record: TypeAlias = object
"""A record as the contract's scope reads it."""


class UnknownChannel(NamedTuple):
    """The channel of a record that this shop does not have."""

    name: str


class Written(NamedTuple):
    """What a contract says of the statements of one domain: fields, the values that count, payload places."""

    domain: str
    key: str
    fields: Mapping[str, object]
    only: Mapping[str, Sequence[object]]
    withdrawn: Mapping[str, Sequence[object]]
    places: Sequence[PayloadPlace]


class Rules(NamedTuple):
    """What holds for every statement of a contract: source, channels of the shop, versions, ties, blank values.

    `defaults` are the paths of fields that the contract leaves out.
    """

    source: str
    channels: frozenset[str]
    versions: Versions
    tie: Tie
    blanks: BlankPolicy
    defaults: Mapping[str, str]


class Values:
    """A filter: by path, the values that a record may have."""

    def __init__(self, compiler: Compiler, table: Mapping[str, Sequence[object]], key: str) -> None:
        self.paths = frozenset(path for path in table if compiler.facts(path) is None)
        self._values = [(compiler.reader(path, f"{key}.{path}"), values) for path, values in table.items()]

    def all_match(self, record: Record) -> bool:
        """Whether the record has one of the values at every path."""
        return all(is_one_of(read(record), values) for read, values in self._values)

    def any_matches(self, record: Record) -> bool:
        """Whether the record has one of the values at some path."""
        return any(is_one_of(read(record), values) for read, values in self._values)


class StatementMapping:
    """How a record becomes a statement of one domain. Raises `InvalidMapping` for what cannot be compiled.

    `paths` are those that it reads, `mappings` those of its fields and of its payload.
    """

    def __init__(self, compiler: Compiler, written: Written, rules: Rules) -> None:
        self.domain = written.domain
        self._rules = rules
        self._channels = frozenset([EVERY_CHANNEL, *rules.channels])
        self._fields = self._compiled_fields(compiler, written)
        self._payload = [
            (place.path, compiler.mapping(place.mapping, place.key, place.expects, rules.blanks))
            for place in written.places
        ]
        self._only = Values(compiler, written.only, f"{written.key}.only")
        self._withdrawn = Values(compiler, written.withdrawn, f"{written.key}.withdraw")
        self.mappings = [*self._fields.values(), *(mapping for _, mapping in self._payload)]
        self.paths = frozenset[str]().union(
            self._only.paths, self._withdrawn.paths, *(mapping.paths for mapping in self.mappings)
        )
        self._readers = {path: compiler.scope.reader(path, written.key) for path in sorted(self.paths)}

    def _compiled_fields(self, compiler: Compiler, written: Written) -> dict[str, CompiledMapping]:
        versions = self._rules.versions
        if versions == "none" and "sourceVersion" in written.fields:
            raise InvalidMapping(f"{written.key}.sourceVersion", 'contradicts versions = "none"')
        fields: dict[str, object] = dict(self._rules.defaults)
        if versions == "none":
            fields.pop("sourceVersion", None)
        if versions == "moment" and "sourceVersion" in written.fields:
            fields["occurredAt"] = written.fields["sourceVersion"]
        fields |= written.fields
        for name in REQUIRED:
            if fields.get(name) is None and not (versions == "none" and name == "sourceVersion"):
                hint = '; a source without one has versions = "none"' if name == "sourceVersion" else ""
                raise InvalidMapping(f"{written.key}.{name}", f"is required{hint}")
        types = {**FIELDS, "sourceVersion": ValueType.TIMESTAMP} if versions == "moment" else FIELDS
        return {name: compiler.mapping(spec, f"{written.key}.{name}", types[name]) for name, spec in fields.items()}

    def counts(self, record: Record) -> bool:
        """Whether the record has one of the accepted values at every path of `only`."""
        return self._only.all_match(record)

    def present(self, record: Record, paths: Collection[str]) -> list[str]:
        """Which of these paths the record has, if only with a blank value."""
        return [path for path in paths if self._readers[path](record) is not UNSET]

    def sku(self, record: Record) -> str | None:
        """The SKU of a record; None if it has none, or an invalid one."""
        try:
            value = self._fields["sku"].read(record)
        except InvalidValue:
            return None
        return value.strip() if isinstance(value, str) else None

    def statement(self, record: Record) -> Statement | UnknownChannel:
        """What a record says. Raises `InvalidValue`."""
        channel = self._text("channel", record) or EVERY_CHANNEL
        if channel not in self._channels:
            return UnknownChannel(channel)
        event = DomainEvent(
            type=self.domain,
            sku=self._required("sku", record),
            channel=channel,
            source=self._text("source", record) or self._rules.source,
            source_version=self._version(record),
            occurred_at=msgspec.convert(self._required("occurredAt", record), datetime),
            payload=None if self._withdrawn.any_matches(record) else self._payload_of(record),
            id=self._text("id", record),
            correlation_id=self._text("correlationId", record),
            epoch=self._epoch(record),
            tie=self._rules.tie,
        )
        return Statement(event)

    def _required(self, field: str, record: Record) -> str:
        text = self._text(field, record)
        if text is None:
            raise InvalidValue("blank", None, "is blank, and a value is required").located(
                self._fields[field].key, ", ".join(self._fields[field].paths)
            )
        return text

    def _text(self, field: str, record: Record) -> str | None:
        value = self._value(field, record)
        return value.strip() or None if isinstance(value, str) else None

    def _value(self, field: str, record: Record) -> object:
        return self._fields[field].read(record) if field in self._fields else UNSET

    def _version(self, record: Record) -> int:
        if self._rules.versions == "none":
            return 0
        if self._rules.versions == "moment":
            return (msgspec.convert(self._required("sourceVersion", record), datetime) - _EPOCH) // _MICROSECOND
        value = self._value("sourceVersion", record)
        if not isinstance(value, int):
            self._required("sourceVersion", record)
        return value  # type: ignore[return-value]  # an integer, by its type

    def _epoch(self, record: Record) -> int | None:
        value = self._value("epoch", record)
        return value if isinstance(value, int) else None

    def _payload_of(self, record: Record) -> bytes | None:
        payload: dict[str, object] = {}
        for path, mapping in self._payload:
            value = mapping.read(record)
            if value is WITHDRAW:
                return None
            if value is UNSET:
                continue
            if len(path) == 1:
                payload[path[0]] = value
            else:
                _put(payload.setdefault(path[0], {}), path[1], value)  # type: ignore[arg-type]  # a place is one or the other
        return _encode(payload)


_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


def _put(into: dict[str, object], name: str, value: object) -> None:
    """Puts a value into an object. Members that are named win over those that `*` brings."""
    if name != EVERY_MEMBER:
        into[name] = value
    elif isinstance(value, dict):
        for member, inner in value.items():
            into.setdefault(member, inner)
