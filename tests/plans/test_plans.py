"""Plans: what they say is what applying does, on both stores, and nothing is written for them."""

import random
from collections.abc import Callable, Mapping, Sequence

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import PlanOutdated, Rejected
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.plans.saved_plan import SavedPlan
from pagefold.engine.replay import section_verifier
from tests.support.processes import children
from tests.support.rebuild_fixtures import (
    CHANGES,
    POLICIES,
    Intruder,
    renamed,
    with_new_channel,
    with_source_order,
    without_channel,
)
from tests.support.small_shop import (
    CHANNELS,
    append,
    catalog,
    configured,
    media,
    pages_of,
    price,
    say,
    stock,
    with_channel,
    withdrawn,
)

SKUS = [f"SKU-{number:02}" for number in range(24)]

Pages = Mapping[tuple[str, str], bytes | None]


def products(luck: random.Random, version: int = 1) -> list[DomainEvent]:
    """Random events of all sources."""
    sent: list[DomainEvent] = []
    for sku in SKUS:
        sent += [catalog(f"{sku} {version}", sku=sku, version=version), stock(3, sku=sku, version=version)]
        sent += [price(f"{version}.00", sku=sku, version=version)]
        more = [
            catalog("of the other", sku=sku, version=version, source="pim2"),
            price("8.00", currency="USD", channel="web-us", sku=sku, version=version),
            price("7.00", currency="EUR", channel="outlet-de", sku=sku, version=version),
            stock(luck.randrange(9), sku=sku, version=version, source="wms-b"),
            media(f"{sku}.webp", sku=sku, version=version),
            withdrawn("pricing", sku=sku, version=version + 1),
        ]
        sent += luck.sample(more, luck.randrange(len(more)))
    return sent


async def all_pages(shop: Shop, channels: Sequence[str]) -> Pages:
    """Every page, also disabled ones, of some channels; None where there is none."""
    return {
        (sku, channel): await shop.pages.get_json(sku, channel, disabled=True) for sku in SKUS for channel in channels
    }


async def planned(shop: Shop, config: Config, processes: int = 1) -> tuple[SavedPlan, list[PageChange]]:
    """A plan, and every change that it names."""
    changes: list[PageChange] = []

    def keep(part: PlannedRange) -> None:
        changes.extend(part.changes)

    return await shop.plan(config, on_planned=keep, every_change=True, processes=processes), changes


Change = Callable[[Config], Config]


def changed_channel(key: str, *values: object) -> Callable[[random.Random], Change]:
    """Makes changes of one key of a channel, to one of some values."""

    def make(luck: random.Random) -> Change:
        name, value = luck.choice(["web-de", "web-us"]), luck.choice(values)
        return lambda config: with_channel(config, name, **{key: value})

    return make


RANDOM_CHANGES: Sequence[Callable[[random.Random], Change]] = [
    changed_channel("locale", "fr-FR", "en-US", "de-DE", "de-AT"),
    changed_channel("currency", "EUR", "USD"),
    changed_channel("requires", [], ["pricing"], ["inventory", "media"], ["pricing", "inventory", "media"]),
    changed_channel("sources", *[{"inventory": names} for names in ([], ["wms-a"], ["wms-b"], ["wms-b", "wms-a"])]),
    lambda _: lambda config: without_channel(config, "outlet-de"),
    lambda _: lambda config: without_channel(config, "market-at"),
    lambda _: lambda config: with_new_channel(config, "web-fr"),
    lambda _: lambda config: with_source_order(config, "pim2", "pim"),
    lambda _: lambda config: renamed(config, "erp", "sap"),
    lambda _: lambda config: renamed(config, "dam", "dam2"),
    *[lambda _, change=change: change for change in POLICIES.values()],
]
"""Makers of random changes of the configuration."""


def changes_of() -> st.SearchStrategy[list[Change]]:
    """Random changes of the configuration, one after the other."""
    luck = st.randoms(use_true_random=False)
    one = st.builds(lambda make, given_luck: make(given_luck), st.sampled_from(RANDOM_CHANGES), luck)
    return st.lists(one, min_size=1, max_size=4)


