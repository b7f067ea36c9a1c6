"""All dead letters as one list: those that are kept, and the deliveries that were given up, which have no copy."""

from collections import Counter
from collections.abc import Sequence
from typing import TypeAlias

from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    LAST_KEY,
    MAX_CAUSES,
    OPEN,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    DeadLetters,
    Kind,
)
from pagefold.engine.stores.delivery_letters import DELIVERY, DeliveryLetters
from pagefold.engine.stores.store import Store

Source: TypeAlias = DeadLetters | DeliveryLetters


class MergedLetters:
    """Both, in the order of dead letters, with the same filters; a filter that is about one asks only that one."""

    def __init__(self, store: Store) -> None:
        self._kept = store.dead_letters
        self._given_up = store.delivery_letters

    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next ones after a key, newest first."""
        found = [await each.newest(selection, after=after, limit=limit) for each in self._sources(selection.kind)]
        return sorted([letter for some in found for letter in some], key=_place, reverse=True)[:limit]

    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        """The next ones after a key, oldest first."""
        found = [await each.oldest(selection, after=after, limit=limit) for each in self._sources(selection.kind)]
        return sorted([letter for some in found for letter in some], key=_place)[:limit]

    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        """One complete dead letter, open or resolved."""
        return await (self._given_up.get(number) if kind == DELIVERY else self._kept.get(kind, number))

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        """Counts them."""
        return sum([await each.count(selection) for each in self._sources(selection.kind)])

    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        """The causes that have open ones, by key; the empty key, of those that an older program added, is the first."""
        found = [await each.causes(limit) for each in self._sources(None)]
        return sorted([cause for some in found for cause in some])[:limit]

    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        """How many of a cause came since a moment, by ten minutes."""
        history: Counter[str] = Counter()
        for each in self._sources(None):
            history.update(dict(await each.cause_history(key, since)))
        return sorted(history.items())

    def _sources(self, kind: Kind | None) -> Sequence[Source]:
        if kind is None:
            return (self._kept, self._given_up)
        return (self._given_up,) if kind == DELIVERY else (self._kept,)


def _place(dead_letter: DeadLetterHeader) -> DeadLetterKey:
    return dead_letter.key
