"""Group commit: which calls share a transaction, which wait for room, and what a cancelled call changes."""

import asyncio
from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest

from pagefold import AppendResult, Config, Shop
from pagefold.engine.errors import Overloaded, StoreUnavailable
from pagefold.engine.intake.appender import Appender
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.store import Store
from tests.support.small_shop import event, everything


class SlowLog:
    """Wraps a log, counts its transactions, and holds each until it is released."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self.go = anyio.Event()
        insert = store.log.insert

        async def slow(events: Sequence[Any], fence: Fence | None = None) -> list[int | None]:
            self.sizes.append(len(events))
            await self.go.wait()
            return await insert(events, fence)

        monkeypatch.setattr(store.log, "insert", slow)

    async def began(self, transactions: int) -> None:
        """Returns when that many transactions have begun."""
        with anyio.fail_after(10):
            while len(self.sizes) < transactions:  # noqa: ASYNC110  # the log under test knows of no event
                await anyio.sleep(0.001)


@pytest.fixture
def slow(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> SlowLog:
    """The log of the shop, held."""
    return SlowLog(shop.store, monkeypatch)


def appender(store: Store, config: Config, **settings: object) -> Appender:
    """An appender with other settings than the shop's."""
    return Appender(store, EventValidator(config), msgspec.structs.replace(config.append, **settings))


async def test_a_call_that_failed_is_not_appended_later(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that timed out is not part of the next attempt, even if that succeeds."""
    tries = 0
    insert = shop.store.log.insert

    async def fails_at_first(events: Sequence[Any], fence: Fence | None = None) -> list[int | None]:
        nonlocal tries
        tries += 1
        if not failed:
            raise StoreUnavailable("it", OSError())
        return await insert(events, fence)

    failed = False
    monkeypatch.setattr(shop.store.log, "insert", fails_at_first)
    impatient = appender(shop.store, shop.config)
    impatient.patience = 0.1
    with pytest.raises(StoreUnavailable):
        await impatient.append([event("inventory", {"available": 1})])
    failed = True
    await impatient.close()
    assert tries > 0
    assert await everything(shop.store) == []


async def test_many_callers_share_a_transaction(shop: Shop, slow: SlowLog) -> None:
    """Calls that arrive during a transaction share the next one, and each gets its own results."""
    tasks = [asyncio.create_task(shop.append([event("inventory", {"available": 1}, sku="FIRST")]))]
    await slow.began(1)
    tasks += [
        asyncio.create_task(shop.append([event("inventory", {"available": number}, sku=f"SKU-{number}")]))
        for number in range(63)
    ]
    await asyncio.sleep(0.01)
    slow.go.set()
    results = [result for [result] in await asyncio.gather(*tasks)]
    assert slow.sizes == [1, 63]
    assert {result.outcome for result in results} == {"appended"}
    assert len({result.position for result in results}) == 64


async def test_a_transaction_has_a_maximum_size(store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call with more events than a transaction takes gets several, and its results in order."""
    slow = SlowLog(store, monkeypatch)
    slow.go.set()
    events = [event("inventory", {"available": 1}, version=number) for number in range(25)]
    results = await appender(store, config, batch=10).append(events)
    assert slow.sizes == [10, 10, 5]
    positions = [result.position for result in results if result.position is not None]
    assert positions == sorted(positions)
    assert len(positions) == 25


async def test_the_queue_has_a_bound(store: Store, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Callers wait for room, and get it: none is refused."""
    slow = SlowLog(store, monkeypatch)
    small = appender(store, config, queue=2, batch=2)
    calls = [small.append([event("inventory", {"available": 1}, version=number)]) for number in range(9)]
    tasks = [asyncio.create_task(call) for call in calls]
    await slow.began(1)
    await asyncio.sleep(0.01)
    assert small.queued <= 2
    slow.go.set()
    with anyio.fail_after(20):
        results = [result for [result] in await asyncio.gather(*tasks)]
    assert [result.outcome for result in results] == ["appended"] * 9


async def test_an_atomic_append_is_all_or_nothing(
    store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many events, they are one transaction, without waiting: if there is no room, none of them is appended."""
    slow = SlowLog(store, monkeypatch)
    small = appender(store, config, queue=8, batch=2)
    first = asyncio.create_task(small.append([event("inventory", {"available": 1}, sku="FIRST")]))
    await slow.began(1)
    events = [event("inventory", {"available": 1}, version=number) for number in range(5)]
    second = asyncio.create_task(small.append_atomically(events))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded):
        await small.append_atomically(
            [event("inventory", {"available": 1}, sku=f"SKU-{number}") for number in range(4)]
        )
    slow.go.set()
    with anyio.fail_after(20):
        assert [result.outcome for result in await second] == ["appended"] * 5
        await first
    assert slow.sizes == [1, 5]
    assert (
        len(
            await small.append_atomically(
                [event("inventory", {"available": 1}, version=number) for number in range(20)]
            )
        )
        == 20
    )


@pytest.mark.parametrize("who", [0, 1], ids=["the one who commits", "one who waits"])
async def test_a_cancelled_call_does_not_cancel_others(shop: Shop, slow: SlowLog, who: int) -> None:
    """A cancelled caller, even in the middle of the transaction of others, leaves them their results."""
    first = asyncio.create_task(shop.append([event("inventory", {"available": 1}, sku="A")]))
    await slow.began(1)
    others = [asyncio.create_task(shop.append([event("inventory", {"available": 1}, sku=sku)])) for sku in "BCD"]
    await asyncio.sleep(0.01)
    given_up, *kept = [first, *others] if who == 0 else [others[0], first, *others[1:]]
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    slow.go.set()
    with anyio.fail_after(10):
        results: list[list[AppendResult]] = await asyncio.gather(*kept)
    assert [result.outcome for [result] in results] == ["appended"] * 3


async def test_refused_events_do_not_hold_up_the_others(shop: Shop) -> None:
    """In one call, a rejected event is answered beside appended ones, in order."""
    good, bad = event("inventory", {"available": 1}), event("inventory", {"available": "many"})
    results = await shop.append([bad, good, bad])
    assert [result.outcome for result in results] == ["rejected", "appended", "rejected"]
    assert results[0].path == "payload.available"
