"""Sagas for people: how each page of one is doing, and what an operator may decide about it."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.saga_config import SagaConfig
from pagefold.engine.delivery.target_group import TargetGroup
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.runtime.extras import needs_extra
from pagefold.engine.sagas.saga_errors import SagaTakenOver, UnknownSaga, UnknownSagaPage
from pagefold.engine.stores.delivery_records import (
    FIRST_WAITING,
    DeliveryKey,
    DeliveryState,
    StoredDelivery,
    group_target,
)
from pagefold.engine.stores.store import Store

if TYPE_CHECKING:
    from pagefold.engine.sagas.page_saga import PageSaga
    from pagefold.engine.sagas.saga_repository import SagaRepository

PageState: TypeAlias = Literal["completed", "waiting", "refused", "person"]
"""How a page of a saga is doing.

`completed`: all targets have the newest version. `waiting`: it is under way, or will be. `refused`: it was given up, or
a person has settled it. `person`: it needs one.
"""

STATES: Mapping[DeliveryState, PageState] = {
    "current": "completed",
    "waiting": "waiting",
    "held": "waiting",
    "dead": "person",
    "discarded": "refused",
}
LISTED: Mapping[PageState, DeliveryState] = {"person": "dead", "waiting": "waiting", "refused": "discarded"}
"""The states that are listed, in that order: those of which something is to be known."""

PAGE_STATES: Sequence[PageState] = get_args(PageState)
MAX_LISTED = 1_000
DEMAND_TRIES = 10


class SagaStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A saga: its targets in their order, the one that decides, and how many pages are in each state."""

    name: str
    targets: Sequence[str]
    pivot: str
    completed: int
    waiting: int
    refused: int
    person: int


class SagaTarget(msgspec.Struct, frozen=True, rename="camel"):
    """A target of a page: the state of its delivery, what it holds, and what it said last."""

    name: str
    state: DeliveryState | None
    tag: str | None
    position: int
    answer: str


class SagaPage(msgspec.Struct, frozen=True, rename="camel"):
    """A page of a saga.

    `step` is what the log has of it: idle, running, compensating, or that it needs a person. `target` is the one that
    has refused, `reason` what it said, or a person. The newest version is the page at the position `version`; `common`
    is the position of the version that all had last, null if they never had one. `targets` is empty in a list.
    """

    saga: str
    sku: str
    channel: str
    state: PageState
    step: str
    target: str
    reason: str
    version: int
    common: int | None
    since: str | None
    changed_at: str | None
    targets: Sequence[SagaTarget] = ()


