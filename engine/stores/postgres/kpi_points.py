"""The history of key figures: a table next to the log."""

from collections.abc import Collection, Sequence

from pagefold.engine.stores.kpi_records import KpiPoint, KpiPoints, KpiSpan
from pagefold.engine.stores.postgres.connections import Connections


class PostgresKpiPoints(KpiPoints):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def record(self, values: Sequence[KpiPoint], counts: Sequence[KpiPoint] = ()) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            for statement, rows in (("record_values", values), ("add_counts", counts)):
                if rows:
                    await session.execute(statement, *map(list, zip(*rows, strict=True)))

    async def points(self, name: str, label: str, since: int) -> Sequence[KpiPoint]:
        return [KpiPoint(*row) for row in await self._connections.readers.fetch("kpi_history", name, label, since)]

    async def newest(self, names: Collection[str], until: int) -> Sequence[KpiPoint]:
        rows = await self._connections.readers.fetch("newest_kpi_points", list(names), until)
        return [KpiPoint(*row) for row in rows]

    async def spans(self, names: Collection[str], since: int) -> Sequence[KpiSpan]:
        return [KpiSpan(*row) for row in await self._connections.readers.fetch("kpi_spans", list(names), since)]

    async def forget(self, before: int, *, but: Collection[str] = (), long_before: int = 0) -> None:
        await self._connections.writer.execute("forget_kpi_points", before, list(but), long_before)
