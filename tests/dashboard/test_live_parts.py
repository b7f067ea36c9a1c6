"""Live parts: tabs that show the same share them for a second, and each visitor gets only what has changed."""

import asyncio
from typing import Any

import pytest

from benchmarks.dashboard_tabs import live_parts
from pagefold import Shop
from pagefold.engine.dashboard import histories as histories_module
from pagefold.engine.dashboard import live_parts as module
from pagefold.engine.dashboard.histories import Histories
from pagefold.engine.dashboard.live_parts import FRESH_SECONDS, LiveParts
from pagefold.engine.errors import StoreUnavailable
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.monitoring.kpi_service import KpiService
from pagefold.engine.runtime.clock import minute_of, moment
from pagefold.engine.stores.kpi_records import KpiPoint
from tests.support.dashboard_pages import browser_of
from tests.support.small_shop import price, say


class Making:
    """Makes parts, and counts how often."""

    def __init__(self) -> None:
        self.made = 0

    async def __call__(self) -> bytes:
        self.made += 1
        await asyncio.sleep(0.001)
        return b"part %d" % self.made


async def test_a_part_is_made_once_for_all_who_ask_within_a_second() -> None:
    """Also by those who ask while it is made; then it is made again."""
    now = [0.0]
    parts, make = LiveParts(lambda: now[0]), Making()
    assert set(await asyncio.gather(*(parts.get("key", make) for _ in range(5)))) == {b"part 1"}
    now[0] = FRESH_SECONDS - 0.01
    assert await parts.get("key", make) == b"part 1"
    assert await parts.get("another", make) == b"part 2"
    now[0] = FRESH_SECONDS
    assert await parts.get("key", make) == b"part 3"


async def test_a_failure_is_not_kept() -> None:
    """It is raised for who asked, and the next one makes the part; nor does a part stay that nobody asks for."""
    now = [0.0]
    parts, make = LiveParts(lambda: now[0]), Making()

    async def fail() -> bytes:
        raise StoreUnavailable("x", OSError())

    with pytest.raises(StoreUnavailable):
        await parts.get("key", fail)
    assert await parts.get("key", make) == b"part 1"
    now[0] = 10 * FRESH_SECONDS
    await parts.get("another", make)
    assert list(parts._parts) == ["another"]


async def test_tabs_share_the_parts_of_a_page(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key figures are read once for five tabs; a tab that has a part gets no body, another one does."""
    monkeypatch.setattr(module, "FRESH_SECONDS", 60.0)
    reads: list[int] = []
    readings = KpiService.readings

    async def counted(self: KpiService) -> list[KpiReading]:
        reads.append(1)
        return await readings(self)

    monkeypatch.setattr(KpiService, "readings", counted)
    await say(shop, price("9.90"))
    async with browser_of(shop) as browser:
        answers = await asyncio.gather(*(browser.get("/ui?part=domains") for _ in range(5)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.text for answer in answers}) == len(reads) == 1
        tag = answers[0].headers["etag"]
        assert (await browser.get("/ui?part=domains", headers={"if-none-match": tag})).status_code == 304
        assert (await browser.get("/ui?part=domains", headers={"if-none-match": '"x"'})).text == answers[0].text
        assert (await browser.get("/ui?part=nothing")).status_code == 404


async def test_the_benchmark_finds_every_live_part(shop: Shop) -> None:
    """With the intervals that htmx has; so it fetches what a browser does."""
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui")).text
        parts = {each.address: each.seconds for each in live_parts(page)}
        assert len(parts) == page.count("data-live=") == page.count("hx-trigger=")
        assert parts["/ui?part=verdict"] == 2.0
        assert all([(await browser.get(address)).status_code == 200 for address in parts])


async def test_causes_are_read_once_for_the_overview_and_the_side_bar(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within two seconds; the screen of dead letters reads them itself, and shows what was decided at once."""
    calls: list[Any] = []
    causes = shop.store.dead_letters.causes

    async def counted(*arguments: Any) -> Any:  # noqa: ANN401  # passed on
        calls.append(arguments)
        return await causes(*arguments)

    monkeypatch.setattr(shop.store.dead_letters, "causes", counted)
    async with browser_of(shop) as browser:
        await browser.get("/ui")
        await browser.get("/ui?part=tasks")
        assert len(calls) == 1
        await browser.get("/ui/dead-letters")
        assert len(calls) == 2


async def test_the_history_of_a_key_figure_is_read_once_in_ten_seconds(shop: Shop) -> None:
    """For each key figure and label; then again, with what has come in the meantime."""
    now = [0.0]
    histories = Histories(lambda: now[0])
    minute = minute_of(moment())
    await shop.store.kpis.record([KpiPoint("lag", "pricing", minute - 1, 5.0)])
    assert await histories.get(shop, "lag", "pricing") == {minute - 1: 5.0}
    assert await histories.get(shop, "lag", "catalog") == {}
    await shop.store.kpis.record([KpiPoint("lag", "pricing", minute, 7.0)])
    now[0] = histories_module.FRESH_SECONDS - 0.1
    assert await histories.get(shop, "lag", "pricing") == {minute - 1: 5.0}
    now[0] = histories_module.FRESH_SECONDS
    assert await histories.get(shop, "lag", "pricing") == {minute - 1: 5.0, minute: 7.0}
