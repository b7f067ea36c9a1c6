"""Measuring side by side: A B A B, round after round, so that whatever else the machine does befalls all sides alike.

A round gives each side one rate. A claim compares two sides round by round and keeps the median of the ratios and their
whole spread; single rates mean little, and are only shown beside the machine that they were measured on.
"""

import gc
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple, TypeAlias

import msgspec

PAGEFOLD = "pagefold"
FLOOR = "floor"
LIBRARY = "ProjectionRunner"

Rates: TypeAlias = Mapping[str, Sequence[float]]
"""By side, what it did a second in each round."""


class Timed(NamedTuple):
    """How long it took, and how much was done."""

    seconds: float
    events: int


class Side(NamedTuple):
    """One way to do the work. `run` does some of it and times nothing but the work."""

    name: str
    run: Callable[[], Awaitable[Timed]]


class Spread(msgspec.Struct, frozen=True):
    """Several measurements of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of at least one value."""
        return cls(median(values), min(values), max(values))


class Claim(msgspec.Struct, frozen=True):
    """Something to compare, and the bound that it should keep to, if there is one. The median decides."""

    what: str
    spread: Spread
    at_least: float | None = None
    at_most: float | None = None

    @property
    def met(self) -> bool | None:
        """None when there is no bound."""
        if self.at_least is not None:
            return self.spread.median >= self.at_least
        if self.at_most is not None:
            return self.spread.median <= self.at_most
        return None


class Line(msgspec.Struct, frozen=True):
    """One line of the table. `sides` are absolute, in `unit`; `note` says what a reader must know to judge it."""

    name: str
    store: str
    events: int
    unit: str
    sides: dict[str, Spread]
    claims: list[Claim]
    note: str = ""


async def interleave(sides: Sequence[Side], rounds: int, pieces: int = 1) -> dict[str, list[float]]:
    """Every side in turn. A round may be cut into pieces, between which the sides alternate as well."""
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    for _ in range(rounds):
        spent = {side.name: Timed(0.0, 0) for side in sides}
        for _ in range(pieces):
            for side in sides:
                if pieces == 1:
                    gc.collect()  # the garbage of one side is not the other's to clear away
                seconds, count = await side.run()
                spent[side.name] = Timed(spent[side.name].seconds + seconds, spent[side.name].events + count)
        for name, timed in spent.items():
            rates[name].append(timed.events / timed.seconds)
    return rates


def ratio(rates: Rates, side: str, other: str, *, at_least: float | None = None, what: str = "") -> Claim:
    """How many times as fast one side was as another, round by round."""
    ratios = [one / two for one, two in zip(rates[side], rates[other], strict=True)]
    return Claim(what or f"× {other}", Spread.of(ratios), at_least=at_least)


def spreads(rates: Rates) -> dict[str, Spread]:
    """The absolute numbers."""
    return {name: Spread.of(values) for name, values in rates.items()}


class Stopwatch:
    """Times what is inside its `with` blocks, together."""

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
