"""Alerts in stores: one open alert for each key figure and label, and each message once."""

import asyncio

import pagefold
from pagefold import Config
from pagefold.engine.stores.store import Store

NOON, LATER, LATEST = (f"2026-03-01T{hour}:00:00.000000Z" for hour in (12, 13, 14))
LAG = ("lag", "pricing")


async def due(store: Store, at: str = NOON) -> list[tuple[str, str, bytes]]:
    """Target, event and reading of what is due."""
    return [(each.target, each.event, each.reading) for each in await store.alerts.due(at, 10)]


async def test_an_alert_is_one_until_it_is_resolved(store: Store) -> None:
    """Then there may be another one."""
    await store.alerts.begin(LAG, NOON, b"1", [])
    await store.alerts.begin(LAG, LATER, b"2", [])
    await store.alerts.begin(("lag", "media"), LATER, b"3", [])
    first, other = await store.alerts.open()
    assert (first.kpi, first.label, first.since, first.reading) == (*LAG, NOON, b"1")
    assert (other.label, other.below_since, other.resolved_at) == ("media", None, None)
    await store.alerts.note_below(first.number, LATER)
    assert [each.below_since for each in await store.alerts.open()] == [LATER, None]
    await store.alerts.resolve(first.number, LATEST, b"0")
    await store.alerts.resolve(first.number, LATEST, b"0")
    assert [each.label for each in await store.alerts.open()] == ["media"]
    await store.alerts.begin(LAG, LATEST, b"4", [])
    assert [each.reading for each in await store.alerts.newest(2)] == [b"4", b"3"]
    assert [each.resolved_at for each in await store.alerts.newest(10)] == [None, None, LATEST]


async def test_each_target_has_a_message_of_both_events(store: Store) -> None:
    """That it is resolved is due once the first one is done with."""
    await store.alerts.begin(LAG, NOON, b"1", ["a", "b"])
    assert await due(store) == [("a", "crossed", b"1"), ("b", "crossed", b"1")]
    first, second = await store.alerts.due(NOON, 10)
    await store.alerts.sent(first, NOON)
    await store.alerts.resolve(first.alert, NOON, b"0")
    assert await due(store) == [("a", "resolved", b"0"), ("b", "crossed", b"1")]
    await store.alerts.failed(second, "it answers 503", LATER)
    assert await due(store) == [("a", "resolved", b"0")]
    [resolved, again] = await store.alerts.due(LATER, 10)
    assert (again.event, again.tries, again.since) == ("crossed", 1, NOON)
    await store.alerts.sent(resolved, LATER)
    await store.alerts.sent(again, LATER)
    assert await due(store, LATER) == [("b", "resolved", b"0")]


async def test_old_alerts_are_removed_with_their_messages(store: Store) -> None:
    """Open ones stay."""
    await store.alerts.begin(LAG, NOON, b"1", ["a"])
    await store.alerts.begin(("drift", ""), NOON, b"2", ["a"])
    [lag, _] = await store.alerts.open()
    await store.alerts.resolve(lag.number, NOON, b"0")
    await store.alerts.forget(NOON)
    assert len(await store.alerts.newest(10)) == 2
    await store.alerts.forget(LATER)
    assert [each.kpi for each in await store.alerts.newest(10)] == ["drift"]
    assert await due(store, LATEST) == [("a", "crossed", b"2")]


async def test_processes_begin_one_alert(config: Config, store: Store) -> None:
    """And its messages once, whoever is first."""
    async with pagefold.open(config) as other:
        stores = [store, other.store] * 5
        await asyncio.gather(*(each.alerts.begin(LAG, NOON, b"1", ["a"]) for each in stores))
        [alert] = await store.alerts.open()
        await asyncio.gather(*(each.alerts.resolve(alert.number, NOON, b"0") for each in stores))
    assert await due(store) == [("a", "crossed", b"1")]
    await store.alerts.sent((await store.alerts.due(NOON, 10))[0], NOON)
    assert await due(store) == [("a", "resolved", b"0")]
