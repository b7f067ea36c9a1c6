"""Deliveries that were given up: rows of the table `deliveries`."""

from collections.abc import Collection

from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    LAST_KEY,
    MAX_CAUSES,
    MAX_COUNTED,
    OPEN,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
)
from pagefold.engine.stores.delivery_letters import (
    Decided,
    DeliveryLetters,
    complete_letter,
    history_of,
    letter_header,
    letter_of_cause,
    listing,
    selecting,
    stored_decision,
)
from pagefold.engine.stores.delivery_records import micros_of
from pagefold.engine.stores.postgres.connections import Connections


class PostgresDeliveryLetters(DeliveryLetters):
    """Rows of the table `deliveries`."""

    def __init__(self, connections: Connections) -> None:
        self._readers = connections.readers
        self._writers = connections.delivery_writers

    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("newest_delivery_letters", selection, after, limit)

    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("oldest_delivery_letters", selection, after, limit)

    async def get(self, number: int) -> DeadLetter | None:
        rows = await self._readers.fetch("get_delivery_letter", number)
        return complete_letter(tuple(rows[0])) if rows else None

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        if (chosen := selecting(selection)) is None:
            return 0
        state, target, cause = chosen
        if cause is None:
            rows = await self._readers.fetch("count_delivery_letters", state, target)
        else:
            rows = await self._readers.fetch("count_delivery_letters_of_cause", state, target, cause)
        return int(rows[0][0])

    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        rows = await self._readers.fetch("delivery_letter_causes", limit, MAX_COUNTED + 1)
        return [letter_of_cause(tuple(row)) for row in rows]

    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        rows = await self._readers.fetch("delivery_letter_history", key, micros_of(since), MAX_COUNTED)
        return history_of([tuple(row) for row in rows])

    async def retry(self, numbers: Collection[int], decision: Decided) -> set[int]:
        return await self._decide("retry_delivery_letters", list(numbers), decision)

    async def discard(self, numbers: Collection[int], decision: Decided) -> set[int]:
        return await self._decide("discard_delivery_letters", list(numbers), decision)

    async def edit(self, number: int, document: bytes, decision: Decided) -> bool:
        return bool(await self._decide("edit_delivery_letter", number, decision, document))

    async def _list(
        self, statement: str, selection: DeadLetterFilter, after: DeadLetterKey, limit: int
    ) -> list[DeadLetterHeader]:
        if (chosen := selecting(selection)) is None:
            return []
        name, bindings = listing(statement, chosen, after, limit)
        return [letter_header(tuple(row)) for row in await self._readers.fetch(name, *bindings)]

    async def _decide(self, statement: str, which: object, decision: Decided, *more: object) -> set[int]:
        async with self._writers.session() as session:
            return {int(row[0]) for row in await session.fetch(statement, which, stored_decision(decision), *more)}
