"""A target that nobody can deliver to says so, also to other processes, until somebody can."""

import asyncio
import sys

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import HttpTargetConfig, RedisTargetConfig, TargetConfig
from pagefold.engine.delivery import deliverer
from pagefold.engine.delivery.target_service import TargetStatus
from tests.support.hostile_target import HostileTarget, hostile_target
from tests.support.small_shop import catalog, say

VARIABLE = "PAGEFOLD_TEST_TOKEN"


async def status_when(shop: Shop, *states: str) -> TargetStatus:
    """The status of the target, once it is in one of some states."""
    for _ in range(1_000):
        found = await shop.targets.get("shop")
        if found.state in states:
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(found)


def with_secret(config: Config, target: HostileTarget) -> Config:
    """A target that needs a token."""
    http = HttpTargetConfig(url=target.url, networks=["127.0.0.0/8"], token_variable=VARIABLE)
    return msgspec.structs.replace(config, targets={"shop": TargetConfig(http=http)})


async def test_a_missing_secret(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is `failing`, with the name of the variable; a worker that has it delivers, and ends that."""
    async with hostile_target() as target, pagefold.open(with_secret(config, target)) as reader:
        await say(reader, catalog("a", sku="A"))
        async with pagefold.open(reader.config) as shop, shop.working():
            found = await status_when(reader, "failing")
            assert VARIABLE in found.reason
            assert (found.is_out_of_order, found.since is not None) == (True, True)
        assert (await reader.targets.get("shop")).state == "failing"
        monkeypatch.setenv(VARIABLE, "a-token")
        async with pagefold.open(reader.config) as shop, shop.working():
            assert (await status_when(reader, "idle", "delivering")).reason == ""
    assert target.held


async def test_a_worker_with_nothing_to_deliver_ends_it(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it has worked for some seconds."""
    monkeypatch.setattr(deliverer, "PROVEN_SECONDS", 0.1)
    monkeypatch.setenv(VARIABLE, "a-token")
    async with hostile_target() as target, pagefold.open(with_secret(config, target)) as shop:
        await shop.store.delivery_targets.note_problem("shop", "it was not installed yesterday")
        assert (await shop.targets.get("shop")).state == "failing"
        async with shop.working():
            await status_when(shop, "idle")


async def test_a_missing_library(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install is the reason."""
    monkeypatch.setitem(sys.modules, "redis", None)
    monkeypatch.setitem(sys.modules, "redis.asyncio", None)
    table = TargetConfig(redis=RedisTargetConfig(url="redis://127.0.0.1:1/0"))
    async with pagefold.open(msgspec.structs.replace(config, targets={"shop": table})) as shop, shop.working():
        assert "pagefold[redis]" in (await status_when(shop, "failing")).reason
