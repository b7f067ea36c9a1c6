"""The references in `pages.db`, and the groups in `events.db`, since nothing can restore these."""

from collections.abc import Collection

import apsw

from pagefold.engine.events import Reference
from pagefold.engine.stores.reference_records import (
    FIRST_REFERENCE,
    FIRST_ROW,
    MAX_STATED,
    KindCount,
    KnownId,
    KnownReferences,
    StoredReference,
    WholeGroup,
)
from pagefold.engine.stores.sqlite.connections import SQL, Connections


class SQLiteReferences(KnownReferences):
    """The table `known_references`, as the fold has left it, and `whole_groups`."""

    def __init__(self, connections: Connections) -> None:
        self._reader = connections.pages_reader
        self._events = connections.events

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        if not references:
            return []

        def read(connection: apsw.Connection) -> list[StoredReference]:
            statement, found = SQL["stated_references"], list[StoredReference]()
            connection.execute("BEGIN")
            try:
                for reference in references:
                    found += map(StoredReference._make, connection.execute(statement, (*reference, MAX_STATED)))
            finally:
                connection.execute("ROLLBACK")
            return found

        return await self._reader.run(read)

    async def of_streams(self, streams: Collection[str]) -> list[StoredReference]:
        rows = await self._reader.fetch("references_of_streams", apsw.carray(tuple(streams))) if streams else []
        return list(map(StoredReference._make, rows))

    async def list_ids(
        self, kind: str | None = None, *, after: Reference = FIRST_REFERENCE, limit: int = 100, shared: bool = False
    ) -> list[KnownId]:
        bindings = {"kind": kind, "after_kind": after.kind, "after_id": after.id, "limit": limit, "shared": shared}
        rows = await self._reader.run(lambda connection: connection.execute(SQL["listed_ids"], bindings).fetchall())
        return list(map(KnownId._make, rows))

    async def next_rows(self, after: StoredReference = FIRST_ROW, limit: int = 1_000) -> list[StoredReference]:
        return list(map(StoredReference._make, await self._reader.fetch("next_reference_rows", *after[:3], limit)))

    async def count_kinds(self) -> list[KindCount]:
        return list(map(KindCount._make, await self._reader.fetch("count_reference_kinds")))

    async def keep_whole(self, whole: WholeGroup) -> WholeGroup:
        source, group, *rest = whole
        [(version, occurred_at, settled)] = await self._events.fetch("keep_whole_group", source, *group, *rest)
        return WholeGroup(source, group, version, occurred_at, bool(settled))
