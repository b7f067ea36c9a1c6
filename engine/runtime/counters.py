"""What a process has done since its start, in plain numbers, updated once a batch."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable

import msgspec

from pagefold.engine.events import AppendResult, Outcome

SECONDS_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EVENTS_BOUNDS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000)


class Histogram(msgspec.Struct):
    """How often a value was at most each of the `bounds`; the last of `counts` is for values above all bounds."""

    bounds: tuple[float, ...]
    counts: list[int] = []
    total: float = 0.0

    def __post_init__(self) -> None:
        """Starts all counts at 0."""
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        """Counts one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class BatchStats(msgspec.Struct):
    """Transactions of one kind: how many events each had, and how long it took."""

    events: Histogram = msgspec.field(default_factory=lambda: Histogram(EVENTS_BOUNDS))
    seconds: Histogram = msgspec.field(default_factory=lambda: Histogram(SECONDS_BOUNDS))

    def add(self, events: int, seconds: float) -> None:
        """Counts one transaction."""
        self.events.add(events)
        self.seconds.add(seconds)


class Counters(msgspec.Struct):
    """The counters of one process: events by outcome, batches, and by domain what was changed and what had drifted.

    `changed` counts SKUs whose sections a fold changed, `drifted` sections that a replay found to differ. `aside`
    counts, by source, input that is not an event: `kept`, or why it was skipped. `throttled` counts, by source, answers
    that say that it was asked too often.
    """

    outcomes: dict[Outcome, int] = {}
    appends: BatchStats = msgspec.field(default_factory=BatchStats)
    folds: dict[str, BatchStats] = {}
    changed: dict[str, int] = {}
    drifted: dict[str, int] = {}
    aside: dict[str, dict[str, int]] = {}
    throttled: dict[str, int] = {}

    def add_outcomes(self, results: Iterable[AppendResult]) -> None:
        """Counts the outcomes of one call."""
        for outcome, number in Counter(result.outcome for result in results).items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + number

    def add_aside(self, source: str, kind: str) -> None:
        """Counts input that is not an event."""
        of_source = self.aside.setdefault(source, {})
        of_source[kind] = of_source.get(kind, 0) + 1

    def add_throttled(self, source: str) -> None:
        """Counts an answer of a source that says that it was asked too often."""
        self.throttled[source] = self.throttled.get(source, 0) + 1

    def add_fold(self, domain: str, events: int, changed: int, seconds: float) -> None:
        """Counts one batch of a consumer."""
        self.folds.setdefault(domain, BatchStats()).add(events, seconds)
        self.changed[domain] = self.changed.get(domain, 0) + changed

    def add_replay(self, domain: str, drifted: int) -> None:
        """Counts the replay of a domain, or of a part of it."""
        self.drifted[domain] = self.drifted.get(domain, 0) + drifted
