"""The rows of a snapshot in the source's own form, read through its contract: each says something, or nothing.

A row may make several statements, none, or refusals. What an end marker counts, and what makes a snapshot complete, are
rows.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias, cast

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import SourceFailed
from pagefold.engine.events import DomainEvent, ReferencedEvent
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.delivery_facts import TAKEN
from pagefold.engine.intake.contracts.export_rows import encode_json, repeated_column
from pagefold.engine.intake.contracts.missing_paths import missing_problem
from pagefold.engine.intake.contracts.reading import Reading, Refusal
from pagefold.engine.intake.contracts.record_groups import Group
from pagefold.engine.intake.contracts.record_join import RECORDS, Join
from pagefold.engine.intake.contracts.source_contracts import source_contract
from pagefold.engine.intake.contracts.statement_mapping import Record as ContractRecord
from pagefold.engine.runtime.clock import now
from pagefold.engine.snapshots.coverage import Coverage
from pagefold.engine.snapshots.row import RefusedStatement, Row
from pagefold.projections.transforms.paths import path_names
from pagefold.projections.transforms.value_types import timestamp_text

NOTED_RECORDS = 100
"""Records whose names are kept, for the error about a path that no record has."""

Identity: TypeAlias = Literal["content", "streams"]
"""What makes a row the repetition of an earlier one: equal content, or, where pages may shift, the same streams."""


class Record(NamedTuple):
    """A row in the source's own form: its value, and the hash of its content.

    `is_item`: the contract found it in a message, by its `items`; otherwise the value is a message.
    """

    value: object
    content: int
    is_item: bool = False


class ContractRows:
    """Makes rows of records.

    `name` is the snapshot's; `reading` counts what the records have and lack; `coverage` is what statements can be of.
    `identities` has a number for each record read since `take_identities`, equal for a record and its repetition.
    """

    def __init__(self, name: str, contract: Contract, identity: Identity | None, coverage: Coverage) -> None:
        self.contract = contract
        self.coverage = coverage
        self.name = name
        self._identity: Identity | None = identity
        self._identities: list[int] = []
        self.keeps_texts = False
        self.begin(None)

    @property
    def taken_text(self) -> str:
        """When the snapshot was taken, as the contract reads it."""
        return str(self._facts[TAKEN])

    def begin(self, taken_at: datetime | None) -> None:
        """Begins a pass. `taken_at` is when the snapshot was taken, as far as is known; else it is now."""
        self.reading: Reading = self.contract.watchful_reading()
        self._filters = set(self.contract.only.reads)
        self._names: dict[str, None] = {}
        self._noted = 0
        self._identities = []
        self.taken(taken_at or datetime.fromisoformat(now()))

    def taken(self, at: datetime) -> None:
        """Records when the snapshot was taken, according to its begin marker."""
        self._facts: Mapping[str, object] = {TAKEN: timestamp_text(at)}

    def rows(self, number: int, record: Record) -> list[Row]:
        """What a record says: a row for each statement and for each that was refused, with the record's number."""
        reading = self.reading
        self._read(record)
        rows = [self._row(number, statement.event, record) for statement in reading.statements]
        if reading.refusals:
            rows += [self._refused(number, refusal, record) for refusal in reading.refusals]
        if self._filters or self._noted < NOTED_RECORDS:
            self._note_names(record)
        if self._identity is not None:
            self._identities.append(record.content if self._identity == "content" else _streams_of(rows, record))
        reading.statements.clear()
        reading.refusals.clear()
        reading.wholes.clear()  # what a group lacks is absent from the snapshot
        return rows

    def _read(self, record: Record) -> None:
        if record.is_item:
            self.contract.read_record(record.value, self.reading, self._facts)
        else:
            self.contract.read(record.value, self.reading, self._facts)

    def items(self, message: object) -> Iterator[Record]:
        """The records in a message, by the contract's `items`; the message itself if the contract has none."""
        if not self.contract.items:
            yield Record(message, hash(encode_json(message)))
            return
        self._filters -= self.contract.only.present(message)
        if self.contract.counts(message, self._facts):
            for item in self.contract.records(message):
                yield Record(item, hash(encode_json(_own(item))), is_item=True)

    def _note_names(self, record: Record) -> None:
        """Notes what a record has: for the error about what none has."""
        if not record.is_item:
            self._filters -= self.contract.only.present(record.value)
        if self._noted < NOTED_RECORDS:
            self._noted += 1
            for each in [record.value] if record.is_item else self.contract.records(record.value):
                self._names |= dict.fromkeys(field.path for field in self.contract.fields.of(each))

    def take_identities(self) -> list[int]:
        """The identities of the records since the last call."""
        taken, self._identities = self._identities, []
        return taken

    def check_columns(self, names: Collection[str]) -> None:
        """Raises `SourceFailed` if a column that the contract reads is not among these names, or twice."""
        if (repeated := repeated_column([*names], self.contract.paths)) is not None:
            raise SourceFailed(self.name, f"has two columns named {repeated!r}")
        if missing := self.contract.absent_columns(names):
            raise SourceFailed(self.name, missing_problem(missing, [name for name in names if name]))

    def check_paths(self) -> None:
        """Raises `SourceFailed` if no record of the pass has a path that the contract reads."""
        absent = [("only", path) for path in sorted(self._filters)] if self.reading.left_out else []
        absent += self.contract.absent_paths(self.reading) if self.reading.records else []
        if absent:
            raise SourceFailed(self.name, missing_problem(absent, self._names))

    def _row(self, number: int, event: DomainEvent, record: Record) -> Row:
        """A statement. One that may have to wait for a reference has the text from which it can be read again."""
        if not (self.keeps_texts or isinstance(event, ReferencedEvent)):
            return Row(number, event)
        return Row(number, event, self._text_of(record))

    def _text_of(self, record: Record) -> bytes:
        """What is read again: the record, or the message around an item."""
        return self._message_of(record) if record.is_item else encode_json(record.value)

    def _message_of(self, record: Record) -> bytes:
        """The message around an item, with this item alone."""
        item, message = cast("tuple[object, object]", record.value)
        return encode_json(self._message_with(message, [item]))

    def _message_with(self, message: object, items: list[object]) -> object:
        """A message with other items."""
        for number, path in enumerate(self.contract.items):
            names = (path,) if self.contract.form == "columns" else path_names(path, "items")
            message = _with_value(message, names, [] if number else items)
        return message

    def _refused(self, number: int, refusal: Refusal, record: Record) -> Row:
        rejected = self.contract.rejection(refusal)
        text = self._text_of(record) if self.keeps_texts else b""
        if refusal.event is None:
            return Row(number, rejected, text)
        return Row(number, RefusedStatement(refusal.event, rejected.path, rejected.reason), text)


