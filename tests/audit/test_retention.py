"""Old entries of the audit are removed, in small steps, and that is in the audit."""

from datetime import timedelta

import pytest

from pagefold import Shop
from pagefold.engine.audit import audit_retention
from pagefold.engine.audit.audit_retention import AuditRetention
from pagefold.engine.configuration.audit_config import AuditConfig
from pagefold.engine.monitoring import monitor
from pagefold.engine.runtime.clock import days_ago
from pagefold.engine.stores.audit_records import AuditEnd, NewAuditEntry
from tests.audit.test_audit_log import entries
from tests.monitoring.test_measurements import Clock
from tests.support.command_line import on_sqlite


async def fill(shop: Shop, *days: float) -> None:
    """Adds entries that began so many days ago; the last one is still open."""
    for number, each in enumerate(days):
        entry = NewAuditEntry(days_ago(each), "ada", "command", "apply", str(number), None, None)
        added = await shop.store.audit.begin(entry)
        if number < len(days) - 1:
            await shop.store.audit.end(added, AuditEnd(days_ago(each), "done", None, "{}"))


async def left(shop: Shop) -> list[str]:
    """The targets of what is left."""
    return [each.target for each in await entries(shop) if each.action == "apply"]


async def test_old_entries_are_removed_and_an_entry_says_so(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """After 400 days, not before; as many at a time as a step has, and an open one as any other."""
    monkeypatch.setattr(audit_retention, "STEP_ENTRIES", 2)
    await fill(shop, 900, 500, 401, 400.5, 402, 399.5, 366, 1, 401)
    assert await AuditRetention(shop.store.audit, shop.config.audit).enforce()
    assert await left(shop) == ["5", "6", "7", "8"], "in the order in which they began"
    [said] = [each for each in await entries(shop) if each.action == "audit retention"]
    assert (said.via, said.actor, said.outcome) == ("schedule", "retention", "done")
    assert (said.target, said.details) == (f"before {days_ago(400)[:10]}", {"removed": 5})
    assert await AuditRetention(shop.store.audit, shop.config.audit).enforce()
    assert len(await entries(shop)) == 5, "nothing was removed, so there is no entry"


@on_sqlite
async def test_one_call_does_not_take_long(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """It removes a part of many, and says that there are more."""
    monkeypatch.setattr(audit_retention, "STEP_ENTRIES", 2)
    monkeypatch.setattr(audit_retention, "MAX_STEPS", 2)
    await fill(shop, *(500 for _ in range(7)))
    retention = AuditRetention(shop.store.audit, AuditConfig(keep_days=30))
    assert not await retention.enforce()
    assert await left(shop) == ["4", "5", "6"]
    assert await retention.enforce()
    assert await left(shop) == []


def test_nothing_is_removed_within_a_year_by_default() -> None:
    """Only a configuration may say less."""
    assert AuditConfig().keep_days >= 366


@on_sqlite
async def test_a_worker_does_it(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that watches the key figures: a part each hour, and once a day when nothing is left."""
    monkeypatch.setattr(audit_retention, "STEP_ENTRIES", 1)
    monkeypatch.setattr(audit_retention, "MAX_STEPS", 1)
    await fill(shop, 500, 500, 500)
    clock = Clock()
    clock.now = clock.now.replace(hour=1)
    shop.monitor._clock = shop.kpis._clock = clock
    for expected in (2, 1, 0, 0):
        assert shop.monitor._day == 0
        await shop.monitor.tick()
        assert len(await left(shop)) == expected
        clock.now += timedelta(hours=1)
    assert shop.monitor._day == clock.minute // monitor.DAY_MINUTES
