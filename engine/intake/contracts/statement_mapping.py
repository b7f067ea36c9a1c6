"""One table of a contract, compiled: how a record becomes a statement of one domain."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.domains.references import kind_error
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.events import DomainEvent, Reference, Tie, referenced
from pagefold.engine.intake.contracts.payload_mapping import PayloadMapping
from pagefold.engine.intake.contracts.payload_places import EVERY_MEMBER, PayloadPlace
from pagefold.engine.intake.contracts.whole_groups import NO_ITEM, WholeMapping, is_outside
from pagefold.engine.intake.statement import Statement, Whole
from pagefold.projections.streams import EVERY_CHANNEL
from pagefold.projections.transforms import Compiler, InvalidMapping, InvalidValue, ValueType
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.accepted_values import AcceptedValues
from pagefold.projections.transforms.mapping import BlankPolicy
from pagefold.projections.transforms.paths import Reader
from pagefold.projections.transforms.value_types import is_blank

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

UNSENT = "was not sent, because it did not change; with ALTER TABLE … REPLICA IDENTITY FULL the database sends it"

Record: TypeAlias = object
"""A record as the contract's scope reads it."""

Unsent: TypeAlias = Callable[[Collection[str], Collection[str]], Collection[str]]
"""Which of some paths, and of some patterns of paths, were left out of a record because they did not change."""


Accepted: TypeAlias = Sequence[object] | bool
"""The values that a path may have, or whether there is one."""


def no_paths(_paths: Collection[str], _patterns: Collection[str]) -> Collection[str]:
    """Nothing was left out."""
    return ()


class UnknownChannel(NamedTuple):
    """The channel of a record that this shop does not have."""

    name: str


class Written(NamedTuple):
    """What a contract says of the statements of one domain: fields, the values that count, payload places.

    With `partial`, a record has a part of the payload.
    """

    domain: str
    key: str
    each: str | None
    fields: Mapping[str, object]
    only: Mapping[str, Accepted]
    withdrawn: Mapping[str, Accepted]
    places: Sequence[PayloadPlace]
    whole: object = None
    partial: bool = False


class Rules(NamedTuple):
    """What holds for every statement of a contract: source, channels of the shop, versions, ties, blank values.

    `defaults` are the paths of fields that the contract leaves out. `writers` are the sources that may write each
    domain; None if that is not to be checked.
    """

    source: str
    channels: frozenset[str]
    versions: Versions
    tie: Tie
    blanks: BlankPolicy
    defaults: Mapping[str, str]
    writers: Mapping[str, Collection[str]] | None = None


class Values:
    """A filter: by path, the values that a record may have, or whether it has one."""

    def __init__(self, compiler: Compiler, table: Mapping[str, Accepted], key: str) -> None:
        paths = (compiler.record_path(path) for path in table if compiler.facts(path) is None)
        self.paths = frozenset(path for path in paths if path is not None)
        self.reads = frozenset(path for path in table if compiler.facts(path) is None)
        readers = {path: compiler.reader(path, f"{key}.{path}") for path in table}
        self._values = [(readers[path], _accepts(values)) for path, values in table.items()]
        self._readers = {path: read for path, read in readers.items() if path in self.reads}

    def all_match(self, record: Record) -> bool:
        """Whether the record has one of the values at every path."""
        return not self._values or all(has(read(record)) for read, has in self._values)

    def any_matches(self, record: Record) -> bool:
        """Whether the record has one of the values at some path."""
        return bool(self._values) and any(has(read(record)) for read, has in self._values)

    def present(self, record: Record) -> set[str]:
        """The paths that the record has, if only with a blank value."""
        return {path for path, read in self._readers.items() if read(record) is not UNSET}


def _accepts(values: Accepted) -> Callable[[object], bool]:
    if isinstance(values, bool):
        return lambda value: is_blank(value) is not values
    return AcceptedValues(values).has


