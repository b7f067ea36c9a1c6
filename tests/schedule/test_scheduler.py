"""Tasks run at their times, in one process, and their results are kept; on both stores."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import anyio
import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.schedule_config import ScheduleConfig
from pagefold.engine.errors import ConfigurationError
from pagefold.engine.schedule import scheduler as scheduler_module
from pagefold.engine.schedule.scheduler import ENDED_EARLY, MAX_ATTEMPTS, Scheduler
from pagefold.engine.stores.schedule_records import KEPT_RUNS, ScheduledRun
from tests.support.rebuild_fixtures import export, with_snapshots
from tests.support.small_shop import document, event, price, say, stock

NOON = datetime(2026, 7, 8, 12, 0, tzinfo=UTC)
HOURLY = {"run": "verify", "cron": "0 * * * *"}

Tasks: TypeAlias = dict[str, dict[str, object]]


class Clock:
    """A clock that a test sets."""

    def __init__(self, at: datetime = NOON) -> None:
        self.at = at

    def __call__(self) -> datetime:
        """The time."""
        return self.at


def scheduled(config: Config, **tasks: Mapping[str, object]) -> Config:
    """The configuration with these tasks."""
    return msgspec.structs.replace(config, schedule=msgspec.convert({"tasks": tasks}, ScheduleConfig))


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot, and a task an hour."""
    return scheduled(with_snapshots(store_url, tmp_path, "erp", "wms-a"), hourly=HOURLY)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a test is looked at often."""
    monkeypatch.setattr(scheduler_module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(scheduler_module, "RETRY_SECONDS", 0.01)


@asynccontextmanager
async def running(*schedulers: Scheduler) -> AsyncIterator[None]:
    """These schedulers, side by side."""
    async with anyio.create_task_group() as group:
        for each in schedulers:
            group.start_soon(each.run)
        yield
        group.cancel_scope.cancel()


async def runs(shop: Shop, task: str | None = None) -> list[ScheduledRun]:
    """The runs, oldest first."""
    return list(reversed(await shop.store.schedule.newest(KEPT_RUNS, task)))


async def until(shop: Shop, enough: Callable[[list[ScheduledRun]], bool]) -> list[ScheduledRun]:
    """The runs once there are enough of them."""
    with anyio.fail_after(20):
        while not enough(found := await runs(shop)):  # noqa: ASYNC110  # another task writes them into the store
            await anyio.sleep(0.01)
    return found


def ended(number: int) -> Callable[[list[ScheduledRun]], bool]:
    """So many runs have ended."""
    return lambda found: len([each for each in found if each.ended_at]) >= number


async def test_a_new_task_waits_for_its_time(shop: Shop) -> None:
    """It does not run at once; then it runs at its times, each recorded with the time that it was due."""
    clock = Clock()
    async with running(Scheduler(shop, clock)):
        await anyio.sleep(0.2)
        assert await runs(shop) == []
        clock.at = NOON + timedelta(minutes=59, seconds=59)
        await anyio.sleep(0.1)
        assert await runs(shop) == []
        clock.at = NOON + timedelta(hours=1)
        await until(shop, ended(1))
        clock.at = NOON + timedelta(hours=2, minutes=3)
        found = await until(shop, ended(2))
    assert [(each.task, each.due[:16], each.state) for each in found] == [
        ("hourly", "2026-07-08T13:00", "done"),
        ("hourly", "2026-07-08T14:00", "done"),
    ]
    assert "0 drifted" in found[0].detail


async def test_missed_times_are_caught_up_once(shop: Shop) -> None:
    """After a day without a process, the task runs once."""
    clock = Clock()
    async with running(Scheduler(shop, clock)):
        await anyio.sleep(0.1)
    clock.at = NOON + timedelta(days=1, minutes=7)
    async with running(Scheduler(shop, clock)):
        await until(shop, ended(1))
        await anyio.sleep(0.1)
        found = await runs(shop)
    assert [each.due[:16] for each in found] == ["2026-07-09T12:00"]


async def test_of_two_schedulers_one_runs(shop: Shop, config: Config) -> None:
    """Each time is served once, and the second takes over when the first ends."""
    clock = Clock()
    async with pagefold.open(config, create=False) as other, running(Scheduler(other, clock)):
        async with running(Scheduler(shop, clock)):
            await anyio.sleep(0.1)
            clock.at = NOON + timedelta(hours=1)
            await until(shop, ended(1))
            await anyio.sleep(0.1)
            assert len(await runs(shop)) == 1
        clock.at = NOON + timedelta(hours=2)
        assert len(await until(shop, ended(2))) == 2


async def test_a_rebuild_repairs_in_the_order_of_the_task(shop: Shop, config: Config) -> None:
    """Sources in their order; what was lost is there; a source that fails does not keep the next from its turn."""
    export(config, "erp", price("9.00"))
    task = {"run": "rebuild", "cron": "0 3 * * *", "sources": ["wms-a", "erp"]}
    shop.config.schedule.tasks["nightly"] = scheduled(config, nightly=task).schedule.tasks["nightly"]
    outcome = await Scheduler(shop).run_now("nightly")
    assert outcome.state == "failed"
    failed, done = outcome.detail.split("; ")
    assert failed.startswith("wms-a: ")
    assert done == "erp: 1 rows, 1 drifted, 0 withdrawn, 0 refused"
    export(config, "wms-a", stock(1))
    assert (await Scheduler(shop).run_now("nightly")).state == "done"
    assert [each.state for each in await runs(shop)] == ["failed", "done"]


async def test_a_rebuild_in_parts(shop: Shop, config: Config) -> None:
    """Each prefix of SKUs is a run of its own."""
    await say(shop, price("9.00", sku="C-1"))
    export(config, "erp", *(price("9.00", sku=sku) for sku in ("A-1", "B-1", "C-1")))
    task = {"run": "rebuild", "cron": "0 3 * * *", "sources": ["erp"], "prefixes": ["B-", "A-"]}
    shop.config.schedule.tasks["parts"] = scheduled(config, parts=task).schedule.tasks["parts"]
    outcome = await Scheduler(shop).run_now("parts")
    assert [part.partition(":")[0] for part in outcome.detail.split("; ")] == ["erp B-*", "erp A-*"]
    async with shop.rebuilds() as service:
        reports = await service.newest(5)
    assert [(each.prefix, each.counts.missing) for each in reports] == [("A-", 1), ("B-", 1)]


async def test_what_is_risky_is_repaired_first(shop: Shop, config: Config) -> None:
    """A channel, then an attribute, then the rest, each by a run of its own; only the last one withdraws."""
    kept = [price("1.00", sku=sku) for sku in ("A", "B", "GONE")]
    await say(shop, *kept, price("1.00", sku="A", channel="web-de"))
    lower = event("pricing", {"currency": "EUR", "amount": "1.00", "compareAt": "3.00"}, version=2, sku="B")
    higher = price("2.00", version=2, sku="A")
    export(config, "erp", lower, higher, price("2.00", version=2, sku="A", channel="web-de"))
    first = [{"channel": "web-de"}, {"attribute": "pricing.amount"}]
    task = {"run": "rebuild", "cron": "0 3 * * *", "sources": ["erp"], "first": first}
    shop.config.schedule.tasks["careful"] = scheduled(config, careful=task).schedule.tasks["careful"]
    outcome = await Scheduler(shop).run_now("careful")
    assert outcome.detail.split("; ") == [
        "erp, first channel web-de: 3 rows, 1 drifted, 0 withdrawn, 0 refused",
        "erp, first attribute pricing.amount: 3 rows, 1 drifted, 0 withdrawn, 0 refused",
        "erp: 3 rows, 1 drifted, 1 withdrawn, 0 refused",
    ]
    async with shop.rebuilds() as service:
        reports = await service.newest(5)
    assert [(each.first, each.counts.deferred) for each in reports] == [
        ("", 0),
        ("attribute pricing.amount", 1),
        ("channel web-de", 2),
    ]


async def test_a_poll_appends_what_changed_and_withdraws_nothing(shop: Shop, config: Config) -> None:
    """Between complete rebuilds: what the snapshot lacks stays, until one of these finds it."""
    await say(shop, *(price("1.00", sku=sku) for sku in ("A", "B")))
    export(config, "erp", price("2.00", version=2, sku="A"))
    tasks = shop.config.schedule.tasks
    for run in ("poll", "rebuild"):
        given = {"run": run, "cron": "0 * * * *", "sources": ["erp"]}
        tasks[run] = scheduled(config, task=given).schedule.tasks["task"]
    polled = await Scheduler(shop).run_now("poll")
    assert polled == ("done", "erp: 1 rows, 1 drifted, 0 withdrawn, 0 refused")
    rebuilt = await Scheduler(shop).run_now("rebuild")
    assert rebuilt == ("done", "erp: 1 rows, 0 drifted, 1 withdrawn, 0 refused")


async def test_a_window_ends_a_run_and_the_next_resumes_it(shop: Shop, config: Config) -> None:
    """A rebuild that is paced beyond its window stops, and is resumed, not begun again."""
    export(config, "erp", *(price("9.00", sku=f"P-{number:06}") for number in range(25_000)))
    slow = {"run": "rebuild", "cron": "0 3 * * *", "window": 1.0, "rows_per_second": 10_000, "sources": ["erp"]}
    tasks = shop.config.schedule.tasks
    tasks["slow"] = scheduled(config, slow=slow).schedule.tasks["slow"]
    stopped = await Scheduler(shop).run_now("slow")
    assert (stopped.state, stopped.detail) == ("stopped", "its window of 1.0 has ended; the next run resumes it")
    tasks["slow"] = scheduled(config, slow={**slow, "window": "1h", "rows_per_second": 1e6}).schedule.tasks["slow"]
    done = await Scheduler(shop).run_now("slow")
    assert done.state == "done", done
    async with shop.rebuilds() as service:
        [report] = await service.newest(5)
    assert (report.state, report.counts.rows, report.counts.missing) == ("completed", 25_000, 25_000)


async def test_a_run_whose_process_died_is_begun_again_but_not_for_ever(shop: Shop) -> None:
    """As often as `MAX_ATTEMPTS`: a task that kills its process must not do so until the end of days."""
    clock = Clock(NOON + timedelta(hours=1))
    due = format_timestamp(clock.at)
    await shop.store.schedule.known("hourly", format_timestamp(NOON))
    for _ in range(MAX_ATTEMPTS):
        await shop.store.schedule.begin("hourly", due, due)
        async with shop.store.coordination.claim("schedule"):
            await Scheduler(shop, clock)._close_abandoned()  # what a process does first
    async with running(Scheduler(shop, clock)):
        await anyio.sleep(0.2)
        assert {each.detail for each in await runs(shop)} == {ENDED_EARLY}
        clock.at = NOON + timedelta(hours=2)
        found = await until(shop, ended(MAX_ATTEMPTS + 1))
    assert [each.state for each in found] == ["failed"] * MAX_ATTEMPTS + ["done"]


async def test_a_run_whose_process_died_once_is_caught_up(shop: Shop) -> None:
    """The process that takes over begins it again, for the same time."""
    clock = Clock(NOON + timedelta(hours=1))
    due = format_timestamp(clock.at)
    await shop.store.schedule.known("hourly", format_timestamp(NOON))
    await shop.store.schedule.begin("hourly", due, due)
    async with running(Scheduler(shop, clock)):
        found = await until(shop, ended(2))
    assert [(each.due, each.state) for each in found] == [(due, "failed"), (due, "done")]


async def test_only_the_newest_runs_are_kept(shop: Shop) -> None:
    """Of each task, and no fewer."""
    at = format_timestamp(NOON)
    for number in range(KEPT_RUNS + 3):
        await shop.store.schedule.end(await shop.store.schedule.begin("a", at, at), "done", str(number), at)
    await shop.store.schedule.end(await shop.store.schedule.begin("b", at, at), "attention", "held", at)
    kept = await shop.store.schedule.newest(1_000, "a")
    assert [each.detail for each in kept] == [str(number) for number in reversed(range(3, KEPT_RUNS + 3))]
    assert [each.detail for each in await shop.store.schedule.newest(2)] == ["held", str(KEPT_RUNS + 2)]


def test_a_line_that_is_none_is_named(config: Config) -> None:
    """With its key, before anything runs."""
    wrong = scheduled(config, broken={"run": "verify", "cron": "at noon"})
    with pytest.raises(ConfigurationError, match=r"schedule\.tasks\.broken\.cron: 'at noon' is not a cron line"):
        scheduler_module.timetables(wrong)


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"zone": "Europe/Atlantis"}, "schedule.zone: 'Europe/Atlantis' is not a time zone"),
        ({"tasks": {"t": {**HOURLY, "sources": ["erp"]}}}, 'schedule.tasks.t.sources: goes with run = "rebuild"'),
        (
            {"tasks": {"t": {**HOURLY, "run": "rebuild", "sources": ["epr"]}}},
            "unknown source 'epr'; did you mean 'erp'",
        ),
        ({"tasks": {"t": {**HOURLY, "run": "rebuild", "sources": ["erp"]}}}, "the source 'erp' has no snapshot"),
        ({"tasks": {"t": {**HOURLY, "window": "long"}}}, "schedule.tasks.t.window: 'long' is neither"),
        ({"tasks": {"t": {**HOURLY, "domains": ["prices"]}}}, "schedule.tasks.t.domains"),
        ({"tasks": {"t": {**HOURLY, "run": "poll", "first": [{}]}}}, "first[0]: needs exactly one of domain, channel"),
        (
            {"tasks": {"t": {**HOURLY, "run": "poll", "first": [{"channel": "web"}]}}},
            "first[0].channel: no such channel",
        ),
        (
            {"tasks": {"t": {**HOURLY, "run": "poll", "first": [{"domain": "prices"}]}}},
            "first[0].domain: no such domain; did you mean 'pricing'?",
        ),
        (
            {"tasks": {"t": {**HOURLY, "run": "poll", "first": [{"attribute": "amount"}]}}},
            "first[0].attribute: 'amount' is not a domain, a point and a place",
        ),
        ({"tasks": {"t": {**HOURLY, "first": [{"domain": "pricing"}]}}}, 'first: goes with run = "rebuild"'),
        ({"tasks": {"a/b": HOURLY}}, "schedule.tasks.a/b: is not a name"),
    ],
)
def test_what_the_configuration_may_not_say(tables: dict[str, object], problem: str) -> None:
    """Each problem names its key."""
    with pytest.raises(ConfigurationError) as caught:
        Config.parse(document(schedule=tables))
    assert problem in str(caught.value)
