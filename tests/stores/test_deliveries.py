"""What each target holds of each page: marks, claims, settlements, resets, and what is to be seen of them."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import apsw
import pytest

from pagefold import Config
from pagefold.engine.errors import StoreDamaged
from pagefold.engine.stores import open_store
from pagefold.engine.stores.delivery_records import (
    FIRST_WAITING,
    MAX_SECONDS,
    UNKNOWN,
    ClaimedDelivery,
    Deliveries,
    DeliveryCount,
    DeliveryKey,
    Settlement,
    StoredDelivery,
    WaitingKey,
    Wanted,
    text_of,
)
from pagefold.engine.stores.sqlite import folder_of
from pagefold.engine.stores.sqlite.connections import DELIVERIES, with_full_sync
from pagefold.engine.stores.sqlite.deliveries import SQLiteDeliveries
from pagefold.engine.stores.store import Store
from tests.support.delivery_clock import START, DeliveryClock
from tests.support.small_shop import configured

LEASE = 10.0
KEYS = [DeliveryKey("A", "de"), DeliveryKey("A", "us"), DeliveryKey("B", "de")]


@pytest.fixture
def clock(store: Store, config: Config) -> DeliveryClock:
    """The clock of the deliveries."""
    return DeliveryClock(store, config)


@pytest.fixture
def deliveries(store: Store, clock: DeliveryClock) -> Deliveries:
    """The deliveries of a new store, whose clock stands still."""
    return store.deliveries


def wanted(tag: str = "v1", position: int = 1) -> list[Wanted]:
    """All keys, with one tag."""
    return [Wanted(*key, tag, position) for key in KEYS]


def settled(
    rows: Sequence[ClaimedDelivery], outcome: str = "delivered", tag: str = "v1", **more: object
) -> list[Settlement]:
    """The same settlement of all rows."""
    return [Settlement(row.sku, row.channel, outcome, tag, **more) for row in rows]  # type: ignore[arg-type]  # as given


async def delivered(deliveries: Deliveries, tag: str = "v1", target: str = "shop") -> None:
    """All keys are marked, and delivered."""
    cursor = await deliveries.cursor(target)
    await deliveries.mark(target, cursor, f"{cursor}+", wanted(tag))
    claim, rows = await deliveries.claim(target, "worker", 10, LEASE)
    assert not await deliveries.settle(claim, settled(rows, tag=tag, position=7))


async def only(deliveries: Deliveries, key: DeliveryKey = KEYS[0]) -> StoredDelivery:
    """The row of a key."""
    [row] = [row for row in await deliveries.rows("shop") if (row.sku, row.channel) == key]
    return row


async def test_a_store_without_targets_has_nothing(store: Store, config: Config) -> None:
    """Reading answers so, and on SQLite makes no file."""
    found = store.deliveries
    assert await found.cursor("shop") == ""
    assert await found.next_due("shop") is None
    assert (await found.claim("shop", "worker", 10, LEASE))[1] == []
    for rows in (found.receipts(["A"]), found.rows("shop"), found.oldest("shop", "dead"), found.counts()):
        assert await rows == []
    assert (await found.totals(), await found.waiting_since()) == ({}, {})
    assert not await found.reset_step("shop", 10)
    assert not await found.forget("shop", 10)
    assert await found.retry("shop", KEYS) == 0
    await found.reset("shop")
    assert await store.delivery_targets.targets() == []
    if config.store.url.startswith("sqlite:"):
        assert not (folder_of(config.store.url) / DELIVERIES).exists()
        assert "deliveries" not in await store.sizes()
        await delivered(found)
        assert (await store.sizes())["deliveries"] > 0
        assert (await store.inspect()).damage == []


async def test_a_lost_file_is_begun_again(tmp_path: Path) -> None:
    """Everything is to be delivered again; nothing else of the store is affected."""
    config = configured(f"sqlite:///{tmp_path / 'shop'}")
    store = await open_store(config)
    try:
        await delivered(store.deliveries)
        (tmp_path / "shop" / DELIVERIES).unlink()
        assert await store.deliveries.cursor("shop") == ""
        assert await store.deliveries.mark("shop", "+", "1", wanted()) is None
        assert (tmp_path / "shop" / DELIVERIES).exists()
        (tmp_path / "shop" / f"{DELIVERIES}-wal").unlink(missing_ok=True)
    finally:
        await store.close()
    store = await open_store(config)
    try:
        await delivered(store.deliveries)
        assert await store.pages.count("catalog") == 0
    finally:
        await store.close()


async def test_damage_is_found(tmp_path: Path) -> None:
    """And named, with what to do about it."""
    config = configured(f"sqlite:///{tmp_path / 'shop'}")
    store = await open_store(config)
    await store.deliveries.mark("shop", "", "1", [Wanted(f"S{number}", "de", "v1", 1) for number in range(500)])
    await store.close()
    file = tmp_path / "shop" / DELIVERIES
    contents = bytearray(file.read_bytes())
    contents[3 * 8192 :] = b"x" * (len(contents) - 3 * 8192)
    file.write_bytes(contents)
    store = await open_store(config)
    try:
        assert {damage.what for damage in (await store.inspect()).damage} == {DELIVERIES}
        with pytest.raises(StoreDamaged, match=r"delete deliveries\.db"):
            await store.check_damage()
    finally:
        await store.close()


async def test_a_claim_is_synced_with_all_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mark and a settlement are not: a page that is delivered again is no loss, one that was sent unnoticed is."""
    synced: list[str] = []
    store = await open_store(configured(f"sqlite:///{tmp_path / 'shop'}"))

    def noted(work: Callable[[apsw.Connection], Any]) -> Callable[[apsw.Connection], Any]:
        def run(connection: apsw.Connection) -> Any:  # noqa: ANN401  # what the work gives
            synced.append("begun")
            return work(connection)

        return with_full_sync(run)

    monkeypatch.setattr(f"{SQLiteDeliveries.__module__}.with_full_sync", noted)
    try:
        await store.deliveries.mark("shop", "", "1", wanted())
        assert synced == []
        claim, rows = await store.deliveries.claim("shop", "worker", 10, LEASE)
        assert synced == ["begun"]
        await store.deliveries.settle(claim, settled(rows))
        assert (await store.deliveries.claim("shop", "worker", 10, LEASE))[1] == []
        assert synced == ["begun"]
    finally:
        await store.close()