class JoinedRows(ContractRows):
    """Collects records, and makes rows of what they become when all of them are there.

    `collect` takes each with the number of its row; `part` is the part of the snapshot that they are in.
    """

    collect: Callable[[str, int, ContractRecord], None]
    part: str = RECORDS
    join: Join

    def __init__(self, name: str, contract: Contract, identity: Identity | None, coverage: Coverage) -> None:
        super().__init__(name, contract, identity, coverage)
        if contract.join is None:
            raise AssertionError(contract.identity)  # `contract_rows` asks
        self.join = contract.join
        self._group: Group | None = None

    def rows(self, number: int, record: Record) -> list[Row]:
        """Collects a record; it makes no rows yet. Raises `InvalidValue` if its place in a group is not known."""
        for each in self._records_of(record):
            self.collect(self.part, number, each)
        return []

    def _records_of(self, record: Record) -> Iterator[ContractRecord]:
        if self.part != RECORDS or not self.contract.items:
            if self.part == RECORDS:
                self._filters -= self.contract.only.present(record.value)
            if self.part != RECORDS or self.contract.counts(record.value, self._facts):
                yield record.value
            else:
                self.reading.left_out += 1
            return
        for item in [record] if record.is_item else self.items(record.value):
            own, message = cast("tuple[object, object]", item.value)
            yield own, self._message_with(message, [])

    def items(self, message: object) -> Iterator[Record]:
        """The records in a message; of another part of the snapshot, the message itself."""
        if self.part != RECORDS:
            yield Record(message, 0)
        else:
            yield from super().items(message)

    def take_identities(self) -> list[int]:
        """Something, so that there is a batch now and then; what repeats is found when all records are there."""
        return [0]

    def rows_of(self, group: Group) -> list[Row]:
        """What a joined record says."""
        self._group = group
        return super().rows(group.row, Record(group.value, 0, is_item=True))

    def _read(self, _record: Record) -> None:
        if self._group is not None:
            self.contract.read_group(self._group, self.reading, self._facts)

    def _text_of(self, record: Record) -> bytes:
        """The records that became one, so that they are joined again when they are read again."""
        if self._group is None or not self._group.records:
            return b""
        paired, roles = self.join.paired, self.join.kind == "roles"
        if not paired:
            return encode_json(record.value if roles else self._group.records)
        own, message = cast("tuple[object, object]", record.value)
        items = [own] if roles else [cast("tuple[object, object]", each)[0] for each in self._group.records]
        return encode_json(self._message_with(message, items))

    def check_columns(self, names: Collection[str]) -> None:
        """Checks the columns of the records themselves."""
        if self.part == RECORDS:
            super().check_columns(names)


def _streams_of(rows: list[Row], record: Record) -> int:
    """A number that is equal for records that name the same streams; of those without one, the content counts."""
    events = [row.event.event if isinstance(row.event, RefusedStatement) else row.event for row in rows]
    found = [event for event in events if isinstance(event, DomainEvent)]
    return hash(tuple((each.sku, each.channel, each.type, each.source) for each in found)) if found else record.content


def _with_value(message: object, names: Sequence[str], value: object) -> object:
    """A copy of a message with another value at a path; the message itself if it has none there."""
    if not names:
        return value
    if isinstance(message, dict) and names[0] in message:
        return {**message, names[0]: _with_value(message[names[0]], names[1:], value)}
    return message


def _own(item: object) -> object:
    """An item without the message around it."""
    return item[0] if isinstance(item, tuple) else item


def contract_rows(config: Config, source: str, name: str, identity: Identity | None) -> ContractRows | None:
    """What reads the rows of a source's snapshot; None if they are in Pagefold's own form.

    Raises `ConfigurationError`.
    """
    contract = source_contract(config, source, "snapshot")
    if contract is None:
        return None
    if contract.join is not None:
        return JoinedRows(name, contract, None, Coverage.of_contract(config, source, contract))
    return ContractRows(name, contract, identity, Coverage.of_contract(config, source, contract))