class SagaService:
    """The sagas of one shop. Every method raises `StoreError`, and `UnknownSaga` for one that is not configured."""

    def __init__(self, store: Store, sagas: Mapping[str, SagaConfig], audit: AuditLog) -> None:
        self._store, self._sagas, self._audit = store, sagas, audit
        self._deliveries = store.deliveries

    async def list(self) -> Sequence[SagaStatus]:
        """All sagas of the configuration, in its order."""
        return [await self.get(name) for name in self._sagas]

    async def get(self, name: str) -> SagaStatus:
        """One of them."""
        saga = self._saga(name)
        counts = dict.fromkeys(PAGE_STATES, 0)
        for each in await self._deliveries.counts(group_target(name)):
            counts[STATES[each.state]] += each.pages
        return SagaStatus(name, saga.targets, saga.decides, **counts)

    async def pages(self, name: str, state: PageState | None = None, limit: int = 100) -> Sequence[SagaPage]:
        """The pages that are not completed, those that need a person first; of each state, the oldest first."""
        self._saga(name)
        rows: list[StoredDelivery] = []
        for each, stored in LISTED.items():
            if state in (None, each) and (room := min(limit, MAX_LISTED) - len(rows)) > 0:
                rows += await self._deliveries.oldest(group_target(name), stored, FIRST_WAITING, room)
        return await self._shown(name, rows)

    async def page(self, name: str, sku: str, channel: str) -> SagaPage:
        """One page, with its targets. Raises `UnknownSagaPage`."""
        saga = self._saga(name)
        rows = await self._deliveries.receipts([sku], group_target(name))
        found = [row for row in rows if row.channel == channel]
        if not found:
            raise UnknownSagaPage(name, sku, channel)
        [shown] = await self._shown(name, found)
        receipts = {row.target: row for row in await self._deliveries.receipts([sku]) if row.channel == channel}
        targets = [_target(each, receipts.get(each)) for each in saga.targets]
        return msgspec.structs.replace(shown, targets=targets)

    async def resume(self, name: str, sku: str, channel: str, *, by: str, reason: str) -> None:
        """Has what was refused tried again: a step that needs a person, or a version that was given up.

        Raises `UnknownSagaPage`, `SagaStateError`, `SagaTakenOver`, `Rejected`.
        """
        async with self._decision("resume", DeliveryKey(sku, channel), name, by, reason) as (saga, position):
            saga.resume(by, reason, position)

    async def compensate(self, name: str, sku: str, channel: str, *, by: str, reason: str) -> None:
        """Has a version taken back that some targets have, and others not. Raises as `resume`."""
        async with self._decision("compensate", DeliveryKey(sku, channel), name, by, reason) as (saga, position):
            saga.reverse(by, reason, position)

    async def settle(self, name: str, sku: str, channel: str, *, by: str, reason: str, taken: bool = False) -> None:
        """Ends it, with the targets as they are, until the page changes. `taken`: all of them hold its version.

        Raises as `resume`.
        """
        key = DeliveryKey(sku, channel)
        async with self._decision("settle", key, name, by, reason) as (saga, _):
            saga.settle(by, reason, taken=taken)
        for target in self._sagas[name].targets:
            await self._deliveries.discard(target, [key])

    @asynccontextmanager
    async def _decision(
        self, verb: str, key: DeliveryKey, name: str, by: str, reason: str
    ) -> AsyncIterator[tuple["PageSaga", int]]:
        """A page's record, to be decided about, and the position of the decision; it is saved, and the page is due."""
        check_operator(by)
        check_reason(reason)
        page = f"{name} {key.sku} {key.channel}"
        async with self._audit.action(f"sagas {verb}", page, by=by, reason=reason), _records(self._store) as records:
            self._saga(name)
            saga = (await _find(records, name, [key]))[0]
            if saga is None:
                raise UnknownSagaPage(name, *key)
            yield saga, await self._position(saga, key)
            if await records.save([saga]):
                raise SagaTakenOver(page)
            await self._demand(name, key)

    async def _position(self, saga: "PageSaga", key: DeliveryKey) -> int:
        """Above all positions that were used for the page."""
        rows = await self._deliveries.receipts([key.sku])
        used = [row.wanted_position for row in rows if row.channel == key.channel]
        return max([await self._store.log.end(), saga.position + 1, *(each + 1 for each in used)])

    async def _demand(self, name: str, key: DeliveryKey) -> None:
        group = TargetGroup(group_target(name), self._deliveries)
        for _ in range(DEMAND_TRIES):
            if await group.demand({key}):
                return
        problem = "the decision is recorded, but a marker moved on each time that the page was to be made due"
        raise StoreUnavailable(self._store.name, TimeoutError(problem))

    async def _shown(self, name: str, rows: Sequence[StoredDelivery]) -> Sequence[SagaPage]:
        if not rows:
            return []
        async with _records(self._store) as records:
            sagas = await _find(records, name, [DeliveryKey(row.sku, row.channel) for row in rows])
        return [_page(name, row, saga) for row, saga in zip(rows, sagas, strict=True)]

    def _saga(self, name: str) -> SagaConfig:
        if (saga := self._sagas.get(name)) is None:
            raise UnknownSaga(name, list(self._sagas))
        return saga


@asynccontextmanager
async def _records(store: Store) -> AsyncIterator["SagaRepository"]:
    with needs_extra("Shop.sagas", "eventsourcing"):
        from pagefold.engine.sagas.saga_repository import open_sagas  # noqa: PLC0415  # who has no sagas need not have its packages

    async with open_sagas(store) as records:
        yield records


async def _find(records: "SagaRepository", name: str, keys: Iterable[DeliveryKey]) -> Sequence["PageSaga | None"]:
    from pagefold.engine.sagas.page_saga import PageName  # noqa: PLC0415  # as above

    return await records.find([PageName(name, *key) for key in keys])


def _page(name: str, row: StoredDelivery, saga: "PageSaga | None") -> SagaPage:
    target = "" if saga is None else saga.stuck_target or saga.failed_target
    return SagaPage(
        saga=name,
        sku=row.sku,
        channel=row.channel,
        state=STATES[row.state],
        step="idle" if saga is None else saga.state,
        target=target,
        reason="" if saga is None else saga.reason,
        version=0 if saga is None else saga.upto,
        common=None if saga is None else saga.common,
        since=row.since,
        changed_at=None if saga is None else saga.changed_at,
    )


def _target(name: str, row: StoredDelivery | None) -> SagaTarget:
    if row is None:
        return SagaTarget(name, None, None, 0, "")
    return SagaTarget(name, row.state, row.acked_tag, row.acked_position, row.answer)
