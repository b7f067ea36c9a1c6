"""The catalog consumer keeps the references that heads state, and `verify` compares them with the log."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pagefold
from pagefold import DomainEvent, Shop
from pagefold.engine.replay.replayer import SectionDrift
from pagefold.engine.stores.reference_records import StoredReference
from pagefold.projections.field_changes import FieldChange
from tests.support.small_shop import configured, event, say, withdrawn

GTIN, PRODUCT = "gtin", "shopify:product"


def product(
    sku: str, references: Mapping[str, object], *, version: int = 1, source: str = "pim", channel: str = "*"
) -> DomainEvent:
    """A product with references."""
    payload = {"attributes": {"code": sku}, "references": references}
    return event("catalog", payload, version=version, sku=sku, source=source, channel=channel)


async def known(shop: Shop) -> list[tuple[str, str, str]]:
    """The stored references: stream, kind and id."""
    return [row[:3] for row in await shop.store.references.next_rows()]


async def test_references_follow_the_heads(shop: Shop) -> None:
    """What a source states is kept, as text; what its next version lacks goes, and a withdrawal takes all."""
    await say(shop, product("RED", {PRODUCT: 9, GTIN: ["2", "1", 1]}, version=2), product("BLUE", {PRODUCT: 9}))
    red, blue = "RED/*/catalog/pim", "BLUE/*/catalog/pim"
    assert await known(shop) == [
        (blue, PRODUCT, "9"),
        (red, GTIN, "1"),
        (red, GTIN, "2"),
        (red, PRODUCT, "9"),
    ]
    await say(shop, product("RED", {GTIN: "2"}, version=3), withdrawn("catalog", version=2, sku="BLUE"))
    assert await known(shop) == [(red, GTIN, "2")]
    await say(shop, product("RED", {GTIN: "1"}, version=1))  # an older one is no head
    assert await known(shop) == [(red, GTIN, "2")]


async def test_every_stream_counts_also_one_that_no_channel_listens_to(store_url: str) -> None:
    """References are no part of pages: whoever states one is right, for one channel or for all."""
    channel = {"locale": "de", "currency": "EUR", "sources": {"catalog": ["pim"]}}
    async with pagefold.open(configured(store_url, channels={"web-de": channel})) as shop:
        await say(shop, product("RED", {GTIN: "1"}, channel="web-de"), product("RED", {GTIN: "2"}, source="pim2"))
        assert [stream for stream, *_ in await known(shop)] == ["RED/*/catalog/pim2", "RED/web-de/catalog/pim"]
        assert (await shop.verify()).changed == 0
        await damage(shop, await shop.store.references.next_rows(), [])
        assert (await shop.replay()).changed == 2


async def test_no_page_shows_references(shop: Shop) -> None:
    """The section is as without them."""
    await say(shop, product("RED", {GTIN: "1"}), product("BLUE", {}))
    red, blue = [await shop.pages.get(sku, "web-de") for sku in ("RED", "BLUE")]
    assert red is not None
    assert blue is not None
    assert red["catalog"] == {**blue["catalog"], "attributes": {"code": "RED"}}


async def damage(shop: Shop, removed: Sequence[StoredReference], added: Sequence[StoredReference]) -> None:
    """Changes what is stored behind the log's back."""
    async with shop.store.coordination.fold_transaction("catalog") as transaction:
        await transaction.change_references(removed, added)


async def test_verify_finds_what_differs_and_a_replay_repairs_it(shop: Shop) -> None:
    """Missing ids, wrong ones, and those of streams without any, or that do not exist."""
    await say(shop, product("RED", {GTIN: "1"}), product("BLUE", {}), product("PINK", {GTIN: "3"}))
    before = await known(shop)
    assert (await shop.verify()).changed == 0
    row = StoredReference("RED/*/catalog/pim", GTIN, "1", "RED")
    await damage(
        shop,
        [row],
        [
            row._replace(id="2"),
            StoredReference("BLUE/*/catalog/pim", GTIN, "4", "BLUE"),
            StoredReference("GONE/*/catalog/pim", GTIN, "5", "GONE"),
        ],
    )
    drift: list[SectionDrift] = []
    assert (await shop.verify(on_drift=drift.append)).changed == 3
    found = {each.sku: each.changes for each in drift}
    assert found == {
        "RED": [FieldChange("references.gtin", ["2"], ["1"])],
        "BLUE": [FieldChange("references.gtin", ["4"], None)],
        "GONE": [FieldChange("references.gtin", ["5"], None)],
    }
    assert (await shop.verify(processes=2)).changed == 3
    assert (await shop.replay(prefix="BL")).changed == 1
    assert (await shop.replay()).changed == 2
    assert await known(shop) == before
    assert (await shop.replay()).changed == 0


async def test_events_that_are_not_folded_yet_are_no_drift(shop: Shop) -> None:
    """They only wait for their consumer."""
    await say(shop, product("RED", {GTIN: "1"}), product("BLUE", {GTIN: "2"}))
    await shop.append([product("RED", {}, version=2), product("BLUE", {GTIN: "3"}, version=2)])
    found = await shop.verify()
    assert (found.changed, found.behind > 0) == (0, True)


EVENTS = [
    product("RED", {GTIN: "1", PRODUCT: 9}),
    product("RED", {PRODUCT: 9}, version=2),
    product("RED", {GTIN: ["1", "2"]}, version=3),
    product("BLUE", {GTIN: "1"}, version=1),
    withdrawn("catalog", version=2, sku="BLUE"),
    product("PINK", {PRODUCT: [9, 10]}, channel="web-de"),
]


@given(order=st.permutations(EVENTS), cuts=st.sets(st.integers(1, len(EVENTS) - 1)))
async def test_references_are_those_of_the_log_whatever_the_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[DomainEvent], cuts: set[int]
) -> None:
    """However the events arrive and are batched, the same references are stored."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop')}"
    async with pagefold.open(configured(url)) as shop:
        places = [0, *sorted(cuts), len(order)]
        for start, stop in pairwise(places):
            await say(shop, *order[start:stop])
        assert await known(shop) == [
            ("PINK/web-de/catalog/pim", PRODUCT, "10"),
            ("PINK/web-de/catalog/pim", PRODUCT, "9"),
            ("RED/*/catalog/pim", GTIN, "1"),
            ("RED/*/catalog/pim", GTIN, "2"),
        ]
        assert (await shop.verify()).changed == 0
