"""A held run waits for an operator: approved, a worker resumes it; refused, it ends. On both stores."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from pagefold import Config, CountChanged, Rejected, RunNotResumable, RunStateError, Shop
from pagefold.engine.audit.audit_views import audit_summary
from pagefold.engine.rebuild.rebuild_service import RunReport
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.schedule import scheduler as scheduler_module
from pagefold.engine.schedule.scheduler import Scheduler
from pagefold.engine.stores.schedule_records import APPROVED
from tests.support.command_line import run_pagefold
from tests.support.processes import eventually
from tests.support.rebuild_fixtures import export, rebuild, resume, with_snapshots
from tests.support.small_shop import price, say, section, withdrawn
from tests.support.snapshot_folder import SKUS, amount, held, settle_with_snapshots

BY, REASON = "ada", "the range was given up"


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot."""
    return with_snapshots(store_url, tmp_path, "erp")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look often for what is approved."""
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.01)


async def held_run(shop: Shop, config: Config) -> RunReport:
    """A run that would withdraw six of the forty products of the ERP."""
    prices = [price("1.00", version=5, sku=sku) for sku in SKUS]
    await say(shop, *prices)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    export(config, "erp", *prices[6:], taken_at=soon.isoformat())
    return await rebuild(shop, "erp")


@asynccontextmanager
async def scheduled(shop: Shop) -> AsyncIterator[None]:
    """A worker's scheduler."""
    async with run_beside(Scheduler(shop).run):
        yield


async def state(shop: Shop, run_id: str | None) -> str:
    """The state of a run."""
    assert run_id is not None
    async with shop.rebuilds() as rebuilds:
        return (await rebuilds.report(run_id)).state


async def test_a_worker_resumes_what_is_approved(shop: Shop, config: Config) -> None:
    """The orphans are withdrawn, and the run says who decided, and why; the scheduler has its result."""
    run = await held_run(shop, config)
    assert run.run is not None
    async with shop.rebuilds() as rebuilds, scheduled(shop):
        approved = await rebuilds.approve(run.run, by=BY, reason=REASON, expected=6)
        assert (approved.state, approved.removals) == ("approved", 6)
        await eventually(partial(_is, shop, run.run, "completed"), "the run is completed")
        await eventually(partial(_is_recorded, shop), "the scheduler has noted it")
        done = await rebuilds.report(run.run)
    await shop.catch_up()
    assert (done.counts.withdrawn, done.decided_by, done.decided_because) == (6, BY, REASON)
    assert await section(shop, "pricing", sku=SKUS[0]) is None
    [recorded] = await shop.store.schedule.newest(5, APPROVED)
    assert (recorded.state, recorded.detail) == ("done", "erp: 34 rows, 0 drifted, 6 withdrawn, 0 refused")


async def _is_recorded(shop: Shop) -> bool:
    return [each.state for each in await shop.store.schedule.newest(5, APPROVED)] == ["done"]


async def _is(shop: Shop, run_id: str | None, expected: str) -> bool:
    return await state(shop, run_id) == expected


async def test_an_approved_run_whose_process_ended_is_resumed(shop: Shop, config: Config) -> None:
    """A worker takes it as it takes one that is approved; one that nobody approved it leaves alone."""
    run = await held_run(shop, config)
    assert run.run is not None
    async with shop.rebuilds() as rebuilds:
        assert await rebuilds.approved("erp") is None
        await rebuilds.approve(run.run, by=BY, reason=REASON)
        begun: RebuildRun = await rebuilds.runs.get(run.run)
        begun.resume("elsewhere:1")
        await rebuilds.runs.save(begun)
        assert (await rebuilds.report(run.run)).state == "interrupted"
        assert await rebuilds.approved("erp") == run.run
        done = await rebuilds.resume_approved("erp")
    assert done is not None
    assert (done.state, done.counts.withdrawn) == ("completed", 6)


async def test_an_approved_run_without_its_snapshot_fails_once(shop: Shop, config: Config) -> None:
    """Withheld corrections are found again in the same snapshot only; a worker does not try for ever."""
    await say(shop, *(price("1.00", version=5, sku=sku) for sku in SKUS))
    emptied = [withdrawn("pricing", version=6, sku=sku) for sku in SKUS[:30]]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    kept = [price("1.00", version=5, sku=sku) for sku in SKUS[30:]]
    export(config, "erp", *emptied, *kept, taken_at=soon.isoformat())
    run = await rebuild(shop, "erp")
    assert run.run is not None
    assert (run.state, bool(run.losses)) == ("held", True)
    export(config, "erp", *kept, taken_at=(soon + timedelta(minutes=1)).isoformat())
    async with shop.rebuilds() as rebuilds:
        await rebuilds.approve(run.run, by=BY, reason=REASON)
        async with scheduled(shop):
            await eventually(partial(_is, shop, run.run, "failed"), "the run has failed")
        assert "is not the one that the run began with" in (await rebuilds.report(run.run)).reason
        assert await rebuilds.approved("erp") is None
    [recorded] = await shop.store.schedule.newest(5, APPROVED)
    assert recorded.state == "failed"