# --- marks ----------------------------------------------------------------------------------------------


async def test_a_mark_moves_the_cursor_or_does_nothing(deliveries: Deliveries) -> None:
    """Of two markers that have read the same, one stores it."""
    assert await deliveries.mark("shop", "", "1", wanted()) == len(KEYS)
    assert await deliveries.mark("shop", "", "2", wanted("v2")) is None
    assert await deliveries.cursor("shop") == "1"
    assert (await only(deliveries)).wanted_tag == "v1"
    assert await deliveries.mark("shop", "1", "2", []) == 0
    assert await deliveries.mark("other", "1", "2", wanted()) is None


async def test_what_was_acknowledged_is_not_wanted_again(deliveries: Deliveries) -> None:
    """A page that changes, and back before it was sent, is current."""
    await delivered(deliveries)
    assert await deliveries.mark("shop", "+", "1", wanted()) == 0
    assert await deliveries.mark("shop", "1", "2", wanted("v2", 9)) == len(KEYS)
    assert (await only(deliveries)).state == "waiting"
    assert await deliveries.mark("shop", "2", "3", wanted("v1", 10)) == len(KEYS)
    row = await only(deliveries)
    assert (row.state, row.since, row.due_at, row.acked_tag, row.acked_position) == ("current", None, None, "v1", 7)


