"""Targets are brought up to date while a shop works, whatever they do."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager

import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from pagefold.engine.delivery import circuit
from pagefold.engine.delivery.target_errors import TargetNotStopped, UnknownTarget
from pagefold.engine.reading.page_tags import tag_of
from pagefold.engine.stores.delivery_records import Claim, DeliveryKey, Settlement
from tests.support.hostile_target import GOOD, Behaviour, HostileTarget, chance, hostile_target
from tests.support.small_shop import CHANNELS, catalog, pages_of, price, say, withdrawn


def delivering_to(config: Config, target: HostileTarget, **settings: object) -> Config:
    """The configuration with that target."""
    batches = bool(settings.pop("batches", False))
    http = HttpTargetConfig(url=target.url, networks=["127.0.0.0/8"], batches=batches)
    table = TargetConfig(http=http, **({"timeout_seconds": 1.0} | settings))  # type: ignore[arg-type]  # keys of the table
    return msgspec.structs.replace(config, targets={"shop": table})


@asynccontextmanager
async def working(config: Config) -> AsyncIterator[Shop]:
    """A shop that folds and delivers."""
    async with pagefold.open(config) as shop, shop.working():
        yield shop


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Waits until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


async def pages_shown(shop: Shop) -> dict[tuple[str, str], object]:
    """Every page as it is served, decoded."""
    shown = {key: await shop.pages.get_json(*key) for key in await pages_of(shop)}
    return {key: orjson.loads(page) for key, page in shown.items() if page is not None}


async def holds_the_pages(shop: Shop, target: HostileTarget, seconds: float = 30) -> None:
    """The target comes to hold exactly the pages, and never got an older version of one after a newer one."""
    await shop.catch_up()
    expected = await pages_shown(shop)
    await until(lambda: target.held == expected, seconds)
    for arrivals in target.arrived.values():
        positions = [each.position for each in arrivals]
        assert positions == sorted(positions)


async def eventually(shop: Shop, sku: str, state: str) -> None:
    """Waits until a row of a SKU has a state, and no other row waits."""
    for _ in range(1_000):
        rows = await shop.store.deliveries.rows("shop", limit=10_000)
        if any((row.sku, row.state) == (sku, state) for row in rows) and all(row.state != "waiting" for row in rows):
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"{sku} did not become {state}")


async def receipts_say_so(shop: Shop, target: HostileTarget) -> None:
    """Each receipt comes to name exactly what the target holds."""
    for _ in range(500):
        rows = await shop.store.deliveries.rows("shop", limit=10_000)
        if all(row.state == "current" for row in rows):
            break
        await asyncio.sleep(0.02)
    assert {row.state for row in rows} == {"current"}
    held = {(row.sku, row.channel) for row in rows if row.acked_tag}
    assert held == set(target.held)
    tags = {key: tag_of(page) for key in held if (page := await shop.pages.get_json(*key)) is not None}
    assert {(row.sku, row.channel): row.acked_tag for row in rows if row.acked_tag} == tags


async def test_every_page_and_every_change(config: Config) -> None:
    """What was there before, what changes, what is withdrawn."""
    async with hostile_target() as target:
        async with pagefold.open(config) as shop:
            await say(shop, catalog("a", sku="A"), catalog("b", sku="B"), price("1.00", sku="A"))
        async with working(delivering_to(config, target)) as shop:
            await holds_the_pages(shop, target)
            assert len(target.held) == 2 * len(CHANNELS)
            await say(shop, price("2.00", sku="A", version=2), withdrawn("catalog", sku="B", version=2))
            await holds_the_pages(shop, target)
            assert {sku for sku, _ in target.held} == {"A"}
            await receipts_say_so(shop, target)


async def test_a_target_that_does_everything_wrong(config: Config) -> None:
    """Slow, 429 with and without headers, 500, resets in the middle of an answer, 200 but lost is not among them."""
    dice = random.Random(20261130)  # not for secrets
    behave = chance(
        dice,
        (0.05, Behaviour(status=500, applies=False)),
        (0.05, Behaviour(status=503)),
        (0.03, Behaviour(status=429, applies=False)),
        (0.03, Behaviour(status=429, applies=False, headers=(("retry-after", "0.1"),))),
        (0.05, Behaviour(status=0)),
        (0.02, Behaviour(delay=1.2)),
    )
    async with hostile_target(behave) as target, working(delivering_to(config, target, batches=True)) as shop:
        for version in range(1, 6):
            events = [price(f"{version}.00", sku=f"S{number}", version=version) for number in range(40)]
            events += [catalog(f"n{version}", sku=f"S{number}", version=version) for number in range(40)]
            await say(shop, *events)
            await asyncio.sleep(0.2)
        target.behave = lambda: GOOD
        await holds_the_pages(shop, target)
        totals = (await shop.targets.get("shop")).totals
        assert totals["uncertain"] > 0
        assert not {"dead", "refused"} & totals.keys(), "none of it was the pages' fault"


async def test_an_outage_buries_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing listens, everything changes several times; then each page is delivered once, and none is dead."""
    monkeypatch.setattr(circuit, "FIRST_PROBE_SECONDS", 0.1)
    async with hostile_target() as target, working(delivering_to(config, target)) as shop:
        await say(shop, *(catalog("x", sku=f"S{number}") for number in range(10)))
        await holds_the_pages(shop, target)
        await target.down()
        for version in range(2, 8):
            await say(shop, *(catalog(f"v{version}", sku=f"S{number}", version=version) for number in range(10)))
            await asyncio.sleep(0.2)
        [state] = await shop.store.delivery_targets.targets()
        assert state.circuit is not None
        before = {key: len(arrived) for key, arrived in target.arrived.items()}
        await target.up()
        await holds_the_pages(shop, target)
        assert all(len(target.arrived[key]) <= before[key] + 2 for key in before)
        await receipts_say_so(shop, target)


