"""A system that is both a target and a source: what it sends back as it was delivered ends there."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import HttpTargetConfig, TargetConfig
from tests.support.crm import Crm, shown_in
from tests.support.small_shop import configured, document, event, pages_of, say, withdrawn


def two_way(config: Config, crm: Crm | None = None, **settings: object) -> Config:
    """The small shop with a CRM, whose word counts most, as source and as target of web-de."""
    sources = {"crm": {"domains": ["catalog", "pricing", "inventory", "media"]}, **document()["sources"]}
    url = "http://127.0.0.1:1/" if crm is None else crm.url
    http = HttpTargetConfig(url=url, networks=["127.0.0.0/8"])
    target = TargetConfig(http=http, **({"channels": ["web-de"], "source": "crm"} | settings))  # type: ignore[arg-type]  # keys of the table
    parsed = configured(config.store.url, sources=sources)
    return msgspec.structs.replace(parsed, targets={"crm": target})


@asynccontextmanager
async def connected(config: Config, crm: Crm, **settings: object) -> AsyncIterator[Shop]:
    """A shop that folds and delivers, and a CRM that is up."""
    await crm.up()
    async with pagefold.open(two_way(config, crm, **settings)) as shop, shop.working():
        crm.shop = shop
        try:
            yield shop
        finally:
            await crm.down()


async def quiet(shop: Shop, crm: Crm, seconds: float = 20) -> None:
    """Waits until nothing is said, folded or delivered any more."""
    seen, since = (-1, -1), asyncio.get_running_loop().time()
    deadline = since + seconds
    while True:
        rows = await shop.store.deliveries.rows("crm", limit=10_000)
        now = (await shop.store.log.end(), len(crm.requests))
        if now != seen or not crm.is_quiet or any(row.state == "waiting" for row in rows):
            seen, since = now, asyncio.get_running_loop().time()
        elif asyncio.get_running_loop().time() - since > 0.6:
            return
        assert asyncio.get_running_loop().time() < deadline, f"it does not end: {now}"
        await asyncio.sleep(0.05)


async def held_alike(shop: Shop, crm: Crm) -> None:
    """The CRM holds what the pages show."""
    shown = {}
    for sku, channel in await pages_of(shop):
        if channel == "web-de" and (page := await shop.pages.get_json(sku, channel)) is not None:
            shown[sku] = shown_in(msgspec.json.decode(page))
    assert crm.records == shown


@pytest.mark.parametrize("at_once", [True, False])
async def test_what_comes_back(config: Config, *, at_once: bool) -> None:
    """Before the delivery is acknowledged, or after: it is an echo, and a change of the PIM still counts after it."""
    crm = Crm(at_once=at_once)
    async with connected(config, crm) as shop:
        await say(shop, *named("Mug"), event("pricing", {"currency": "EUR", "amount": "12.50"}, sku="A"))
        await quiet(shop, crm)
        assert set(crm.results) == {"echo"}
        await say(shop, *named("Tasse", version=2))
        await quiet(shop, crm)
        assert set(crm.results) == {"echo"}
        assert crm.records == {"A": {"name": "Tasse", "amount": "12.5"}}
        assert shop.counters.outcomes["echo"] == len(crm.results)
        await held_alike(shop, crm)


async def test_an_edit_in_the_crm(config: Config) -> None:
    """It is a change, based on what the CRM had been sent; and it comes back as an echo. So is the way back."""
    crm = Crm()
    async with connected(config, crm) as shop:
        await say(shop, *named("Mug", version=7))
        await quiet(shop, crm)
        crm.results.clear()
        assert [each.outcome for each in await crm.edit("A", name="Cup")] == ["appended"]
        await quiet(shop, crm)
        assert crm.results[1:] == ["echo"] * (len(crm.results) - 1)
        [entry] = [each async for each in shop.history("A", source="crm")]
        assert entry.based_on == {"catalog/pim": 7}
        assert [each.outcome for each in await crm.edit("A", name="Mug")] == ["appended"]
        await quiet(shop, crm)
        await held_alike(shop, crm)
        assert crm.records["A"]["name"] == "Mug"


async def test_a_revert_before_the_edit_was_delivered(config: Config) -> None:
    """What a CRM was sent before it has changed it itself proves nothing: the revert is appended."""
    crm = Crm()
    async with connected(config, crm) as shop:
        await say(shop, *named("Mug"))
        await quiet(shop, crm)
        crm.records["A"]["name"] = "Cup"
        await crm.say("A")
        crm.records["A"]["name"] = "Mug"
        assert [each.outcome for each in await crm.say("A")] == ["appended"]
        await quiet(shop, crm)
        await held_alike(shop, crm)
        assert crm.records["A"]["name"] == "Mug"


async def test_a_withdrawal_comes_back(config: Config) -> None:
    """The CRM deletes what was withdrawn, and says so: nothing is appended, and the page may return."""
    crm = Crm()
    async with connected(config, crm) as shop:
        await say(shop, *named("Mug"))
        await quiet(shop, crm)
        await say(shop, withdrawn("catalog", sku="A", version=2))
        await quiet(shop, crm)
        assert crm.records == {}
        assert set(crm.results) == {"echo"}
        await say(shop, *named("Mug", version=3))
        await quiet(shop, crm)
        await held_alike(shop, crm)


@pytest.mark.parametrize("seed", range(2))
async def test_traffic_in_both_directions_ends(config: Config, seed: int) -> None:
    """The PIM and the CRM change things; the CRM answers at once, late or twice: in the end, both hold the same."""
    dice = random.Random(seed)  # not for secrets
    crm = Crm(dice=dice, at_once=bool(seed))
    async with connected(config, crm) as shop:
        for number in range(40):
            sku = dice.choice("ABC")
            if dice.random() < 0.5:
                amount = {"currency": "EUR", "amount": f"{dice.randint(1, 3)}.50"}
                await shop.append([*named(dice.choice(["x", "y"]), version=number, sku=sku)])
                await shop.append([event("pricing", amount, version=number, sku=sku)])
            elif sku in crm.records:
                await crm.edit(sku, name=dice.choice(["x", "y", "z"]))
            await asyncio.sleep(dice.choice([0, 0, 0.01, 0.1]))
        await quiet(shop, crm)
        await held_alike(shop, crm)
        end = await shop.store.log.end()
        assert end < 40 * 5, "each change makes a few turns at most"


def named(name: str, *, version: int = 1, sku: str = "A") -> list[pagefold.DomainEvent]:
    """A product of the PIM."""
    return [event("catalog", {"attributes": {"name": name}}, version=version, sku=sku)]
