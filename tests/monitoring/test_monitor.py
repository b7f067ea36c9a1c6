"""One of several processes watches the key figures; their history and counts are those of all."""

from contextlib import AsyncExitStack
from datetime import timedelta

import anyio
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.monitoring import alert_service, alert_targets, monitor
from pagefold.engine.monitoring.kpi_service import HISTORY_MINUTES
from pagefold.engine.monitoring.measurements import COMPARED, QUEUED, REJECTED, THROTTLED
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.stores.kpi_records import KpiPoint
from tests.monitoring.test_measurements import Clock
from tests.support.fake_endpoint import Reply, serving
from tests.support.processes import Condition, eventually
from tests.support.small_shop import catalog, configured, event


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds elsewhere takes milliseconds."""
    for module, names in (
        (monitor, ("TICK_SECONDS", "FIRST_SECONDS", "STANDBY_SECONDS")),
        (alert_service, ("RESOLVE_SECONDS",)),
        (alert_targets, ("POLL_SECONDS",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 0.02)


@pytest.mark.usefixtures("_quick")
async def test_of_several_processes_one_sends(store_url: str) -> None:
    """Whoever begins and resolves an alert: each message is sent once, and a restart repeats none."""
    async with serving(lambda _: Reply(b"ok")) as pager:
        config = configured(
            store_url, alerts={"pager": {"url": pager.url, "kpis": ["lag"]}}, kpis={"lag": {"threshold": "10ms"}}
        )
        async with AsyncExitStack() as stack:
            shops = [await stack.enter_async_context(pagefold.open(config)) for _ in range(3)]
            first, second, third = shops
            async with run_beside(first.monitor.run), run_beside(second.monitor.run):
                await first.append([catalog("shirt")])
                await eventually(lambda: len(pager.asked) == 1, "an alert")
                await anyio.sleep(0.3)
            async with run_beside(third.monitor.run):  # both are gone
                await anyio.sleep(0.3)
                assert [orjson.loads(each.body)["event"] for each in pager.asked] == ["crossed"]
                await third.catch_up()
                await eventually(lambda: len(pager.asked) == 2, "another message")
                await anyio.sleep(0.3)
        assert [orjson.loads(each.body)["event"] for each in pager.asked] == ["crossed", "resolved"]


async def test_values_are_kept_by_minute_for_a_day(shop: Shop) -> None:
    """Every key figure that is known; the comparisons for longer."""
    clock = Clock()
    shop.kpis._clock = shop.monitor._clock = clock
    old = clock.minute - HISTORY_MINUTES - 1
    await shop.store.kpis.record([KpiPoint("lag", "media", old, 1), KpiPoint(COMPARED, "", old, 1)])
    await shop.monitor.tick()
    await shop.monitor.tick()
    clock.now += timedelta(minutes=1)
    await shop.monitor.tick()
    assert [each.minute for each in await shop.store.kpis.points("lag", "media", 0)] == [clock.minute - 1, clock.minute]
    assert [each.minute for each in await shop.store.kpis.points(COMPARED, "", 0)] == [old]
    assert [each.value for each in await shop.kpis.history("not-applied")] == [0, 0]
    assert await shop.kpis.history("failures") == [], "nothing is known of it"


async def test_what_processes_count_adds_up(config: Config) -> None:
    """A command that ends stores it, too; a store that fails gets it the next time."""
    for _ in range(2):
        async with pagefold.open(config) as shop:
            await shop.append([event("pricing", {"amount": "x"})])
            shop.counters.add_throttled("erp")
            await shop.kpis.counts.store(7)
            await shop.kpis.counts.store(7)
            shop.counters.add_throttled("erp")
    async with pagefold.open(config) as shop:
        spans = {(each.name, each.label): each.total for each in await shop.store.kpis.spans([REJECTED, THROTTLED], 0)}
    assert spans == {(REJECTED, ""): 2, (THROTTLED, "erp"): 4}


@pytest.mark.usefixtures("_quick")
async def test_an_error_does_not_end_the_watch(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is logged, and tried again: the consumers beside it go on."""
    measure, failures = shop.kpis.measure, [ValueError("a bug"), ValueError("another")]

    async def measured() -> object:
        if failures:
            raise failures.pop()
        return await measure()

    monkeypatch.setattr(shop.kpis, "measure", measured)
    async with run_beside(shop.monitor.run):
        await eventually(_has_history(shop), "key figures are measured")


def _has_history(shop: Shop) -> Condition:
    async def found() -> bool:
        return bool(await shop.store.kpis.points("not-applied", "", 0))

    return found


async def test_a_long_queue_is_known_to_others(shop: Shop) -> None:
    """Its length is stored by the process that has it, for a minute."""
    clock = Clock()
    shop.kpis._clock = clock
    await shop.store.kpis.record([KpiPoint(QUEUED, "", clock.minute, 70)])
    assert {each.key: each.value for each in await shop.kpis.measure()}["queue", "append"] == 70
    clock.now += timedelta(minutes=2)
    assert {each.key: each.value for each in await shop.kpis.measure()}["queue", "append"] == 0
