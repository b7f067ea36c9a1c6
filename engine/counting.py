"""What a process has done since it began, in plain numbers, written a batch at a time and read by whoever watches."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence

from engine.events import AppendResult, Outcome

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
EVENTS = (1, 10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000)


class Histogram:
    """How often a value was at most each of the `bounds`; the last of `counts` is of those above all of them."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        """One value more."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Batches:
    """Transactions of one kind: how many events each had, and how long it took."""

    def __init__(self) -> None:
        self.events = Histogram(EVENTS)
        self.seconds = Histogram(SECONDS)

    def add(self, events: int, seconds: float) -> None:
        """One transaction more."""
        self.events.add(events)
        self.seconds.add(seconds)


class Counts:
    """The numbers of one process: events by outcome, batches, sections changed and drifted by domain."""

    def __init__(self) -> None:
        self.outcomes: Counter[Outcome] = Counter()
        self.appends = Batches()
        self.folds: dict[str, Batches] = {}
        self.changed: Counter[str] = Counter()
        self.drifted: Counter[str] = Counter()

    def answered(self, results: Iterable[AppendResult]) -> None:
        """The outcomes of one call."""
        self.outcomes.update(result.outcome for result in results)

    def folded(self, domain: str, events: int, changed: int, seconds: float) -> None:
        """One batch of a consumer."""
        self.folds.setdefault(domain, Batches()).add(events, seconds)
        self.changed[domain] += changed