async def test_a_withdrawal_is_delivered_to_whom_may_hold_the_page(deliveries: Deliveries) -> None:
    """Not where it was never sent, unless the receipt may be lost."""
    assert await deliveries.mark("shop", "", "1", wanted("")) == 0
    assert await deliveries.mark("shop", "1", "2", wanted(""), unsent_withdrawals=True) == len(KEYS)
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    assert {(row.wanted_tag, row.acked_tag) for row in rows} == {("", UNKNOWN)}
    await deliveries.settle(claim, settled(rows, tag=""))
    assert (await only(deliveries)).acked_tag == ""
    await deliveries.mark("shop", "2", "3", wanted("v1"))
    await deliveries.mark("shop", "3", "4", wanted(""))
    assert await deliveries.counts() == [
        DeliveryCount("shop", "de", "current", "none", 2),
        DeliveryCount("shop", "us", "current", "none", 1),
    ]


async def test_a_mark_during_a_claim_is_not_lost(deliveries: Deliveries) -> None:
    """Also if the page changed, and back, while its first version was sent."""
    await deliveries.mark("shop", "", "1", wanted("v1"))
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.mark("shop", "1", "2", wanted("v2"))
    await deliveries.mark("shop", "2", "3", wanted("v1"))
    await deliveries.settle(claim, settled(rows, tag="v2"))
    row = await only(deliveries)
    assert (row.state, row.wanted_tag, row.acked_tag) == ("waiting", "v1", "v2")


async def test_a_mark_of_what_was_wanted_before_is_not_lost(deliveries: Deliveries) -> None:
    """The holder has read a version between two that are the same, which no marker has seen."""
    await deliveries.mark("shop", "", "1", wanted("v1"))
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.mark("shop", "1", "2", wanted("v1"))
    await deliveries.settle(claim, settled(rows, tag="v2"))
    row = await only(deliveries)
    assert (row.state, row.wanted_tag, row.acked_tag) == ("waiting", "v1", "v2")


async def test_what_was_read_after_the_claim_is_newer_than_what_was_wanted(deliveries: Deliveries) -> None:
    """The marker comes later, and finds it delivered."""
    await deliveries.mark("shop", "", "1", wanted("v1"))
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(claim, settled(rows, tag="v2"))
    assert (await only(deliveries)).state == "current"
    assert await deliveries.mark("shop", "1", "2", wanted("v2")) == 0


# --- claims ---------------------------------------------------------------------------------------------


async def test_a_claim_expires(deliveries: Deliveries, clock: DeliveryClock) -> None:
    """Nobody else has its rows before; then what the target holds is unknown, and the late settlement is lost."""
    await delivered(deliveries)
    await deliveries.mark("shop", "+", "1", wanted("v2"))
    late, rows = await deliveries.claim("shop", "frozen", 2, LEASE)
    assert len(rows) == 2
    second, others = await deliveries.claim("shop", "second", 10, LEASE)
    assert len(others) == 1
    assert await deliveries.next_due("shop") == LEASE
    await deliveries.settle(second, settled(others, tag="v2"))
    clock.advance(LEASE)
    assert await deliveries.next_due("shop") == 0
    claim, again = await deliveries.claim("shop", "second", 10, LEASE)
    assert {row.acked_tag for row in again} == {UNKNOWN}
    assert await deliveries.settle(late, settled(rows, tag="v2")) == {DeliveryKey(row.sku, row.channel) for row in rows}
    assert not await deliveries.settle(claim, settled(again, tag="v2"))
    assert {row.state for row in await deliveries.oldest("shop", "waiting")} == {"waiting"}  # overtaken: once more
    assert (await deliveries.totals("shop"))["shop"] == {"delivered": 6, "lost": 2}


@pytest.mark.parametrize("same", ["holder", "number"])
async def test_a_claim_is_fenced_by_holder_and_number(deliveries: Deliveries, same: str) -> None:
    """Neither alone is enough."""
    await deliveries.mark("shop", "", "1", wanted())
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    other = claim._replace(number=claim.number + 1) if same == "holder" else claim._replace(holder="other")
    assert len(await deliveries.settle(other, settled(rows, "returned"))) == len(KEYS)
    assert len(await deliveries.renew(other, KEYS, LEASE)) == len(KEYS)
    assert not await deliveries.renew(claim, KEYS, LEASE)
    assert not await deliveries.settle(claim, settled(rows))


