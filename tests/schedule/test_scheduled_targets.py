"""Targets are compared with the pages at their times, which the key figure of drift shows; on both stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import anyio
import msgspec
import orjson
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.engine.configuration.schedule_config import ScheduleConfig
from pagefold.engine.configuration.target_config import FilesTargetConfig, HttpTargetConfig, TargetConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.kpis.readings import KpiReading
from pagefold.engine.reading.source_lag import SourceLag
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.schedule import scheduler as scheduler_module
from pagefold.engine.schedule.scheduler import Scheduler
from tests.schedule.test_scheduler import NOON, Clock, ended, running, runs, until
from tests.support.dashboard_pages import browser_of
from tests.support.fake_endpoint import Asked, Reply, serving
from tests.support.rebuild_fixtures import with_snapshots
from tests.support.small_shop import CHANNELS, catalog, document, say

SKUS = ["A", "B"]
PAGES = len(SKUS) * len(CHANNELS)
NIGHTLY = {"run": "verify-targets", "cron": "0 * * * *"}


class Holder:
    """A web service with an address for each page, which can be read back. It notes how often it was."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}
        self.status = 200
        self.reads = 0

    def __call__(self, asked: Asked) -> Reply:
        """Keeps, forgets or returns a page."""
        if asked.method == "GET":
            self.reads += 1
            body = self.held.get(asked.path)
            return Reply(status=404) if body is None else Reply(body, self.status)
        if asked.method == "PUT":
            self.held[asked.path] = asked.body
        else:
            self.held.pop(asked.path, None)
        return Reply(b"ok")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a test is looked at often."""
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(scheduler_module, "RETRY_SECONDS", 0.01)


@asynccontextmanager
async def delivering(
    store_url: str, folder: Path, holder: Holder, **task: object
) -> AsyncIterator[tuple[Shop, Config]]:
    """A shop whose pages were delivered to a service and a folder, and a task that compares both or some."""
    async with serving(holder) as server:
        http = HttpTargetConfig(
            url=server.url,
            path="/{channel}/{sku}",
            method="PUT",
            withdraw_method="DELETE",
            read=True,
            networks=["127.0.0.0/8"],
        )
        config = msgspec.structs.replace(
            with_snapshots(store_url, folder, "erp"),
            targets={
                "search": TargetConfig(http=http, timeout_seconds=1.0),
                "export": TargetConfig(files=FilesTargetConfig(folder=str(folder / "out"))),
            },
            schedule=msgspec.convert({"tasks": {"targets": {**NIGHTLY, **task}}}, ScheduleConfig),
        )
        async with pagefold.open(config) as shop:
            await say(shop, *(catalog("a name", sku=sku) for sku in SKUS))
            await deliver(shop, holder)
            yield shop, config


async def deliver(shop: Shop, holder: Holder) -> None:
    """Delivers until both targets have every page."""
    async with run_beside(shop._delivery_work.run):
        with anyio.fail_after(20):
            while len(holder.held) < PAGES or not all(  # noqa: ASYNC110  # the target gets them, and the store knows
                (each.state, each.pages) == ("idle", PAGES) for each in await shop.targets.list()
            ):
                await anyio.sleep(0.02)


async def drift(shop: Shop, target: str) -> KpiReading:
    """The key figure of a target."""
    [found] = [each for each in await shop.kpis.measure() if (each.kpi, each.label) == ("outbound-drift", target)]
    return found


async def test_a_scheduled_run_finds_drift_and_the_next_its_end(store_url: str, tmp_path: Path) -> None:
    """Of two processes, one compares; what differs is delivered again; the audit says which task it was."""
    holder, clock = Holder(), Clock()
    async with (
        delivering(store_url, tmp_path, holder, targets=["search"], sample=50) as (shop, config),
        pagefold.open(config, create=False) as other,
    ):
        assert (await drift(shop, "search")).value == 0
        async with running(Scheduler(shop, clock), Scheduler(other, clock)):
            await anyio.sleep(0.1)
            holder.held.clear()
            clock.at = NOON + timedelta(hours=1)
            [found] = await until(shop, ended(1))
            assert (found.task, found.state) == ("targets", "attention")
            assert (
                found.detail
                == f"target search: {PAGES} pages, 0 not noted; {PAGES} read back, {PAGES} not as acknowledged"
            )
            crossed = await drift(shop, "search")
            assert (crossed.numerator, crossed.denominator, crossed.crossed) == (PAGES, PAGES, True)
            await deliver(shop, holder)
            clock.at = NOON + timedelta(hours=2)
            assert [each.state for each in await until(shop, ended(2))] == ["attention", "done"]
        recovered = await drift(shop, "search")
        assert (recovered.numerator, recovered.denominator, recovered.crossed) == (0, PAGES, False)
        verified = [each for each in (await shop.audit.page()).entries if each.action == "targets verify"]
    assert [(each.target, each.via, each.actor, orjson.loads(each.details)["differing"]) for each in verified] == [
        ("search", "schedule", "targets", 0),
        ("search", "schedule", "targets", PAGES),
    ]


async def test_every_target_has_its_turn(store_url: str, tmp_path: Path) -> None:
    """All of them if none is named, also behind one that cannot be read; and a source is not overdue for it."""
    holder = Holder()
    async with delivering(store_url, tmp_path, holder) as (shop, _):
        holder.status = 503
        outcome = await Scheduler(shop).run_now("targets")
        assert outcome.state == "failed"
        assert outcome.detail == f"target search: it answers 503; target export: {PAGES} pages, 0 not noted"
        assert [each.state for each in await runs(shop)] == ["failed"]
        async with browser_of(shop) as browser:
            page = (await browser.get("/ui/runs")).text
        assert all(each in page for each in ("target search: it answers 503", 'href="/ui/runbooks#outbound-drift"'))
        assert await SourceLag(shop.store, shop.config).sources() == []


@pytest.mark.parametrize(("sample", "reads"), [(0, 0), (1, 1)])
async def test_the_sample_is_what_is_read_back(store_url: str, tmp_path: Path, sample: int, reads: int) -> None:
    """0 reads nothing, and compares receipts alone."""
    holder = Holder()
    async with delivering(store_url, tmp_path, holder, targets=["search"], sample=sample) as (shop, _):
        assert (await Scheduler(shop).run_now("targets")).state == "done"
        assert holder.reads == reads


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (
            {"targets": ["exprot"]},
            "tasks.t.targets: unknown target 'exprot'; did you mean 'export'? The targets are export",
        ),
        ({"domains": ["pricing"]}, 'tasks.t.domains: goes with run = "rebuild"'),
        ({"run": "verify", "targets": ["export"]}, 'tasks.t.targets: goes with run = "verify-targets"'),
    ],
)
def test_what_the_configuration_may_not_say(task: dict[str, object], problem: str) -> None:
    """Each problem names its key."""
    targets = {"export": {"files": {"folder": "out"}}}
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(document(targets=targets, schedule={"tasks": {"t": {**NIGHTLY, **task}}}))
    assert problem in str(caught.value)
