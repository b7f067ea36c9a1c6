"""Restarted counters: every event of a source is stale, on both stores."""

from datetime import timedelta

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import InvalidEpochRequest
from pagefold.engine.reading.status import ResetStatus
from tests.support.small_shop import SKU, append, price, say, section, stock


def again(version: int, *, source: str = "wms-a", sku: str = SKU) -> DomainEvent:
    """A source sends a lower version than before, which occurred later."""
    later = stock(version, version=100, sku=sku, source=source).occurred_at + timedelta(hours=version)
    return msgspec.structs.replace(stock(version, version=version, sku=sku, source=source), occurred_at=later)


async def streaks(shop: Shop) -> dict[str, int]:
    """Stale events in a row, by source."""
    return {each.source: each.stale for each in await shop.store.coordination.streaks()}


async def reset(shop: Shop) -> dict[str, int]:
    """The sources whose counters look reset, as the status shows them."""
    return {each.source: each.stale for each in (await shop.status()).looks_reset}


@pytest.mark.parametrize("together", [True, False])
async def test_late_deliveries_are_no_alarm(shop: Shop, *, together: bool) -> None:
    """Stale versions that also occurred before the head are late deliveries, and never count."""
    await say(shop, stock(9, version=9), stock(9, version=9, sku="OTHER"))
    late = [stock(version, version=version, sku=sku) for version in range(5) for sku in (SKU, "OTHER")]
    for events in [late] if together else [[each] for each in late]:
        await say(shop, *events)
    assert (await streaks(shop), await reset(shop)) == ({}, {})


async def test_three_that_occurred_later_are_an_alarm(config: Config) -> None:
    """Late deliveries between them neither count nor end it; it survives a restart, and any news after it.

    Before there are three, one new event ends it.
    """
    async with pagefold.open(config) as shop:
        await say(shop, stock(9, version=9), stock(9, version=9, sku="OTHER"))
        await say(shop, again(1))
        await say(shop, stock(5, version=5), again(2, sku="OTHER"))
        assert (await streaks(shop), await reset(shop)) == ({"wms-a": 2}, {})
        await append(shop, again(3))
    async with pagefold.open(config) as shop:
        await shop.catch_up()
        assert (await shop.status()).looks_reset == [ResetStatus("wms-a", "inventory", 3)]
    async with pagefold.open(config) as shop:
        assert await reset(shop) == {"wms-a": 3}
        await say(shop, again(4), again(4, sku="OTHER"))
        assert await reset(shop) == {"wms-a": 5}
        await say(shop, stock(10, version=10, sku="OTHER"))
        assert await reset(shop) == {"wms-a": 5}
        await say(shop, again(3, source="wms-b"), stock(10, version=10, source="wms-b"), again(6))
        assert await reset(shop) == {"wms-a": 6}


async def test_fewer_than_three_are_forgotten(shop: Shop) -> None:
    """After two stale events a new one resets the count."""
    await say(shop, stock(9, version=9), stock(9, version=9, sku="OTHER"))
    await say(shop, again(1), again(2))
    assert await streaks(shop) == {"wms-a": 2}
    await say(shop, stock(10, version=10, sku="OTHER"))
    assert await streaks(shop) == {}
    await say(shop, again(6))
    assert (await streaks(shop), await reset(shop)) == ({"wms-a": 1}, {})


async def alarmed(shop: Shop) -> None:
    """A warehouse that looks reset, in the shop where it is folded."""
    await say(shop, stock(9, version=9), stock(9, version=9, sku="OTHER"))
    await say(shop, again(1), again(2), again(3, sku="OTHER"))
    assert await reset(shop) == {"wms-a": 3}


@pytest.mark.parametrize("scope", ["wms-a", f"{SKU}/*/inventory/wms-a"])
async def test_an_epoch_answers(shop: Shop, config: Config, scope: str) -> None:
    """Raising an epoch of the source, or of one of its streams, answers the alarm."""
    await alarmed(shop)
    async with pagefold.open(config, create=False) as other:
        await other.epochs.raise_epoch(scope, reason="restored", operator="kim")
    assert await reset(shop) == {}
    await say(shop, again(1), again(2), again(3))
    assert (await reset(shop), (await section(shop, "inventory"))["available"]) == ({}, 3)


async def test_an_operator_dismisses(shop: Shop, config: Config) -> None:
    """Dismissing needs a reason, which is in the log; the count then starts over."""
    await alarmed(shop)
    async with pagefold.open(config, create=False) as other:
        with pytest.raises(InvalidEpochRequest, match="does not look reset in pricing"):
            await other.epochs.dismiss("wms-a", reason="a test", operator="kim", domain="pricing")
        with pytest.raises(InvalidEpochRequest, match="'wms-b' does not look reset"):
            await other.epochs.dismiss("wms-b", reason="a test", operator="kim")
        await other.epochs.dismiss("wms-a", reason="a test", operator="kim")
    assert await reset(shop) == {}
    [note] = await shop.epochs.list()
    assert (note.what, note.scope, note.operator, note.reason) == ("dismissed", "wms-a", "kim", "a test")
    await say(shop, again(4))
    await say(shop, again(5))
    assert (await streaks(shop), await reset(shop)) == ({"wms-a": 2}, {})
    await say(shop, again(6))
    assert await reset(shop) == {"wms-a": 3}


async def test_two_sources_are_counted_apart(shop: Shop) -> None:
    """New events of one source of a domain do not reset the count of another, not even in one batch."""
    await say(shop, stock(9, version=9), stock(9, version=9, source="wms-b"))
    for version in (1, 2, 3):
        await say(shop, again(version), stock(9, version=9 + version, source="wms-b"))
    assert await reset(shop) == {"wms-a": 3}
    await say(shop, *(again(version, source="wms-b") for version in range(4)), price("1.00"))
    assert await reset(shop) == {"wms-a": 3, "wms-b": 4}
    await say(shop, stock(10, version=10))
    assert await reset(shop) == {"wms-a": 3, "wms-b": 4}
    await shop.epochs.dismiss("wms-a", reason="a test", operator="kim")
    assert await reset(shop) == {"wms-b": 4}
