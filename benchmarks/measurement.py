"""Interleaved measuring: A B A B, in rounds, so that other load on the machine affects all sides alike.

Each round measures one rate of each side. A claim compares two sides round by round, and has the median of the ratios
and their spread. Single rates mean little without the machine that they were measured on.
"""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

import msgspec

PAGEFOLD = "pagefold"
BASELINE = "baseline"
LIBRARY = "ProjectionRunner"

Rates: TypeAlias = Mapping[str, Sequence[float]]
"""By side, its rate per second in each round."""


class Timed(NamedTuple):
    """The seconds that work took, and the number of events done."""

    seconds: float
    events: int


class Side(NamedTuple):
    """One way to do the work. `run` does a piece of it, and times only the work."""

    name: str
    run: Callable[[], Awaitable[Timed]]


class Spread(msgspec.Struct, frozen=True):
    """The median and range of several measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one or more values."""
        return cls(median(values), min(values), max(values))


class Claim(msgspec.Struct, frozen=True):
    """A comparison, and its target, if it has one. The median decides whether it is met."""

    what: str
    spread: Spread
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without a target."""
        if self.at_least is not None:
            return self.spread.median >= self.at_least
        if self.at_most is not None:
            return self.spread.median <= self.at_most
        return None


class Line(msgspec.Struct, frozen=True):
    """One line of the table. `sides` are absolute, in `unit`; `note` explains the line."""

    name: str
    store: str
    events: int
    unit: str
    sides: dict[str, Spread]
    claims: list[Claim]
    note: str = ""


async def interleave(sides: Sequence[Side], rounds: int, pieces: int = 1) -> dict[str, list[float]]:
    """Runs every side in turn. A round may consist of pieces, between which the sides alternate as well."""
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        spent = {side.name: Timed(0.0, 0) for side in sides}
        for _ in range(pieces):
            for side in sides:
                if pieces == 1:
                    gc.collect()  # one side must not collect the other's garbage
                seconds, count = await side.run()
                spent[side.name] = Timed(spent[side.name].seconds + seconds, spent[side.name].events + count)
        for name, timed in spent.items():
            rates[name].append(timed.events / timed.seconds)
    return rates


def ratio(rates: Rates, side: str, other: str, *, at_least: float | None = None, what: str = "") -> Claim:
    """How many times as fast one side is as another, from the ratios of the rounds."""
    ratios = [one / two for one, two in zip(rates[side], rates[other], strict=True)]
    return Claim(what or f"× {other}", Spread.of(ratios), at_least=at_least)


def spreads(rates: Rates) -> dict[str, Spread]:
    """The spread of each side's rates."""
    return {name: Spread.of(values) for name, values in rates.items()}


class Stopwatch:
    """Measures the total time of its `with` blocks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._started


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
