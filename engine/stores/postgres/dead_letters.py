"""Dead letters of the intake and of the fold, in one table."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    FIRST_WAITING,
    KINDS,
    LAST_KEY,
    MAX_LISTED,
    OPEN,
    DeadLetter,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    DeadLetters,
    Expiry,
    Kind,
    NewDeadLetter,
    Purge,
    Resolution,
    WaitingKey,
    WaitingState,
    dead_letter_values,
)
from pagefold.engine.stores.postgres.connections import Connections
from pagefold.projections.streams import encode_part


def dead_letter_columns(dead_letters: Iterable[NewDeadLetter]) -> list[tuple[object, ...]]:
    """The columns for `keep_dead_letter`, in key order and each key once: a statement cannot change a row twice."""
    by_key = {each[:6]: dead_letter_values(each) for each in dead_letters}
    return list(zip(*(by_key[key] for key in sorted(by_key)), strict=True))


class PostgresDeadLetters(DeadLetters):
    """One table; `kind` separates them."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        if dead_letters:
            await self._connections.writer.execute("keep_dead_letter", *dead_letter_columns(dead_letters))

    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("newest_dead_letters", selection, after, limit)

    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        return await self._list("oldest_dead_letters", selection, after, limit)

    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        rows = await self._connections.readers.fetch("get_dead_letter", kind, number)
        return DeadLetter(*rows[0]) if rows else None

    async def resolve(self, kind: Kind, number: int, resolution: Resolution) -> bool:
        return await self._connections.writer.execute("resolve_dead_letter", *resolution, kind, number) > 0

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        return int((await self._connections.readers.fetch("count_letters_of", *_source_suffix(selection)))[0][0])

    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        rows = await self._connections.readers.fetch("count_dead_letters")
        return {(kind, domain): count for kind, domain, count in rows}

    async def requests_of(self, streams: Sequence[str]) -> list[tuple[str, int]]:
        rows = await self._connections.readers.fetch("requests_of", list(streams))
        return [(stream, version) for stream, version in rows]

    async def of_sku(self, sku: str, domains: Collection[str], limit: int) -> list[DeadLetterHeader]:
        bindings = (list(KINDS), list(domains), sku, MAX_LISTED, limit)
        rows = await self._connections.readers.fetch("dead_letters_of_sku", *bindings)
        return [DeadLetterHeader(*row) for row in rows]

    async def waiting(self, after: WaitingKey = FIRST_WAITING, limit: int = 500) -> list[WaitingKey]:
        rows = await self._connections.readers.fetch("waiting_dead_letters", *after.reference, *after[1:], limit)
        return [WaitingKey(Reference(*row[:2]), *row[2:]) for row in map(tuple, rows)]

    async def wait_for(self, number: int, reference: Reference, error: str) -> None:
        await self._connections.writer.execute("wait_for_reference", *reference, error, number)

    async def waiting_state(self) -> WaitingState:
        return WaitingState(*(await self._connections.readers.fetch("waiting_state"))[0])

    async def awaited(self, references: Collection[Reference]) -> set[Reference]:
        if not references:
            return set()
        kinds, ids = map(list, zip(*references, strict=True))
        rows = await self._connections.readers.fetch("awaited_references", kinds, ids)
        return {Reference(*row) for row in rows}

    async def purge(self, expiry: Expiry, purge: Purge, *, limit: int, size: int) -> int:
        return await self._connections.writer.execute("purge_dead_letters", *purge, *_expired(expiry), limit, size)

    async def purge_one(self, kind: Kind, number: int, purge: Purge) -> bool:
        return await self._connections.writer.execute("purge_dead_letter", *purge, kind, number) > 0

    async def count_expired(self, expiry: Expiry) -> int:
        return int((await self._connections.readers.fetch("count_expired", *_expired(expiry)))[0][0])

    async def count_purged(self, kind: Kind) -> int:
        return int((await self._connections.readers.fetch("count_purged", kind))[0][0])

    async def _list(
        self, statement: str, selection: DeadLetterFilter, after: DeadLetterKey, limit: int
    ) -> list[DeadLetterHeader]:
        rows = await self._connections.readers.fetch(statement, *_source_suffix(selection), *after, limit, MAX_LISTED)
        return [DeadLetterHeader(*row) for row in rows]


def _expired(expiry: Expiry) -> tuple[str, bool, str]:
    """The parameters of the statements: the kind, unless it is a request."""
    return "ingest" if expiry.sort == "conflict" else expiry.sort, expiry.resolved, expiry.before


def _source_suffix(selection: DeadLetterFilter) -> DeadLetterFilter:
    """The parameters of the statements: the source as a suffix of stream names."""
    return selection if selection.source is None else selection._replace(source=encode_part(selection.source))
