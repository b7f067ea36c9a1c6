"""The nearest right spelling of a name that does not exist."""

from collections.abc import Collection
from difflib import get_close_matches

MIN_SIMILARITY = 0.6


def suggestion(given: str, known: Collection[str], plural: str) -> str:
    """A hint with the nearest name and all names: `did you mean 'pricing'? The domains are catalog, pricing`."""
    if not known:
        return f"there are no {plural}"
    listed = f"{plural} are {', '.join(known)}"
    nearest = nearest_name(given, known)
    return f"the {listed}" if nearest is None else f"did you mean {nearest!r}? The {listed}"


def nearest_name(given: str, known: Collection[str]) -> str | None:
    """The known name that is most similar to the given one, ignoring case; None if none is similar."""
    by_folded = {name.casefold(): name for name in known}
    found = get_close_matches(given.casefold(), by_folded, n=1, cutoff=MIN_SIMILARITY)
    return by_folded[found[0]] if found else None
