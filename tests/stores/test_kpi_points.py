"""The history of key figures in stores: values and counts by minute, and how it is kept short."""

import asyncio

import pagefold
from pagefold import Config
from pagefold.engine.stores.kpi_records import KpiPoint, KpiSpan
from pagefold.engine.stores.store import Store


async def test_of_a_value_the_newest_counts_and_counts_are_added(store: Store) -> None:
    """Points are returned by minute, those of one label."""
    await store.kpis.record([KpiPoint("lag", "pricing", 7, 1.5)], [KpiPoint("refused", "", 7, 2)])
    await store.kpis.record([KpiPoint("lag", "pricing", 7, 2.5)], [KpiPoint("refused", "", 7, 3)])
    await store.kpis.record([KpiPoint("lag", "pricing", 8, 0), KpiPoint("lag", "media", 8, 9)])
    assert await store.kpis.points("lag", "pricing", 0) == [
        KpiPoint("lag", "pricing", 7, 2.5),
        KpiPoint("lag", "pricing", 8, 0.0),
    ]
    assert await store.kpis.points("lag", "pricing", 8) == [KpiPoint("lag", "pricing", 8, 0.0)]
    assert await store.kpis.points("refused", "", 0) == [KpiPoint("refused", "", 7, 5.0)]
    assert await store.kpis.points("lag", "no such", 0) == []


async def test_the_newest_point_and_the_span_of_each_label(store: Store) -> None:
    """Up to a minute, and from a minute on; only of the names that are asked for."""
    points = [KpiPoint("lag", label, minute, minute) for label in ("a", "b") for minute in (3, 5, 9)]
    await store.kpis.record([*points, KpiPoint("other", "", 4, 4)])
    assert await store.kpis.newest(["lag"], 8) == [KpiPoint("lag", "a", 5, 5.0), KpiPoint("lag", "b", 5, 5.0)]
    assert await store.kpis.newest(["lag", "other"], 4) == [
        KpiPoint("lag", "a", 3, 3.0),
        KpiPoint("lag", "b", 3, 3.0),
        KpiPoint("other", "", 4, 4.0),
    ]
    assert await store.kpis.newest(["lag"], 2) == []
    assert await store.kpis.spans(["lag"], 4) == [
        KpiSpan("lag", "a", 2, 5.0, 9.0, 14.0),
        KpiSpan("lag", "b", 2, 5.0, 9.0, 14.0),
    ]


async def test_old_points_are_removed(store: Store) -> None:
    """Those of some names later."""
    await store.kpis.record([KpiPoint(name, "", minute, 1) for name in ("lag", "drift") for minute in (1, 5, 9)])
    await store.kpis.forget(9, but=["drift"], long_before=5)
    assert [each.minute for each in await store.kpis.points("lag", "", 0)] == [9]
    assert [each.minute for each in await store.kpis.points("drift", "", 0)] == [5, 9]


async def test_processes_add_to_one_count(config: Config, store: Store) -> None:
    """Nothing is lost when several add at the same time, in whatever order."""
    points = [KpiPoint("refused", label, 7, 1) for label in "abc"]
    async with pagefold.open(config) as other:
        await asyncio.gather(
            *(store.kpis.record([], points) for _ in range(20)),
            *(other.store.kpis.record([], points[::-1]) for _ in range(20)),
        )
    assert [each.value for each in await store.kpis.newest(["refused"], 7)] == [40.0, 40.0, 40.0]
