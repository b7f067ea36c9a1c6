"""Key figures of targets: what is measured, and what crosses nothing."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.target_config import FilesTargetConfig, TargetConfig
from pagefold.engine.delivery.target_verifier import TargetVerifier
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring.delivery_measurements import THROTTLED, delivery_points
from pagefold.engine.monitoring.kpi_service import KpiService
from pagefold.engine.runtime.clock import minute_of
from pagefold.engine.stores.delivery_records import Settlement, Wanted
from pagefold.engine.stores.kpi_records import KpiPoint
from tests.support.small_shop import catalog, say

NOW = datetime(2036, 1, 1, tzinfo=UTC)
"""Later than anything that the store notes."""


@pytest.fixture
def config(config: Config) -> Config:
    """With a target, to which nobody delivers."""
    return msgspec.structs.replace(config, targets={"export": TargetConfig(files=FilesTargetConfig(folder="out"))})


async def read(shop: Shop, at: datetime = NOW) -> dict[str, KpiReading]:
    """The key figures of the target, by name."""
    return {each.kpi: each for each in await KpiService(shop, lambda: at).measure() if each.label == "export"}


async def wait_for_delivery(shop: Shop, *skus: str) -> None:
    """Pages are to be delivered."""
    wanted = [Wanted(sku, "web-de", "1", 1) for sku in skus]
    cursor = await shop.store.deliveries.cursor("export")
    await shop.store.deliveries.mark("export", cursor, f"{cursor}+", wanted)


async def test_what_waits_and_since_when(config: Config) -> None:
    """A target that is paused is shown with what waits for it, and crosses nothing."""
    async with pagefold.open(config) as shop:
        assert {name: each.value for name, each in (await read(shop)).items()} == {
            "delivery-failures": None,
            "delivery-queue": 0,
            "delivery-lag": 0,
            "delivery-throttled": 0,
            "outbound-drift": None,
            "target-down": 0,
        }
        await wait_for_delivery(shop, "A", "B")
        found = await read(shop)
        assert (found["delivery-queue"].value, found["delivery-lag"].crossed) == (2, True)
        await shop.targets.pause("export", by="ada", reason="their maintenance")
        paused = (await read(shop))["delivery-lag"]
        assert paused.value is not None
        assert paused.value > paused.threshold
        assert not paused.crossed
        assert (await read(shop))["target-down"].value == 0
        [target] = (await shop.status()).targets
        assert (target.state, target.by, target.reason, target.waiting) == ("paused", "ada", "their maintenance", 2)


async def test_answers_that_say_too_much_are_those_of_the_window(config: Config) -> None:
    """Unknown without a history; then by the minute, and over the time for which nobody measured."""
    async with pagefold.open(config) as shop:
        await shop.store.deliveries.count("export", {"throttled": 5_000})
        assert (await read(shop))["delivery-throttled"].value is None
        minute = minute_of(NOW)
        await shop.store.kpis.record([KpiPoint(THROTTLED, "export", minute - 3, 4_500)])
        assert (await read(shop))["delivery-throttled"].value == 100
        await shop.store.kpis.record([KpiPoint(THROTTLED, "export", minute - 100, 4_000)])
        assert (await read(shop))["delivery-throttled"].value == 10
        assert delivery_points(await shop.targets.list(), 7)[2] == KpiPoint(THROTTLED, "export", 7, 5_000)


async def test_what_was_given_up_and_what_a_comparison_found(config: Config) -> None:
    """The larger share counts as drift; a comparison counts for eight days."""
    async with pagefold.open(config) as shop:
        await say(shop, catalog("shirt"))
        await wait_for_delivery(shop, "A", "B", "C", "D")
        claim, _ = await shop.store.deliveries.claim("export", "me", 10, 60)
        dead = [Settlement("A", "web-de", "dead", "1", answer="422")]
        taken = [Settlement(sku, "web-de", "delivered", "1") for sku in "BCD"]
        await shop.store.deliveries.settle(claim, [*dead, *taken])
        drift = (await read(shop))["outbound-drift"]
        assert (drift.numerator, drift.denominator, drift.crossed) == (1, 4, True)
        assert {each.label: each.value for each in await KpiService(shop).measure() if each.kpi == "dead-letters"}[
            "delivery"
        ] == 1
        failures = (await read(shop))["delivery-failures"]
        assert (failures.numerator, failures.denominator, failures.crossed) == (1, 4, False)
        verified = await TargetVerifier("export", config.targets["export"], shop.store, shop.pages).run(
            None, 0, lambda _: None
        )
        assert verified.worst == (7, 7)
        at = datetime.now(UTC)
        assert (await read(shop, at))["outbound-drift"].value == 1
        assert (await read(shop, at + timedelta(days=9)))["outbound-drift"].value != 1


async def test_a_target_that_cannot_be_opened_is_out_of_order(config: Config) -> None:
    """Since its problem began, for every process; a success ends it."""
    async with pagefold.open(config) as shop:
        await shop.store.delivery_targets.note_problem("export", "the environment variable KEY is not set")
        found = await shop.targets.get("export")
        assert (found.state, found.reason) == ("failing", "the environment variable KEY is not set")
        assert (await read(shop))["target-down"].crossed
        await shop.store.delivery_targets.note_success("export")
        assert (await shop.targets.get("export")).state == "idle"
        assert (await read(shop))["target-down"].value == 0
