"""The faults of targets that key figures show: each is made by a target that misbehaves, and ended."""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial

from pagefold.engine.delivery.target_service import TargetStatus
from pagefold.engine.runtime.task_groups import run_beside, run_together
from pagefold.engine.sagas.saga_service import SagaStatus
from tests.monitoring.places import Fault, Place, limit, ten_minutes_pass, two_hours_pass
from tests.support.hostile_target import GOOD, Behaviour
from tests.support.small_shop import CHANNELS, SKU, Document, catalog, say

BY = {"by": "ada", "reason": "a test"}
FIVE = [f"SKU-{number}" for number in range(5)]
ONE_TRY: Document = {"tries": 1}


async def deliver_until(place: Place, holds: Callable[[TargetStatus], bool]) -> None:
    """Delivers until it holds of the target."""
    async with run_beside(place.shop._delivery_work.run):
        for _ in range(1_000):
            if holds(await place.shop.targets.get("shop")):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(await place.shop.targets.get("shop"))


async def it_refuses_every_page(place: Place) -> None:
    """And they are given up."""
    place.target.refuses = lambda _: True
    await say(place.shop, *(catalog("shirt", sku=sku) for sku in FIVE))
    await deliver_until(place, lambda target: target.dead == len(FIVE) * len(CHANNELS))


async def it_takes_them(place: Place) -> None:
    """When they are tried again."""
    place.target.refuses = lambda _: False
    await place.shop.targets.deliver_skus("shop", FIVE, **BY)
    await deliver_until(place, lambda target: target.state == "idle" and not target.dead)


async def it_does_not_answer(place: Place) -> None:
    """While a page changes."""
    await place.target.down()
    await say(place.shop, catalog("shirt"))
    await deliver_until(place, lambda target: target.state == "down")


async def it_answers_again(place: Place) -> None:
    """And somebody says so."""
    await place.target.up()
    await place.shop.targets.resume("shop", **BY)
    await deliver_until(place, lambda target: target.state == "idle")


async def it_is_sent_too_much(place: Place) -> None:
    """It says so, twice."""
    place.target.behave = lambda: Behaviour(status=429, applies=False, headers=(("retry-after", "0.05"),))
    await say(place.shop, catalog("shirt"))
    await deliver_until(place, lambda target: target.totals.get("throttled", 0) > 1)


async def it_takes_what_it_is_sent(place: Place) -> None:
    """Some minutes later."""
    place.target.behave = lambda: GOOD
    await deliver_until(place, lambda target: target.state == "idle")
    await ten_minutes_pass(place)
    await ten_minutes_pass(place)


async def it_refuses_what_is_decided(place: Place) -> None:
    """The other target of the saga has taken it."""
    place.target.refuses = lambda _: True
    await say(place.shop, catalog("shirt"))
    await saga_until(place, lambda saga: saga.person == len(CHANNELS))


async def it_takes_what_is_decided(place: Place) -> None:
    """A person has it tried again."""
    place.target.refuses = lambda _: False
    for channel in CHANNELS:
        await place.shop.sagas.resume("listing", SKU, channel, **BY)
    await saga_until(place, lambda saga: saga.completed == len(CHANNELS))


async def saga_until(place: Place, holds: Callable[[SagaStatus], bool]) -> None:
    """Delivers until it holds of the saga."""
    shop = place.shop
    async with run_beside(partial(run_together, shop._delivery_work.run, shop._saga_work.run)):
        for _ in range(1_000):
            if holds(await shop.sagas.get("listing")):
                return
            await asyncio.sleep(0.02)
    raise AssertionError(await shop.sagas.get("listing"))


SAGA: Mapping[str, Document] = {"sagas": {"listing": {"targets": ["stock", "shop"], "pivot": "stock"}}}

DELIVERY_FAULTS: Mapping[str, Fault] = {
    "delivery-failures": Fault(it_refuses_every_page, two_hours_pass, "shop", target=ONE_TRY),
    "delivery-queue": Fault(
        it_does_not_answer, it_answers_again, "shop", limit("delivery-queue", 0, window="1m"), target={}
    ),
    "delivery-lag": Fault(
        it_does_not_answer, it_answers_again, "shop", limit("delivery-lag", "20ms", window="0s"), target={}
    ),
    "delivery-throttled": Fault(
        it_is_sent_too_much,
        it_takes_what_it_is_sent,
        "shop",
        limit("delivery-throttled", 0.1, window="10m"),
        target={"concurrency": 1},
    ),
    "outbound-drift": Fault(it_refuses_every_page, it_takes_them, "shop", target=ONE_TRY),
    "target-down": Fault(it_does_not_answer, it_answers_again, "shop", limit("target-down", "1m"), target={}),
    "sagas-stuck": Fault(it_refuses_what_is_decided, it_takes_what_is_decided, "listing", SAGA, target=ONE_TRY),
}
"""By key figure."""