async def test_claims_at_the_same_time_share_the_rows(deliveries: Deliveries) -> None:
    """Each row is in one."""
    await deliveries.mark("shop", "", "1", [Wanted(f"S{number:03}", "de", "v1", 1) for number in range(200)])
    found = await asyncio.gather(*(deliveries.claim("shop", f"worker {number}", 50, LEASE) for number in range(6)))
    keys = [row.sku for _, rows in found for row in rows]
    assert len(set(keys)) == len(keys)
    _, rest = await deliveries.claim("shop", "last", 200, LEASE)
    assert len(keys) + len(rest) == 200


async def test_a_clock_that_was_wrong_blocks_nothing(deliveries: Deliveries, clock: DeliveryClock) -> None:
    """A row that is due far in the future is due now."""
    clock.advance(10 * MAX_SECONDS)
    await deliveries.mark("shop", "", "1", wanted())
    clock.advance(-10 * MAX_SECONDS)
    assert await deliveries.next_due("shop") == 0
    assert len((await deliveries.claim("shop", "worker", 10, LEASE))[1]) == len(KEYS)


async def test_nothing_of_a_stopped_target_is_claimed(store: Store, deliveries: Deliveries) -> None:
    """Whoever stopped it."""
    await deliveries.mark("shop", "", "1", wanted())
    await store.delivery_targets.stop("shop", "paused", "ada", "a sale")
    assert (await deliveries.claim("shop", "worker", 10, LEASE))[1] == []
    await store.delivery_targets.resume("shop")
    assert len((await deliveries.claim("shop", "worker", 10, LEASE))[1]) == len(KEYS)


# --- settlements ----------------------------------------------------------------------------------------


async def test_a_refused_row_is_tried_again_until_it_is_dead(deliveries: Deliveries, clock: DeliveryClock) -> None:
    """Then only a change, or a person, revives it."""
    await deliveries.mark("shop", "", "1", wanted())
    for attempts in range(3):
        claim, rows = await deliveries.claim("shop", "worker", 1, LEASE)
        assert rows[0].attempts == attempts // 3
        await deliveries.settle(claim, settled(rows, "refused", delay=5.0, answer="x" * 1_000 + "\0"))
    assert (await deliveries.claim("shop", "worker", 10, LEASE))[1] == []
    clock.advance(5.0)
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    assert {row.attempts for row in rows} == {1}
    await deliveries.settle(claim, settled(rows, "dead", answer="\0\ud800"))
    clock.advance(MAX_SECONDS)
    assert (await deliveries.claim("shop", "worker", 10, LEASE))[1] == []
    dead = await deliveries.oldest("shop", "dead", limit=2)
    assert [(row.attempts, row.answer) for row in dead] == [(2, "\ufffd?")] * 2
    after = WaitingKey(dead[-1].since or "", dead[-1].sku, dead[-1].channel)
    assert len(await deliveries.oldest("shop", "dead", after)) == len(KEYS) - 2
    assert await deliveries.discard("shop", KEYS[:1]) == 1
    assert await deliveries.retry("shop", KEYS[:2]) == 2
    assert await deliveries.mark("shop", "1", "2", wanted("v2")) == len(KEYS)
    assert {row.attempts for row in await deliveries.rows("shop")} == {0}
    assert await deliveries.next_due("shop") == 0


async def test_a_refusal_of_an_older_version_does_not_count(deliveries: Deliveries) -> None:
    """The newer one starts over at once."""
    await deliveries.mark("shop", "", "1", wanted())
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.mark("shop", "1", "2", wanted("v2"))
    await deliveries.settle(claim, settled(rows, "dead"))
    row = await only(deliveries)
    assert (row.state, row.attempts, row.due_at) == ("waiting", 0, text_of(START))


