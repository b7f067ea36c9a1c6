"""One step of the feed: what it names, on both stores."""

import importlib

import msgspec
import pytest

from pagefold import Shop
from pagefold.engine.errors import FeedReset, PagesUnfolded, UnknownCursor
from pagefold.engine.feed import feed_reader
from pagefold.engine.feed.feed_cursor import FeedCursor, Witness
from pagefold.engine.feed.page_change import FeedSelection
from pagefold.engine.stores.feed_records import NotedPlace
from tests.support.page_follower import PageFollower, reader_of, tags_of
from tests.support.small_shop import CHANNELS, SKU, a_section, catalog, folded, price, say, stock, withdrawn


async def changed(shop: Shop, cursor: FeedCursor, **given: object) -> set[tuple[str, str]]:
    """The pages that a step names."""
    step = await reader_of(shop).step(cursor, FeedSelection(**given))  # type: ignore[arg-type]  # the fields' own types
    return {(each.sku, each.channel) for each in step.changes}


async def test_a_replay_names_every_page_and_then_what_changes(shop: Shop) -> None:
    """From 0, every page is named with its tag; after that, only what changed."""
    await say(shop, *(catalog("x", sku=f"S{number}") for number in range(7)))
    follower = PageFollower(shop, limit=8)
    assert await follower.catch_up() == await tags_of(shop)
    assert len(follower.tags) == 7 * len(CHANNELS)
    await say(shop, price("1", sku="S3"), withdrawn("catalog", version=2, sku="S4"))
    assert await follower.catch_up() == await tags_of(shop)
    assert follower.resets == 0


async def test_a_step_names_what_an_event_changed(shop: Shop) -> None:
    """An event of one channel names one page, one of all channels all pages of the SKU, with the event's domain."""
    reader = reader_of(shop)
    await say(shop, catalog("a"), catalog("b", sku="B/%"))
    now = await reader.start(replay=False)
    assert (await reader.step(now)).changes == []
    await say(shop, price("3", channel="web-de"), stock(1, sku="B/%"))
    step = await reader.step(now)
    assert {(each.sku, each.channel, each.domains) for each in step.changes} == {
        (SKU, "web-de", ("pricing",)),
        *(("B/%", channel, ("inventory",)) for channel in CHANNELS),
    }
    assert step.up_to_date
    assert not step.replaying
    assert (await reader.step(step.cursor)).changes == []


async def test_selections(shop: Shop) -> None:
    """Channels, a prefix and domains select changes."""
    await say(shop, catalog("a", sku="A1"), catalog("b", sku="B1"))
    now = await reader_of(shop).start(replay=False)
    await say(shop, price("1", sku="A1"), stock(1, sku="B1"), stock(2, sku="A1"))
    one = frozenset(["web-de"])
    assert await changed(shop, now, channels=one) == {("A1", "web-de"), ("B1", "web-de")}
    assert await changed(shop, now, channels=one, prefix="B") == {("B1", "web-de")}
    assert await changed(shop, now, channels=one, domains=frozenset(["pricing"])) == {("A1", "web-de")}
    assert await changed(shop, now, prefix="C") == set()


async def test_pages_come_with_their_documents(shop: Shop) -> None:
    """A live page has its bytes, a disabled one none."""
    await say(shop, catalog("a"), catalog("b", sku="B"), withdrawn("catalog", version=2, sku="B"))
    step = await reader_of(shop).step(await reader_of(shop).start(replay=True), documents=True)
    pages = {(each.sku, each.channel): each.page for each in step.changes}
    assert bytes(pages[SKU, "web-de"] or b"") == await shop.pages.get_json(SKU, "web-de")
    assert pages["B", "web-de"] is None
    assert b'"page":{"sku":"TSHIRT-M"' in msgspec.json.encode(step.changes[-1])


async def test_a_cursor_is_a_text(shop: Shop) -> None:
    """It survives as text; nothing else is one."""
    await say(shop, catalog("a"))
    for replay in (True, False):
        cursor = await reader_of(shop).start(replay=replay)
        assert FeedCursor.parse(str(cursor)) == cursor
        assert len(str(cursor)) < 300
    text = str(cursor)
    for wrong in ("", "0", "x", text[:-2], text + "=", text + "A", "é", "A" * 10_000, text.swapcase()):
        with pytest.raises(UnknownCursor):
            FeedCursor.parse(wrong)


