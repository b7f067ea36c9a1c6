"""Scheduled runs: two tables next to the log."""

from collections.abc import Sequence

from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.schedule_records import (
    KEPT_RUNS,
    RequestedRun,
    RunState,
    Schedule,
    ScheduledRun,
    requested_run,
    scheduled_run,
)


class PostgresSchedule(Schedule):
    """Two tables."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def known(self, task: str, at: str) -> str:
        if not (rows := await self._connections.readers.fetch("task_due", task)):
            await self._connections.writer.execute("meet_task", task, at)
            rows = await self._connections.writer.fetch("task_due", task)
        due: str = rows[0][0]
        return due

    async def begin(self, task: str, due: str, at: str) -> int:
        async with self._connections.writer.session() as session, session.transaction():
            await session.execute("task_begins", task, due)
            number: int = (await session.fetch("begin_run", task, due, at))[0][0]
        return number

    async def end(self, number: int, state: RunState, detail: str, at: str, result: str | None = None) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            for (task,) in await session.fetch("end_run", number, state, detail, at, result):
                await session.execute("forget_runs", task, KEPT_RUNS)

    async def newest(self, limit: int, task: str | None = None) -> Sequence[ScheduledRun]:
        rows = await self._connections.readers.fetch("newest_runs", task, limit)
        return [scheduled_run(row) for row in rows]

    async def request(self, task: str, request: str, at: str) -> int | None:
        rows = await self._connections.writer.fetch("request_run", task, request, at)
        return rows[0][0] if rows else None

    async def take_up(self, number: int, at: str) -> bool:
        return bool(await self._connections.writer.fetch("take_up_run", number, at))

    async def cancel(self, number: int, detail: str, at: str) -> bool:
        return bool(await self._connections.writer.fetch("cancel_run", number, detail, at))

    async def requested(self, number: int) -> RequestedRun | None:
        rows = await self._connections.readers.fetch("requested_run", number)
        return requested_run(rows[0]) if rows else None

    async def open_requests(self) -> Sequence[RequestedRun]:
        return [requested_run(row) for row in await self._connections.readers.fetch("open_requests")]
