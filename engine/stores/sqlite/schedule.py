"""Scheduled runs, in `events.db`: nothing can restore them."""

from collections.abc import Sequence

import apsw

from pagefold.engine.stores.schedule_records import (
    KEPT_RUNS,
    RequestedRun,
    RunState,
    Schedule,
    ScheduledRun,
    requested_run,
    scheduled_run,
)
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction


class SQLiteSchedule(Schedule):
    """Two tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def known(self, task: str, at: str) -> str:
        if not (rows := await self._connections.events_browser.fetch("task_due", task)):
            await self._connections.events.fetch("meet_task", task, at)
            rows = await self._connections.events.fetch("task_due", task)
        due: str = rows[0][0]
        return due

    async def begin(self, task: str, due: str, at: str) -> int:
        def begin(connection: apsw.Connection) -> int:
            fetch(connection, "task_begins", task, due)
            number: int = fetch(connection, "begin_run", task, due, at)[0][0]
            return number

        return await self._connections.events.run(in_transaction(begin))

    async def end(self, number: int, state: RunState, detail: str, at: str, result: str | None = None) -> None:
        def end(connection: apsw.Connection) -> None:
            for (task,) in fetch(connection, "end_run", number, state, detail, at, result):
                fetch(connection, "forget_runs", task, KEPT_RUNS)

        await self._connections.events.run(in_transaction(end))

    async def newest(self, limit: int, task: str | None = None) -> Sequence[ScheduledRun]:
        rows = await self._connections.events_browser.fetch("newest_runs", task, limit)
        return [scheduled_run(row) for row in rows]

    async def request(self, task: str, request: str, at: str) -> int | None:
        rows = await self._connections.events.fetch("request_run", task, request, at)
        return rows[0][0] if rows else None

    async def take_up(self, number: int, at: str) -> bool:
        return bool(await self._connections.events.fetch("take_up_run", number, at))

    async def cancel(self, number: int, detail: str, at: str) -> bool:
        return bool(await self._connections.events.fetch("cancel_run", number, detail, at))

    async def requested(self, number: int) -> RequestedRun | None:
        rows = await self._connections.events_browser.fetch("requested_run", number)
        return requested_run(rows[0]) if rows else None

    async def open_requests(self) -> Sequence[RequestedRun]:
        return [requested_run(row) for row in await self._connections.events_browser.fetch("open_requests")]
