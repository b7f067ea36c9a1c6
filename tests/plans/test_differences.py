"""Differences of pages name exactly what differs, on both stores: between moments, channels and configurations."""

from collections.abc import Mapping, Sequence

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.plans import planner
from pagefold.engine.plans.page_changes import PageChange
from pagefold.engine.plans.plan import Plan
from pagefold.engine.plans.planner import PlannedRange
from pagefold.engine.reading.past_pages import View
from pagefold.engine.replay import section_verifier
from tests.folding.test_kept_pages import keeping, product
from tests.support.processes import children
from tests.support.rebuild_fixtures import CHANGES, Intruder, with_new_channel, without_channel
from tests.support.small_shop import (
    CHANNELS,
    SKU,
    append,
    apply_file,
    catalog,
    configured,
    event,
    media,
    price,
    say,
    stock,
    with_channel,
    withdrawn,
)
from tests.support.strategies import histories

Pages = Mapping[tuple[str, str], bytes | None]


async def pages_at(shop: Shop, skus: Sequence[str], channels: Sequence[str], view: View) -> Pages:
    """Every page in a view, also disabled ones."""
    found: dict[tuple[str, str], bytes | None] = {}
    for channel in channels:
        pages = await shop.past.get_many_json(skus, channel, view, disabled=True)
        found |= {(sku, channel): pages.get(sku) for sku in skus}
    return found


async def compared(  # noqa: PLR0913  # as `Shop.diff`
    shop: Shop,
    before: View,
    after: View,
    *,
    channels: tuple[str, str] | None = None,
    sku: str | None = None,
    prefix: str = "",
    processes: int = 1,
) -> tuple[Plan, list[PageChange]]:
    """The differences, and every page that they name."""
    changes: list[PageChange] = []

    def keep(part: PlannedRange) -> None:
        changes.extend(part.changes)

    plan = await shop.diff(
        before,
        after,
        channels=channels,
        sku=sku,
        prefix=prefix,
        on_planned=keep,
        every_change=True,
        processes=processes,
    )
    assert plan.changed == len(changes)
    return plan, changes


def keys_of(changes: Sequence[PageChange]) -> set[tuple[str, str]]:
    """The pages that are named, each once."""
    found = {(each.sku, each.channel) for each in changes}
    assert len(found) == len(changes)
    return found


