"""Dead letters.

Those of the door in `events.db`, because nothing can make them again; those of the fold in `pages.db`.
"""

from collections.abc import Mapping, Sequence

from engine.stores.sqlite.connections import SQL, Connections, Row, Threaded, in_transaction
from engine.stores.store import KINDS, DeadLetter, DeadLetters, Kind, NewLetter


def letter_row(letter: NewLetter) -> Row:
    """What the statement `keep_letter` wants."""
    return letter[1:]


class SQLiteDeadLetters(DeadLetters):
    """Two tables of one form, one a file."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def keep(self, letters: Sequence[NewLetter]) -> None:
        rows = [letter_row(letter) for letter in letters]
        await self._connections.events.run(
            in_transaction(lambda connection: connection.executemany(SQL["keep_letter"], rows))
        )

    async def newest(
        self, *, kind: Kind | None = None, domain: str | None = None, limit: int = 100
    ) -> list[DeadLetter]:
        letters: list[DeadLetter] = []
        for each in KINDS if kind is None else (kind,):
            rows = await self._reader(each).fetch("list_letters", domain, limit)
            letters += [DeadLetter(each, *row) for row in rows]
        letters.sort(key=lambda letter: (letter.recorded_at, letter.number), reverse=True)
        return letters[:limit]

    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        rows = await self._reader(kind).fetch("get_letter", number)
        return DeadLetter(kind, *rows[0]) if rows else None

    async def discard(self, kind: Kind, number: int) -> None:
        writer = self._connections.events if kind == "ingest" else self._connections.pages
        await writer.fetch("discard_letter", number)

    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        counts: dict[tuple[Kind, str], int] = {}
        for kind in KINDS:
            rows = await self._reader(kind).fetch("count_letters")
            counts |= {(kind, domain): count for domain, count in rows}
        return counts

    def _reader(self, kind: Kind) -> Threaded:
        return self._connections.events_browser if kind == "ingest" else self._connections.pages_reader