async def test_another_log_is_refused(shop: Shop) -> None:
    """A cursor of another log, or of events that this one does not have."""
    await say(shop, catalog("a"))
    cursor = await reader_of(shop).start(replay=False)
    other = msgspec.structs.replace
    for wrong in (
        other(cursor, log_id="another"),
        other(cursor, witness=Witness(cursor.witness.position, "00")),
        other(cursor, witness=Witness(cursor.witness.position + 1, cursor.witness.mark)),
    ):
        with pytest.raises(FeedReset, match="replaced by another one"):
            await reader_of(shop).step(wrong)


async def test_other_pages_are_refused(shop: Shop) -> None:
    """A cursor of indirect changes that are not there, or no more."""
    for name in ("A", "B"):
        await folded(shop.store, a_section(name))
    cursor = await reader_of(shop).start(replay=False)
    assert cursor.noted["catalog"].number == 2
    for wrong in (NotedPlace(2, "another"), NotedPlace(3, cursor.noted["catalog"].mark), NotedPlace(1, "another")):
        with pytest.raises(FeedReset, match="older than what is kept"):
            await reader_of(shop).step(msgspec.structs.replace(cursor, noted={"catalog": wrong}))


async def test_what_is_kept_of_indirect_changes_is_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest are kept. A follower that is behind them starts again; one that is not goes on."""
    monkeypatch.setattr(importlib.import_module(type(shop.store.feed).__module__), "MAX_NOTED_SKUS", 3)
    old = await reader_of(shop).start(replay=False)
    new = old
    for number in range(6):
        if number == 3:
            new = (await reader_of(shop).step(old, limit=1_000)).cursor
        await folded(shop.store, a_section(f"S{number}"))
    assert [each.skus for each in await shop.store.feed.noted("catalog", 0, 10)] == [["S2"], ["S3"], ["S4"], ["S5"]]
    assert {each.sku for each in (await reader_of(shop).step(new)).changes} == {"S3", "S4", "S5"}
    with pytest.raises(FeedReset, match="older than what is kept"):
        await reader_of(shop).step(old)


async def test_pages_that_are_folded_again_are_waited_for(shop: Shop) -> None:
    """While checkpoints are before the cursor, as in a recovery, nothing is read: pages would be older than before."""
    await say(shop, catalog("a"))
    cursor = await reader_of(shop).start(replay=False)
    await shop.store.proof.begin_recovery()
    await folded(shop.store, a_section("B"))
    with pytest.raises(PagesUnfolded):
        await reader_of(shop).step(cursor)
    await shop.store.proof.end_recovery()
    await shop.catch_up()
    step = await reader_of(shop).step(cursor)
    assert {each.sku for each in step.changes} == {"B"}
    assert step.up_to_date


async def test_large_pages_come_in_smaller_steps(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a step are bounded, down to the pages of one SKU; so are those of a read."""
    monkeypatch.setattr(feed_reader, "DOCUMENT_BYTES", 2_000)
    monkeypatch.setattr(feed_reader, "CHUNK_BYTES", 500)
    await say(shop, *(catalog("x" * 200, sku=f"S{number}") for number in range(20)))
    reader, sizes, found = reader_of(shop), [], set()
    step = await reader.step(await reader.start(replay=True), documents=True)
    while step.replaying or step.changes:
        sizes.append(len(step.changes))
        found |= {(each.sku, each.channel) for each in step.changes}
        step = await reader.step(step.cursor, documents=True)
    assert len(found) == 20 * len(CHANNELS)
    assert max(sizes) <= 2 * len(CHANNELS)


async def test_a_follower_rests_while_consumers_are_far_behind(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step says so, and its follower leaves them most of the time; a replay, and who is up to date, need not rest."""
    monkeypatch.setattr(feed_reader, "FAR_BEHIND_EVENTS", 10)
    reader = reader_of(shop)
    now = await reader.start(replay=False)
    await shop.append([catalog("a", sku=f"S{number}") for number in range(11)])
    behind = await reader.step(now)
    assert (behind.folding, behind.changes) == (True, [])
    assert 0.1 < feed_reader.rest_seconds(behind, 0.01) < feed_reader.rest_seconds(behind, 60.0) < 10
    replay = await reader.step(await reader.start(replay=True), limit=1)
    assert feed_reader.rest_seconds(replay._replace(replaying=True), 0.01) == 0
    await shop.catch_up()
    current = await reader.step(now)
    assert (current.folding, len(current.changes)) == (False, 11 * len(CHANNELS))
    assert feed_reader.rest_seconds(current, 0.01) == 0
