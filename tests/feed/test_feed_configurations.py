"""Followers and other configurations: pages change, and go, without an event of theirs."""

import pytest

import pagefold
from pagefold import Config
from pagefold.engine.feed.page_change import FeedSelection
from tests.support.page_follower import PageFollower, tags_of
from tests.support.rebuild_fixtures import without_channel
from tests.support.small_shop import CHANNELS, SKU, apply_file, catalog, price, say, stock, with_channel


@pytest.mark.parametrize("limit", [1, 1_000])
@pytest.mark.parametrize("folds_first", [True, False])
async def test_pages_of_a_channel_that_is_gone_are_withdrawn(config: Config, limit: int, *, folds_first: bool) -> None:
    """Whether their sections are there yet or not; also of a SKU that had pages only there."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a"), price("3", sku="ONLY", channel="web-us", currency="USD"))
        follower = PageFollower(shop, limit=limit)
        assert ("ONLY", "web-us") in await follower.catch_up()
        cursor, tags = follower.cursor, follower.tags
    async with pagefold.open(without_channel(config, "web-us")) as shop:
        await apply_file(shop)
        if folds_first:
            await shop.catch_up()
        follower = PageFollower(shop, limit=limit)
        follower.cursor, follower.tags = cursor, tags
        await follower.catch_up()
        await shop.catch_up()
        assert await follower.catch_up() == await tags_of(shop)
        assert {channel for _, channel in follower.tags} == {*CHANNELS} - {"web-us"}
        assert follower.resets == 0


async def test_what_makes_pages_ready_is_part_of_them(config: Config) -> None:
    """Another requirement changes pages whose sections stay as they are, in the channel that has it, and no other."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("a"), price("1"), stock(1))
        followers = [PageFollower(shop), PageFollower(shop, FeedSelection(channels=frozenset(["web-us"])))]
        before = [dict(await each.catch_up()) for each in followers]
    async with pagefold.open(with_channel(config, "web-de", requires=["catalog", "media"])) as shop:
        for each, tags in zip(followers, before, strict=True):
            later = PageFollower(shop, each.selection)
            later.cursor, later.tags = each.cursor, dict(tags)
            await apply_file(shop)
            await shop.catch_up()
            await later.catch_up()
            changed = {key for key in tags if tags[key] != later.tags[key]}
            assert changed == ({(SKU, "web-de")} if later.selection.channels is None else set())
            assert later.tags == await tags_of(shop, later.selection)
