"""Feeds the sources' lines into the shop, and compares each outcome with the expected one.

All sources deliver concurrently. A stream belongs to one source, so its lines keep their order, and with it their
outcomes: of two contents at one version, the second is the conflict.
"""

import itertools
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from typing import NamedTuple, TypeAlias

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from pagefold.engine.demo.faults import BROKEN, Arrival, Expected, Faults
from pagefold.engine.demo.reference_model import Model
from pagefold.engine.errors import Rejected
from pagefold.engine.events import OUTCOMES, AppendResult, DomainEvent, Outcome
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.shop import Shop

WINDOW = 2_000
"""Lines that are made and split by source at a time. It bounds memory, together with the lines in transit."""

MAX_UNEXPECTED = 5
"""Maximum unexpected outcomes that are reported; all are counted."""

Batch: TypeAlias = list[Arrival]

_ORDER = (
    (None, None),
    *((fault.name, None) for fault in fields(Faults)),
    *(("broken", kind) for kind in BROKEN),
)


@dataclass(slots=True)
class FaultTally:
    """The outcomes of all lines with one fault. `reason` is the first rejection's, if any."""

    fault: str | None
    kind: str | None
    expected: Expected
    sent: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reason: str | None = None

    @property
    def as_expected(self) -> bool:
        """Whether every line had the expected outcome."""
        return self.outcomes[self.expected] == self.sent


class UnexpectedOutcome(NamedTuple):
    """A line with an unexpected outcome. `model` is the model's expectation, None if it is `expected` as well."""

    line: str
    expected: Expected
    model: Expected | None
    outcome: Outcome
    reason: str | None


class Ledger:
    """Counts the lines sent, and their outcomes."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter({outcome: 0 for outcome in OUTCOMES if outcome != "echo"})
        self.conflicts: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.unexpected: list[UnexpectedOutcome] = []
        self.unexpected_count = 0
        self._tallies: dict[tuple[str | None, str | None], FaultTally] = {}

    @property
    def lines(self) -> int:
        """The total number of lines."""
        return self.outcomes.total()

    def tallies(self) -> list[FaultTally]:
        """The tallies: without a fault, by fault, then by kind of broken line, in the order of `faults`."""
        return [self._tallies[key] for key in _ORDER if key in self._tallies]

    def hottest(self) -> str:
        """The SKU with the most events."""
        return max(self.changes, key=lambda sku: (self.changes[sku], sku))

    def quietest(self) -> str:
        """The SKU with the fewest events."""
        return min(self.changes, key=lambda sku: (self.changes[sku], sku))

    def record(self, arrival: Arrival, outcome: Expected, result: AppendResult) -> None:
        """Counts a line: `outcome` is the model's, `result` the shop's."""
        self.outcomes[result.outcome] += 1
        if arrival.event is not None:
            self.changes[unicodedata.normalize("NFC", arrival.event["sku"])] += 1
            self.conflicts[arrival.event["type"]] += outcome == "conflict"
        key = arrival.fault, arrival.kind
        if (tally := self._tallies.get(key)) is None:
            tally = self._tallies[key] = FaultTally(*key, arrival.expected)
        tally.sent += 1
        tally.outcomes[result.outcome] += 1
        tally.reason = tally.reason or _reason(result)
        if not arrival.expected == outcome == result.outcome:
            self._record_unexpected(arrival, outcome, result)

    def _record_unexpected(self, arrival: Arrival, outcome: Expected, result: AppendResult) -> None:
        self.unexpected_count += 1
        if len(self.unexpected) < MAX_UNEXPECTED:
            other = None if outcome == arrival.expected else outcome
            self.unexpected.append(
                UnexpectedOutcome(_name(arrival), arrival.expected, other, result.outcome, _reason(result)),
            )


class SourceFeeds:
    """The sources of a shop. The model receives every line in the same order as the shop.

    `advance` is called for each line with its number of new events: one or none.
    """

    def __init__(self, shop: Shop, model: Model, ledger: Ledger, advance: Callable[[int], None]) -> None:
        self._shop = shop
        self._advance = advance
        self._model = model
        self._ledger = ledger

    async def deliver(self, arrivals: Iterable[Arrival]) -> None:
        """Sends every line, and returns when the last outcome is known."""
        async with anyio.create_task_group() as group:
            queues = {}
            for source in self._shop.config.sources:
                queues[source], receive = anyio.create_memory_object_stream[Batch](max_buffer_size=1)
                group.start_soon(self._append_all, receive)
            for window in _windows(arrivals):
                for source, batch in _by_source(window, next(iter(queues))):
                    await queues[source].send(batch)
            for queue in queues.values():
                queue.close()

    async def _append_all(self, batches: MemoryObjectReceiveStream[Batch]) -> None:
        async with batches:
            async for batch in batches:
                await self._append(batch)

    async def _append(self, batch: Batch) -> None:
        read = [read_line(arrival.line) for arrival in batch]
        results = iter(await self._shop.append([each for each in read if isinstance(each, DomainEvent)]))
        for arrival, each in zip(batch, read, strict=True):
            result = each if isinstance(each, AppendResult) else next(results)
            outcome = "rejected" if arrival.event is None else self._model.submit(arrival.event)
            self._ledger.record(arrival, outcome, result)
            self._advance(result.outcome == "appended")


def _windows(arrivals: Iterable[Arrival]) -> Iterator[Batch]:
    lines = iter(arrivals)
    while window := list(itertools.islice(lines, WINDOW)):
        yield window


def _by_source(window: Batch, anyone: str) -> Iterator[tuple[str, Batch]]:
    """The window's lines by source. A broken line has none, so the source of the previous line sends it."""
    batches: defaultdict[str, Batch] = defaultdict(list)
    source = anyone
    for arrival in window:
        if arrival.event is not None:
            source = arrival.event["source"]
        batches[source].append(arrival)
    yield from batches.items()


def read_line(line: bytes) -> DomainEvent | AppendResult:
    """The event in a line, or why there is none."""
    try:
        return parse_event(line)
    except Rejected as refused:
        return AppendResult("rejected", path=refused.path, reason=refused.reason)


def _name(arrival: Arrival) -> str:
    """A description of a line, without its payload."""
    event = arrival.event
    if event is None:
        return f"a broken line ({arrival.kind})"
    stream = f"{event['sku']}/{event['channel']}/{event['type']}/{event['source']}"
    return f"{stream} version {event['sourceVersion']} ({arrival.fault or 'in order'})"


def _reason(result: AppendResult) -> str | None:
    return f"{result.path}: {result.reason}" if result.path else result.reason
