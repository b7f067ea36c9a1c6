"""The history of key figures, in `events.db`: pages can be made again, it cannot."""

from collections.abc import Collection, Sequence

import apsw

from pagefold.engine.stores.kpi_records import KpiPoint, KpiPoints, KpiSpan
from pagefold.engine.stores.sqlite.connections import SQL, Connections, in_transaction


class SQLiteKpiPoints(KpiPoints):
    """A table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def record(self, values: Sequence[KpiPoint], counts: Sequence[KpiPoint] = ()) -> None:
        def record(connection: apsw.Connection) -> None:
            connection.executemany(SQL["record_values"], values)
            connection.executemany(SQL["add_counts"], counts)

        await self._connections.events.run(in_transaction(record))

    async def points(self, name: str, label: str, since: int) -> Sequence[KpiPoint]:
        rows = await self._connections.events_browser.fetch("kpi_history", name, label, since)
        return [KpiPoint(*row) for row in rows]

    async def newest(self, names: Collection[str], until: int) -> Sequence[KpiPoint]:
        rows = await self._connections.events_browser.fetch("newest_kpi_points", apsw.carray(tuple(names)), until)
        return [KpiPoint(*row) for row in rows]

    async def spans(self, names: Collection[str], since: int) -> Sequence[KpiSpan]:
        rows = await self._connections.events_browser.fetch("kpi_spans", apsw.carray(tuple(names)), since)
        return [KpiSpan(*row) for row in rows]

    async def forget(self, before: int, *, but: Collection[str] = (), long_before: int = 0) -> None:
        await self._connections.events.fetch("forget_kpi_points", before, apsw.carray(tuple(but)), long_before)
