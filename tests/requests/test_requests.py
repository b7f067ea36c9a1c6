"""What operators ask for is recorded, and a worker does it; on both stores."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest

from pagefold import Config, CountChanged, Rejected, RequestConflict, Shop, UnknownRequest
from pagefold.domains.values import format_timestamp
from pagefold.engine.requests.request_service import RequestService
from pagefold.engine.requests.work_request import Request
from pagefold.engine.runtime.clock import now
from pagefold.engine.runtime.origin import Origin, acting
from pagefold.engine.runtime.task_groups import run_beside
from pagefold.engine.schedule import requested_runs, scheduler
from pagefold.engine.schedule.requested_runs import MAX_WAIT, TOO_LATE
from pagefold.engine.schedule.scheduler import ENDED_EARLY, Scheduler
from pagefold.engine.stores.schedule_records import KEPT_RUNS
from tests.support.processes import eventually
from tests.support.rebuild_fixtures import export, rebuild, with_snapshots
from tests.support.small_shop import price, say, section
from tests.support.snapshot_folder import SKUS

BY, REASON = "ada", "the export was repaired"


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot."""
    return with_snapshots(store_url, tmp_path, "erp")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers look often for what is asked for."""
    monkeypatch.setattr(requested_runs, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(scheduler, "RETRY_SECONDS", 0.01)


@asynccontextmanager
async def working(shop: Shop) -> AsyncIterator[None]:
    """A worker's scheduler."""
    async with run_beside(Scheduler(shop).run):
        yield


async def ended(shop: Shop, request: Request) -> Request:
    """The request, once a worker has done it."""
    requests = RequestService(shop)

    async def has_ended() -> bool:
        return not (await requests.get(request.number)).is_open

    async with working(shop):
        await eventually(has_ended, "the request has ended")
    return await requests.get(request.number)


async def priced(shop: Shop, config: Config) -> None:
    """Forty products, of which a snapshot lacks two and has another price for one."""
    await say(shop, *(price("1.00", version=5, sku=sku) for sku in SKUS))
    changed = price("2.00", version=5, sku=SKUS[7])
    rows = [price("1.00", version=5, sku=sku) for sku in SKUS[2:] if sku != SKUS[7]]
    soon = datetime.now(UTC) + timedelta(minutes=1)
    export(config, "erp", *sorted([*rows, changed], key=lambda each: each.sku), taken_at=soon.isoformat())


async def test_a_rebuild_is_seen_before_it_is_started(shop: Shop, config: Config) -> None:
    """The dry run changes nothing, and shows samples; what was seen is started with its number, once."""
    await priced(shop, config)
    requests = RequestService(shop)
    with acting(Origin("dashboard", "tok_1")):
        seen = await ended(shop, await requests.dry_run("erp", by=BY, reason=REASON))
    result = seen.rebuilt()
    assert result is not None
    assert (seen.run.state, result.report.drifted, result.report.run) == ("done", 1, None)
    assert result.orphans == [f"{sku}/*/pricing/erp" for sku in SKUS[:2]]
    assert [sample[0] for sample in result.report.samples] == [f"{SKUS[7]}/*/pricing/erp"]  # type: ignore[index]  # it is a list
    with pytest.raises(CountChanged):
        await requests.start(seen.number, by=BY, reason=REASON, expected=1)
    started = await requests.start(seen.number, by=BY, reason=REASON, expected=3)
    with pytest.raises(RequestConflict, match="was asked for already"):
        await requests.start(seen.number, by="bob", reason=REASON, expected=3)
    done = (await ended(shop, started)).rebuilt()
    assert done is not None
    assert (done.report.state, done.report.counts.withdrawn) == ("completed", 2)
    with pytest.raises(RequestConflict, match="began after this dry run"):
        await requests.start(seen.number, by="bob", reason=REASON, expected=3)
    await shop.catch_up()
    assert await section(shop, "pricing", sku=SKUS[0]) is None
    entries = (await shop.audit.page()).entries
    assert [(each.action, each.actor, each.reason, each.via) for each in reversed(entries)][:2] == [
        ("requests rebuild --dry-run", BY, REASON, "dashboard"),
        ("rebuild --dry-run", BY, REASON, "dashboard"),
    ]
    assert [each.outcome for each in entries if each.action == "requests rebuild"] == ["refused", "done"]


async def test_a_rebuild_that_began_since_outdates_a_dry_run(shop: Shop, config: Config) -> None:
    """What was seen is no longer what there is."""
    await priced(shop, config)
    requests = RequestService(shop)
    seen = await ended(shop, await requests.dry_run("erp", by=BY, reason=REASON))
    await rebuild(shop, "erp")
    with pytest.raises(RequestConflict, match="make another one"):
        await requests.start(seen.number, by=BY, reason=REASON, expected=3)


async def test_a_rebuild_that_would_remove_too_much_is_held(shop: Shop, config: Config) -> None:
    """An approval of the dry run is none of its removals: they have their own decision."""
    await priced(shop, config)
    export(config, "erp", *(price("1.00", version=5, sku=sku) for sku in SKUS[8:]), taken_at="2100-01-01T00:00:00Z")
    requests = RequestService(shop)
    seen = await ended(shop, await requests.dry_run("erp", by=BY, reason=REASON))
    assert seen.run.state == "attention"
    started = await ended(shop, await requests.start(seen.number, by=BY, reason=REASON, expected=8))
    result = started.rebuilt()
    assert result is not None
    assert (result.report.state, result.report.removals, started.run.state) == ("held", 8, "attention")


