"""The screens of runs: what was compared, what is held and decided here; without JavaScript."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from pagefold import Config, Shop
from pagefold.engine.dashboard.run_summary import common_text
from pagefold.engine.dashboard.screens.runs import badge
from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.rebuild.run_orphans import first_orphans
from pagefold.engine.runtime.clock import now
from pagefold.engine.stores.grants import Grant
from tests.support.dashboard_pages import browser_of
from tests.support.rebuild_fixtures import export, rebuild, with_snapshots
from tests.support.small_shop import catalog, price, say

HOSTILE = "<img src=x onerror=alert(1)>"
SKUS = [f"SKU-{number:03}" for number in range(40)]
READER = Grant("tok_reader", frozenset(["read"]), None)


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot."""
    return with_snapshots(store_url, tmp_path, "erp")


async def held_run(shop: Shop, config: Config) -> RunReport:
    """A run that would withdraw six of the forty prices, after one that found that one price had changed."""
    prices = [price("1.00", version=5, sku=sku) for sku in SKUS]
    changed = price("2.00", version=5, sku=SKUS[7])
    await say(shop, *prices, *(catalog("a name", sku=sku) for sku in SKUS))
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    export(config, "erp", *prices[:7], changed, *prices[8:], taken_at=soon)
    await rebuild(shop, "erp")
    export(config, "erp", *prices[6:7], changed, *prices[8:], taken_at=soon)
    return await rebuild(shop, "erp")


async def test_a_held_run_is_on_top(shop: Shop, config: Config) -> None:
    """With its orphans, what becomes of them, and both commands; the side bar counts it."""
    run = await held_run(shop, config)
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/runs")).text
    assert "erp would withdraw 6 of 40 streams" in page
    assert all(f">{sku}</a>" in page for sku in SKUS[:6])
    assert f'<span class="nowrap">{run.run}</span>' in page
    assert "1 held" in page
    assert "--expect" in page


async def test_it_is_approved_with_the_number_typed(shop: Shop, config: Config) -> None:
    """Another number, or none, is refused; then the run waits for a worker, and says who approved it."""
    run = await held_run(shop, config)
    address = f"/ui/runs/{run.run}"
    async with browser_of(shop) as browser:
        for fields, status in (({"expected": "5"}, 409), ({}, 422), ({"expected": "-6"}, 422)):
            answer = await browser.decide(address, f"{address}:approve", {"reason": HOSTILE, **fields})
            assert answer.status_code == status
        answer = await browser.decide("/ui/runs", f"{address}:approve", {"reason": HOSTILE, "expected": "6"})
        assert (answer.status_code, answer.headers["location"]) == (303, address)
        page = (await browser.get(address)).text
        assert "Approved: a worker withdraws or empties 6 streams within ten seconds." in page
        assert "anonymous has approved it" in page
        assert "&lt;img src=x" in page
        assert HOSTILE not in page
    async with shop.rebuilds() as service:
        assert (await service.report(run.run or "")).state == "approved"


async def test_it_is_refused(shop: Shop, config: Config) -> None:
    """It ends, the side bar forgets it, and nothing is withdrawn."""
    run = await held_run(shop, config)
    address = f"/ui/runs/{run.run}"
    async with browser_of(shop) as browser:
        answer = await browser.decide(address, f"{address}:refuse", {"reason": "a bad export"})
        assert answer.status_code == 303
        page = (await browser.get(address)).text
        assert "anonymous has refused it, and nothing was withdrawn" in page
        assert "a bad export" in page
        assert "would withdraw" not in (await browser.get("/ui/runs")).text
    assert await badge(shop) is None


async def test_a_completed_run_shows_what_differed(shop: Shop, config: Config) -> None:
    """Field by field; lists and kinds have addresses of their own."""
    await held_run(shop, config)
    async with shop.rebuilds() as service:
        _, first = await service.newest(2)
    async with browser_of(shop) as browser:
        page = (await browser.get(f"/ui/runs/{first.run}")).text
        assert "It compared 40 rows: 1 stream differed, 0 withdrawn" in page
        assert "<del>1.00</del> → <ins>2.00</ins>" in page
        assert f"{SKUS[7]}/*/pricing/erp" in page
        listed = (await browser.get("/ui/runs?kind=rebuilds&limit=1")).text
        assert f">{first.run}<" not in listed
        assert "limit=2" in listed
        assert (await browser.get("/ui/runs?limit=0")).status_code == 422
        assert (await browser.get("/ui/runs/erp-20260101T000000-0000")).status_code == 404


async def test_who_only_reads_decides_nothing(shop: Shop, config: Config) -> None:
    """The buttons say what is missing, and the request is refused."""
    run = await held_run(shop, config)
    address = f"/ui/runs/{run.run}"
    async with browser_of(shop, READER) as browser:
        assert "Approve and withdraw: needs operate" in (await browser.get(address)).text
        answer = await browser.decide(address, f"{address}:approve", {"reason": "x", "expected": "6"})
        assert answer.status_code == 403


async def test_an_empty_shop_says_why_there_are_none(shop: Shop) -> None:
    """And what would make some; only the nightly comparison is scheduled."""
    async with browser_of(shop) as browser:
        page = (await browser.get("/ui/runs")).text
    assert "No rebuild yet" in page
    assert page.count('<th scope="row"') == 1
    assert "nightly-sample" in page


async def test_a_nightly_comparison_that_found_drift_has_its_runbook(shop: Shop) -> None:
    """Although no task of the configuration compares pages."""
    number = await shop.store.schedule.begin("nightly-sample", now(), now())
    await shop.store.schedule.end(number, "attention", "9 sections, 1 drifted", now())
    async with browser_of(shop) as browser:
        assert 'href="/ui/runbooks#drift"' in (await browser.get("/ui/runs")).text


async def test_only_what_a_complete_snapshot_lacks_is_an_orphan(shop: Shop, config: Config) -> None:
    """The first ones, each once; none where rows are missing or could not be read."""
    report = await held_run(shop, config)
    partial = msgspec.structs.replace(report, complete=False)
    unread = msgspec.structs.replace(report, counts=msgspec.structs.replace(report.counts, unreadable=1))
    async with shop.rebuilds() as service:
        assert await first_orphans(service, report, 2) == [f"{sku}/*/pricing/erp" for sku in SKUS[:2]]
        assert await first_orphans(service, report, 9, lambda _: "one") == ["one"]
        for each in (partial, unread):
            assert await first_orphans(service, each, 2) == []


def test_what_orphans_have_in_common() -> None:
    """Nine in ten of a part of the tree of categories; fewer, or very few products, say nothing."""
    assert common_text(["home/a"] * 9 + ["garden"]).startswith("9 of 10 sampled products are in home")
    assert common_text(["home/a"] * 8 + ["garden"] * 2) == ""
    assert common_text(["home/a"] * 4) == common_text([""] * 20) == common_text([]) == ""
