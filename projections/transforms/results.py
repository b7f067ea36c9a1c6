"""Keeps the last results of a function: the values of an attribute repeat."""

from collections.abc import Callable
from functools import lru_cache

MAX_REMEMBERED_CHARACTERS = 100
MAX_REMEMBERED_RESULTS = 1_024


def remembered(function: Callable[[object], object]) -> Callable[[object], object]:
    """The function, with its last 1,024 results for short texts and integers. Its results must be immutable."""
    known = lru_cache(maxsize=MAX_REMEMBERED_RESULTS, typed=True)(function)

    def apply(value: object) -> object:
        kind = type(value)
        if kind is str:
            return known(value) if len(value) <= MAX_REMEMBERED_CHARACTERS else function(value)  # type: ignore[arg-type]  # it is text
        if kind is int and -(1 << 63) < value < 1 << 63:  # type: ignore[operator]  # it is an integer
            return known(value)
        return function(value)

    return apply
