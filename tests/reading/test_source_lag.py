"""Since when sources are in sync, and whether they are overdue; on both stores."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

import pagefold
from pagefold import Config, Shop
from pagefold.domains.values import format_timestamp
from pagefold.engine.configuration.delta_config import DeltaConfig
from pagefold.engine.configuration.schedule_config import ScheduleConfig
from pagefold.engine.reading.source_lag import FRESH_SECONDS, SourceLag, SourceStatus
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.runtime.clock import moment
from pagefold.engine.stores.schedule_records import sync_task
from pagefold.engine.stores.sync_notes import SyncNote, SyncNotes
from tests.support.rebuild_fixtures import export, with_snapshots
from tests.support.small_shop import price

NOON = datetime(2026, 7, 8, 12, 0, tzinfo=UTC)
LATER = NOON.replace(year=2099)
DELTA = DeltaConfig(url="https://erp.example?since={since}", every="10m")


def at(minutes: float) -> str:
    """A time in minutes after noon."""
    return format_timestamp(NOON + timedelta(minutes=minutes))


def with_delta(config: Config) -> Config:
    """The configuration, in which changes of the ERP are asked for every ten minutes."""
    erp = msgspec.structs.replace(config.sources["erp"], delta=DELTA)
    return msgspec.structs.replace(config, sources={**config.sources, "erp": erp})


def with_tasks(config: Config, **tasks: Mapping[str, object]) -> Config:
    """The configuration with these tasks."""
    return msgspec.structs.replace(config, schedule=msgspec.convert({"tasks": tasks}, ScheduleConfig))


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, whose ERP has a snapshot."""
    return with_snapshots(store_url, tmp_path, "erp")


async def noted(shop: Shop, **fields: object) -> None:
    """A note of a sync of the ERP."""
    notes = SyncNotes(shop.store, "erp")
    await notes.newest()
    plain = {"run": "erp-1", "source": "erp", "since": at(0), "following": at(0), "recordedAt": at(0)}
    note = msgspec.convert({**plain, **fields}, SyncNote)
    _, was_free = await shop.append_noted([], notes.event(note))
    assert was_free


async def lag_of(shop: Shop, now: datetime) -> SourceStatus:
    """The lag of the ERP at a time."""
    [found] = await SourceLag(shop.store, shop.config, lambda: now).sources()
    return found


async def test_a_shop_that_asks_nobody_has_no_lag(shop: Shop) -> None:
    """A snapshot that no task reads is not overdue."""
    assert await SourceLag(shop.store, shop.config).sources() == []
    assert (await shop.status()).sources == []


async def test_a_delta_is_overdue_once_a_run_is_missing(config: Config) -> None:
    """What a run began to read ten minutes ago is due again; the next run may take as long once more."""
    async with pagefold.open(with_delta(config)) as shop:
        assert await lag_of(shop, NOON) == SourceStatus("erp", None)
        await noted(shop, begunAt=at(0), syncedAt=at(0), following=at(-5), recordedAt=at(3), complete=True)
        assert await lag_of(shop, NOON + timedelta(minutes=20)) == SourceStatus("erp", at(0), 25 * 60.0)
        late = await lag_of(shop, NOON + timedelta(minutes=21))
        assert late == SourceStatus("erp", at(0), 26 * 60.0, 11 * 60.0, ["sync"])


async def test_a_run_that_has_not_ended_is_none(config: Config) -> None:
    """Its notes move on, and the source stays as old as the last complete run; notes of before say when that ended."""
    async with pagefold.open(with_delta(config)) as shop:
        await noted(shop, recordedAt=at(1), complete=True)
        assert (await lag_of(shop, NOON)).synced_at == at(1)
        await noted(shop, begunAt=at(10), syncedAt=at(1), recordedAt=at(29))
        found = await lag_of(shop, NOON + timedelta(minutes=30))
        assert (found.synced_at, found.overdue_seconds) == (at(1), 19 * 60.0)


