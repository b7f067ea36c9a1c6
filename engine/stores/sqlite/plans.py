"""Plans that are kept, in `events.db`: a person may have decided about them."""

from collections.abc import Sequence

import apsw

from pagefold.engine.stores.plan_records import KEPT_PLANS, PlanRecord, Plans, PlanState
from pagefold.engine.stores.sqlite.connections import Connections, fetch, in_transaction


class SQLitePlans(Plans):
    """One table."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def keep(self, record: PlanRecord, body: bytes) -> None:
        def keep(connection: apsw.Connection) -> None:
            fetch(connection, "keep_plan", *record, body)
            fetch(connection, "forget_plans", KEPT_PLANS)

        await self._connections.events.run(in_transaction(keep))

    async def get(self, plan: str) -> tuple[PlanRecord, bytes] | None:
        rows = await self._connections.events_browser.fetch("get_plan", plan)
        return (PlanRecord(*rows[0][:-1]), rows[0][-1]) if rows else None

    async def newest(self, limit: int) -> Sequence[PlanRecord]:
        return [PlanRecord(*row) for row in await self._connections.events_browser.fetch("newest_plans", limit)]

    async def decide(self, plan: str, state: PlanState, by: str, reason: str, at: str) -> bool:
        return bool(await self._connections.events.fetch("decide_plan", plan, state, by, reason, at))
