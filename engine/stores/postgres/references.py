"""The references in the table `known_references`, and the groups."""

from collections.abc import Collection

from pagefold.engine.events import Reference
from pagefold.engine.stores.postgres.connections import Connections
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


class PostgresReferences(KnownReferences):
    """The table `known_references`, as the fold has left it, and `whole_groups`."""

    def __init__(self, connections: Connections) -> None:
        self._readers = connections.readers
        self._writer = connections.writer

    async def stated(self, references: Collection[Reference]) -> list[StoredReference]:
        if not references:
            return []
        kinds, ids = map(list, zip(*references, strict=True))
        rows = await self._readers.fetch("stated_references", kinds, ids, MAX_STATED)
        return list(map(StoredReference._make, rows))

    async def of_streams(self, streams: Collection[str]) -> list[StoredReference]:
        rows = await self._readers.fetch("references_of_streams", list(streams)) if streams else []
        return list(map(StoredReference._make, rows))

    async def list_ids(
        self, kind: str | None = None, *, after: Reference = FIRST_REFERENCE, limit: int = 100, shared: bool = False
    ) -> list[KnownId]:
        return list(map(KnownId._make, await self._readers.fetch("listed_ids", kind, *after, shared, limit)))

    async def next_rows(self, after: StoredReference = FIRST_ROW, limit: int = 1_000) -> list[StoredReference]:
        return list(map(StoredReference._make, await self._readers.fetch("next_reference_rows", *after[:3], limit)))

    async def count_kinds(self) -> list[KindCount]:
        return list(map(KindCount._make, await self._readers.fetch("count_reference_kinds")))

    async def keep_whole(self, whole: WholeGroup) -> WholeGroup:
        source, group, *rest = whole
        [(version, occurred_at, settled)] = await self._writer.fetch("keep_whole_group", source, *group, *rest)
        return WholeGroup(source, group, version, occurred_at, bool(settled))