async def test_a_refused_run_ends(shop: Shop, config: Config) -> None:
    """It withdraws nothing and cannot be resumed; the next run begins anew."""
    run = await held_run(shop, config)
    assert run.run is not None
    async with shop.rebuilds() as rebuilds:
        refused = await rebuilds.refuse(run.run, by=BY, reason=REASON)
        assert (refused.state, refused.decided_by, refused.counts.withdrawn) == ("refused", "ada", 0)
        with pytest.raises(RunNotResumable, match="it is refused"):
            await rebuilds.resume(run.run, confirmed=True)
        with pytest.raises(RunStateError, match="cannot be approved: it is refused"):
            await rebuilds.approve(run.run, by=BY, reason=REASON)
        assert await rebuilds.approved("erp") is None
    assert await section(shop, "pricing", sku=SKUS[0]) is not None
    assert (await rebuild(shop, "erp")).state == "held"
    assert await state(shop, run.run) == "refused"


async def test_a_decision_about_another_number_is_refused(shop: Shop, config: Config) -> None:
    """As is one without a reason, or about a run that is not held; nothing is recorded."""
    run = await held_run(shop, config)
    assert run.run is not None
    async with shop.rebuilds() as rebuilds:
        with pytest.raises(CountChanged, match="expected 5, but it is 6 by now"):
            await rebuilds.approve(run.run, by=BY, reason=REASON, expected=5)
        with pytest.raises(Rejected, match="reason"):
            await rebuilds.approve(run.run, by="ada", reason=" ")
    assert await state(shop, run.run) == "held"
    assert (await resume(shop, run.run, confirmed=True)).state == "completed"


async def test_the_audit_has_runs_and_decisions(shop: Shop, config: Config) -> None:
    """A run has its counts and some differences; a decision who made it, why, and why it was refused."""
    run = await held_run(shop, config)
    assert run.run is not None
    async with shop.rebuilds() as rebuilds:
        with pytest.raises(CountChanged):
            await rebuilds.approve(run.run, by=BY, reason=REASON, expected=5)
        await rebuilds.approve(run.run, by=BY, reason=REASON, expected=6)
        await rebuilds.resume_approved("erp")
    resumed, approved, refused, started = [audit_summary(each) for each in (await shop.audit.page(limit=4)).entries]
    assert (started.action, started.target, started.outcome) == ("rebuild", "erp", "done")
    assert (started.details["state"], started.details["run"]) == ("held", run.run)
    assert (refused.action, refused.outcome, refused.error) == (
        "rebuilds approve",
        "refused",
        "expected 5, but it is 6 by now: look again",
    )
    assert (approved.actor, approved.reason, approved.outcome) == (BY, REASON, "done")
    assert approved.details == {"source": "erp", "removals": 6}
    assert (resumed.action, resumed.target, resumed.details["withdrawn"]) == ("rebuild --resume", "erp", 6)
    assert resumed.details["run"] == run.run


def test_the_commands(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`rebuilds approve` and `refuse` say what comes next, and are refused with exit code 1 for another number."""
    place = settle_with_snapshots(tmp_path, store_url, monkeypatch)
    run_id = held(place).document["runs"][0]["run"]
    wrong = run_pagefold("rebuilds", "approve", run_id, "--reason", "given up", "--expect", "7")
    assert (wrong.code, wrong.err) == (1, "pagefold: expected 7, but it is 6 by now: look again\n")
    ran = run_pagefold("rebuilds", "refuse", run_id, "--reason", "a bad export", "--as", "ada")
    assert (ran.code, ran.err) == (0, f"{run_id} is refused: nothing is withdrawn or removed\n")
    shown = run_pagefold("rebuilds", "show", run_id)
    assert re.search(r"refused +by ada: a bad export", shown.out)
    run_id = run_pagefold("rebuild", "--source", "erp", "--json").document["runs"][0]["run"]
    ran = run_pagefold("rebuilds", "approve", run_id, "--reason", "given up", "--expect", "6")
    assert ran.err.endswith("6 streams of erp will be withdrawn or lose values\n")
    assert "a worker resumes it" in run_pagefold("rebuilds", "show", run_id).err
    assert run_pagefold("rebuild", "--resume", run_id).code == 0
    assert amount(SKUS[0]) is None
