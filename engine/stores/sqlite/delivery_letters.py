"""Deliveries that were given up, in `deliveries.db`."""

from collections.abc import Collection, Sequence

import msgspec

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
from pagefold.engine.stores.sqlite.connections import Connections, Row, fetch, in_transaction, with_full_sync
from pagefold.engine.stores.sqlite.deliveries import SQLiteDeliveries


class SQLiteDeliveryLetters(DeliveryLetters):
    """Rows of the table `deliveries`, whose clock it shares."""

    def __init__(self, connections: Connections, deliveries: SQLiteDeliveries) -> None:
        self._connections = connections
        self._deliveries = deliveries

    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("newest_delivery_letters", selection, after, limit)

    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("oldest_delivery_letters", selection, after, limit)

    async def get(self, number: int) -> DeadLetter | None:
        rows = await self._read("get_delivery_letter", number)
        return complete_letter(rows[0]) if rows else None

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        if (chosen := selecting(selection)) is None:
            return 0
        state, target, cause = chosen
        if cause is None:
            rows = await self._read("count_delivery_letters", state, target)
        else:
            rows = await self._read("count_delivery_letters_of_cause", state, target, cause)
        return int(rows[0][0]) if rows else 0

    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        return list(map(letter_of_cause, await self._read("delivery_letter_causes", limit, MAX_COUNTED + 1)))

    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        return history_of(await self._read("delivery_letter_history", key, micros_of(since), MAX_COUNTED))

    async def retry(self, numbers: Collection[int], decision: Decided) -> set[int]:
        return await self._decide("retry_delivery_letters", _json(numbers), decision, self._deliveries.clock())

    async def discard(self, numbers: Collection[int], decision: Decided) -> set[int]:
        return await self._decide("discard_delivery_letters", _json(numbers), decision)

    async def edit(self, number: int, document: bytes, decision: Decided) -> bool:
        return bool(await self._decide("edit_delivery_letter", number, decision, document, self._deliveries.clock()))

    async def _list(
        self, statement: str, selection: DeadLetterFilter, after: DeadLetterKey, limit: int
    ) -> list[DeadLetterHeader]:
        if (chosen := selecting(selection)) is None:
            return []
        name, bindings = listing(statement, chosen, after, limit)
        return list(map(letter_header, await self._read(name, *bindings)))

    async def _decide(self, statement: str, which: object, decision: Decided, *more: object) -> set[int]:
        if not self._connections.has_deliveries:
            return set()
        write = in_transaction(lambda connection: fetch(connection, statement, which, stored_decision(decision), *more))
        return {int(row[0]) for row in await self._connections.deliveries.run(with_full_sync(write))}

    async def _read(self, statement: str, *bindings: object) -> Sequence[Row]:
        if not self._connections.has_deliveries:
            return []
        return await self._connections.deliveries_reader.fetch(statement, *bindings)


def _json(numbers: Collection[int]) -> str:
    return msgspec.json.encode([*numbers]).decode()
