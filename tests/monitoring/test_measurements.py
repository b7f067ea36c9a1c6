"""Key figures of a shop: each measures what it says, on both stores."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.kpi_config import KpiConfig
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring import kpi_service
from pagefold.engine.monitoring.kpi_service import KpiService
from pagefold.engine.monitoring.measurements import COMPARED, DRIFTED, QUEUED, REFUSED, REJECTED, THROTTLED
from pagefold.engine.runtime.clock import minute_of
from pagefold.engine.stores.kpi_records import KpiPoint
from tests.support.small_shop import catalog, price, say, with_channel

HOUR = timedelta(hours=1)


class Clock:
    """A time that tests move."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.now

    @property
    def minute(self) -> int:
        """Its minute."""
        return minute_of(self.now)


async def readings(shop: Shop, clock: Clock | None = None) -> dict[tuple[str, str], KpiReading]:
    """What is measured at a time, by key figure and label."""
    found = await KpiService(shop, clock or Clock()).measure()
    assert len({each.key for each in found}) == len(found)
    return {each.key: each for each in found}


async def test_a_new_shop_crosses_nothing(shop: Shop) -> None:
    """What was never measured is unknown, everything else is within its limit."""
    found = await readings(shop)
    assert not any(each.crossed for each in found.values())
    assert {key for key, each in found.items() if each.value is None} == {
        ("failures", ""),
        ("conflicts", ""),
        ("drift", ""),
    }
    status = await shop.status()
    assert status.is_well
    assert [each.key for each in status.kpis] == [*found]
    assert status.verdict.startswith("No limit is crossed.")


async def test_lag_is_the_age_of_the_oldest_event(shop: Shop) -> None:
    """Of each domain, and gone when it is folded."""
    await shop.append([catalog("shirt")])
    await shop.lag.close()
    first = (await readings(shop))["lag", "catalog"]
    assert first.value is not None
    assert 0 < first.value < 60
    await shop.catch_up()
    shop.lag._until = 0.0
    assert (await readings(shop))["lag", "catalog"].value == 0


async def test_failures_are_those_of_the_window(shop: Shop) -> None:
    """Events that cannot be folded, requests, and events that were rejected; older ones do not count."""
    clock = Clock()
    await shop.append([catalog("shirt"), price("12.00")])
    await shop.catch_up()
    shop.lag._until = 0.0
    first = (await readings(shop, clock))["failures", ""]
    assert (first.numerator, first.denominator, first.value) == (0, 2, 0)
    await shop.store.kpis.record([], [KpiPoint(REJECTED, "", clock.minute, 2)])
    second = (await readings(shop, clock))["failures", ""]
    assert (second.numerator, second.denominator, second.value, second.crossed) == (2, 4, 0.5, False)
    assert second.cause == "dead-letters?kind=ingest"
    clock.now += HOUR + timedelta(minutes=1)
    assert (await readings(shop, clock))["failures", ""].numerator == 0


@pytest.mark.parametrize(("settings", "minimum"), [({}, 20), ({"conflicts": KpiConfig(minimum=5)}, 5)])
async def test_a_ratio_of_few_events_is_shown_but_not_crossed(
    config: Config, settings: dict[str, KpiConfig], minimum: int
) -> None:
    """From its minimum on it is, which is 20 unless configured."""
    async with pagefold.open(msgspec.structs.replace(config, kpis=settings)) as shop:
        await say(shop, *(catalog("shirt", sku=f"SKU-{number}") for number in range(minimum - 3)))
        await shop.append([catalog("blouse", sku=f"SKU-{number}") for number in range(2)])
        few = (await readings(shop))["conflicts", ""]
        await say(shop, catalog("shirt", sku="MORE"))
        shop.lag._until = 0.0
        enough = (await readings(shop))["conflicts", ""]
    assert few.minimum == enough.minimum == minimum
    assert (few.value, few.is_of_too_few, few.crossed) == (2 / (minimum - 1), True, False)
    assert (enough.value, enough.is_of_too_few, enough.crossed) == (2 / minimum, False, True)


async def test_ratios_begin_with_the_window(shop: Shop) -> None:
    """What was folded before is known from the history."""
    clock = Clock()
    await shop.append([catalog("shirt"), price("12.00")])
    await shop.catch_up()
    await shop.store.kpis.record([KpiPoint("events.handled", "catalog", clock.minute, 1)])
    clock.now += HOUR
    shop.lag._until = 0.0
    assert (await readings(shop, clock))["failures", ""].denominator == 1, "that of pricing was not known"
    await shop.store.kpis.record([KpiPoint("events.handled", "catalog", clock.minute - 60, 1_000)])
    assert (await readings(shop, clock))["failures", ""].denominator == 2, "checkpoints have started over"


