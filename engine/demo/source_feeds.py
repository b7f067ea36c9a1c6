"""The sources at work: every line is really ingested, and its outcome is compared with the expected one.

Each source delivers on its own, all at the same time. A stream belongs to one source, so the lines of a stream keep
their order, and with it their fate: the second of two contents at one version is the one in conflict.
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
"""How many lines are made and sorted by source at a time. With what is on its way, all that is held at once."""

SHOWN = 5
"""How many surprises are kept to be shown; all are counted."""

Batch: TypeAlias = list[Arrival]

_ORDER = (
    (None, None),
    *((fault.name, None) for fault in fields(Faults)),
    *(("broken", kind) for kind in BROKEN),
)


@dataclass(slots=True)
class Account:
    """What became of all lines with one fault. `reason` is what the first of them was told, if anything."""

    fault: str | None
    kind: str | None
    expected: Expected
    sent: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reason: str | None = None

    @property
    def as_expected(self) -> bool:
        """Whether every single line became what it had to."""
        return self.outcomes[self.expected] == self.sent


class Surprise(NamedTuple):
    """One line that did not become what it had to. `model` is None where model and delivery expected the same."""

    line: str
    expected: Expected
    model: Expected | None
    outcome: Outcome
    reason: str | None


class Ledger:
    """What was sent, and what became of it."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter(dict.fromkeys(OUTCOMES, 0))
        self.conflicts: Counter[str] = Counter()
        self.changes: Counter[str] = Counter()
        self.surprises: list[Surprise] = []
        self.surprised = 0
        self._accounts: dict[tuple[str | None, str | None], Account] = {}

    @property
    def lines(self) -> int:
        """How many lines there were in all."""
        return self.outcomes.total()

    def accounts(self) -> list[Account]:
        """What was in order, then what had a fault, then what was broken, in the order in which `faults` names them."""
        return [self._accounts[key] for key in _ORDER if key in self._accounts]

    def hottest(self) -> str:
        """The SKU of which most was said."""
        return max(self.changes, key=lambda sku: (self.changes[sku], sku))

    def quietest(self) -> str:
        """The SKU of which least was said."""
        return min(self.changes, key=lambda sku: (self.changes[sku], sku))

    def enter(self, delivery: Arrival, fate: Expected, result: AppendResult) -> None:
        """Takes down one line: `fate` is what the model says of it, `result` what the shop did."""
        self.outcomes[result.outcome] += 1
        if delivery.event is not None:
            self.changes[unicodedata.normalize("NFC", delivery.event["sku"])] += 1
            self.conflicts[delivery.event["type"]] += fate == "conflict"
        key = delivery.fault, delivery.kind
        if (account := self._accounts.get(key)) is None:
            account = self._accounts[key] = Account(*key, delivery.expected)
        account.sent += 1
        account.outcomes[result.outcome] += 1
        account.reason = account.reason or _reason(result)
        if not delivery.expected == fate == result.outcome:
            self._be_surprised(delivery, fate, result)

    def _be_surprised(self, delivery: Arrival, fate: Expected, result: AppendResult) -> None:
        self.surprised += 1
        if len(self.surprises) < SHOWN:
            other = None if fate == delivery.expected else fate
            self.surprises.append(
                Surprise(_name(delivery), delivery.expected, other, result.outcome, _reason(result)),
            )


class SourceFeeds:
    """Everyone who delivers to a shop. The model gets every line that the shop gets, in the same order.

    `advance` is told of each line how many new events it brought: one or none.
    """

    def __init__(self, shop: Shop, model: Model, ledger: Ledger, advance: Callable[[int], None]) -> None:
        self._shop = shop
        self._advance = advance
        self._model = model
        self._ledger = ledger

    async def deliver(self, deliveries: Iterable[Arrival]) -> None:
        """Sends every line, and returns when the fate of the last one is known."""
        async with anyio.create_task_group() as group:
            lanes = {}
            for source in self._shop.config.sources:
                lanes[source], receive = anyio.create_memory_object_stream[Batch](max_buffer_size=1)
                group.start_soon(self._append_all, receive)
            for window in _windows(deliveries):
                for source, batch in _by_source(window, next(iter(lanes))):
                    await lanes[source].send(batch)
            for lane in lanes.values():
                lane.close()

    async def _append_all(self, batches: MemoryObjectReceiveStream[Batch]) -> None:
        async with batches:
            async for batch in batches:
                await self._append(batch)

    async def _append(self, batch: Batch) -> None:
        read = [_read(delivery.line) for delivery in batch]
        results = iter(await self._shop.append([each for each in read if isinstance(each, DomainEvent)]))
        for delivery, each in zip(batch, read, strict=True):
            result = each if isinstance(each, AppendResult) else next(results)
            fate = "rejected" if delivery.event is None else self._model.submit(delivery.event)
            self._ledger.enter(delivery, fate, result)
            self._advance(result.outcome == "appended")


def _windows(deliveries: Iterable[Arrival]) -> Iterator[Batch]:
    lines = iter(deliveries)
    while window := list(itertools.islice(lines, WINDOW)):
        yield window


def _by_source(window: Batch, anyone: str) -> Iterator[tuple[str, Batch]]:
    """The window's lines by who sends them. A broken line is nobody's: whoever sent the line before sends it."""
    batches: defaultdict[str, Batch] = defaultdict(list)
    source = anyone
    for delivery in window:
        if delivery.event is not None:
            source = delivery.event["source"]
        batches[source].append(delivery)
    yield from batches.items()


def _read(line: bytes) -> DomainEvent | AppendResult:
    try:
        return parse_event(line)
    except Rejected as refused:
        return AppendResult("rejected", path=refused.path, reason=refused.reason)


def _name(delivery: Arrival) -> str:
    """What to call a line, without what it says."""
    event = delivery.event
    if event is None:
        return f"a broken line ({delivery.kind})"
    stream = f"{event['sku']}/{event['channel']}/{event['type']}/{event['source']}"
    return f"{stream} version {event['sourceVersion']} ({delivery.fault or 'in order'})"


def _reason(result: AppendResult) -> str | None:
    return f"{result.path}: {result.reason}" if result.path else result.reason
