"""The geometry of charts, which are inline SVG: numbers only, the look is in the style sheet."""

from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 240, 34
TOP = 4.3
"""Where the largest value is: room for the line's own width."""

FLOOR = 33.0
"""Where zero is."""


class Sparkline(NamedTuple):
    """A line of values over time, the area below it, and the height of the limit; None if it is beyond the chart."""

    line: str
    area: str
    limit: float | None
    width: int = WIDTH
    height: int = HEIGHT


def sparkline(values: Sequence[float | None], limit: float | None = None) -> Sparkline | None:
    """The line of some values, oldest first, evenly spaced. A value that is unknown repeats the one before.

    None if fewer than two are known. The chart is high enough for the limit, with a quarter above it.
    """
    known = [value for value in values if value is not None]
    if len(known) < 2:  # noqa: PLR2004  # a line has two ends
        return None
    filled, last = [], known[0]
    for value in values:
        last = last if value is None else value
        filled.append(last)
    highest = max(*known, (limit or 0) * 1.25, 1e-9)
    step = WIDTH / (len(filled) - 1)
    points = " ".join(f"{index * step:.1f},{_height(value, highest):.1f}" for index, value in enumerate(filled))
    area = f"0,{HEIGHT} {points} {WIDTH},{HEIGHT}"
    return Sparkline(points, area, None if limit is None else round(_height(limit, highest), 1))


def _height(value: float, highest: float) -> float:
    return FLOOR - (FLOOR - TOP) * max(0.0, value) / highest