@given(changes=changes_of(), seed=st.integers(0, 5))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_a_plan_names_the_pages_that_applying_changes(
    store_url: str, changes: Sequence[Change], seed: int
) -> None:
    """Exactly those, byte for byte, for random changes; from the second on, the store has a history of them."""
    config = configured(store_url)
    async with pagefold.open(config) as shop:
        await shop.append(products(random.Random(seed), version=seed + 1))
        await shop.apply(await shop.plan(), by="ada", reason="the basis")
        await shop.catch_up()
    changed = config
    for change in changes:
        changed = change(changed)
    channels = sorted({*CHANNELS, "web-fr"})
    async with pagefold.open(changed) as shop:
        before = await all_pages(shop, channels)
        table = Intruder(store_url).sections()
        plan, named = await planned(shop, changed)
        assert Intruder(store_url).sections() == table, "a plan writes nothing"
        await shop.apply(plan, by="ada", reason="a test")
        await shop.catch_up()
        after = await all_pages(shop, channels)
    differing = {key for key in before if before[key] != after[key]}
    assert {(each.sku, each.channel) for each in named} == differing
    assert plan.plan.changed == len(named) == len(differing)
    for each in named:
        old, new = before[each.sku, each.channel], after[each.sku, each.channel]
        assert (each.effects.count("added"), each.effects.count("removed")) == (old is None, new is None)
        assert each.was_live == (old is not None and b'"status":"live"' in old)
        assert ("unready" in each.effects) == (is_ready(old) and not is_ready(new))


def is_ready(page: bytes | None) -> bool:
    """Whether there is a page, and it is ready."""
    return page is not None and b'"ready":true' in page


@pytest.fixture
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes plans take many steps of a few products."""
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 20)


@pytest.mark.usefixtures("_small_steps")
@pytest.mark.parametrize("name", sorted(CHANGES | POLICIES))
async def test_several_processes_plan_the_same(shop: Shop, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """As one, step by step; no process is left, and none prints anything."""
    await say(shop, *products(random.Random(7)))
    changed = (CHANGES | POLICIES)[name](shop.config)
    alone, named = await planned(shop, changed)
    together, others = await planned(shop, changed, processes=2)
    assert together.plan.channels == alone.plan.channels
    assert (together.plan.skus, len(alone.plan.samples) > 0) == (len(SKUS), bool(named))
    assert sorted(map(key_of, named)) == sorted(map(key_of, others))
    assert children() == []
    assert capfd.readouterr().err == ""


def key_of(change: PageChange) -> tuple[str, str]:
    """The page of a change."""
    return change.sku, change.channel


async def test_a_renamed_source_is_seen_to_empty_its_pages(shop: Shop) -> None:
    """Every price goes: the plan counts them by field, and says that a start does not apply it."""
    await say(shop, *products(random.Random(7)))
    found = (await shop.plan(renamed(shop.config, "erp", "sap"))).plan
    lost = found.channels["web-de"]
    assert lost.effects["source_lost"] == lost.taken
    assert lost.fields["pricing.amount"] == lost.effects["emptied"] > 5
    assert "web-de" in found.excess
    assert {each.path for each in found.samples[0].fields} >= {"pricing.amount"}


async def test_other_texts_take_nothing(shop: Shop) -> None:
    """Another locale whose texts are all there is a change, and no loss: it is applied at a start."""
    await say(shop, *products(random.Random(7)))
    found = (await shop.plan(with_channel(shop.config, "web-de", locale="en-US"))).plan
    assert found.changed > 0
    assert (found.taken, found.excess) == (0, [])


async def test_a_plan_of_what_counts_is_empty(shop: Shop) -> None:
    """Also beside events that no consumer has folded."""
    await say(shop, *products(random.Random(7)))
    await append(shop, *products(random.Random(8), version=5))
    found = (await shop.plan()).plan
    assert (found.skus, found.changed, found.samples) == (len(SKUS), 0, [])


async def test_a_plan_that_is_out_of_date_is_refused(shop: Shop) -> None:
    """After another configuration, from another log, or of another release; a blank reason is refused, too."""
    await say(shop, catalog("shirt"))
    first = await shop.plan(without_channel(shop.config, "outlet-de"))
    second = await shop.plan(without_channel(shop.config, "web-us"))
    with pytest.raises(Rejected):
        await shop.apply(first, by="ada", reason=" ")
    await shop.apply(first, by="ada", reason="a test")
    for plan, problem in (
        (second, "it began from configuration 0, and 1 counts now"),
        (msgspec.structs.replace(second, number=1, log_id="another"), "for another log"),
        (msgspec.structs.replace(second, number=1, fingerprints={}), "by another release"),
    ):
        with pytest.raises(PlanOutdated, match=problem):
            await shop.apply(plan, by="ada", reason="a test")
    assert (shop.applied.number, set(shop.applied.config.channels)) == (1, {*CHANNELS} - {"outlet-de"})
    assert {channel for _, channel in await pages_of(shop)} >= {"web-de"}
