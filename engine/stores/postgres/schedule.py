"""Scheduled runs: two tables next to the log."""

from collections.abc import Sequence

from pagefold.engine.stores.postgres.connections import Connections
from pagefold.engine.stores.schedule_records import KEPT_RUNS, RunState, Schedule, ScheduledRun


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

    async def end(self, number: int, state: RunState, detail: str, at: str) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            for (task,) in await session.fetch("end_run", number, state, detail, at):
                await session.execute("forget_runs", task, KEPT_RUNS)

    async def newest(self, limit: int, task: str | None = None) -> Sequence[ScheduledRun]:
        rows = await self._connections.readers.fetch("newest_runs", task, limit)
        return [ScheduledRun(*row) for row in rows]
