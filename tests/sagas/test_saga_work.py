"""Sagas at work: two services get each version of a page, or none does."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
import pytest

from pagefold import Config, Shop
from pagefold.engine.configuration.saga_config import CompensationConfig
from pagefold.engine.sagas import saga_runner
from pagefold.engine.stores.delivery_records import DeliveryKey
from tests.support.hostile_target import Behaviour
from tests.support.saga_shop import (
    CHANNEL,
    Sides,
    group_row,
    record_of,
    rename,
    two_targets,
    version_held,
    with_saga,
    working,
)
from tests.support.small_shop import say, withdrawn


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = 20) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def ended(shop: Shop, state: str, version: str, sku: str = "MUG") -> None:
    """Waits until a version of a page has ended so."""
    await shop.catch_up()

    async def is_so() -> bool:
        row = await group_row(shop, sku)
        if row is None or row.state != state or row.claimed_by is not None:
            return False
        page = await shop.past.get("MUG", CHANNEL, (await record_of(shop, sku)).upto)
        return page is not None and page["catalog"]["attributes"]["code"] == version

    await until(is_so)


async def hold(sides: Sides, version: object, sku: str = "MUG") -> None:
    """Waits until both services hold a version."""

    async def is_so() -> bool:
        return all(version_held(side, sku) == version for side in sides)

    await until(is_so)


def refusing(version: str) -> Callable[[object], bool]:
    """Refuses that version."""
    return lambda page: isinstance(page, dict) and page["catalog"]["attributes"]["code"] == version


async def test_both_get_each_version_and_both_lose_it(config: Config) -> None:
    """A page, a change, and a withdrawal; the log has what was done, in three events a version."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        await rename(shop, "MUG", 1)
        await hold(sides, "v1")
        await ended(shop, "current", "v1")
        await rename(shop, "MUG", 2)
        await hold(sides, "v2")
        await ended(shop, "current", "v2")
        assert (await record_of(shop, "MUG")).version == 1 + 2 * 3
        await say(shop, withdrawn("catalog", sku="MUG", version=3))
        await hold(sides, None)
        for side in sides:
            [arrivals] = side.arrived.values()
            positions = [each.position for each in arrivals]
            assert positions == sorted(set(positions))
            assert len({each.key for each in arrivals}) == 3


async def test_a_refused_version_is_taken_back_and_a_newer_one_is_tried(config: Config) -> None:
    """The first gets the page that both had, as another delivery, with a higher position; then what is newer."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        await rename(shop, "MUG", 1)
        await hold(sides, "v1")
        before = [dict(side.held) for side in sides]
        sides.second.refuses = refusing("v2")
        await rename(shop, "MUG", 2)
        await ended(shop, "discarded", "v2")
        assert [dict(side.held) for side in sides] == before
        arrived = sides.first.arrived[("MUG", CHANNEL)]
        assert [each.page["catalog"]["attributes"]["code"] for each in arrived] == ["v1", "v2", "v1"]  # type: ignore[index]  # pages
        assert len({each.key for each in arrived}) == 3
        assert len(sides.second.arrived[("MUG", CHANNEL)]) == 1
        await rename(shop, "MUG", 3)
        await hold(sides, "v3")


async def test_a_first_version_that_is_refused_is_withdrawn(config: Config) -> None:
    """None had it before."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        sides.second.refuses = refusing("v1")
        await rename(shop, "MUG", 1)
        await ended(shop, "discarded", "v1")
        assert not sides.first.held
        assert not sides.second.held


async def test_a_declared_request_takes_a_page_back(config: Config) -> None:
    """In place of the page that both had."""
    declared = CompensationConfig(method="PUT", path="/undo/{sku}", body='{"undo": "{sku}", "in": "{channel}"}')
    async with (
        two_targets() as sides,
        working(with_saga(config, sides, compensations={"first": declared})) as shop,
    ):
        await rename(shop, "MUG", 1)
        await hold(sides, "v1")
        sides.second.refuses = refusing("v2")
        await rename(shop, "MUG", 2)
        await ended(shop, "discarded", "v2")
        [(first, body, key)] = sides.first.others
        assert first == "PUT /hooks/undo/MUG HTTP/1.1"
        assert orjson.loads(body) == {"undo": "MUG", "in": CHANNEL}
        assert key not in {each.key for each in sides.first.arrived[("MUG", CHANNEL)]}
        await rename(shop, "MUG", 3)
        await hold(sides, "v3")


