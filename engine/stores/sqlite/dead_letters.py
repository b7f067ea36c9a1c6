"""Dead letters: those of the intake in `events.db`, since nothing can restore them; those of the fold in `pages.db`."""

from array import array
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType

import apsw
import orjson

from pagefold.engine.events import Reference
from pagefold.engine.stores.dead_letter_causes import cause_key
from pagefold.engine.stores.dead_letter_records import (
    FIRST_KEY,
    FIRST_WAITING,
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
from pagefold.engine.stores.sqlite.connections import (
    SQL,
    Connections,
    Row,
    ThreadedConnection,
    fetch,
    in_transaction,
    with_full_sync,
)
from pagefold.engine.stores.sqlite.reader_connections import Reader
from pagefold.projections.streams import encode_part


def dead_letter_row(dead_letter: NewDeadLetter) -> Row:
    """The parameters of the statement `keep_dead_letter`."""
    return dead_letter_values(dead_letter)


class SQLiteDeadLetters(DeadLetters):
    """Two tables of equal form, one in each file."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def add(self, dead_letters: Sequence[NewDeadLetter]) -> None:
        rows = [dead_letter_row(dead_letter) for dead_letter in dead_letters]
        await self._connections.events.run(
            in_transaction(lambda connection: connection.executemany(SQL["keep_dead_letter"], rows))
        )

    async def newest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = LAST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        dead_letters = await self._read("newest_dead_letters", selection, after, limit)
        return sorted(dead_letters, key=_place, reverse=True)[:limit]

    async def oldest(
        self, selection: DeadLetterFilter = OPEN, *, after: DeadLetterKey = FIRST_KEY, limit: int = 100
    ) -> list[DeadLetterHeader]:
        dead_letters = await self._read("oldest_dead_letters", selection, after, limit)
        return sorted(dead_letters, key=_place)[:limit]

    async def get(self, kind: Kind, number: int) -> DeadLetter | None:
        rows = await self._reader(kind).fetch("get_dead_letter", kind, number)
        return DeadLetter(*rows[0]) if rows else None

    async def resolve(self, kind: Kind, number: int, resolution: Resolution) -> bool:
        def resolve(connection: apsw.Connection) -> bool:
            return bool(fetch(connection, "resolve_dead_letter", *resolution, kind, number))

        if kind == "projection":
            return await self._connections.pages.run(with_full_sync(resolve))
        return await self._connections.events.run(resolve)

    async def resolve_open(self, dead_letters: Sequence[DeadLetterHeader], resolution: Resolution) -> set[str]:
        of_pages = [each.number for each in dead_letters if each.kind == "projection"]
        of_events = [each.number for each in dead_letters if each.kind != "projection"]
        rows: list[Row] = []
        if of_events:
            rows += await self._connections.events.run(partial(_resolve_open, of_events, resolution))
        if of_pages:
            rows += await self._connections.pages.run(with_full_sync(partial(_resolve_open, of_pages, resolution)))
        return {f"{kind}-{number}" for kind, number in rows}

    async def count(self, selection: DeadLetterFilter = OPEN) -> int:
        statement = "count_open_letters" if selection.is_open_of_domain else "count_letters"
        files = [await self._rows(reader, statement, selection) for reader in self._readers(selection.kind)]
        return sum([rows[0][0] for rows in files])

    async def counts(self) -> Mapping[tuple[Kind, str], int]:
        files = [await reader.fetch("count_dead_letters") for reader in self._readers(None)]
        return {(kind, domain): count for rows in files for kind, domain, count in rows}

    async def causes(self, limit: int = MAX_CAUSES) -> list[DeadLetterCause]:
        bindings = {"limit": limit, "counted": MAX_COUNTED + 1, "longest": MAX_LISTED}
        files = [await self._run(reader, "dead_letter_causes", bindings) for reader in self._readers(None)]
        return sorted([DeadLetterCause(*row) for rows in files for row in rows])[:limit]

    async def cause_history(self, key: str, since: str) -> list[tuple[str, int]]:
        bindings = {"cause": key, "since": since, "counted": MAX_COUNTED}
        files = [await self._run(reader, "cause_history", bindings) for reader in self._readers(None)]
        history: Counter[str] = Counter()
        for rows in files:
            history.update(dict(rows))
        return sorted(history.items())

    async def assign_causes(self, limit: int = 500) -> int:
        def assign(connection: apsw.Connection) -> int:
            rows = fetch(connection, "without_cause", MAX_LISTED, limit)
            connection.executemany(SQL["assign_causes"], [assigned_cause(row) for row in rows])
            return len(rows)

        in_events = await self._connections.events.run(in_transaction(assign))
        return in_events or await self._connections.pages.run(in_transaction(assign))

    async def count_recent(self, since: str, limit: int) -> RecentLetters:
        files = [await reader.fetch("count_recent_letters", since, limit) for reader in self._readers(None)]
        return RecentLetters.of((kind, number) for rows in files for kind, number in rows)

    async def requests_of(self, streams: Sequence[str]) -> list[tuple[str, int]]:
        rows = await self._connections.events_browser.fetch("requests_of", apsw.carray(tuple(streams)))
        return [(stream, version) for stream, version in rows]

    async def of_sku(self, sku: str, domains: Collection[str], limit: int) -> list[DeadLetterHeader]:
        bindings = {"sku": sku, "domains": orjson.dumps([*domains]).decode(), "longest": MAX_LISTED, "limit": limit}

        files = [await self._run(reader, "dead_letters_of_sku", bindings) for reader in self._readers(None)]
        return sorted([DeadLetterHeader(*row) for rows in files for row in rows], key=_place, reverse=True)[:limit]

    async def waiting(self, after: WaitingKey = FIRST_WAITING, limit: int = 500) -> list[WaitingKey]:
        bindings = (*after.reference, *after[1:], limit)
        rows = await self._connections.events_browser.fetch("waiting_dead_letters", *bindings)
        return [WaitingKey(Reference(*row[:2]), *row[2:]) for row in rows]

    async def wait_for(self, dead_letter: DeadLetterHeader, reference: Reference, error: str) -> None:
        cause = cause_key(dead_letter.kind, dead_letter.domain, dead_letter.originator_id, error)
        await self._connections.events.fetch("wait_for_reference", *reference, error, cause, dead_letter.number)

    async def waiting_state(self) -> WaitingState:
        return WaitingState(*(await self._connections.events_browser.fetch("waiting_state"))[0])

    async def awaited(self, references: Collection[Reference]) -> set[Reference]:
        wanted = orjson.dumps([*map(list, references)]).decode()
        return {Reference(*row) for row in await self._connections.events_browser.fetch("awaited_references", wanted)}

    async def purge(self, expiry: Expiry, purge: Purge, *, limit: int, size: int) -> int:
        return len(await self._purged(_kind(expiry), "purge_dead_letters", *purge, *_which(expiry), limit, size))

    async def purge_one(self, kind: Kind, number: int, purge: Purge) -> bool:
        return bool(await self._purged(kind, "purge_dead_letter", *purge, kind, number))

    async def count_expired(self, expiry: Expiry) -> int:
        return int((await self._reader(_kind(expiry)).fetch("count_expired", *_which(expiry)))[0][0])

    async def count_purged(self, kind: Kind) -> int:
        return int((await self._reader(kind).fetch("count_purged", kind))[0][0])

    async def _purged(self, kind: Kind, statement: str, *bindings: object) -> list[Row]:
        purge = overwriting(lambda connection: fetch(connection, statement, *bindings))
        if kind == "projection":
            return await self._connections.pages.run(with_full_sync(purge))
        return await self._connections.events.run(purge)

    async def _read(
        self, statement: str, selection: DeadLetterFilter, after: DeadLetterKey, limit: int
    ) -> list[DeadLetterHeader]:
        """Those of both files, the first `limit` of each."""
        dead_letters: list[DeadLetterHeader] = []
        key = {"recorded_at": after.recorded_at, "after_kind": after.kind, "number": after.number, "limit": limit}
        for reader in self._readers(selection.kind):
            rows = await self._rows(reader, statement, selection, {**key, "longest": MAX_LISTED})
            dead_letters += [DeadLetterHeader(*row) for row in rows]
        return dead_letters

    async def _rows(
        self,
        reader: ThreadedConnection[Reader],
        statement: str,
        selection: DeadLetterFilter,
        more: Mapping[str, object] = MappingProxyType({}),
    ) -> list[Row]:
        source = None if selection.source is None else encode_part(selection.source)
        bindings = {
            "kind": selection.kind,
            "domain": selection.domain,
            "source": source,
            "resolved": selection.resolved,
        }
        if selection.cause is not None:
            statement, bindings["cause"] = f"{statement}_of_cause", selection.cause
        return await self._run(reader, statement, {**bindings, **more})

    async def _run(
        self, reader: ThreadedConnection[Reader], statement: str, bindings: Mapping[str, object]
    ) -> list[Row]:
        return await reader.run(lambda connection: connection.execute(SQL[statement], bindings).fetchall())

    def _readers(self, kind: Kind | None) -> list[ThreadedConnection[Reader]]:
        """The connections to the files that have dead letters of a kind, or of any."""
        return [self._reader(each) for each in (("ingest", "projection") if kind is None else (kind,))]

    def _reader(self, kind: Kind) -> ThreadedConnection[Reader]:
        return self._connections.pages_reader if kind == "projection" else self._connections.events_browser


def overwriting(work: Callable[[apsw.Connection], list[Row]]) -> Callable[[apsw.Connection], list[Row]]:
    """The same work, which removes something: the file then has zeros in its place."""

    def wrapped(connection: apsw.Connection) -> list[Row]:
        connection.pragma("secure_delete", 1)
        try:
            return work(connection)
        finally:
            connection.pragma("secure_delete", 0)

    return wrapped


def _resolve_open(numbers: Sequence[int], resolution: Resolution, connection: apsw.Connection) -> list[Row]:
    return fetch(connection, "resolve_open", *resolution, apsw.carray(array("q", numbers)))


def _kind(expiry: Expiry) -> Kind:
    return "ingest" if expiry.sort == "request" or expiry.sort == "conflict" else expiry.sort  # noqa: PLR1714  # for mypy


def _which(expiry: Expiry) -> tuple[str, bool, str]:
    """The parameters of the statements: the kind, unless it is a request."""
    return "request" if expiry.sort == "request" else _kind(expiry), expiry.resolved, expiry.before


def _place(dead_letter: DeadLetterHeader) -> DeadLetterKey:
    return dead_letter.key
