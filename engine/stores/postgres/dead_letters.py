"""Dead letters: those of the door and those of the fold, in one table."""

from collections.abc import Iterable, Mapping, Sequence

from engine.stores.postgres.connections import Connections
from engine.stores.store import DeadLetter, DeadLetters, Kind, NewLetter


def letter_columns(letters: Iterable[NewLetter]) -> list[tuple[object, ...]]:
    """What the statement `keep_letter` wants, in key order and each key once: a statement cannot change a row twice."""
    by_key = {each[:6]: each for each in letters}
    return list(zip(*(by_key[key] for key in sorted(by_key)), strict=True))


class PostgresDeadLetters(DeadLetters):
    """One table; `kind` tells them apart."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def keep(self, letters: Sequence[NewLetter]) -> None:
        if letters:
            await self._connections.writer.execute("keep_letter", *letter_columns(letters))

    async def newest(
        self, *, kind: Kind | None = None, domain: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        rows = await self._connections.readers.fetch("list_letters", kind, domain, limit)
        return list(map(DeadLetter._make, rows))

    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        rows = await self._connections.readers.fetch("get_letter", kind, number)
        return DeadLetter._make(rows[0]) if rows else None

    async def discard(self, kind: Kind, number: int) -> None:
        await self._connections.writer.execute("discard_letter", kind, number)

    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        rows = await self._connections.readers.fetch("count_letters")
        return {(kind, domain): count for kind, domain, count in rows}
