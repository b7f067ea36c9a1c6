"""What would become of an export: its rows, read through a contract and checked, without writing anything."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import Rejected
from pagefold.engine.events import DomainEvent, ReferencedEvent, with_sku
from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.export_rows import Damaged, Row
from pagefold.engine.intake.contracts.field_observer import FieldCount, FieldCounts, FieldObserver
from pagefold.engine.intake.contracts.missing_paths import MissingPath, missing_problem
from pagefold.engine.intake.contracts.reading import Reading
from pagefold.engine.intake.contracts.record_groups import RecordGroups
from pagefold.engine.intake.contracts.record_join import RECORDS, Join
from pagefold.engine.intake.contracts.source_contracts import Entrance
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.runtime.clock import now
from pagefold.projections.transforms import InvalidValue

MAX_NAMES = 1_000
"""How many names of records are remembered, to be shown beside one that none has."""

DAMAGED_ROW = "row"
"""The domain of a row that cannot be read: it has none."""


NO_ROWS: Mapping[str, Iterable[Row]] = {}

MAX_REMEMBERED = 500_000
"""Statements of which it is remembered what they say: later ones of the same stream are compared with them."""


@dataclass(slots=True)
class KindOfRefusal:
    """Statements that were refused for one reason: how many, and the first of them."""

    domain: str
    place: str
    code: str
    example: str
    sku: str | None
    line: int
    count: int = 1


@dataclass(slots=True)
class CheckResult:
    """What was found. `statements` and `withdrawals` are counts by domain.

    `missing` are paths that no record has, and `problem` says so if that would stop a run. `signals` are values that a
    table does not have, and names that are no locales: see `Contract`.
    """

    rows: int = 0
    statements: Counter[str] = field(default_factory=Counter)
    withdrawals: Counter[str] = field(default_factory=Counter)
    samples: list[DomainEvent] = field(default_factory=list)
    refusals: dict[tuple[str, str, str], KindOfRefusal] = field(default_factory=dict)
    missing: list[MissingPath] = field(default_factory=list)
    problem: str | None = None
    fields: FieldCounts = field(default_factory=FieldCounts)
    signals: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    reading: Reading = field(default_factory=Reading)

    @property
    def refused(self) -> int:
        """How many statements and rows were refused."""
        return sum([kind.count for kind in self.refusals.values()])

    @property
    def loses_something(self) -> bool:
        """Whether something would not arrive: refused, read from a place that no record has, or not in a table."""
        return bool(self.refusals or self.signals or self.problem)

    @property
    def unmapped(self) -> list[tuple[str, FieldCount]]:
        """The fields that the contract does not read, those that most records have first."""
        found = [(path, counts) for (_, path), counts in self.fields.fields.items() if not counts.mapped]
        return sorted(found, key=lambda each: (-each[1].records, each[0]))


_MOMENTS: Mapping[Entrance, str] = {
    "snapshot": "@taken",
    "webhook": "@received",
    "cdc": "@committed",
    "cloudevents": "@received",
}
"""The moment of a delivery at each entrance. A file has none: it is the time of the check."""


class ContractCheck:
    """Checks the rows of one export. The events are checked as they would be when they are appended."""

    def __init__(self, config: Config, contract: Contract, samples: int, entrance: Entrance = "snapshot") -> None:
        self._contract = contract
        self._validator = EventValidator(config)
        self._samples = samples
        self._contents: dict[int, int] = {}
        self._names: dict[str, None] = {}
        self._facts: dict[str, object] = {_MOMENTS[entrance]: now()}
        self._entrance = entrance
        contract.observer = self._observer = FieldObserver(contract.fields, lambda _record: "", sampled=1)
        self.result = CheckResult(reading=contract.watchful_reading())

    def run(self, rows: Iterable[Row], others: Mapping[str, Iterable[Row]] = NO_ROWS) -> CheckResult:
        """Checks every row. `others` are rows that the contract joins to them. Raises what reading them raises."""
        if self._contract.join is not None and self._entrance == "snapshot":
            self._check_joined(self._contract.join, {RECORDS: rows, **others})
        else:
            for line, value in rows:
                self.result.rows += 1
                self._check(line, value)
        result = self.result
        result.fields, result.signals = self._observer.take(), self._contract.signals
        if result.reading.records:
            result.missing = self._contract.missing_paths(result.reading)
            needed = [(each.domain, each.path) for each in result.missing if each.needed]
            result.problem = missing_problem(needed, self._names) if needed else result.problem
        return result

    def _check_joined(self, join: Join, parts: Mapping[str, Iterable[Row]]) -> None:
        """Checks what records become once all of them are there."""
        with RecordGroups(join) as groups:
            for part, rows in parts.items():
                for line, value in rows:
                    self.result.rows += 1
                    self._collect(groups, part, line, value)
            groups.join()
            self.result.reading.left_out += groups.left_out
            unnamed = groups.unnamed()
            for group in groups:
                self._contract.read_group(group, self.result.reading, self._facts)
                self._note(group.row)
        if unnamed:
            self.result.problem = f"no record has a value for {' and '.join(unnamed)}"

    def _collect(self, groups: RecordGroups, part: str, line: int, value: object) -> None:
        if isinstance(value, Damaged):
            self._note_damaged(line, value)
            return
        if part == RECORDS:
            self._note_names(value)
            counts = self._contract.counts(value, self._facts)
            self.result.reading.left_out += 0 if counts else 1
        try:
            for record in [value] if part != RECORDS else self._contract.records(value) if counts else ():
                groups.add(part, line, record)
        except InvalidValue as error:
            self._refused(KindOfRefusal("join", error.key, error.code, str(error), None, line))

    def _note_damaged(self, line: int, row: Damaged) -> None:
        self._refused(KindOfRefusal(DAMAGED_ROW, "", row.reason.partition(":")[0], row.reason, None, line))

    def _note_names(self, value: object) -> None:
        if isinstance(value, dict) and not value.keys() <= self._names.keys() and len(self._names) < MAX_NAMES:
            self._names |= dict.fromkeys(value)

    def _check(self, line: int, value: object) -> None:
        if isinstance(value, Damaged):
            self._note_damaged(line, value)
            return
        self._note_names(value)
        if self._entrance == "cdc":
            self._facts["@lsn"] = line
        self._contract.read(value, self.result.reading, self._facts)
        self._note(line)

    def _note(self, line: int) -> None:
        """Notes what was made of a row."""
        reading = self.result.reading
        for refusal in reading.refusals:
            error = refusal.error
            kind = KindOfRefusal(refusal.domain, error.key, error.code, str(error), refusal.sku, line)
            self._refused(kind)
        for event in reading.events:
            self._check_event(line, event)
        reading.refusals.clear()
        reading.statements.clear()

    def _check_event(self, line: int, event: DomainEvent) -> None:
        if isinstance(event, ReferencedEvent):
            event = with_sku(event, f"{event.reference.kind} {event.reference.id}")
        try:
            content = self._validator.encode(event, now(), "check").content
        except Rejected as rejection:
            place = f"{event.type}.{rejection.path}" if rejection.path else event.type
            self._refused(KindOfRefusal(event.type, place, "rejected", str(rejection), event.sku, line))
            return
        if self._says_something_else(event, content):
            problem = f"another statement of this stream has other content at version {event.source_version}"
            self._refused(KindOfRefusal(event.type, event.type, "said twice", problem, event.sku, line))
            return
        counts = self.result.statements if event.payload is not None else self.result.withdrawals
        counts[event.type] += 1
        if len(self.result.samples) < self._samples:
            payload = None if event.payload is None else content
            self.result.samples.append(msgspec.structs.replace(event, payload=payload))

    def _says_something_else(self, event: DomainEvent, content: bytes) -> bool:
        """Whether an earlier statement has the same stream and version, and other content."""
        place = hash((event.type, event.sku, event.channel, event.source, event.epoch, event.source_version))
        if place not in self._contents and len(self._contents) >= MAX_REMEMBERED:
            return False
        return self._contents.setdefault(place, hash(content)) != hash(content)

    def _refused(self, kind: KindOfRefusal) -> None:
        known = self.result.refusals.setdefault((kind.domain, kind.place, kind.code), kind)
        if known is not kind:
            known.count += 1
