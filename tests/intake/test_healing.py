"""Streams that a rebuild withdrew return when their source sends an event again; on both stores."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop, StoreUnavailable
from pagefold.domains.values import format_timestamp
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import CorrectionEvent
from tests.support.rebuild_fixtures import export, rebuild, with_snapshots
from tests.support.small_shop import SKU, append, everything, price, say, section, stock, withdrawn

GONE = stock(5)
"""A SKU that the snapshot does not have."""

KEPT = stock(7, sku="KEPT")


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, with a snapshot of a warehouse."""
    return with_snapshots(store_url, tmp_path, "wms-a", max_orphans="100%")


async def withdraw(shop: Shop, *events: DomainEvent) -> None:
    """Appends the event, and rebuilds from a snapshot without it."""
    await say(shop, KEPT, *(events or (GONE,)))
    export(shop.config, "wms-a", KEPT)
    report = await rebuild(shop, "wms-a")
    assert report.counts.withdrawn == 1
    await shop.catch_up()


async def available(shop: Shop) -> int | None:
    """The stock on the page."""
    await shop.catch_up()
    found = await section(shop, "inventory")
    return None if found is None else found["available"]


async def revisions(shop: Shop) -> list[tuple[int, bool]]:
    """The revisions of the withdrawn stream, and which of them are withdrawals."""
    return [(each.revision, each.withdrawn) async for each in shop.history(SKU)]


def later(given: DomainEvent) -> DomainEvent:
    """The event, as if it occurred an hour from now."""
    return msgspec.structs.replace(given, occurred_at=datetime.now(UTC) + timedelta(hours=1))


async def test_the_same_again_heals(shop: Shop) -> None:
    """The withdrawn event, sent again, is appended as the next revision; a third time it is a duplicate."""
    await withdraw(shop)
    assert await available(shop) is None
    [result] = await append(shop, GONE)
    assert await available(shop) == 5
    assert await revisions(shop) == [(0, False), (1, True), (2, False)]
    [again] = await shop.append([GONE])
    assert again.outcome == "duplicate"
    assert result.position == await shop.store.log.end()


async def test_something_else_heals_when_it_occurred_later(shop: Shop) -> None:
    """Other content at the same version is a conflict, unless it occurred after the snapshot was taken."""
    await withdraw(shop)
    [result] = await shop.append([stock(6)])
    assert result.outcome == "conflict"
    assert await available(shop) is None
    await append(shop, later(stock(6)))
    assert await available(shop) == 6


async def test_only_the_withdrawn_content_restores(shop: Shop) -> None:
    """A content that a correction had replaced is an old duplicate, and restores nothing."""
    await say(shop, KEPT, GONE)
    export(shop.config, "wms-a", KEPT, stock(8))
    assert (await rebuild(shop, "wms-a")).counts.changed == 1
    export(shop.config, "wms-a", KEPT)
    assert (await rebuild(shop, "wms-a")).counts.withdrawn == 1
    assert [each.outcome for each in await shop.append([GONE])] == ["duplicate"]
    await append(shop, stock(8))
    assert await available(shop) == 8


async def test_an_old_duplicate_does_not_heal(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that was recorded before the withdrawal, and delayed until after it, is a duplicate."""
    await withdraw(shop)
    monkeypatch.setattr(
        "pagefold.engine.intake.appender.now", lambda: format_timestamp(datetime.now(UTC) - timedelta(hours=1))
    )
    assert [each.outcome for each in await shop.append([GONE])] == ["duplicate"]
    assert await available(shop) is None


async def test_a_withdrawal_does_not_heal(shop: Shop) -> None:
    """The source's null at that version does not restore the stream, however late."""
    await withdraw(shop)
    assert [each.outcome for each in await shop.append([later(withdrawn("inventory", version=1))])] == ["duplicate"]
    assert await revisions(shop) == [(0, False), (1, True)]


async def test_other_withdrawals_are_not_undone(shop: Shop) -> None:
    """Neither the source's own withdrawal nor an operator's is undone by an older event."""
    await say(shop, stock(5), withdrawn("inventory", version=2))
    assert [each.outcome for each in await shop.append([later(stock(5))])] == ["duplicate"]
    assert [each.outcome for each in await shop.append([later(stock(6, version=2))])] == ["conflict"]
    [dead_letter] = await shop.dead_letters.newest()
    await shop.dead_letters.discard(dead_letter, "no", "kim")
    await append(shop, price("1.00"))
    assert [each.outcome for each in await shop.append([price("2.00")])] == ["conflict"]
    [dead_letter] = await shop.dead_letters.newest()
    assert (await shop.dead_letters.correct(dead_letter, None, "kim")).outcome == "appended"
    assert [each.outcome for each in await shop.append([price("1.00")])] == ["duplicate"]
    assert [each.outcome for each in await shop.append([later(price("3.00"))])] == ["conflict"]
    await shop.catch_up()
    assert await section(shop, "pricing") is None


async def test_many_heal_once(shop: Shop, config: Config) -> None:
    """Of many processes and callers with the same event, exactly one appends it; in one batch it is the first."""
    await withdraw(shop)
    async with pagefold.open(config, create=False) as other:
        answers = await asyncio.gather(*(each.append([GONE, GONE]) for each in (shop, other) for _ in range(5)))
    outcomes = [result.outcome for results in answers for result in results]
    assert sorted(outcomes) == ["appended", *["duplicate"] * 19]
    assert await revisions(shop) == [(0, False), (1, True), (2, False)]


async def test_a_lost_answer_heals_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the answer to the restoring revision is lost, the next attempt finds it, and it counts as appended."""
    await withdraw(shop)
    correct = shop.store.log.correct
    lost = 0

    async def lossy(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        nonlocal lost
        positions = await correct(corrections, fence)
        if not lost:
            lost += 1
            raise StoreUnavailable(shop.store.name, OSError("the answer was lost"))
        return positions

    monkeypatch.setattr(shop.store.log, "correct", lossy)
    await append(shop, GONE)
    assert (lost, await revisions(shop)) == (1, [(0, False), (1, True), (2, False)])


async def test_a_batch_heals_and_conflicts(shop: Shop) -> None:
    """In one batch: a conflict, a restoring event, its duplicate, and news; each has its own result."""
    await withdraw(shop)
    results = await shop.append([stock(6), GONE, GONE, stock(9, version=2, sku="KEPT")])
    assert [each.outcome for each in results] == ["conflict", "appended", "duplicate", "appended"]
    assert await available(shop) == 5
    assert len(await everything(shop.store)) >= 5


async def test_a_raise_in_between_moves_it(shop: Shop, config: Config) -> None:
    """If the epoch is raised before the commit, the event enters the new epoch instead."""
    await withdraw(shop)
    correct = shop.store.log.correct
    async with pagefold.open(config, create=False) as other:

        async def slow(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
            shop.store.log.correct = correct  # type: ignore[method-assign]  # once
            await other.epochs.raise_epoch("wms-a", reason="meanwhile", operator="kim")
            return await correct(corrections, fence)

        shop.store.log.correct = slow  # type: ignore[method-assign]  # the epoch is raised between the two
        await append(shop, GONE)
    assert await available(shop) == 5
    entries: list[Any] = [each async for each in shop.history(SKU)]
    assert [(each.epoch, each.revision) for each in entries] == [(0, 0), (0, 1), (1, 0)]