async def test_what_is_uncertain_is_sent_again(deliveries: Deliveries) -> None:
    """Even if the page is again what was acknowledged before."""
    await delivered(deliveries)
    await deliveries.mark("shop", "+", "1", wanted("v2"))
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(claim, settled(rows, "uncertain", tag="v2"))
    await deliveries.mark("shop", "1", "2", wanted("v1"))
    row = await only(deliveries)
    assert (row.state, row.acked_tag, row.attempts) == ("waiting", UNKNOWN, 0)


async def test_unchanged_needs_the_acknowledged_tag(deliveries: Deliveries) -> None:
    """Otherwise the row waits on."""
    await delivered(deliveries)
    await deliveries.mark("shop", "+", "1", wanted("v2"))
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(
        claim, [*settled(rows[:1], "unchanged", tag="v3"), *settled(rows[1:], "unchanged", tag="v1")]
    )
    states = {row.state for row in await deliveries.rows("shop")}
    assert states == {"waiting", "current"}
    assert len(await deliveries.oldest("shop", "waiting", FIRST_WAITING)) == 1


async def test_a_receipt_says_what_was_sent(deliveries: Deliveries) -> None:
    """Its tag, position, moment, answer and echo; all receipts of a SKU are found at once."""
    await deliveries.mark("shop", "", "1", wanted())
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(claim, settled(rows, answer="201", echo=b"\x01\xff", position=12), {"requests": 2})
    await delivered(deliveries, target="other")
    assert [row.target for row in await deliveries.receipts(["A"])] == ["other", "other", "shop", "shop"]
    [row, _] = await deliveries.receipts(["A", "none"], "shop")
    assert (row.acked_tag, row.acked_position, row.acked_at) == ("v1", 12, text_of(START))
    assert (row.answer, row.echo, row.claimed_by, row.is_edited) == ("201", b"\x01\xff", None, False)
    assert (await deliveries.totals())["shop"] == {"delivered": 3, "requests": 2}
    await deliveries.count("shop", {"limited": 1, "requests": 1})
    assert (await deliveries.totals("shop"))["shop"] == {"delivered": 3, "limited": 1, "requests": 3}


async def test_what_is_offered_is_known_before_it_is_settled(deliveries: Deliveries) -> None:
    """Of rows that the claim still has. A redelivery or a reset forgets it, at once."""
    await deliveries.mark("shop", "", "1", wanted())
    claim, _ = await deliveries.claim("shop", "worker", 1, LEASE)
    offers = {KEYS[0]: b"\x01", KEYS[1]: b"\x02"}
    await deliveries.offer(claim, offers)
    await deliveries.offer(claim._replace(holder="other"), dict.fromkeys(KEYS))
    assert [(row.echo, row.acked_tag) for row in await deliveries.receipts(["A"])] == [(b"\x01", None), (None, None)]
    await deliveries.redeliver("shop", KEYS)
    assert [row.echo for row in await deliveries.receipts(["A"])] == [None, None]
    claim, _ = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.offer(claim, offers)
    await deliveries.reset("shop")
    assert [row.echo for row in await deliveries.receipts(["A"])] == [None, None]
    await deliveries.mark("shop", "1", "2", wanted("v2")[:1])
    assert [row.echo for row in await deliveries.receipts(["A"])] == [None, None]


async def test_an_edited_document_is_sent_once(deliveries: Deliveries) -> None:
    """Its receipt names it, and the page waits for its next change."""
    await deliveries.mark("shop", "", "1", wanted())
    late, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(late, settled(rows, "dead"))
    assert await deliveries.edit("shop", KEYS[0], b"corrected")
    assert not await deliveries.edit("shop", DeliveryKey("none", "de"), b"")
    assert (await only(deliveries)).is_edited
    claim, [row] = await deliveries.claim("shop", "worker", 10, LEASE)
    assert row.document == b"corrected"
    await deliveries.settle(claim, [Settlement(*KEYS[0], "delivered", "edited", page_tag="v1")])
    assert (await only(deliveries)).acked_tag == "edited"
    assert await deliveries.mark("shop", "1", "2", wanted()) == 0
    assert await deliveries.mark("shop", "2", "3", wanted("v2")) == len(KEYS)
    assert {row.document for row in (await deliveries.claim("shop", "worker", 10, LEASE))[1]} == {None}


