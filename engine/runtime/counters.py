"""What a process has done since it began, in plain numbers, written a batch at a time and read by whoever watches."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

from pagefold.engine.events import AppendResult, Outcome

SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EVENTS_BOUNDS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000)


class Histogram(msgspec.Struct):
    """How often a value was at most each of the `bounds`; the last of `counts` is of those above all of them."""

    bounds: tuple[float, ...]
    counts: list[int] = []
    total: float = 0.0

    def __post_init__(self) -> None:
        """Nothing is counted yet."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """One value more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class BatchStats(msgspec.Struct):
    """Transactions of one kind: how many events each had, and how long it took."""

    events: Histogram = msgspec.field(default_factory=lambda: Histogram(EVENTS_BOUNDS))
    seconds: Histogram = msgspec.field(default_factory=lambda: Histogram(SECONDS_BOUNDS))

    def add(self, events: int, seconds: float) -> None:
        """One transaction more."""
        self.events.add(events)
        self.seconds.add(seconds)


class Counters(msgspec.Struct):
    """The numbers of one process: events by outcome, batches, sections changed and drifted by domain.

    `aside` has by source what was delivered and is no event, by what became of it: `kept`, or why it was passed over.
    """

    outcomes: dict[Outcome, int] = {}
    appends: BatchStats = msgspec.field(default_factory=BatchStats)
    folds: dict[str, BatchStats] = {}
    changed: dict[str, int] = {}
    drifted: dict[str, int] = {}
    aside: dict[str, dict[str, int]] = {}

    def add_outcomes(self, results: Iterable[AppendResult]) -> None:
        """The outcomes of one call."""
        for outcome, number in Counter(result.outcome for result in results).items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number

    def add_aside(self, source: str, word: str) -> None:
        """Something that was delivered, and is no event."""
        of_source = self.aside.setdefault(source, {})
        of_source[word] = of_source.get(word, 0) + 1

    def add_fold(self, domain: str, events: int, changed: int, seconds: float) -> None:
        """One batch of a consumer."""
        self.folds.setdefault(domain, BatchStats()).add(events, seconds)
        self.changed[domain] = self.changed.get(domain, 0) + changed

    def add_replay(self, domain: str, drifted: int) -> None:
        """A domain, or a part of it, was folded again."""
        self.drifted[domain] = self.drifted.get(domain, 0) + drifted
