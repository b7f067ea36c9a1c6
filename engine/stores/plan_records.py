"""The contract of a store for plans that are kept. Both stores keep it: see `pagefold.engine.stores.store`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

PlanState: TypeAlias = Literal["open", "applied", "refused"]
"""Nobody has decided yet; what it plans was applied; or an operator refused it."""

KEPT_PLANS = 20
"""Plans that are kept, the newest."""


class PlanRecord(NamedTuple):
    """A plan without what it found. Times are fixed-width UTC text.

    `digest` is that of the settings it plans, `number` that of the configuration it began from, at `position` of the
    log. `changed` of its pages differ, and something is `taken` from that many live ones. `by` is who made it, which is
    a person or `pagefold`. `decided_by`, `reason` and `decided_at` are empty while it is open.
    """

    plan: str
    planned_at: str
    digest: str
    number: int
    position: int
    changed: int
    taken: int
    by: str
    state: PlanState = "open"
    decided_by: str = ""
    reason: str = ""
    decided_at: str = ""


class Plans(ABC):
    """Plans of configurations, so that a person can see and decide later."""

    @abstractmethod
    async def keep(self, record: PlanRecord, body: bytes) -> None:
        """Keeps a plan, and removes all but the newest `KEPT_PLANS`. A no-op if it is kept already."""

    @abstractmethod
    async def get(self, plan: str) -> tuple[PlanRecord, bytes] | None:
        """A plan by its id."""

    @abstractmethod
    async def newest(self, limit: int) -> Sequence[PlanRecord]:
        """The newest plans, newest first."""

    @abstractmethod
    async def decide(self, plan: str, state: PlanState, by: str, reason: str, at: str) -> bool:
        """Records a decision about an open plan. False if there is no such plan, or it is not open."""
