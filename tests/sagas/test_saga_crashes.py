"""A process that works on a saga ends at any call of the store or the log, before or after it, whatever targets answer.

The runner and the stores are the real ones; targets are lists, and a deliverer that the test moves by hand.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count

import anyio
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.saga_config import SagaConfig
from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.delivery.documents import idempotency_key
from pagefold.engine.delivery.placed_documents import decode_placed
from pagefold.engine.delivery.target_kind import PageKey
from pagefold.engine.sagas.group_documents import GroupDocuments
from pagefold.engine.sagas.page_saga import PageName
from pagefold.engine.sagas.saga_repository import SagaRepository, open_sagas
from pagefold.engine.sagas.saga_runner import SagaRunner, Workplace
from pagefold.engine.stores.delivery_records import UNKNOWN, DeliveryKey, Settlement, Wanted, group_target
from pagefold.engine.stores.store import Store
from tests.support.delivery_clock import DeliveryClock
from tests.support.saga_shop import CHANNEL, rename

ORDER = ("a", "b", "c")
SAGA = SagaConfig(targets=list(ORDER), pivot="b")
TARGETS = {name: TargetConfig(channels=[CHANNEL], files=FilesTargetConfig(folder="x")) for name in ORDER}
GROUP = group_target("listing")
LEASE = 10.0

FAULTS = [
    *((name, "refused") for name in ORDER),
    *((name, "lost") for name in ("a", "b")),
    ("b", "unsure"),
    ("b", "throttled"),
    ("b", "unsure then refused"),
    ("b", "lost then refused"),
    ("", ""),
]
"""A target, and what it does with the second version: `unsure` has not taken it, `lost` has; neither has answered.

`throttled`: it has not, and says so.
"""


class Crashed(Exception):  # no error of the program
    """The process has ended."""


class Failing:
    """Calls of one object that end the process before or after one of them, counted over all such objects."""

    def __init__(self, real: object, names: set[str], calls: "Calls") -> None:
        self._real, self._names, self._calls = real, names, calls

    def __getattr__(self, name: str) -> object:
        found = getattr(self._real, name)
        return self._calls.counted(found) if name in self._names else found


class Calls:
    """Counts calls, and ends the process at one of them: before an even number, after an odd one."""

    def __init__(self, crash_at: int) -> None:
        self._left = crash_at
        self.has_crashed = False

    def counted(self, do: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        """A call that may be the last."""

        async def call(*arguments: object, **named: object) -> object:
            at = self._left
            self._left -= 2
            if at == 0:
                self._crash()
            result = await do(*arguments, **named)
            if at == 1:
                self._crash()
            return result

        return call

    def _crash(self) -> None:
        self.has_crashed = True
        raise Crashed


class FailingStore:
    """A store whose deliveries may end the process."""

    def __init__(self, store: Store, calls: Calls) -> None:
        self.deliveries = Failing(store.deliveries, {"claim", "place", "settle"}, calls)
        self.delivery_targets, self.log = store.delivery_targets, store.log


class Side:
    """A target: the tag that it holds, everything that was applied, and the keys that it has seen."""

    def __init__(self) -> None:
        self.held = ""
        self.applied: list[tuple[str, int]] = []
        self.keys: set[str] = set()

    def apply(self, key: str, tag: str, position: int) -> None:
        """Applies what is sent, once."""
        if key not in self.keys:
            self.keys.add(key)
            self.applied.append((tag, position))
            self.held = tag


class World:
    """One store, and what moves a page of it through its saga."""

    def __init__(self, shop: Shop, sagas: SagaRepository, clock: DeliveryClock) -> None:
        self.shop, self.sagas, self.clock = shop, sagas, clock
        self.deliveries = shop.store.deliveries
        self.documents = GroupDocuments("listing", SAGA, TARGETS)

    def runner(self, calls: Calls | None = None) -> SagaRunner:
        """A process that begins, and ends at a call."""
        store, sagas = self.shop.store, self.sagas
        if calls is not None:
            store = FailingStore(store, calls)  # type: ignore[assignment]  # what a runner needs of one
            sagas = Failing(sagas, {"save"}, calls)  # type: ignore[assignment]  # likewise
        return SagaRunner(self.documents, sagas, Workplace(store, self.shop.past, "runner", lambda _: None))

    async def change(self, sku: str, version: int) -> None:
        """Another version of the page is noted."""
        await rename(self.shop, sku, version)
        end = await self.shop.store.log.end()
        cursor = await self.deliveries.cursor(GROUP)
        await self.deliveries.mark(GROUP, cursor, cursor, [Wanted(sku, CHANNEL, f"marked {end}", end)])

    async def deliver(self, sides: dict[str, Side], faults: dict[str, list[str]]) -> None:
        """Sends what each target is to get, once."""
        for name, side in sides.items():
            claim, rows = await self.deliveries.claim(name, "deliverer", 10, LEASE)
            for row in rows:
                fault = faults[name].pop(0) if faults.get(name) else ""
                key = DeliveryKey(row.sku, row.channel)
                if row.document is None:
                    await self.deliveries.redeliver(GROUP, [key])
                    await self.deliveries.settle(claim, [Settlement(*key, "held")])
                    continue
                assert decode_placed(row.document).document.tag == row.wanted_tag
                sent = idempotency_key(name, PageKey(*key), row.wanted_tag, row.wanted_position)
                if fault in ("", "lost"):
                    side.apply(sent, row.wanted_tag, row.wanted_position)
                outcome = {"": "delivered", "refused": "dead", "throttled": "returned"}.get(fault, "uncertain")
                await self.deliveries.settle(
                    claim,
                    [Settlement(*key, outcome, row.wanted_tag, position=row.wanted_position)],  # type: ignore[arg-type]  # as given
                )

    async def work(self, sku: str, runner: SagaRunner, sides: dict[str, Side], faults: dict[str, list[str]]) -> str:
        """Works until the page's row is at its end; its state."""
        for _ in range(60):
            await runner.step()
            await self.deliver(sides, faults)
            [row] = await self.deliveries.receipts([sku], GROUP)
            if row.state != "waiting":
                return row.state
            self.clock.advance(0.5)
        pytest.fail("it does not come to an end")