async def test_pages_that_a_target_refuses(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is tried seven times and then dead; a newer version of it is tried again. The others are delivered."""
    monkeypatch.setattr(circuit, "FIRST_PROBE_SECONDS", 0.01)

    def behave() -> Behaviour:
        return GOOD

    async with hostile_target(behave) as target, working(delivering_to(config, target)) as shop:
        target.refuses = lambda page: isinstance(page, dict) and page["sku"] == "BAD"
        await say(shop, catalog("a", sku="BAD"), catalog("b", sku="GOOD"))
        await eventually(shop, "BAD", "dead")
        rows = await shop.store.deliveries.receipts(["BAD", "GOOD"])
        assert {(row.sku, row.state, row.attempts) for row in rows} == {("BAD", "dead", 7), ("GOOD", "current", 0)}
        assert {row.answer for row in rows if row.sku == "BAD"} == {"422 Unprocessable Entity: {}"}
        [status] = await shop.targets.list()
        assert (status.dead, status.waiting) == (len(CHANNELS), 0)
        target.refuses = lambda _: False
        await say(shop, catalog("c", sku="BAD", version=2))
        await holds_the_pages(shop, target)
        await receipts_say_so(shop, target)


async def test_a_batch_with_a_bad_page(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused as a whole, and halved until the bad page is alone."""
    monkeypatch.setattr(circuit, "FIRST_PROBE_SECONDS", 0.01)
    async with hostile_target() as target, working(delivering_to(config, target, batches=True)) as shop:
        target.refuses = lambda page: isinstance(page, dict) and (page["sku"], page["channel"]) == ("S7", "web-de")
        await say(shop, *(catalog("x", sku=f"S{number}") for number in range(20)))
        await eventually(shop, "S7", "dead")
        rows = await shop.store.deliveries.rows("shop", limit=1_000)
        assert [(row.sku, row.channel) for row in rows if row.state != "current"] == [("S7", "web-de")]
        assert len(target.held) == 20 * len(CHANNELS) - 1
        assert (await shop.targets.get("shop")).totals["refused"] == 6, "no other page has a try less"


async def test_the_limits_of_a_target(config: Config) -> None:
    """Never more requests at a time, or in a second, than the configuration says."""
    async with hostile_target(lambda: Behaviour(delay=0.01)) as target:
        async with pagefold.open(config) as shop:
            await say(shop, *(catalog("x", sku=f"S{number}") for number in range(12)))
        async with working(delivering_to(config, target, rate=30.0, concurrency=2)) as shop:
            await holds_the_pages(shop, target)
        assert target.most <= 2
        first, *_, last = target.requests
        assert len(target.requests) <= 30.0 * (last - first) + 6, "two at once, and some that were late"


async def test_a_target_that_says_its_limits(config: Config) -> None:
    """After 429 with a time, nothing is sent before; and fewer at a time then."""
    told = iter([Behaviour(status=429, applies=False, headers=(("retry-after", "2"),))])
    async with hostile_target(lambda: next(told, GOOD)) as target:
        async with pagefold.open(config) as shop:
            await say(shop, *(catalog("x", sku=f"S{number}") for number in range(3)))
        async with working(delivering_to(config, target, concurrency=1)) as shop:
            await holds_the_pages(shop, target)
            totals = (await shop.targets.get("shop")).totals
        assert totals["throttled"] == 1
        assert target.requests[1] - target.requests[0] >= 2.0


async def test_a_target_that_lost_everything(config: Config) -> None:
    """It is delivered to again when an operator says so."""
    async with hostile_target() as target, working(delivering_to(config, target)) as shop:
        await say(shop, catalog("a", sku="A"), catalog("b", sku="B"))
        await holds_the_pages(shop, target)
        target.empty()
        await shop.targets.deliver_all("shop", by="ada", reason="it was emptied")
        await holds_the_pages(shop, target)
        target.held.pop(("A", "web-de"))
        assert (await shop.targets.deliver_skus("shop", ["A"], by="ada", reason="a picture")).pages == len(CHANNELS)
        await holds_the_pages(shop, target)
        await receipts_say_so(shop, target)


async def test_a_paused_target(config: Config) -> None:
    """It gets nothing; what changes waits."""
    async with hostile_target() as target, working(delivering_to(config, target)) as shop:
        await say(shop, catalog("a", sku="A"))
        await holds_the_pages(shop, target)
        await shop.targets.pause("shop", by="ada", reason="their maintenance")
        await asyncio.sleep(1.2)
        before = len(target.requests)
        await say(shop, catalog("b", sku="A", version=2))
        await asyncio.sleep(1)
        assert len(target.requests) == before
        assert (await shop.targets.get("shop")).state == "paused"
        await shop.targets.resume("shop", by="ada", reason="they are done")
        await holds_the_pages(shop, target)
        with pytest.raises(TargetNotStopped):
            await shop.targets.resume("shop", by="ada", reason="again")
        with pytest.raises(UnknownTarget, match="there are shop"):
            await shop.targets.pause("shap", by="ada", reason="a slip")


async def test_other_documents(config: Config) -> None:
    """A target whose table gets another selection gets what differs, and withdrawals of what it is not to hold."""
    async with hostile_target() as target:
        async with working(delivering_to(config, target)) as shop:
            await say(shop, catalog("a", sku="A"), price("1.00", sku="A"))
            await holds_the_pages(shop, target)
        settings = {"channels": ["web-de"], "fields": ["pricing.amount"]}
        async with working(delivering_to(config, target, **settings)) as shop:
            expected = {("A", "web-de"): {"sku": "A", "channel": "web-de", "pricing": {"amount": "1.00"}}}
            await until(lambda: target.held == expected)
            requests = len(target.requests)
            await say(shop, catalog("b", sku="A", version=2))
            await asyncio.sleep(1)
            assert len(target.requests) == requests


async def test_two_deliverers(config: Config) -> None:
    """They share the work, and no page is sent by both."""
    dice = random.Random(7)  # not for secrets
    async with hostile_target(chance(dice, (0.1, Behaviour(status=500)))) as target:
        async with pagefold.open(config) as shop:
            await say(shop, *(catalog("x", sku=f"S{number}") for number in range(60)))
        with_target = delivering_to(config, target, concurrency=4)
        async with working(with_target) as shop, working(with_target):
            await holds_the_pages(shop, target)
            await say(shop, *(catalog("y", sku=f"S{number}", version=2) for number in range(60)))
            await holds_the_pages(shop, target)
            await receipts_say_so(shop, target)
        assert target.most <= 4
        failures = sum(status == 500 for status in target.statuses)
        assert len(target.requests) <= 2 * 60 * len(CHANNELS) + failures


async def test_a_refusal_names_its_document(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that is named again while it is refused, and has not changed, has a try less."""
    settled: list[Settlement] = []
    async with hostile_target() as target, working(delivering_to(config, target, tries=1)) as shop:
        target.refuses = lambda page: isinstance(page, dict) and page["sku"] == "BAD"
        settle = shop.store.deliveries.settle

        async def noted(claim: Claim, settlements: Collection[Settlement], counts: dict[str, int]) -> set[DeliveryKey]:
            settled.extend(settlements)
            return await settle(claim, settlements, counts)

        monkeypatch.setattr(shop.store.deliveries, "settle", noted)
        await say(shop, catalog("a", sku="BAD"))
        await eventually(shop, "BAD", "dead")
    for each in settled:
        assert (each.outcome, each.tag, each.page_tag) == ("dead", each.page_tag, each.tag)
        assert each.tag
