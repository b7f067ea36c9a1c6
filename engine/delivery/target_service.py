"""Targets for people: how each is doing, what it holds, and what an operator may do with it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pagefold.engine.audit.audit_log import AuditLog
from pagefold.engine.configuration.config_tables import ConfigTables
from pagefold.engine.configuration.saga_config import groups_of
from pagefold.engine.configuration.target_config import TargetConfig
from pagefold.engine.delivery.kind_table import open_kind
from pagefold.engine.delivery.receipts import Receipt, receipt_of
from pagefold.engine.delivery.target_errors import TargetNotStopped, UnknownTarget
from pagefold.engine.delivery.target_verifier import TargetVerification, TargetVerifier
from pagefold.engine.errors import CountChanged
from pagefold.engine.intake.operators import check_operator, check_reason
from pagefold.engine.reading.page_reader import PageReader
from pagefold.engine.reading.status import TargetSummary
from pagefold.engine.runtime.clock import seconds_since
from pagefold.engine.stores.delivery_records import Deliveries, DeliveryCount, DeliveryKey, DeliveryState
from pagefold.engine.stores.delivery_targets import DeliveryTarget
from pagefold.engine.stores.store import Store
from pagefold.projections.streams import sku_error

TargetState: TypeAlias = Literal[
    "starting", "idle", "delivering", "slowed", "down", "failing", "disabled", "paused", "removed"
]
"""How a target is doing.

`starting`: nothing was noted yet. `idle`: it holds every page. `delivering`: pages wait, and are sent. `slowed`: it
asks for less. `down`: its circuit is open, it is probed. `failing`: nobody can deliver to it, such as without its
secret. `disabled`: it has failed for too long. `paused`: by a person. `removed`: the configuration has it no more, its
receipts are still there.
"""

OUT_OF_ORDER: Collection[TargetState] = frozenset(["down", "failing", "disabled"])
"""The states in which nothing is delivered, although no person has decided so."""

MAX_PACE_AT_EASE = 0.999


class ChannelHoldings(msgspec.Struct, frozen=True, rename="camel"):
    """What a target holds of the pages of a channel, by its receipts.

    `current` pages it holds as they are, `behind` in another version or an unknown one, `missing` not at all, `surplus`
    although it should not.
    """

    channel: str
    current: int = 0
    behind: int = 0
    missing: int = 0
    surplus: int = 0

    @property
    def drift(self) -> float:
        """The share of its pages that it does not hold as they are, in percent."""
        differing = self.behind + self.missing + self.surplus
        return 100 * differing / (self.current + differing) if differing else 0.0


class TargetStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A target: how it is doing, and what it holds.

    `reason` says why it is down, failing, disabled or paused, `since` since when. `waiting` pages are to be sent, the
    oldest of them for `waits_seconds`; `dead` ones were given up. `totals` counts deliveries, requests and answers.
    It was marked for `pages`, those included that are withdrawn. While it is `resetting`, they are being made due
    again. If it is down, it is next probed in `probe_seconds`.
    """

    name: str
    kind: str
    state: TargetState
    reason: str
    since: str | None
    by: str | None
    pages: int
    waiting: int
    waits_seconds: float | None
    dead: int
    resetting: bool
    probe_seconds: float | None
    pace: float
    held_off_seconds: float
    last_success_at: str | None
    failing_since: str | None
    channels: Sequence[ChannelHoldings]
    totals: Mapping[str, int]

    @property
    def drift(self) -> float:
        """As that of a channel, over all channels."""
        return _together(self.channels).drift

    @property
    def summary(self) -> TargetSummary:
        """The part that the status of a shop has."""
        numbers = self.waiting, self.waits_seconds, self.dead
        return TargetSummary(self.name, self.state, self.reason, self.since, self.by, *numbers)

    @property
    def is_out_of_order(self) -> bool:
        """Whether nothing is delivered, although no person has decided so."""
        return self.state in OUT_OF_ORDER


class Redelivery(NamedTuple):
    """What is delivered again: this many pages, or None where that becomes known as they are made due."""

    pages: int | None


