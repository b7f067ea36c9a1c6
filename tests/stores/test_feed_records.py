"""What followers of the pages read: the contract of `engine.stores.feed_records`, on both stores."""

from collections.abc import Sequence

import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.stores.feed_records import FoldedState, LogEnd, LogWindow
from pagefold.engine.stores.store import Store
from pagefold.projections.section_fold import shared_sections
from tests.support.small_shop import (
    SOURCES,
    a_section,
    append,
    apply_file,
    catalog,
    configured,
    event,
    folded,
    insert,
    price,
    say,
    with_channel,
)

DOMAINS = ("catalog", "pricing", "inventory", "media")


async def noted(store: Store, domain: str = "catalog") -> list[Sequence[str]]:
    """The SKUs of all notes of a domain."""
    return [each.skus for each in await store.feed.noted(domain, 0, 1_000)]


async def test_a_write_notes_the_skus_that_changed(store: Store) -> None:
    """In order; not those that are equal, nor those that followers find in the log. A removal is noted, too."""
    first, second = a_section("A"), a_section("B/%")
    await folded(store, second, first)
    await folded(store, first, second._replace(body=b"[]"))
    await folded(store, first)
    async with store.coordination.fold_transaction("catalog") as folding:
        assert await folding.write(shared_sections([a_section("C")]), followed=True) == 1
        await folding.remove(["A", "none"])
    assert await noted(store) == [["A", "B/%"], ["B/%"], ["A"]]
    assert await noted(store, "pricing") == []
    notes = await store.feed.noted("catalog", 0, 10)
    assert [each.number for each in notes] == [2, 3, 4]
    assert len({each.mark for each in notes}) == 3
    assert (await store.feed.state(DOMAINS)).noted == {"catalog": notes[-1][:2]}


async def test_notes_are_read_from_a_number_on(store: Store) -> None:
    """The first is the one that has the number."""
    await folded(store, *(a_section(f"S{number}") for number in range(3)))
    await folded(store, a_section("T"))
    await folded(store, a_section("U"))
    for number, first in ((0, 3), (1, 3), (3, 3), (4, 4), (5, 5)):
        assert (await store.feed.noted("catalog", number, 1))[0].number == first
    assert await store.feed.noted("catalog", 6, 1) == []


async def test_a_note_is_rolled_back_with_its_write(store: Store) -> None:
    """It is in the transaction."""

    async def interrupted() -> None:
        async with store.coordination.fold_transaction("catalog") as folding:
            await folding.write(shared_sections([a_section("A")]))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await interrupted()
    assert await noted(store) == []


async def test_the_state_is_that_of_the_last_domain(shop: Shop) -> None:
    """The lowest checkpoint counts, and a domain that was never folded."""
    assert await shop.store.feed.state(DOMAINS) == FoldedState(0, {})
    await append(shop, catalog("a"), price("1"))
    await shop.catch_up(["catalog", "pricing"])
    assert (await shop.store.feed.state(DOMAINS)).position == 0
    await shop.catch_up()
    end = await shop.store.log.end()
    assert (await shop.store.feed.state(DOMAINS)).position == end
    await append(shop, price("2", sku="B"))
    await shop.catch_up(["pricing"])
    assert (await shop.store.feed.state(DOMAINS)).position == end


async def test_a_window_has_the_streams_of_some_domains(store: Store) -> None:
    """Distinct, between two positions; it ends early if there are more events than asked for."""
    stock, prices = "A/*/inventory/wms-a", "A/*/pricing/erp"
    first, *_ = await insert(store, stock, "B/*/inventory/wms-a")
    await insert(store, prices, topic="pricing")
    await insert(store, "B/*/inventory/wms-a", version=2)
    last = (await insert(store, "dog-1", topic="Dog"))[0]

    async def window(domains: Sequence[str], after: int, upto: int, limit: int = 100) -> LogWindow:
        found = await store.feed.window(domains, after, upto, limit)
        return LogWindow(sorted(found.streams), found.end)

    assert await window(DOMAINS, 0, last) == ([stock, prices, "B/*/inventory/wms-a"], last)
    assert await window(["pricing"], 0, last) == ([prices], last)
    assert await window(DOMAINS, first, last) == ([prices, "B/*/inventory/wms-a"], last)
    assert await window(DOMAINS, 0, first) == ([stock], first)
    assert await window(DOMAINS, 0, last, limit=1) == ([stock], first)
    assert await window(["media"], 0, last) == ([], last)


async def test_the_end_of_the_log(store: Store) -> None:
    """Its mark, and that of another position, which may have no event."""
    empty = await store.feed.log_end(0)
    assert empty == LogEnd(await store.proof.log_id(), 0, None, None)
    first, second = await insert(store, "A/*/inventory/wms-a", "B/*/inventory/wms-a")
    marks = [await store.proof.mark(position) for position in (first, second)]
    assert None not in marks
    assert await store.feed.log_end(first) == (empty.log_id, second, marks[1], marks[0])
    assert (await store.feed.log_end(second + 1)).mark_at is None


async def test_only_what_has_no_event_is_noted(store_url: str) -> None:
    """Variants and pages that name a SKU are; what an event of every channel changes is not."""
    sources = {name: {"domains": domains} for name, domains in SOURCES.items()}
    config = configured(store_url, sources={**sources, "pim": {"domains": ["catalog"], "inherit": {}}})
    async with pagefold.open(config) as shop:
        variants = [event("catalog", {"parent": "MODEL"}, sku=sku) for sku in ("A", "B")]
        await say(shop, *variants, event("catalog", {"attributes": {"n": 1}}, sku="MODEL"), price("3", sku="A"))
        assert await noted(shop.store) == []
        await say(shop, event("catalog", {"attributes": {"n": 2}}, sku="MODEL", version=2))
        assert await noted(shop.store) == [["A", "B"]]
        await say(shop, event("catalog", {"attributes": {"n": 3}}, sku="MODEL", channel="web-de"))
        assert await noted(shop.store) == [["A", "B"], ["A", "B", "MODEL"]]


async def test_a_shop_without_parents_notes_nothing(shop: Shop) -> None:
    """Whatever arrives, in small and large windows."""
    await say(shop, *(catalog("x", sku=f"S{number:03}", channel="web-de") for number in range(300)))
    await say(shop, catalog("y", sku="S001", version=2, channel="web-de"), price("1"))
    for domain in DOMAINS:
        assert await noted(shop.store, domain) == []


async def test_pages_under_another_configuration_are_noted(store_url: str, config: Config) -> None:
    """Those that it changes, also where the consumer comes to them by an event of another channel."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a", sku="A"), catalog("b", sku="B"))
    async with pagefold.open(with_channel(config, "web-de", locale="en-US")) as shop:
        await append(shop, catalog("c", sku="A", channel="web-us"))
        await apply_file(shop)
        await shop.catch_up()
        assert {sku for skus in await noted(shop.store) for sku in skus} == {"A", "B"}
