"""A contract: a versioned file that says how the records of a source become statements."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.toml_documents import read_document
from pagefold.engine.configuration.toml_lines import KeyPlaces
from pagefold.engine.errors import Rejected
from pagefold.engine.events import Tie
from pagefold.engine.intake.contracts.contract_head import Form, contract_head
from pagefold.engine.intake.contracts.contract_tables import lookup_table, rate_table
from pagefold.engine.intake.contracts.delivery_facts import NO_FACTS, DeliveryFacts
from pagefold.engine.intake.contracts.field_observer import FieldObserver
from pagefold.engine.intake.contracts.missing_paths import (
    NO_ELEMENT,
    MissingPath,
    missing_paths,
    paths_to_find,
    unmatched_patterns,
)
from pagefold.engine.intake.contracts.reading import Reading, Refusal, refusal_text
from pagefold.engine.intake.contracts.record_fields import (
    KIND_BITS,
    RecordFields,
    kind_of,
    kinds_in,
    read_paths,
)
from pagefold.engine.intake.contracts.record_groups import Group, joined_records
from pagefold.engine.intake.contracts.record_join import Join
from pagefold.engine.intake.contracts.statement_mapping import (
    FIELDS,
    TIES,
    UNSENT,
    Record,
    Rules,
    StatementMapping,
    UnknownChannel,
    Unsent,
    Values,
    no_paths,
)
from pagefold.engine.intake.contracts.unmapped_levels import levels_of
from pagefold.engine.intake.contracts.written_tables import domain_tables, written_table
from pagefold.engine.plugins.transform_plugins import load_registry
from pagefold.engine.runtime.extras import needs_extra
from pagefold.projections.transforms import (
    ColumnScope,
    Compiler,
    InvalidMapping,
    InvalidValue,
    LookupTable,
    NestedScope,
    Registry,
    Scope,
    ValueType,
)
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.nulls import Nulls
from pagefold.projections.transforms.paths import ROOT, ItemScope, Reader

Writers: TypeAlias = Mapping[str, Collection[str]]
"""By domain, the sources that may write it."""

PlaceOf: TypeAlias = Callable[[str], str | None]
"""The file and the line of a place in the contract, such as `pricing.amount`; None if that is not known."""

NO_DEFAULTS: Mapping[str, str] = {}
NO_TABLES: Mapping[str, LookupTable] = {}

MAX_ELEMENTS = 10_000
"""How many statements a table makes of one record, and how many items one message has that is not read in parts."""

MAX_SIGNALS = 10_000
"""How many different values that are not mapped are counted."""


class Contract:
    """A compiled contract: `read` gives what a message, or a row, says.

    `signals` counts what transforms did not find: kind (`lookup`, `locale`), place in the contract, and value. `lists`
    are the paths of the lists that `each` reads, outside of items. `fields` lists the fields of records; `observer`
    counts them, if there is one. `known_kinds` are the kinds of values that fields had so far, as bits by path, for
    `unmapped.type`. Several threads may read at a time.
    """

    def __init__(  # noqa: PLR0913  # what a contract has to know of its shop
        self,
        document: Mapping[str, object],
        *,
        source: str,
        channels: Collection[str],
        form: Form = "json",
        folder: Path | None = None,
        defaults: Mapping[str, str] = NO_DEFAULTS,
        writers: Writers | None = None,
        fetched: Mapping[str, LookupTable] = NO_TABLES,
    ) -> None:
        """Compiles a contract of a source for a shop with these channels. Raises `InvalidMapping`.

        `form` counts unless the contract says its own. `folder` is where the files of its tables are; without it, they
        are in the working directory. `defaults` are the paths of fields that the contract leaves out. `writers` are the
        sources that may write each domain; without it, any name is a source. `fetched` are tables beside its own.
        """
        self.document = document
        self.place_of: PlaceOf = no_place
        self.head = contract_head(document, source)
        self.levels = levels_of(self.head.unmapped)
        self._facts = DeliveryFacts()
        self._nulls = Nulls(self.head.nulls)
        self.form = form = self.head.form or form
        self.tables = dict(fetched) | self._own_tables(folder or Path())
        self.rates = {name: rate_table(name, each, folder or Path()) for name, each in self.head.rates.items()}
        self.signals: Counter[tuple[str, str, str]] = Counter()
        scope: Scope = ColumnScope() if form == "columns" else NestedScope()
        self.items = [self.head.items] if isinstance(self.head.items, str) else self.head.items
        self._items = [scope.reader(path, "items") for path in self.items]
        self.only = Values(self._compiler(scope), self.head.only, "only")
        record_scope = ItemScope(scope) if self.items else scope
        join = self.head.join
        self.join = None if join is None else Join(join, self._compiler, scope, paired=bool(self.items))
        shared = {name: document[name] for name in FIELDS if name in document}
        head = self.head
        rules = Rules(source, frozenset(channels), head.versions, self._tie(), head.blanks, defaults, writers)
        lists: set[str] = set()
        self._mappings: list[tuple[Reader | None, StatementMapping]] = []
        for domain, key, table in domain_tables(document):
            written = written_table(domain, key, table, shared)
            each = written.each
            inner = record_scope if each is None else ItemScope(record_scope)
            mapping = StatementMapping(self._compiler(inner), written, rules)
            self._mappings.append((None if each is None else record_scope.reader(each, f"{key}.each"), mapping))
            if each is not None and (path := self._compiler(record_scope).record_path(each)) is not None:
                lists.add(path)
        self.lists = frozenset(lists)
        if not self._mappings:
            raise InvalidMapping("", f"says nothing of a domain: write a table such as [{DOMAINS[0].name}]")
        self.paths = frozenset[str]().union(self.only.paths, *(mapping.paths for _, mapping in self._mappings))
        if self.join is not None:
            self.paths = (self.paths | self.join.paths) - self.join.members
        self.fields = self._record_fields(columns=form == "columns")
        self.observer: FieldObserver | None = None
        self.known_kinds: Mapping[str, int] = {}

    @classmethod
    def load(  # noqa: PLR0913  # the same
        cls,
        file: Path,
        *,
        source: str,
        channels: Collection[str],
        form: Form = "json",
        defaults: Mapping[str, str] = NO_DEFAULTS,
        writers: Writers | None = None,
        fetched: Mapping[str, LookupTable] = NO_TABLES,
    ) -> "Contract":
        """The contract in a TOML file. Raises `ConfigurationError`, with the line.

        Its name is that of the file, unless it has another.
        """

        def compiled(document: Mapping[str, object], text: str) -> Contract:
            with needs_extra("the contract", "contracts"):
                contract = cls(
                    document,
                    source=source,
                    channels=channels,
                    form=form,
                    folder=file.parent,
                    defaults=defaults,
                    writers=writers,
                    fetched=fetched,
                )
            contract.place_of = KeyPlaces(file.name, text).place_of
            return contract

        return read_document(file, compiled)

    def _own_tables(self, folder: Path) -> dict[str, LookupTable]:
        return {name: lookup_table(name, each, folder) for name, each in self.head.tables.items()}

    @property
    def identity(self) -> str:
        """Its name and version, such as `shopify@3`."""
        return f"{self.head.name}@{self.head.version}"

    @property
    def mappings(self) -> list[CompiledMapping]:
        """Every mapping, by domain: fields first, then places of the payload."""
        return [each for _, mapping in self._mappings for each in mapping.mappings]

    @property
    def statements(self) -> list[StatementMapping]:
        """The mapping of each table of a domain."""
        return [mapping for _, mapping in self._mappings]

    @property
    def facts(self) -> Collection[str]:
        """The paths of the facts of a delivery that it reads."""
        return self._facts.paths

    @property
    def headers(self) -> frozenset[str]:
        """The names of the headers of a delivery that it reads, in lower case."""
        return self._facts.headers

    def read(
        self,
        message: object,
        into: Reading | None = None,
        facts: Mapping[str, object] = NO_FACTS,
        unsent: Unsent = no_paths,
    ) -> Reading:
        """What a message says, or a row with columns. `facts` are those of its delivery, see `DeliveryFacts`.

        `unsent` says which paths were left out of it because they did not change, see `StatementMapping.statement`.
        """
        reading = Reading() if into is None else into
        if self.join is not None:
            return self._read_joined(self.join, message, reading, facts, unsent)
        if not self.counts(message, facts):
            reading.left_out += 1
            return reading
        for record in self.records(message) if self._items else (message,):
            self.read_record(record, reading, facts, unsent)
        return reading

    def _read_joined(
        self, join: Join, message: object, reading: Reading, facts: Mapping[str, object], unsent: Unsent
    ) -> Reading:
        """What the records of a message say, joined. Those of an array are its elements, if there are no `items`."""
        messages = message if isinstance(message, list) and not self._items else [message]
        counted = [each for each in messages if self.counts(each, facts)]
        reading.left_out += len(messages) - len(counted)
        try:
            if any(unsent(self.paths, frozenset())):
                raise InvalidValue("unsent", None, UNSENT).located("join", "")
            groups, left_out = joined_records(join, [record for each in counted for record in self.records(each)])
        except InvalidValue as error:
            groups, left_out = [Group(1, None, problem=error)], 0
        reading.left_out += left_out
        for group in groups:
            self.read_group(group, reading, facts)
        return reading

    def read_group(self, group: Group, reading: Reading, facts: Mapping[str, object] = NO_FACTS) -> None:
        """What a joined record says."""
        if group.problem is None:
            self.read_record(group.value, reading, facts, joined=group.records)
        else:
            reading.refusals.append(Refusal(self._mappings[0][1].domain, None, group.problem))

    def counts(self, message: object, facts: Mapping[str, object] = NO_FACTS) -> bool:
        """Whether a message has one of the accepted values at every path of the contract's `only`."""
        self._facts.begin(facts)
        return self.only.all_match(message)

    def records(self, message: object) -> Iterator[Record]:
        """The records of a message, as `read_record` takes them: the items at each path, in order."""
        if not self._items:
            yield message
            return
        for read in self._items:
            for item in listed(read(message)):
                yield item, message

    def has_items(self, message: object) -> bool:
        """Whether a message has an array or an object at one of the paths of the items."""
        return not self._items or any(isinstance(read(message), list | dict) for read in self._items)

    def read_record(
        self,
        record: Record,
        reading: Reading,
        facts: Mapping[str, object] = NO_FACTS,
        unsent: Unsent = no_paths,
        joined: Sequence[Record] = (),
    ) -> None:
        """What one of the `records` of a message says. `joined` are those that became one."""
        self._facts.begin(facts)
        reading.records += 1
        problem = None
        for each in joined or (record,):
            if self.observer is not None:
                self.observer.note(each)
            problem = problem or self._problem(each)
        for number, (each, mapping) in enumerate(self._mappings):
            items = (record,) if each is None else _elements(each, record)
            if len(items) > MAX_ELEMENTS:
                reading.refusals.append(Refusal(mapping.domain, None, _too_many(mapping, len(items))))
                continue
            for item in items:
                if reading.absent is not None and (absent := reading.absent[number]):
                    absent.difference_update(mapping.present(item, absent), (NO_ELEMENT,))
                self._state(mapping, item, reading, unsent, problem)
            if mapping.whole is not None and each is not None and isinstance(each(record), list | dict):
                self._note_whole(mapping, record, items, reading)

    def parts(self, message: object, facts: Mapping[str, object]) -> Iterator[tuple[StatementMapping, Record]]:
        """Each table with each of the records in a message that it reads, whether that counts or not."""
        self._facts.begin(facts)
        for record in self.records(message):
            for each, mapping in self._mappings:
                for item in _elements(each, record)[:MAX_ELEMENTS]:
                    yield mapping, item

    def rejection(self, refusal: Refusal) -> Rejected:
        """A refusal as an error: the place in the contract; the value and its path, the rule, the SKU, the line."""
        return self.rejected(refusal.error, refusal.sku)

    def rejected(self, error: InvalidValue, sku: str | None) -> Rejected:
        """The same of an error."""
        return Rejected(error.key, refusal_text(error, sku, self.place_of(self._written_at(error.key))))

    def _written_at(self, key: str) -> str:
        """Where the contract says what is at a place: a field of an event that it says once, for all tables."""
        field = key.partition(".")[2]
        return field if field in FIELDS and field in self.document else key

    def _tie(self) -> Tie:
        allowed = TIES[self.head.versions]
        if self.head.tie is not None and self.head.tie not in allowed:
            raise InvalidMapping("tie", f'has no effect with versions = "{self.head.versions}"')
        return self.head.tie or allowed[0]

    def watchful_reading(self) -> Reading:
        """A reading that also finds out which paths no record has."""
        return Reading(absent=[paths_to_find(mapping) for _, mapping in self._mappings])

    def missing_paths(self, reading: Reading) -> list[MissingPath]:
        """The paths that no record had, in order."""
        return missing_paths([mapping for _, mapping in self._mappings], reading.absent or [])

    def absent_columns(self, names: Collection[str]) -> list[tuple[str, str]]:
        """The same of rows with these columns, before any row is read."""
        reading = self.watchful_reading()
        row: dict[str, object] = dict.fromkeys(names, "")
        missing = [] if self.join is None else [("join", path) for path in sorted(self.join.reads - row.keys())]
        row |= {} if self.join is None else dict.fromkeys(self.join.members, "")
        for (each, mapping), absent in zip(self._mappings, reading.absent or (), strict=True):
            for item in [row] if each is None else ():
                absent.difference_update(mapping.present(item, absent), (NO_ELEMENT,))
        filters = [("only", path) for path in sorted(self.only.reads - self.only.present(row))]
        patterns = unmatched_patterns([mapping for each, mapping in self._mappings if each is None], names)
        return [*missing, *filters, *self.absent_paths(reading), *patterns]

    def absent_paths(self, reading: Reading) -> list[tuple[str, str]]:
        """The domain and the path of what no record had, although some record had to: nothing may be changed then."""
        return [(each.domain, each.path) for each in self.missing_paths(reading) if each.needed]

    def _state(
        self, mapping: StatementMapping, record: Record, reading: Reading, unsent: Unsent, problem: InvalidValue | None
    ) -> None:
        try:
            if not mapping.counts(record, unsent):
                reading.left_out += 1
                return
            if problem is not None:
                raise problem
            statement = mapping.statement(record, unsent)
        except InvalidValue as error:
            reading.refusals.append(Refusal(mapping.domain, mapping.sku(record), error, mapping.place(record)))
            return
        if isinstance(statement, UnknownChannel):
            reading.channels[statement.name] = reading.channels.get(statement.name, 0) + 1
        else:
            reading.statements.append(statement)

    def _note_whole(self, mapping: StatementMapping, record: Record, items: Sequence[Record], reading: Reading) -> None:
        try:
            mapping.check_filter(items)
            reading.wholes += mapping.wholes_of(record, len(items))
        except InvalidValue as error:
            reading.refusals.append(Refusal(mapping.domain, None, error))

    def _problem(self, record: object) -> InvalidValue | None:
        """What a record has that the contract does not read, or reads as another kind, where that is an error."""
        attribute, kind = self.levels.attribute == "fail", self.levels.type == "fail"
        if not kind and self.fields.is_mapped(record):
            return None
        for each in self.fields.of(record) if attribute or kind else ():
            if attribute and not each.mapped:
                error = InvalidValue("unmapped", each.value, "is not mapped, and `unmapped` is `fail`")
                return error.located("unmapped.attribute", each.path)
            known = self.known_kinds.get(each.path, 0) if kind else 0
            if known and not known & KIND_BITS[kind_of(each.value)]:
                before = " or ".join(kinds_in(known))
                error = InvalidValue("other_type", each.value, f"is {kind_of(each.value)}; so far it was {before}")
                return error.located("unmapped.type", each.path)
        return None

    def _record_fields(self, *, columns: bool) -> RecordFields:
        tables = [(mapping.each, mapping) for _, mapping in self._mappings]
        paths = read_paths((each, mapping.reads) for each, mapping in tables)
        patterns = read_paths((each, mapping.read_patterns) for each, mapping in tables)
        own = [f"{ROOT}.{path}" if self.items else path for path in self.only.reads]
        hidden: Collection[str] = ()
        if self.join is not None:
            paths, reads_all = self.join.own_paths(paths)
            patterns |= {"{any}"} if reads_all else set()
            hidden = self.join.members
        return RecordFields(
            *({*paths, *own}, patterns, self.head.ignore),
            columns=columns,
            items=self.items,
            hidden=hidden,
            nulls=self._nulls,
        )

    def family(self, record: object) -> str:
        """The family that the record's catalog statement has; "" if it has none."""
        return next(filter(None, (mapping.family(record) for each, mapping in self._mappings if each is None)), "")

    def _compiler(self, scope: Scope) -> Compiler:
        separators = _given(decimal=self.head.decimal, group=self.head.group)
        conversions = dict.fromkeys((ValueType.INTEGER, ValueType.NUMBER, ValueType.DECIMAL), separators)
        return Compiler(
            _registry(),
            scope,
            conversions={**conversions, ValueType.TIMESTAMP: _given(zone=self.head.zone)},
            tables=self.tables,
            rates=self.rates,
            definitions=self.head.definitions,
            signal=self._note_signal,
            unmapped=self.levels.of_values,
            facts=self._facts.reader,
            nulls=self._nulls,
        )

    def take_signals(self) -> Counter[tuple[str, str, str]]:
        """The `signals` since the last call."""
        taken, self.signals = self.signals, Counter()
        return taken

    def _note_signal(self, kind: str, key: str, value: str) -> None:
        signal = (kind, key, value)
        if signal in self.signals or len(self.signals) < MAX_SIGNALS:
            self.signals[signal] += 1


def no_place(_key: str) -> str | None:
    """The contract was not read from a file."""
    return None


@cache
def _registry() -> Registry:
    """The transforms of this process: built in, and of installed packages."""
    return load_registry()


def _given(**parameters: str | None) -> dict[str, object]:
    return {name: value for name, value in parameters.items() if value is not None}


def _elements(each: Reader | None, record: object) -> Sequence[Record]:
    return (record,) if each is None else [(item, record) for item in listed(each(record))]


def _too_many(mapping: StatementMapping, number: int) -> InvalidValue:
    problem = InvalidValue("too_many", number, f"elements are more than {MAX_ELEMENTS:,}")
    return problem.located(f"{mapping.key}.each", "")


def listed(value: object) -> list[object]:
    """The items of a list; an object is one item."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else []