async def test_conflicts_are_events_with_another_content(shop: Shop) -> None:
    """They count whether they are resolved or not."""
    await shop.append([catalog("shirt")])
    await shop.catch_up()
    await shop.append([catalog("blouse")])
    shop.lag._until = 0.0
    found = await readings(shop)
    assert found["conflicts", ""].value == 0.5
    assert found["dead-letters", "conflict"].value == 1
    [letter] = await shop.dead_letters.newest()
    await shop.dead_letters.discard(letter, "a test", "ada")
    shop.lag._until = 0.0
    found = await readings(shop)
    assert found["conflicts", ""].numerator == 1
    assert found["dead-letters", "conflict"].value == 0


async def test_drift_is_that_of_the_newest_comparison(shop: Shop) -> None:
    """Whatever an earlier one found."""
    clock = Clock()
    await shop.store.kpis.record(
        [KpiPoint(COMPARED, "", clock.minute - 9, 1_000), KpiPoint(DRIFTED, "", clock.minute - 9, 2)]
    )
    found = (await readings(shop, clock))["drift", ""]
    assert (found.value, found.crossed) == (0.002, True)
    await shop.store.kpis.record([KpiPoint(COMPARED, "", clock.minute - 3, 1_000)])
    found = (await readings(shop, clock))["drift", ""]
    assert (found.value, found.crossed) == (0, False)
    clock.now += timedelta(days=9)
    assert (await readings(shop, clock))["drift", ""].value is None


async def test_rates_are_those_of_a_minute(config: Config) -> None:
    """Divided by the window."""
    clock = Clock()
    slow = msgspec.structs.replace(config, kpis={"throttled": KpiConfig(window="5m")})
    async with pagefold.open(slow) as shop:
        counts = [KpiPoint(THROTTLED, "pim", clock.minute - 2, 500), KpiPoint(REFUSED, "", clock.minute, 90)]
        await shop.store.kpis.record([], counts)
        found = await readings(shop, clock)
    assert (found["throttled", "pim"].value, found["throttled", "pim"].crossed) == (100, True)
    assert (found["refused", ""].value, found["refused", ""].crossed) == (90, True)


async def test_a_queue_is_crossed_once_it_was_long_for_the_window(shop: Shop) -> None:
    """Not by one long batch, and not before the history knows."""
    clock = Clock()
    await shop.store.kpis.record([KpiPoint(QUEUED, "", clock.minute, 5_000)])
    assert not (await readings(shop, clock))["queue", "append"].crossed
    points = [KpiPoint("queue", "append", clock.minute - ago, 5_000) for ago in range(5)]
    await shop.store.kpis.record(points)
    assert (await readings(shop, clock))["queue", "append"].crossed
    await shop.store.kpis.record([KpiPoint("queue", "append", clock.minute - 3, 10)])
    assert not (await readings(shop, clock))["queue", "append"].crossed


async def test_readings_are_shared_and_history_is_kept(shop: Shop) -> None:
    """Callers within two seconds get the same ones."""
    assert await shop.kpis.readings() is await shop.kpis.readings()
    clock = Clock()
    service = KpiService(shop, clock)
    old, new = clock.minute - kpi_service.HISTORY_MINUTES, clock.minute
    await shop.store.kpis.record([KpiPoint("lag", "pricing", minute, 1) for minute in (old, new)])
    assert [each.minute for each in await service.history("lag", "pricing")] == [new]


async def test_events_that_cannot_be_folded_are_failures(config: Config) -> None:
    """The ratio names the dead letters. Here the currency of a channel has changed."""
    async with pagefold.open(config) as shop:
        await shop.append([price("10.00", channel="web-de"), catalog("shirt")])
        await shop.catch_up()
    async with pagefold.open(with_channel(config, "web-de", currency="USD")) as shop:
        await shop.append([price("9.00")])
        await shop.catch_up()
        found = await readings(shop)
    assert found["dead-letters", "projection"].value == 1
    assert found["failures", ""].numerator == 1
    assert found["failures", ""].cause == "dead-letters?kind=projection"


async def test_a_comparison_is_recorded(shop: Shop) -> None:
    """Of all pages or a sample; then drift is known."""
    await shop.append([catalog("shirt")])
    await shop.catch_up()
    await shop.verify(sample=10)
    sampled = (await readings(shop))["drift", ""]
    assert (sampled.value, sampled.numerator) == (0, 0)
    assert sampled.denominator
    await say(shop, catalog("shirt", sku="OTHER"))
    await shop.verify()
    assert (await readings(shop))["drift", ""].denominator == 2 * sampled.denominator, "the newest counts"