class StatementMapping:
    """How a record becomes a statement of one domain. Raises `InvalidMapping` for what cannot be compiled.

    `paths` are those that it reads outside of items; `reads` all of them, as the table has them, and `read_patterns`
    those with a placeholder. `needed` are sets of them, of each of which some record should have one; `strict` are
    those of fields of the event and of `only`; `outermost` has the first name of each. `mappings` are those of its
    fields and of its payload.
    """

    def __init__(self, compiler: Compiler, written: Written, rules: Rules) -> None:
        self.domain = written.domain
        self.key = written.key
        self.each = written.each
        self.written = written
        self._rules = rules
        self._channels = frozenset([EVERY_CHANNEL, *rules.channels])
        self.via = _reference_kind(written)
        self.fields = self._compiled_fields(compiler, written)
        self._reads = {name: mapping.read for name, mapping in self.fields.items()}
        self._payload = PayloadMapping(compiler, written.places, rules.blanks)
        self.only = Values(compiler, written.only, f"{written.key}.only")
        self.withdrawn = Values(compiler, written.withdrawn, f"{written.key}.withdraw")
        self.whole = None if written.whole is None else WholeMapping(compiler, written.whole, f"{written.key}.whole_of")
        outer = {path: values for path, values in written.only.items() if is_outside(path)}
        self._outer_only = Values(compiler, outer, f"{written.key}.only")
        self.mappings = [*self.fields.values(), *self.payload, *([] if self.whole is None else [self.whole.mapping])]
        self.paths = frozenset[str]().union(
            self.only.paths, self.withdrawn.paths, *(mapping.paths for mapping in self.mappings)
        )
        self.reads = self.only.reads.union(self.withdrawn.reads, *(mapping.reads for mapping in self.mappings))
        self.read_patterns = frozenset[str]().union(*(mapping.read_patterns for mapping in self.mappings))
        self.needed = frozenset(frozenset([path]) for path in self.only.reads)
        self.needed = self.needed.union(*(mapping.needed for mapping in self.mappings))
        self.strict = self.only.reads.union(*chain(*(mapping.needed for mapping in self.fields.values())))
        self.outermost = {path: compiler.scope.outermost(path) for path in sorted(self.reads)}
        read = {*self.reads, *self.outermost.values()}
        self._readers = {path: compiler.scope.reader(path, written.key) for path in sorted(read)}
        spec = written.fields.get("sku")
        self._skips_blank_skus = isinstance(spec, dict) and spec.get("blank") == "skip"
        self._check_constants(written.fields)
        self._named_source = _path_reader(compiler, written, "source")

    @property
    def payload(self) -> list[CompiledMapping]:
        """The mappings of the payload's places."""
        return [mapping for _, mapping in self._payload.places]

    @property
    def reads_version(self) -> bool:
        """Whether the record itself has the version, and not only its delivery."""
        version = self.fields.get("sourceVersion")
        return version is not None and bool(version.reads or version.patterns)

    def _check_constants(self, fields: Mapping[str, object]) -> None:
        """Refuses a domain that its source does not have, and a constant channel or source that is unknown."""
        writers = None if self._rules.writers is None else self._rules.writers[self.domain]
        if writers is None:
            return  # no shop is known
        if "source" not in fields and self._rules.source not in writers:
            raise InvalidMapping(self.key, f"the source {self._rules.source} does not have the domain {self.domain}")
        for name, known in (("channel", self._channels), ("source", writers)):
            spec = fields.get(name)
            value = spec.get("constant") if isinstance(spec, dict) else None
            if isinstance(value, str) and value not in known:
                problem = f"{value!r:.50} is unknown; {suggestion(value, sorted(known), f'{name}s')}"
                raise InvalidMapping(self.fields[name].key, problem)

    def _compiled_fields(self, compiler: Compiler, written: Written) -> dict[str, CompiledMapping]:
        versions = self._rules.versions
        if versions == "none" and "sourceVersion" in written.fields:
            raise InvalidMapping(f"{written.key}.sourceVersion", 'contradicts versions = "none"')
        fields: dict[str, object] = {
            name: path if compiler.facts(path) else compiler.path_of_record(path)
            for name, path in self._rules.defaults.items()
        }
        if versions == "none":
            fields.pop("sourceVersion", None)
        if versions == "moment" and "sourceVersion" in written.fields:
            fields["occurredAt"] = written.fields["sourceVersion"]
        fields |= written.fields
        if self.via is not None:
            fields["sku"] = _without_via(fields["sku"])
        for name in REQUIRED:
            if fields.get(name) is None and not (versions == "none" and name == "sourceVersion"):
                hint = '; a source without one has versions = "none"' if name == "sourceVersion" else ""
                raise InvalidMapping(f"{written.key}.{name}", f"is required{hint}")
        types = {**FIELDS, "sourceVersion": ValueType.TIMESTAMP} if versions == "moment" else FIELDS
        named = {name: fields[name] for name in FIELDS if name in fields}
        return {name: compiler.mapping(spec, f"{written.key}.{name}", types[name]) for name, spec in named.items()}

    def counts(self, record: Record, unsent: Unsent = no_paths) -> bool:
        """Whether the record has one of the accepted values at every path of `only`. Raises `InvalidValue`.

        One without SKU does not count where the contract skips those.
        """
        if unsent is not no_paths:
            self._check_sent(unsent, self.only.paths, f"{self.key}.only")
        return self.only.all_match(record) and not (self._skips_blank_skus and self._text("sku", record) is None)

    def check_filter(self, items: Sequence[Record]) -> None:
        """Raises `InvalidValue` if no item of a list has a path of `only` that must have certain values.

        Of a list that has all of a group, the items would seem to be none of it, and all of the group be withdrawn.
        """
        named = {path for path in self.only.reads if not isinstance(self.written.only[path], bool)}
        for path in sorted(named) if items else ():
            if not any(path in self.only.present(item) for item in items):
                problem = "is in no item of the list, and `only` reads it; `$.` reads the record around"
                raise InvalidValue("absent", None, problem).located(f"{self.key}.only", path)

    def present(self, record: Record, paths: Collection[str]) -> list[str]:
        """Which of these paths the record has, if only with a blank value."""
        return [path for path in paths if path and self._readers[path](record) is not UNSET]

    def sku(self, record: Record) -> str | None:
        """The SKU of a record; None if it has none, or an invalid one."""
        try:
            value = self.fields["sku"].read(record)
        except InvalidValue:
            return None
        return value.strip() if isinstance(value, str) else None

    def family(self, record: Record) -> str:
        """The family that the statement has; "" if it has none, or a domain without."""
        for path, mapping in self._payload.places if self.domain == "catalog" else ():
            if path == ("family",):
                with suppress(InvalidValue):
                    value = mapping.read(record)
                    return value.strip() if isinstance(value, str) else ""
        return ""

    def statement(self, record: Record, unsent: Unsent = no_paths) -> Statement | UnknownChannel:
        """What a record says. Raises `InvalidValue`.

        `unsent` says which of some paths were left out because they did not change; the places of the payload that
        depend on one are unchanged.
        """
        channel = EVERY_CHANNEL
        if "channel" in self.fields and (channel := self._text("channel", record) or channel) not in self._channels:
            return UnknownChannel(channel)
        if unsent is no_paths:
            event = self._event(record, channel, self._payload.read)
            return Statement(event, is_part=self.written.partial and event.payload is not None)
        kept = self._unchanged(unsent)
        event = self._event(record, channel, lambda record: self._payload.read_without(record, kept))
        if event.payload is None:
            return Statement(event)
        return Statement(event, tuple(kept), is_part=self.written.partial)

    def withdrawal(self, record: Record, moment: datetime | None = None) -> DomainEvent | UnknownChannel:
        """The withdrawal of what a record said. `moment` counts in place of its own. Raises `InvalidValue`."""
        channel = self._text("channel", record) or EVERY_CHANNEL
        if channel not in self._channels:
            return UnknownChannel(channel)
        return self._event(record, channel, _no_payload, moment)

    def place(self, record: Record) -> DomainEvent | None:
        """The event of a record without its payload; None if its stream or its version is not known."""
        try:
            found = self.withdrawal(record, _EPOCH)
        except InvalidValue:
            return None
        return found if isinstance(found, DomainEvent) else None

    def wholes_of(self, record: Record, items: int) -> list[Whole]:
        """The group that a record has all of in its list of so many items, by domain; none if it does not count.

        Raises `InvalidValue`.
        """
        inside = NO_ITEM, record
        if self.whole is None or not self.whole.is_whole(items) or not self._outer_only.all_match(inside):
            return []
        group, event = self.whole.group(record), self._event(inside, EVERY_CHANNEL, _no_payload, sku="")
        domains = self.whole.domains or [self.domain]
        return [Whole(referenced(msgspec.structs.replace(event, type=domain), group)) for domain in domains]

    def _event(
        self,
        record: Record,
        channel: str,
        payload: Callable[[Record], bytes | None],
        moment: datetime | None = None,
        sku: str | None = None,
    ) -> DomainEvent:
        event = DomainEvent(
            type=self.domain,
            sku=self._required("sku", record) if sku is None else sku,
            channel=channel,
            source=self._source(record) if "source" in self.fields else self._rules.source,
            source_version=self._version(record),
            occurred_at=moment or datetime.fromisoformat(self._required("occurredAt", record)),
            payload=None if self.withdrawn.any_matches(record) else payload(record),
            id=self._text("id", record) if "id" in self.fields else None,
            correlation_id=self._text("correlationId", record) if "correlationId" in self.fields else None,
            epoch=self._epoch(record) if "epoch" in self.fields else None,
            tie=self._rules.tie,
        )
        return event if self.via is None or sku is not None else referenced(event, Reference(self.via, event.sku))

    def _source(self, record: Record) -> str:
        """The source that a record names: one that may write the domain. Raises `InvalidValue`, with the value."""
        writers = None if self._rules.writers is None else self._rules.writers[self.domain]
        name: object = self._text("source", record)
        if isinstance(name, str) and (writers is None or name in writers):
            return name
        if name is None and self._named_source is not None:
            given = self._named_source(record)
            name = None if given is UNSET else given
        problem = "is not a source" if writers is None else f"is not a source with the domain {self.domain}"
        mapping = self.fields["source"]
        raise InvalidValue("unknown_source", name, problem).located(mapping.key, ", ".join(sorted(mapping.paths)))

    def _unchanged(self, unsent: Unsent) -> dict[tuple[str, ...], None]:
        """The places of the payload that depend on what was not sent. Raises `InvalidValue` if others depend on it."""
        self._check_sent(unsent, self.withdrawn.paths, f"{self.key}.withdraw")
        places = self._payload.places
        for mapping in (*self.fields.values(), *(each for path, each in places if path[-1] == EVERY_MEMBER)):
            self._check_sent(unsent, mapping.paths, mapping.key, mapping.patterns)
        return dict.fromkeys(path for path, mapping in places if any(unsent(mapping.paths, mapping.patterns)))

    @staticmethod
    def _check_sent(unsent: Unsent, paths: Collection[str], key: str, patterns: Collection[str] = ()) -> None:
        for path in unsent(paths, patterns):
            raise InvalidValue("unsent", None, UNSENT).located(key, path)

    def _required(self, field: str, record: Record) -> str:
        text = self._text(field, record)
        if text is None:
            raise InvalidValue("blank", None, "is blank, and a value is required").located(
                self.fields[field].key, ", ".join(sorted(self.fields[field].paths))
            )
        return text

    def _text(self, field: str, record: Record) -> str | None:
        value = self._value(field, record)
        return value.strip() or None if isinstance(value, str) else None

    def _value(self, field: str, record: Record) -> object:
        read = self._reads.get(field)
        return UNSET if read is None else read(record)

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


def _reference_kind(written: Written) -> str | None:
    """The kind of the ids by which the records name SKUs; None if they name them by SKU. Raises `InvalidMapping`."""
    spec = written.fields.get("sku")
    if not isinstance(spec, dict) or "via" not in spec:
        return None
    key, kind = f"{written.key}.sku.via", spec["via"]
    if not isinstance(kind, str):
        raise InvalidMapping(key, f"expected a kind of reference, got {kind!r:.60}")
    if (problem := kind_error(kind)) is not None:
        raise InvalidMapping(key, f"{kind!r:.60} {problem}")
    return kind


def _without_via(spec: object) -> object:
    return {name: value for name, value in spec.items() if name != "via"} if isinstance(spec, dict) else spec


def _path_reader(compiler: Compiler, written: Written, field: str) -> Reader | None:
    """Reads what a field's mapping begins with; None if that is no path."""
    spec = written.fields.get(field)
    path = spec.get("from") if isinstance(spec, dict) else spec
    return compiler.reader(path, f"{written.key}.{field}") if isinstance(path, str) else None


def _no_payload(_record: Record) -> None:
    """The payload of a withdrawal."""
