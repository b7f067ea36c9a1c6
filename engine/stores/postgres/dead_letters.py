"""Dead letters of the intake and of the fold, in one table."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_causes import cause_key
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    FIRST_WAITING,
    KINDS,
    LAST_KEY,
    MAX_CAUSES,
    MAX_COUNTED,
    MAX_LISTED,
    OPEN,
    DeadLetter,
    DeadLetterCause,
    DeadLetterFilter,
    DeadLetterHeader,
    DeadLetterKey,
    DeadLetters,
    Expiry,
    Kind,
    NewDeadLetter,
    Purge,
    RecentLetters,
    Resolution,
    WaitingKey,
    WaitingState,
    assigned_cause,
    dead_letter_values,
)
from pagefold.engine.stores.postgres.connections import Connections
from pagefold.projections.streams import encode_part

RESOLVED = False
"""A parameter of statements about open dead letters: written into them, it would not fit the index."""


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

    async def resolve_open(self, dead_letters: Sequence[DeadLetterHeader], resolution: Resolution) -> set[str]:
        numbers = [each.number for each in dead_letters]
        rows = await self._connections.writer.fetch("resolve_open", *resolution, numbers)
        return {f"{kind}-{number}" for kind, number in rows}

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        of_domain = selection.is_open_of_domain
        statement, *bindings = _selecting("count_open_letters" if of_domain else "count_letters", selection)
        bindings = bindings[:3] if of_domain else [*bindings, *_cause(selection)]
        return int((await self._connections.readers.fetch(statement, *bindings))[0][0])

    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        rows = await self._connections.readers.fetch("count_dead_letters")
        return {(kind, domain): count for kind, domain, count in rows}

    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        rows = await self._connections.readers.fetch("dead_letter_causes", limit, MAX_COUNTED + 1, MAX_LISTED, RESOLVED)
        return [DeadLetterCause(*row) for row in rows]

    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        rows = await self._connections.readers.fetch("cause_history", key, since, MAX_COUNTED, RESOLVED)
        return [(minutes, count) for minutes, count in rows]

    async def assign_causes(self, limit: int = 500) -> int:
        rows = [
            tuple(row) for row in await self._connections.readers.fetch("without_cause", MAX_LISTED, limit, RESOLVED)
        ]
        if rows:
            causes, numbers = map(list, zip(*map(assigned_cause, rows), strict=True))
            await self._connections.writer.execute("assign_causes", causes, numbers)
        return len(rows)

    async def count_recent(self, since: str, limit: int) -> RecentLetters:
        rows = await self._connections.readers.fetch("count_recent_letters", since, limit)
        return RecentLetters.of((kind, number) for kind, number in rows)

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

    async def wait_for(self, dead_letter: DeadLetterHeader, reference: Reference, error: str) -> None:
        cause = cause_key(dead_letter.kind, dead_letter.domain, dead_letter.originator_id, error)
        await self._connections.writer.execute("wait_for_reference", *reference, error, cause, dead_letter.number)

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
        name, *bindings = _selecting(statement, selection)
        bindings += [*after, limit, MAX_LISTED, *_cause(selection)]
        return [DeadLetterHeader(*row) for row in await self._connections.readers.fetch(name, *bindings)]


def _expired(expiry: Expiry) -> tuple[str, bool, str]:
    """The parameters of the statements: the kind, unless it is a request."""
    return "ingest" if expiry.sort == "conflict" else expiry.sort, expiry.resolved, expiry.before


def _selecting(statement: str, selection: DeadLetterFilter) -> list[Any]:
    """The name of a statement that selects, and its first parameters: the source as in the names of streams."""
    source = None if selection.source is None else encode_part(selection.source)
    name = statement if selection.cause is None else f"{statement}_of_cause"
    return [name, selection.kind, selection.domain, source, selection.resolved]


def _cause(selection: DeadLetterFilter) -> list[str]:
    """The last parameter of a statement that selects those of a cause."""
    return [] if selection.cause is None else [selection.cause]
