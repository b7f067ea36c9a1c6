"""Each key figure crosses its limit by the fault that it is for, and recovers; an alert is sent once, resolved once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

import pagefold
from pagefold.engine.kpis.definitions import KPIS
from pagefold.engine.runtime.clock import minute_of
from tests.monitoring.faults import FAULTS
from tests.monitoring.places import Fault, Feed, Place, configured
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.hostile_target import hostile_target


class Watch:
    """A shop that is watched by somebody whose clock a test moves on, and what a target of alerts was sent."""

    def __init__(self, place: Place, posted: list[Asked]) -> None:
        self.place = place
        self._posted = posted

    @property
    def sent(self) -> list[tuple[str, str, str]]:
        """Key figure, label and event of each message."""
        found = [orjson.loads(each.body) for each in self._posted]
        return [(each["reading"]["kpi"], each["reading"]["label"], each["event"]) for each in found]

    async def look(self, minutes: int) -> None:
        """Measures once a minute."""
        shop = self.place.shop
        for _ in range(minutes):
            shop.lag._until, shop.source_lag._read_at = 0.0, None
            await shop.kpis.counts.store(minute_of(shop.kpis._clock()))
            await shop.monitor.tick()
            await shop.monitor._targets.send_due()
            self.place.wait(timedelta(minutes=1))


@asynccontextmanager
async def watching(fault: Fault, name: str, url: str, folder: Path) -> AsyncIterator[Watch]:
    """A shop in which a fault can be made, and who watches it."""
    ahead, feed = [timedelta()], Feed()

    def clock() -> datetime:
        return datetime.now(UTC) + ahead[0]

    def wait(time: timedelta) -> None:
        ahead[0] += time

    async with serving(feed) as source, serving(lambda _: Reply(b"ok")) as pager, hostile_target() as target:
        alerts = {"pager": {"url": pager.url, "kpis": [name]}}
        config = configured(fault, url, source.url, target.url, folder, alerts=alerts)
        async with pagefold.open(config) as shop:
            for each in (shop.kpis, shop.monitor, shop.monitor._targets):
                each._clock = clock
            await shop.catch_up()
            yield Watch(Place(shop, url, feed, target, wait), pager.asked)


def test_there_is_a_fault_for_each_key_figure() -> None:
    """A new one needs its own."""
    assert [*FAULTS] == [each.name for each in KPIS]


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_is_seen_and_its_end_too(name: str, store_url: str, tmp_path: Path) -> None:
    """Nothing is sent before it, one message while it lasts, and one once it is over."""
    fault = FAULTS[name]
    async with watching(fault, name, store_url, tmp_path) as watch:
        await watch.look(2)
        assert watch.sent == []
        await fault.make(watch.place)
        await watch.look(4)
        assert watch.sent == [(name, fault.label, "crossed")]
        [alert] = [each for each in await watch.place.shop.alerts.open() if each.reading.kpi == name]
        found = {each.key: each for each in await watch.place.shop.kpis.measure()}[name, fault.label]
        assert (found.crossed, found.since) == (True, alert.since)
        history = [each.value for each in await watch.place.shop.kpis.history(name, fault.label)]
        assert max(history) > found.threshold
        await fault.end(watch.place)
        await watch.look(4)
        assert watch.sent == [(name, fault.label, "crossed"), (name, fault.label, "resolved")]
        assert name not in {each.reading.kpi for each in await watch.place.shop.alerts.open()}
