"""Plans that are kept in the store: a process that holds a configuration keeps its plan, and people keep theirs."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.errors import PlanDecided, UnknownPlan
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.plan_records import PlanRecord
from pagefold.engine.stores.store import Store

ID_BYTES = 4


class KeptPlan(NamedTuple):
    """A plan, and what was decided about it."""

    record: PlanRecord
    saved: SavedPlan


class KeptPlans:
    """The plans of one store: the newest `KEPT_PLANS`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._audit = AuditLog(store.audit)

    async def keep(self, saved: SavedPlan, by: str) -> PlanRecord:
        """Keeps a plan that somebody has made. Raises `Rejected` for a name that is blank or no text."""
        check_operator(by)
        async with self._audit.action("plan --keep", by=by) as action:
            kept = await self.note(saved, by)
            action.details |= {"plan": kept.plan, "changed": kept.changed, "taken": kept.taken}
        return kept

    async def note(self, saved: SavedPlan, by: str) -> PlanRecord:
        """Keeps a plan that a process has made by itself."""
        body = msgspec.json.encode(saved)
        record = PlanRecord(
            plan=plan_id(body),
            planned_at=saved.planned_at,
            digest=saved.settings.written.digest,
            number=saved.number,
            position=saved.position,
            changed=saved.plan.changed,
            taken=saved.plan.taken,
            by=by,
        )
        await self._store.plans.keep(record, body)
        return record

    async def get(self, plan: str) -> KeptPlan:
        """A plan. Raises `UnknownPlan`."""
        found = await self._store.plans.get(plan)
        if found is None:
            raise UnknownPlan(plan)
        record, body = found
        return KeptPlan(record, msgspec.json.decode(body, type=SavedPlan))

    async def newest(self, limit: int = 20) -> Sequence[PlanRecord]:
        """The newest plans, newest first."""
        return await self._store.plans.newest(limit)

    async def of_settings(self, digest: str, number: int) -> PlanRecord | None:
        """The newest plan of some settings from the configuration with a number; a refused one before all."""
        alike = [each for each in await self.newest() if (each.digest, each.number) == (digest, number)]
        return next((each for each in alike if each.state == "refused"), alike[0] if alike else None)

    async def refuse(self, plan: str, *, by: str, reason: str) -> None:
        """Refuses an open plan: processes with this configuration no longer ask for a decision.

        Raises `UnknownPlan`, `PlanDecided`, and `Rejected` for a name or reason that is blank or no text.
        """
        check_operator(by)
        check_reason(reason)
        async with self._audit.action("plans refuse", plan, by=by, reason=reason):
            if not await self._store.plans.decide(plan, "refused", by, reason, now()):
                raise PlanDecided(plan, (await self.get(plan)).record.state)

    async def applied(self, saved: SavedPlan, *, by: str, reason: str) -> None:
        """Notes that a plan was applied; a no-op if it is not kept."""
        await self._store.plans.decide(plan_id(msgspec.json.encode(saved)), "applied", by, reason, now())


def plan_id(body: bytes) -> str:
    """The id of a plan, by its content: eight hexadecimal digits."""
    return blake2b(body, digest_size=ID_BYTES).hexdigest()