@given(history=histories(skus=("A", "A-1", "\u00c4"), largest=14), changed=st.integers(0, 14))
@settings(max_examples=12)
async def test_two_moments_differ_in_the_pages_that_differ(
    store_url: str, history: Sequence[DomainEvent], changed: int
) -> None:
    """Exactly those, byte for byte, in both directions, also where the configuration changed between them."""
    config = configured(store_url)
    other = with_channel(with_new_channel(without_channel(config, "outlet-de"), "web-fr"), "web-de", locale="fr-FR")
    skus, channels = sorted({each.sku for each in history}), [*CHANNELS, "web-fr"]
    for part, file in ((history[:changed], config), (history[changed:], other)):
        async with pagefold.open(file) as shop:
            await apply_file(shop)
            await shop.append(part)
    async with pagefold.open(other) as shop:
        end = await shop.store.log.end()
        views = [await shop.past.view(at) for at in (0, end // 3, 2 * end // 3, end)]
        pages = [await pages_at(shop, skus, channels, view) for view in views]
        for one, two in ((0, 3), (1, 2), (1, 3), (3, 1), (2, 0), (2, 2)):
            old, new = pages[one], pages[two]
            _, changes = await compared(shop, views[one], views[two])
            differing = {key for key in old if old[key] != new[key]}
            assert {key for key in keys_of(changes) if key[0] in skus} == differing
            for each in changes:
                if (each.sku, each.channel) in old:
                    is_new, is_gone = old[each.sku, each.channel] is None, new[each.sku, each.channel] is None
                    assert ("added" in each.effects, "removed" in each.effects) == (is_new, is_gone)


async def test_an_item_that_goes_while_others_stay_empties_nothing(shop: Shop) -> None:
    """A field of a list is emptied with its last item."""
    views: list[View] = []
    for version, urls in enumerate([("a.webp", "b.webp"), ("a.webp",), ()], 1):
        await say(shop, catalog("shirt", version=version), media(*urls, version=version))
        views.append(await shop.past.view(await shop.store.log.end()))
    for before, after, emptied in ((0, 1, False), (1, 2, True), (2, 0, False)):
        _, changes = await compared(shop, views[before], views[after], channels=("web-de", "web-de"))
        assert [("emptied" in each.effects) for each in changes] == [emptied]


async def test_two_channels_differ_in_the_pages_that_differ(shop: Shop) -> None:
    """In anything but their names; a page that only one has is one."""
    await say(
        shop,
        *(catalog(sku, sku=sku) for sku in ("A", "B", "C")),
        catalog("D", sku="D", channel="web-de"),
        price("1.00", sku="A", channel="web-de"),
        stock(3, sku="B", source="wms-a"),
    )
    view = await shop.past.view(None)
    for pair in (("web-de", "market-at"), ("market-at", "web-us"), ("web-de", "web-de")):
        _, changes = await compared(shop, view, view, channels=pair)
        pages = [await pages_at(shop, ["A", "B", "C", "D"], [channel], view) for channel in pair]
        old, new = (
            {sku: None if page is None else orjson.loads(page) | {"channel": ""} for (sku, _), page in each.items()}
            for each in pages
        )
        assert {each.sku for each in changes} == {sku for sku in old if old[sku] != new[sku]}
        assert {each.channel for each in changes} <= {pair[0]}
    with pytest.raises(ConfigurationError, match="unknown channel 'none'"):
        await shop.diff(view, view, channels=("web-de", "none"))


async def test_a_channel_then_and_another_now(shop: Shop) -> None:
    """Moments and channels together: each side is its own channel at its own moment."""
    await say(shop, catalog("Shirt"))
    before = await shop.past.view(await shop.store.log.end())
    await say(shop, catalog("Shirt of Austria", version=2, channel="market-at"))
    _, [change] = await compared(shop, before, await shop.past.view(None), channels=("web-de", "market-at"))
    [code] = [field for field in change.fields if field.path == "catalog.attributes.code"]
    assert (code.before, code.after) == ("Shirt", "Shirt of Austria")


@pytest.mark.parametrize("name", sorted(CHANGES))
async def test_two_configurations_differ_as_a_plan_says(shop: Shop, name: str) -> None:
    """Under what counts and under another one, at the end of the log."""
    await say(shop, catalog("a"), catalog("b", sku="B"), price("1.00"), stock(2), withdrawn("pricing", version=2))
    changed = CHANGES[name](shop.config)
    plan = (await shop.plan(changed)).plan
    found, _ = await compared(shop, await shop.past.view(None), await shop.past.view(None, changed))
    assert (found.channels, found.samples) == (plan.channels, plan.samples)


async def test_one_product_or_those_with_a_prefix(shop: Shop) -> None:
    """No other is folded: not one whose name begins with it, nor one beside it in the order of streams."""
    start = await shop.past.view(0)
    skus = ["A", "A-1", "A.1", "A/1", "A0", "AB", "B"]
    await say(shop, *(catalog(sku, sku=sku) for sku in skus))
    now = await shop.past.view(None)
    for sku in skus:
        plan, changes = await compared(shop, start, now, sku=sku)
        assert ({each.sku for each in changes}, plan.skus) == ({sku}, 1)
    plan, changes = await compared(shop, start, now, prefix="A")
    assert {each.sku for each in changes} == set(skus) - {"B"}
    assert (await compared(shop, start, now, sku="none"))[0].skus == 0


async def test_several_processes_and_small_steps_find_the_same(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one process in one step; no process is left, and no page is written."""
    skus = [f"SKU-{number:02}" for number in range(24)]
    await say(shop, *(catalog(sku, sku=sku) for sku in skus), *(price("1.00", sku=sku) for sku in skus[::2]))
    before = await shop.past.view(await shop.store.log.end() - 5)
    await append(shop, *(price("2.00", sku=sku, version=2) for sku in skus[::3]))
    now, table = await shop.past.view(None), Intruder(shop.config.store.url).sections()
    alone, named = await compared(shop, before, now)
    monkeypatch.setattr(section_verifier, "STEP_STREAMS", 20)
    for processes in (1, 2):
        found, others = await compared(shop, before, now, processes=processes)
        assert (found.channels, found.skus) == (alone.channels, len(skus))
        assert keys_of(others) == keys_of(named)
    assert children() == []
    assert Intruder(shop.config.store.url).sections() == table


async def test_pages_that_were_larger_are_compared_in_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what was is far more than what is, as after a mass withdrawal, less is read at a time."""
    monkeypatch.setattr(planner, "MAX_STEP_BYTES", 800_000)
    skus = [f"SKU-{number:02}" for number in range(20)]
    large = {"attributes": {"text": "x" * 30_000}}
    await append(shop, *(event("catalog", large, sku=sku) for sku in skus))
    before = await shop.past.view(await shop.store.log.end())
    await append(shop, *(withdrawn("catalog", sku=sku, version=2) for sku in skus))
    now = await shop.past.view(None)
    sizes: list[int] = []
    read = shop.store.log.heads

    async def measured(streams: Sequence[str], **more: int | None) -> object:
        heads = await read(streams, **more)
        sizes.append(sum(len(head.state) for head in heads))
        return heads

    monkeypatch.setattr(shop.store.log, "heads", measured)
    for one, two in ((before, now), (now, before)):
        plan, changes = await compared(shop, one, two)
        assert keys_of(changes) == {(sku, channel) for sku in skus for channel in CHANNELS}
        assert plan.skus == len(skus)
    assert max(sizes) <= 150_000
    assert len(sizes) > 8


async def test_a_version_that_comes_late_changes_what_is_kept(store_url: str) -> None:
    """Then and now have the same heads, and the page keeps another version: it is seen, then as it was then."""
    async with pagefold.open(keeping(store_url)) as shop:
        await say(shop, product(1, "one"), product(4, None))
        then, before = await shop.past.view(await shop.store.log.end()), await shop.pages.get_json("TEE", "web-de")
        await say(shop, product(3, "late"))
        after = await shop.pages.get_json("TEE", "web-de")
        assert await shop.past.get_json("TEE", "web-de", then.moment.position) == before != after
        assert await shop.past.get_json("TEE", "web-de", await shop.store.log.end()) == after
        _, changes = await compared(shop, then, await shop.past.view(None))
        assert keys_of(changes) == {("TEE", "web-de"), ("TEE", "outlet-de")}


async def test_nothing_differs_from_itself(shop: Shop) -> None:
    """Also between two positions without an event that pages depend on; live pages are counted all the same."""
    await say(shop, catalog("a"), price("1.00"))
    view = await shop.past.view(None)
    await shop.append([price("0.50", version=0)])
    await apply_file(shop)
    plan = await shop.diff(view, await shop.past.view(None))
    assert (plan.changed, plan.live, plan.samples) == (0, len(CHANNELS), [])


async def test_a_page_at_a_moment_is_decoded(config: Config) -> None:
    """`page_at` is the page of then as `pages.get` gives one."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a"), price("1.00"))
        page, end = await shop.pages.get(SKU, "web-de"), await shop.store.log.end()
        await say(shop, price("2.00", version=2))
        assert await shop.page_at(SKU, "web-de", end) == page
        assert await shop.page_at(SKU, "web-de", 0) is None