class TargetService:
    """The targets of one shop: those of the configuration, and those that were delivered to before."""

    def __init__(self, store: Store, config: ConfigTables, pages: PageReader, audit: AuditLog) -> None:
        self._store = store
        self._deliveries: Deliveries = store.deliveries
        self._targets = store.delivery_targets
        self._pages = pages
        self._audit = audit
        self.configs: Mapping[str, TargetConfig] = config.targets
        self._sagas = groups_of(config.sagas)

    async def list(self) -> list[TargetStatus]:
        """All of them, those of the configuration first, in its order. Raises `StoreError`."""
        known = {each.name: each for each in await self._targets.targets()}
        names = [*self.configs, *sorted(known.keys() - self.configs.keys())]
        if not names:
            return []
        counts = _by_target(await self._deliveries.counts())
        totals = await self._deliveries.totals()
        oldest = await self._deliveries.waiting_since()
        return [
            self._status(name, known.get(name), counts.get(name, ()), totals.get(name, {}), oldest.get(name))
            for name in names
        ]

    async def get(self, name: str) -> TargetStatus:
        """One of them. Raises `UnknownTarget`, `StoreError`."""
        found = {each.name: each for each in await self.list()}
        if name not in found:
            raise UnknownTarget(name, list(found))
        return found[name]

    async def receipts(self, sku: str) -> Sequence[Receipt]:
        """What each target has acknowledged, and is to get, of the pages of a SKU. Raises `StoreError`."""
        return [receipt_of(row) for row in await self._deliveries.receipts(_possible([sku]))]

    async def oldest(self, name: str, state: DeliveryState, limit: int) -> Sequence[Receipt]:
        """The pages of a target in a state other than `current`, those longest not current first."""
        return [receipt_of(row) for row in await self._deliveries.oldest(name, state, limit=limit)]

    async def pause(self, name: str, *, by: str, reason: str) -> None:
        """Sends nothing more, once what is under way has ended. Raises `UnknownTarget`, `Rejected`, `StoreError`."""
        await self._check(name, by, reason)
        async with self._audit.action("targets pause", name, by=by, reason=reason):
            await self._targets.stop(name, "paused", by, reason)

    async def resume(self, name: str, *, by: str, reason: str) -> None:
        """Ends a pause, enables a disabled target, and closes an open circuit: the next delivery is the probe.

        Raises `UnknownTarget`, `TargetNotStopped`, `Rejected`, `StoreError`.
        """
        await self._check(name, by, reason)
        async with self._audit.action("targets resume", name, by=by, reason=reason):
            if not await self._targets.resume(name):
                raise TargetNotStopped(name)

    async def deliver_all(
        self, name: str, *, by: str, reason: str, since: str | None = None, expected: int | None = None
    ) -> Redelivery:
        """Delivers every page again, or every one that was acknowledged since a moment. What waits is not lost.

        `expected` is the number of pages that the target was marked for, which is the most that are delivered again.
        Raises `UnknownTarget`, `Rejected`, `StoreError`; `CountChanged` if it is another number.
        """
        await self._check(name, by, reason)
        async with self._audit.action("targets deliver", name, by=by, reason=reason) as action:
            action.details["since"] = since
            found = sum(each.pages for each in await self._deliveries.counts(name))
            if expected is not None and expected != found:
                raise CountChanged(expected, found)
            await self._deliveries.reset(name, since)
        return Redelivery(found if since is None else None)

    async def deliver_skus(self, name: str, skus: Collection[str], *, by: str, reason: str) -> Redelivery:
        """Delivers the pages of some SKUs again. Raises as `deliver_all`."""
        await self._check(name, by, reason)
        async with self._audit.action("targets deliver", name, by=by, reason=reason) as action:
            rows = await self._deliveries.receipts(_possible(skus), name)
            pages = await self._deliveries.redeliver(name, {DeliveryKey(row.sku, row.channel) for row in rows})
            action.count("pages", pages)
        return Redelivery(pages)

    async def verify(self, name: str, sample: int) -> TargetVerification:
        """Compares receipts with pages, and as many pages as `sample` with what the target holds, if it can be read.

        What differs is delivered again. Takes as long as reading every page does. Raises `UnknownTarget` also if the
        configuration has it no more; `TargetUnreadable`, `StoreError`.
        """
        if (target := self.configs.get(name)) is None:
            raise UnknownTarget(name, list(self.configs))
        async with self._audit.action("targets verify", name) as action, open_kind(name, target) as kind:
            verifier = TargetVerifier(name, target, self._store, self._pages, self._sagas.get(name))
            found = await verifier.run(kind, sample, lambda _: None)
            action.details |= found.numbers
        return found

    async def _check(self, name: str, by: str, reason: str) -> None:
        check_operator(by)
        check_reason(reason)
        if name not in self.configs and all(each.name != name for each in await self._targets.targets()):
            raise UnknownTarget(name, list(self.configs))

    def _status(
        self,
        name: str,
        found: DeliveryTarget | None,
        counts: Sequence[DeliveryCount],
        totals: Mapping[str, int],
        oldest: str | None,
    ) -> TargetStatus:
        config = self.configs.get(name)
        waiting = sum(each.pages for each in counts if each.state in ("waiting", "held"))
        state, reason, since, by = _state(found, waiting)
        return TargetStatus(
            name=name,
            kind="" if config is None else config.kind,
            state="removed" if config is None else state,
            reason=reason,
            since=since,
            by=by,
            pages=sum(each.pages for each in counts),
            waiting=waiting,
            waits_seconds=None if oldest is None else seconds_since(oldest),
            dead=sum(each.pages for each in counts if each.state == "dead"),
            resetting=found is not None and found.is_resetting,
            probe_seconds=None if found is None or found.circuit is None else found.circuit.probe_in,
            pace=1.0 if found is None else found.pace,
            held_off_seconds=0.0 if found is None else found.held_off,
            last_success_at=None if found is None else found.last_success_at,
            failing_since=None if found is None else found.failing_since,
            channels=_holdings(counts),
            totals=totals,
        )