async def test_held_rows_wait_for_their_group(deliveries: Deliveries) -> None:
    """Also if they were marked while the version before was sent."""
    await deliveries.mark("shop", "", "1", wanted(), held=True)
    assert (await deliveries.claim("shop", "worker", 10, LEASE))[1] == []
    assert await deliveries.release("shop", KEYS) == len(KEYS)
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.mark("shop", "1", "2", wanted("v2"), held=True)
    await deliveries.settle(claim, settled(rows))
    assert {(row.state, row.acked_tag) for row in await deliveries.rows("shop")} == {("held", "v1")}


# --- resets ---------------------------------------------------------------------------------------------


async def test_a_reset_counts_at_once(deliveries: Deliveries) -> None:
    """Before its steps have come to a row, and also for what is under way; then every row is due."""
    await delivered(deliveries)
    await deliveries.mark("shop", "+", "1", [Wanted(*KEYS[2], "v2", 8)])
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.reset("shop")
    assert {row.acked_tag for row in await deliveries.rows("shop")} == {UNKNOWN}
    assert {row.acked_tag for row in await deliveries.receipts(["A", "B"])} == {UNKNOWN}
    assert not await deliveries.settle(claim, settled(rows, tag="v2"))
    assert await deliveries.mark("shop", "1", "2", [Wanted(*KEYS[0], "v1", 8)]) == 1
    while await deliveries.reset_step("shop", 1):
        pass
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    assert {(row.acked_tag, row.sku) for row in rows} == {(UNKNOWN, "A"), (UNKNOWN, "B")}
    assert len(rows) == len(KEYS)


async def test_a_reset_since_a_moment(deliveries: Deliveries, clock: DeliveryClock) -> None:
    """Only what was acknowledged from then on is delivered again."""
    await delivered(deliveries)
    clock.advance(60)
    await deliveries.mark("shop", "+", "1", [Wanted(*KEYS[1], "v2", 9)])
    claim, rows = await deliveries.claim("shop", "worker", 10, LEASE)
    await deliveries.settle(claim, settled(rows, tag="v2"))
    await deliveries.reset("shop", text_of(clock.now))
    assert not await deliveries.reset_step("shop", 10)
    [row] = await deliveries.oldest("shop", "waiting")
    assert DeliveryKey(row.sku, row.channel) == KEYS[1]


async def test_a_target_is_forgotten(store: Store, deliveries: Deliveries) -> None:
    """Its rows, numbers and state, in steps; others stay."""
    await delivered(deliveries)
    await delivered(deliveries, target="other")
    assert await deliveries.forget("shop", 2)
    assert sum(each.pages for each in await deliveries.counts("shop")) == 1
    assert not await deliveries.forget("shop", 2)
    assert (await deliveries.cursor("shop"), await deliveries.counts("shop"), await deliveries.totals("shop")) == (
        "",
        [],
        {},
    )
    assert [each.name for each in await store.delivery_targets.targets()] == ["other"]
    assert len(await deliveries.rows("other")) == len(KEYS)


async def test_rows_are_listed_by_key(deliveries: Deliveries) -> None:
    """In steps, each once."""
    await delivered(deliveries)
    first = await deliveries.rows("shop", limit=2)
    rest = await deliveries.rows("shop", DeliveryKey(first[-1].sku, first[-1].channel), 2)
    assert [DeliveryKey(row.sku, row.channel) for row in (*first, *rest)] == KEYS


async def test_a_recovery_forgets_receipts(store: Store, deliveries: Deliveries) -> None:
    """The log may be older than what targets hold."""
    await delivered(deliveries)
    await store.proof.begin_recovery()
    assert {row.acked_tag for row in await deliveries.rows("shop")} == {UNKNOWN}
    assert await deliveries.reset_step("shop", 2)
    await store.proof.end_recovery()
