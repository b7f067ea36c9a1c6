"""Followers in one process: what is read for all, what one reads on its own, and how a program goes on later."""

from collections.abc import Sequence
from typing import Any

import anyio
import msgspec
import pytest

from pagefold import Shop
from pagefold.engine.errors import ConfigurationError, FeedReset
from pagefold.engine.feed import change_feed
from pagefold.engine.feed.change_feed import Follower
from pagefold.engine.feed.changes import Changes
from pagefold.engine.feed.page_change import FeedSelection, FeedStep
from tests.support.page_follower import PageFollower, tags_of
from tests.support.processes import eventually
from tests.support.small_shop import CHANNELS, SKU, a_section, catalog, folded, price, say, stock


def counted(shop: Shop) -> list[FeedStep]:
    """The steps that are read from the store from now on."""
    steps: list[FeedStep] = []
    real = shop.feed.reader.step

    async def step(*given: Any, **named: Any) -> FeedStep:  # noqa: ANN401  # as the method
        steps.append(await real(*given, **named))
        return steps[-1]

    shop.feed.reader.step = step  # type: ignore[method-assign]  # to count
    return steps


async def followed(shop: Shop, follower: Follower, tags: dict[tuple[str, str], str | None], until: int) -> None:
    """Follows until the cursor is at a position."""
    while follower.cursor.position < until:
        step = await follower.step()
        tags |= {(each.sku, each.channel): each.tag for each in step.changes}
        if step.up_to_date and follower.cursor.position < until:
            await follower.wait(5)


async def test_what_is_read_once_serves_all(shop: Shop) -> None:
    """A hundred followers at the end cost one read of each window."""
    await say(shop, catalog("a"))
    start = await shop.feed.reader.start(replay=False)
    selections = [FeedSelection(channels=frozenset([channel])) for channel in CHANNELS]
    followers = [Follower(shop.feed, start, selections[number % 4]) for number in range(100)]
    for each in followers:
        assert (await each.step()).up_to_date
        await each.wait(0.01)
    steps = counted(shop)
    found: list[dict[tuple[str, str], str | None]] = [{} for _ in followers]
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            for follower, tags in zip(followers, found, strict=True):
                group.start_soon(followed, shop, follower, tags, start.position + 2)
            await anyio.sleep(0.1)
            await say(shop, stock(1))
            await anyio.sleep(0.1)
            await say(shop, price("1"))
    assert len(steps) <= 4
    shown = await tags_of(shop)
    assert found == [{(SKU, channel): shown[SKU, channel]} for channel in [*CHANNELS] * 25]


async def test_the_one_that_looks_may_go(shop: Shop) -> None:
    """Another one looks then."""
    await say(shop, catalog("a"))
    start = await shop.feed.reader.start(replay=False)
    tags: dict[tuple[str, str], str | None] = {}
    async with anyio.create_task_group() as group:
        first = anyio.CancelScope()

        async def looks() -> None:
            with first:
                await followed(shop, Follower(shop.feed, start), {}, start.position + 1)

        group.start_soon(looks)
        await anyio.sleep(0.05)
        group.start_soon(followed, shop, Follower(shop.feed, start), tags, start.position + 1)
        await anyio.sleep(0.05)
        first.cancel()
        with anyio.fail_after(5):
            await say(shop, stock(1))
            await eventually(lambda: bool(tags), "another one looks")


async def test_a_follower_that_comes_late_is_not_forgotten(shop: Shop) -> None:
    """What changed between its own read and the first look for all reaches it at once."""
    await say(shop, catalog("a"))
    follower = Follower(shop.feed, await shop.feed.reader.start(replay=False))
    assert (await follower.step()).up_to_date
    await say(shop, stock(1))
    with anyio.fail_after(3):
        await follower.wait(60)
    assert {each.sku for each in (await follower.step()).changes} == {SKU}


async def test_changes_without_a_hint_are_found(shop: Shop) -> None:
    """Such as those of a repair: within about a second."""
    await say(shop, catalog("a"))
    found: list[str] = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:

            async def follow() -> None:
                async for change in shop.changes("now", channels=["web-de"]):
                    found.append(change.sku)
                    group.cancel_scope.cancel()

            group.start_soon(follow)
            await anyio.sleep(0.2)
            await folded(shop.store, a_section("REPAIRED"))
    assert found == ["REPAIRED"]


async def test_a_follower_is_never_given_an_older_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside others that are ahead and behind: what a follower gets is in the order of its versions."""
    monkeypatch.setattr(change_feed, "MAX_KEPT_WINDOWS", 3)
    await say(shop, stock(0))
    seen: list[list[int]] = [[], [], []]

    async def follow(number: int) -> None:
        async for step in shop.changes("now", channels=["web-de"], pages=number == 2).steps():
            pages = [await shop.pages.get(each.sku, each.channel) for each in step.changes]
            seen[number] += [page["inventory"]["available"] for page in pages if page is not None]  # type: ignore[misc]  # JSON
            await anyio.sleep(0.03 * number)
            if seen[number] and seen[number][-1] == 30:
                return

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            for number in range(3):
                group.start_soon(follow, number)
            await anyio.sleep(0.1)
            for version in range(2, 31):
                await say(shop, stock(version, version=version))
    for each in seen:
        assert each == sorted(each)
        assert each[-1] == 30


async def test_a_cursor_counts_after_its_change_was_handled(shop: Shop) -> None:
    """Whoever stores it after each change, and stops anywhere, misses nothing."""
    await say(shop, *(catalog("a", sku=sku) for sku in "ABC"))
    for stop in range(1, 13):
        follower = PageFollower(shop)
        changes = shop.changes(follow=False)
        number = 0
        async for change in changes:
            follower.handle([change])
            number += 1
            if number == stop:
                break
        rest = shop.changes(changes.cursor, follow=False)
        async for change in rest:
            follower.handle([change])
        assert follower.tags == await tags_of(shop)
        assert not rest.is_replaying


async def test_a_replaced_log_is_reported(shop: Shop) -> None:
    """To who follows, and to who goes on."""
    await say(shop, catalog("a"))
    cursor = await shop.feed.reader.start(replay=False)
    wrong = str(msgspec.structs.replace(cursor, log_id="another"))
    with pytest.raises(FeedReset):
        await steps_of(shop.changes(wrong, follow=False))
    with pytest.raises(ConfigurationError, match="unknown channel"):
        shop.changes(channels=["x"])
    with pytest.raises(ConfigurationError, match="unknown domain"):
        shop.changes(domains=["x"])


async def steps_of(changes: Changes) -> Sequence[FeedStep]:
    """All steps."""
    return [step async for step in changes.steps()]