async def test_a_source_that_never_answered_is_overdue(config: Config) -> None:
    """Since the first run that was tried."""
    async with pagefold.open(with_delta(config)) as shop:
        for minutes in (0, 10, 20):
            number = await shop.store.schedule.begin(sync_task("erp"), at(minutes), at(minutes))
            await shop.store.schedule.end(number, "failed", "it is away", at(minutes))
        found = await lag_of(shop, NOON + timedelta(minutes=25))
        assert (found.synced_at, found.overdue, found.overdue_seconds) == (None, ["sync"], 15 * 60.0)


async def polled(shop: Shop, *prefixes: str, keeps_absent: bool = True) -> datetime:
    """Polls the ERP; returns when that began, at the latest."""
    async with shop.rebuilds() as service:
        for prefix in prefixes or [""]:
            report = await service.rebuild("erp", RebuildRequest(prefix=prefix, keeps_absent=keeps_absent))
    assert report.state == "completed"
    return datetime.fromisoformat(report.started_at)


async def test_a_polled_source_is_overdue_by_its_times(config: Config) -> None:
    """Daily at two: a day and six hours after the time that was due, nothing was read."""
    daily = with_tasks(config, nightly={"run": "poll", "cron": "0 2 * * *"})
    export(config, "erp", price("1.00"))
    async with pagefold.open(daily) as shop:
        assert await lag_of(shop, LATER) == SourceStatus("erp", None)
        began_at = await polled(shop)
        due = next_two_o_clock(began_at)
        on_time = await lag_of(shop, due + timedelta(hours=6))
        assert on_time == SourceStatus("erp", format_timestamp(began_at))
        late = await lag_of(shop, due + timedelta(hours=6, seconds=1))
        assert (late.overdue, late.overdue_seconds) == (["nightly"], 6 * 3600 + 1.0)


def next_two_o_clock(after: datetime) -> datetime:
    """The next time at which a task of 02:00 is due."""
    today = after.replace(hour=2, minute=0, second=0, microsecond=0)
    return today if today > after else today + timedelta(days=1)


async def test_every_part_of_a_task_counts(config: Config) -> None:
    """A task by prefixes is as old as its oldest part, and unfinished until each was read."""
    parts = with_tasks(config, nightly={"run": "poll", "cron": "0 2 * * *", "prefixes": ["A", "B"]})
    export(config, "erp", price("1.00"))
    async with pagefold.open(parts) as shop:
        first = await polled(shop, "A")
        assert (await lag_of(shop, LATER)).synced_at is None
        await polled(shop, "B")
        assert (await lag_of(shop, LATER)).synced_at == format_timestamp(first)
        whole = await polled(shop)
        assert (await lag_of(shop, LATER)).synced_at == format_timestamp(whole)


async def test_a_poll_is_no_rebuild(config: Config) -> None:
    """What keeps absent streams, or read a snapshot that was cut, does not stand for a rebuild."""
    weekly = with_tasks(config, weekly={"run": "rebuild", "cron": "0 2 * * sun"})
    export(config, "erp", price("1.00"))
    async with pagefold.open(weekly) as shop:
        await polled(shop)
        assert (await lag_of(shop, LATER)).synced_at is None
        export(config, "erp", price("1.00"), end=False)
        await polled(shop, keeps_absent=False)
        assert (await lag_of(shop, LATER)).synced_at is None
        export(config, "erp", price("1.00"))
        began_at = await polled(shop, keeps_absent=False)
        assert (await lag_of(shop, LATER)).synced_at == format_timestamp(began_at)


async def test_what_is_known_is_read_again_after_a_while(config: Config) -> None:
    """Metrics do not read the store each time; a clock that is set back does not keep old figures."""
    clock = [moment()]
    async with pagefold.open(with_delta(config)) as shop:
        lag = SourceLag(shop.store, shop.config, lambda: clock[0])
        before = await lag.known()
        await noted(shop, syncedAt=at(0), complete=True)
        assert await lag.known() == before
        for jump in (FRESH_SECONDS, -3600.0):
            clock[0] += timedelta(seconds=jump)
            [found] = await lag.known()
            assert found.synced_at == at(0)