async def test_after_the_pivot_it_needs_a_person_or_a_newer_version(config: Config) -> None:
    """The first decides here: what the second refuses is a record that needs a person."""
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        sides.second.refuses = refusing("v1")
        await rename(shop, "MUG", 1)
        await ended(shop, "dead", "v1")
        assert version_held(sides.first, "MUG") == "v1"
        assert (await record_of(shop, "MUG")).state == "needs a person"
        await rename(shop, "MUG", 2)
        await hold(sides, "v2")
        await ended(shop, "current", "v2")


async def test_a_delivery_that_is_tried_again_continues_the_saga(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a dead letter that is retried."""
    monkeypatch.setattr(saga_runner, "REVIVAL_SECONDS", 0.1)
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        sides.second.refuses = refusing("v1")
        await rename(shop, "MUG", 1)
        await ended(shop, "dead", "v1")
        sides.second.refuses = lambda _: False
        await shop.store.deliveries.retry("second", [DeliveryKey("MUG", CHANNEL)])
        await ended(shop, "current", "v1")
        await hold(sides, "v1")


async def test_a_document_that_a_person_wrote_stays(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """The target has taken it in place of the version: that is completed, and the version is not sent after it."""
    monkeypatch.setattr(saga_runner, "REVIVAL_SECONDS", 0.1)
    async with two_targets() as sides, working(with_saga(config, sides, pivot="first")) as shop:
        sides.second.refuses = refusing("v1")
        await rename(shop, "MUG", 1)
        await ended(shop, "dead", "v1")
        written = {"sku": "MUG", "channel": CHANNEL, "catalog": {"attributes": {"code": "by hand"}}}
        assert await shop.store.deliveries.edit("second", DeliveryKey("MUG", CHANNEL), orjson.dumps(written))
        await ended(shop, "current", "v1")
        await asyncio.sleep(0.5)
        assert (await record_of(shop, "MUG")).result == "completed"
        assert sides.second.held["MUG", CHANNEL] == written
        await rename(shop, "MUG", 2)
        await hold(sides, "v2")


async def test_an_outage_is_no_refusal(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has begun waits; nothing is begun once the target is known to be down; in the end, both have the newest."""
    monkeypatch.setattr(saga_runner, "BLOCKED_SECONDS", 0.2)
    monkeypatch.setattr(saga_runner, "BLOCKED_STEP_SECONDS", 0.05)
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        await rename(shop, "MUG", 1)
        await hold(sides, "v1")
        sides.second.behave = lambda: Behaviour(status=503, applies=False)
        await rename(shop, "MUG", 2)

        async def is_down() -> bool:
            return any(each.circuit is not None for each in await shop.store.delivery_targets.targets())

        await until(is_down)
        for version in range(3, 6):
            await rename(shop, "MUG", version)
        await rename(shop, "CUP", 1)
        await shop.catch_up()
        await asyncio.sleep(0.5)
        assert not sides.first.held.get(("CUP", CHANNEL))
        assert version_held(sides.first, "MUG") == "v2"
        sides.second.behave = Behaviour
        await hold(sides, "v5")
        await hold(sides, "v1", "CUP")
        assert len(sides.second.arrived[("MUG", CHANNEL)]) <= 3


async def test_an_emptied_target_gets_what_all_have(config: Config) -> None:
    """`targets deliver --all` on one of them: not the version that was given up; and nothing new in the log."""
    async with two_targets() as sides, working(with_saga(config, sides)) as shop:
        for number in range(3):
            await rename(shop, f"S{number}", 1)
            await hold(sides, "v1", f"S{number}")
        sides.second.refuses = refusing("v2")
        await rename(shop, "S0", 2)

        async def is_refused() -> bool:
            row = await group_row(shop, "S0")
            return row is not None and row.state == "discarded"

        await until(is_refused)
        events = await shop.store.log.end()
        sides.second.empty()
        await shop.targets.deliver_all("second", by="ann", reason="it was emptied")
        for number in range(3):
            await hold(sides, "v1", f"S{number}")
        assert await shop.store.log.end() == events
        keys = [each.key for arrived in sides.second.arrived.values() for each in arrived]
        assert len(keys) == len(set(keys)) == 6