def _possible(skus: Collection[str]) -> list[str]:
    """The SKUs that can be one: a store is not asked for others, some of which it refuses."""
    return [sku for sku in skus if sku_error(sku) is None]


def _state(found: DeliveryTarget | None, waiting: int) -> tuple[TargetState, str, str | None, str | None]:
    """The state, why, since when, and by whom."""
    if found is None:
        return "starting", "", None, None
    if found.stop is not None:
        return found.stop.kind, found.stop.reason, found.stop.at, found.stop.by
    if found.problem is not None:
        return "failing", found.problem.reason, found.problem.since, None
    if found.circuit is not None:
        return "down", found.circuit.reason, found.circuit.since, None
    if waiting and (found.pace < MAX_PACE_AT_EASE or found.held_off):
        return "slowed", "it has asked for fewer requests", None, None
    return ("delivering" if waiting or found.is_resetting else "idle"), "", None, None


def _holdings(counts: Sequence[DeliveryCount]) -> list[ChannelHoldings]:
    found: dict[str, dict[str, int]] = {}
    for each in counts:
        if each.holding != "none":
            channel = found.setdefault(each.channel, {})
            channel[each.holding] = channel.get(each.holding, 0) + each.pages
    return [ChannelHoldings(channel, **numbers) for channel, numbers in sorted(found.items())]


def _together(channels: Sequence[ChannelHoldings]) -> ChannelHoldings:
    return ChannelHoldings(
        "*",
        sum(each.current for each in channels),
        sum(each.behind for each in channels),
        sum(each.missing for each in channels),
        sum(each.surplus for each in channels),
    )


def _by_target(counts: Sequence[DeliveryCount]) -> dict[str, list[DeliveryCount]]:
    found: dict[str, list[DeliveryCount]] = {}
    for each in counts:
        found.setdefault(each.target, []).append(each)
    return found
