"""The nearest right spelling of a name that does not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

MIN_SIMILARITY = 0.6


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """`; did you mean 'pricing'?` for 'prices', or nothing where no known name is similar."""
    nearest = nearest_name(given, known)
    return "" if nearest is None else f"; did you mean {nearest!r}?"


def nearest_name(given: str, known: Iterable[str]) -> str | None:
    """The known name that is most similar to the given one, in capitals or not; None where none is similar."""
    by_folded = {name.casefold(): name for name in known}
    found = get_close_matches(given.casefold(), by_folded, n=1, cutoff=MIN_SIMILARITY)
    return by_folded[found[0]] if found else None
