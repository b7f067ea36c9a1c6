"""Plans that are kept: a table next to the log."""

from collections.abc import Sequence

from pagefold.engine.stores.plan_records import KEPT_PLANS, PlanRecord, Plans, PlanState
from pagefold.engine.stores.postgres.connections import Connections


class PostgresPlans(Plans):
    """One table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def keep(self, record: PlanRecord, body: bytes) -> None:
        async with self._connections.writer.session() as session, session.transaction():
            await session.execute("keep_plan", *record, body)
            await session.execute("forget_plans", KEPT_PLANS)

    async def get(self, plan: str) -> tuple[PlanRecord, bytes] | None:
        rows = await self._connections.readers.fetch("get_plan", plan)
        *fields, body = rows[0] if rows else (None,)
        return None if body is None else (PlanRecord(*fields), body)

    async def newest(self, limit: int) -> Sequence[PlanRecord]:
        return [PlanRecord(*row) for row in await self._connections.readers.fetch("newest_plans", limit)]

    async def decide(self, plan: str, state: PlanState, by: str, reason: str, at: str) -> bool:
        return bool(await self._connections.writer.fetch("decide_plan", plan, state, by, reason, at))