@asynccontextmanager
async def world(config: Config) -> AsyncIterator[World]:
    """A store that deliveries are put into by hand."""
    async with pagefold.open(config) as shop, open_sagas(shop.store) as sagas:
        yield World(shop, sagas, DeliveryClock(shop.store, config))


async def crash_everywhere(world: World, fault: tuple[str, str], every: int) -> None:
    """One page for each place at which the process can end. Two versions of it; the fault is in the second."""
    target, kind = fault
    for crash_at in count(0, every):
        sku = f"{target}-{kind}-{crash_at}".replace(" ", "-")
        sides = {name: Side() for name in ORDER}
        await world.change(sku, 1)
        assert await world.work(sku, world.runner(), sides, {}) == "current"
        before = {name: side.held for name, side in sides.items()}
        assert "" not in before.values()
        faults = {target: kind.split(" then ")}
        calls = Calls(crash_at)
        await world.change(sku, 2)
        try:
            ended = await world.work(sku, world.runner(calls), sides, faults)
        except Crashed:
            world.clock.advance(120)  # claims have expired
            ended = await world.work(sku, world.runner(), sides, faults)
        await all_or_none(world, sku, sides, before, ended)
        expected = "dead" if fault == ("c", "refused") else "discarded" if kind.endswith("refused") else "current"
        assert ended == expected
        if not calls.has_crashed:
            return


async def all_or_none(world: World, sku: str, sides: dict[str, Side], before: dict[str, str], ended: str) -> None:
    """All hold the second version, or the first; or the record needs a person. What was sent was applied once."""
    [saga] = await world.sagas.find([PageName("listing", sku, CHANNEL)])
    assert saga is not None
    held = {name: side.held for name, side in sides.items()}
    if ended == "dead":
        assert saga.state == "needs a person"
    elif ended == "discarded":
        assert held == before
    else:
        assert set(held.values()) == {saga.common_tag}
        assert held != before
    for side in sides.values():
        positions = [position for _, position in side.applied]
        assert positions == sorted(set(positions))
        assert len(side.applied) <= (3 if ended == "discarded" else 2)
    for row in await world.deliveries.receipts([sku]):
        assert row.acked_tag in (held[row.target], UNKNOWN)


@pytest.mark.parametrize("fault", FAULTS, ids=" ".join)
async def test_it_ends_anywhere(config: Config, fault: tuple[str, str]) -> None:
    """All or none, or a person. On PostgreSQL, some of it."""
    is_sqlite = config.store.url.startswith("sqlite")
    if not is_sqlite and fault not in FAULTS[:4]:
        pytest.skip("SQLite has all faults; the statements are the same")
    async with world(config) as found:
        with anyio.fail_after(60):
            await crash_everywhere(found, fault, 1 if is_sqlite else 7)
