"""Durations in the configuration."""

import re
from typing import TypeAlias

Duration: TypeAlias = int | float | str
"""Seconds, or a number and a unit such as `15m`."""

MAX_SECONDS = 366 * 24 * 3600

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_written = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(ms|[smhd])", re.ASCII)


def parse_duration(given: Duration) -> float:
    """The seconds of a duration. Raises `ValueError` with what is allowed."""
    if isinstance(given, str):
        match = _written.fullmatch(given.strip())
        seconds = float(match[1]) * _SECONDS[match[2]] if match else -1.0
    else:
        seconds = float(given)
    if not 0 <= seconds <= MAX_SECONDS:
        problem = (
            f"{given!r} is neither a number of seconds nor a duration such as '90s', '15m' or '2d', up to 366 days"
        )
        raise ValueError(problem)
    return seconds