async def test_a_sample_is_verified(shop: Shop, config: Config) -> None:
    """The result has what differs; the audit has who asked, and what was found."""
    await priced(shop, config)
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.remove([SKUS[3]])
    done = await ended(shop, await RequestService(shop).verify(100, by=BY, reason=REASON))
    found = done.comparison()
    assert found is not None
    assert (found.changed, done.run.state) == (len(found.differences), "attention")
    assert {each.sku for each in found.differences} == {SKUS[3]}
    verified = next(each for each in (await shop.audit.page()).entries if each.action == "verify")
    assert (verified.actor, verified.reason, verified.command) == (BY, REASON, "pagefold verify --sample 100")


async def test_what_cannot_be_asked_for(shop: Shop) -> None:
    """Nothing is recorded."""
    requests = RequestService(shop)
    for refused in (
        partial(requests.dry_run, "pim", by=BY, reason=REASON),
        partial(requests.dry_run, "<b>", by=BY, reason=REASON),
        partial(requests.verify, 5, by=BY, reason=" "),
        partial(requests.decide_sync, "erp", "append", by=BY, reason=REASON, expected=1),
    ):
        with pytest.raises(Rejected):
            await refused()
    with pytest.raises(UnknownRequest):
        await requests.get(1)
    scheduled = await shop.store.schedule.begin("nightly", now(), now())
    with pytest.raises(UnknownRequest):
        await requests.get(scheduled)
    assert await requests.open() == []


async def test_what_waits_can_be_cancelled(shop: Shop) -> None:
    """Until it has begun, once, with a reason; then the same can be asked for again."""
    requests = RequestService(shop)
    request = await requests.verify(5, by=BY, reason=REASON)
    for by, reason in (("", REASON), (BY, " ")):
        with pytest.raises(Rejected):
            await requests.cancel(request.number, by=by, reason=reason)
    cancelled = await requests.cancel(request.number, by="bob", reason="not needed")
    assert (cancelled.run.state, cancelled.run.detail) == ("stopped", "cancelled by bob: not needed")
    assert not cancelled.has_begun
    assert await requests.open() == []
    assert not await shop.store.schedule.take_up(request.number, now())
    with pytest.raises(RequestConflict, match="has ended"):
        await requests.cancel(request.number, by=BY, reason=REASON)
    again = await requests.verify(5, by=BY, reason=REASON)
    assert await shop.store.schedule.take_up(again.number, now())
    with pytest.raises(RequestConflict, match="has begun"):
        await requests.cancel(again.number, by=BY, reason=REASON)
    begun = await requests.get(again.number)
    assert (begun.run.state, begun.has_begun) == ("running", True)
    with pytest.raises(UnknownRequest):
        await requests.cancel(99, by=BY, reason=REASON)
    entries = [each for each in (await shop.audit.page()).entries if each.action == "requests cancel"]
    assert [(each.actor, each.target, each.outcome) for each in reversed(entries)] == [
        ("bob", "verify a sample", "done"),
        (BY, "verify a sample", "refused"),
        (BY, "verify a sample", "refused"),
    ]


async def test_two_operators_ask_at_once(shop: Shop) -> None:
    """One of them is recorded; a sample and a rebuild are two things."""
    requests = RequestService(shop)
    asked: list[object] = []

    async def ask() -> None:
        try:
            asked.append(await requests.dry_run("erp", by=BY, reason=REASON))
        except RequestConflict as error:
            asked.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(ask)
    assert len([each for each in asked if isinstance(each, Request)]) == 1
    await requests.verify(5, by=BY, reason=REASON)
    assert len(await requests.open()) == 2


async def test_a_source_that_fails_is_said(shop: Shop) -> None:
    """It has exported nothing: the request has failed, and another one can be made."""
    done = await ended(shop, await RequestService(shop).dry_run("erp", by=BY, reason=REASON))
    assert done.run.state == "failed"
    assert done.result is None
    assert "erp" in done.run.detail
    await RequestService(shop).dry_run("erp", by=BY, reason=REASON)


async def test_what_nobody_takes_up_in_time_is_not_done(shop: Shop) -> None:
    """A worker that starts a day later does not surprise anybody."""
    request = await RequestService(shop).verify(5, by=BY, reason=REASON)
    late = datetime.now(UTC) + MAX_WAIT + timedelta(minutes=1)
    async with run_beside(Scheduler(shop, lambda: late).run):

        async def is_stopped() -> bool:
            return (await RequestService(shop).get(request.number)).run.detail == TOO_LATE

        await eventually(is_stopped, "it is too late")


async def test_a_request_whose_process_ended_has_failed(shop: Shop) -> None:
    """The next worker says so, and does not begin again by itself."""
    requests = RequestService(shop)
    request = await requests.verify(5, by=BY, reason=REASON)
    assert await shop.store.schedule.take_up(request.number, now())
    assert not await shop.store.schedule.take_up(request.number, now())
    done = await ended(shop, request)
    assert (done.run.state, done.run.detail) == ("failed", ENDED_EARLY)
    await shop.store.schedule.end(request.number, "done", "again", now())
    assert (await requests.get(request.number)).run.detail == ENDED_EARLY


async def test_requests_are_kept_as_long_as_other_runs(shop: Shop) -> None:
    """The newest of each kind."""
    records, at = shop.store.schedule, format_timestamp(datetime.now(UTC))
    first = await RequestService(shop).verify(5, by=BY, reason=REASON)
    request = msgspec.json.encode(first.asked).decode()
    await records.end(first.number, "done", "", at)
    for _ in range(KEPT_RUNS):
        number = await records.request(first.run.task, request, at)
        assert number is not None
        await records.end(number, "done", "", at, "{}")
    assert await records.requested(first.number) is None
    assert [each.requested for each in await records.newest(2)] == [True, True]
