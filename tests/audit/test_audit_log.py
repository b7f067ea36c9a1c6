"""The audit: every decision has an entry, before it and after it, with who made it, why, and what came of it."""

from collections.abc import Sequence
from datetime import timedelta

import anyio
import pytest

from pagefold import Shop
from pagefold.engine.audit.audit_log import MAX_SAMPLES, MAX_TEXT_CHARACTERS, AuditLog
from pagefold.engine.audit.audit_views import AuditSummary, audit_summary
from pagefold.engine.errors import (
    CountChanged,
    DeadLetterResolved,
    InvalidRelease,
    PlanDecided,
    Rejected,
    StoreUnavailable,
    UnknownCursor,
    UnknownToken,
)
from pagefold.engine.runtime.clock import moment
from pagefold.engine.runtime.origin import Origin, acting, current_origin
from pagefold.engine.stores.audit_records import (
    EVERY,
    AuditEnd,
    AuditEntry,
    AuditFilter,
    AuditRecords,
    NewAuditEntry,
)
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from pagefold.engine.stores.store import Store
from tests.support.small_shop import SKU, append, catalog, price, stock

FULL = StoreUnavailable("the store", OSError("the disk is full"))
ADA = Origin("command", "ada", "pagefold …")


async def entries(shop: Shop, selection: AuditFilter = EVERY) -> list[AuditSummary]:
    """The entries of the audit, oldest first."""
    return [audit_summary(entry) for entry in reversed((await shop.audit.page(selection)).entries)]


async def told(shop: Shop) -> list[tuple[str, str, str, str | None]]:
    """What the audit has: action, target, actor, outcome."""
    return [(each.action, each.target, each.actor, each.outcome) for each in await entries(shop)]


# --- entries --------------------------------------------------------------------------------------


async def test_an_entry_is_there_before_anything_is_done(shop: Shop) -> None:
    """It is open until the end, which has the outcome and what was counted."""
    with acting(Origin("dashboard", "tok_1", "pagefold dead-letters discard --all")):
        async with shop.audit.action("dead-letters discard", "--all", reason="a test") as action:
            [during] = await entries(shop)
            action.count("discarded", 2)
            action.count("discarded")
    [after] = await entries(shop)
    assert (during.outcome, during.ended_at, during.details) == (None, None, {})
    assert (after.outcome, after.details, after.error) == ("done", {"discarded": 3}, None)
    assert (after.actor, after.via, after.command) == ("tok_1", "dashboard", "pagefold dead-letters discard --all")
    assert (after.reason, after.started_at) == ("a test", during.started_at)
    assert after.ended_at is not None
    assert after.started_at <= after.ended_at


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CountChanged(1, 2), "refused"),
        (Rejected("reason", "must not be blank"), "refused"),
        (FULL, "failed"),
        (RuntimeError("a bug"), "failed"),
        (RuntimeError(), "failed"),
        (KeyboardInterrupt(), "stopped"),
    ],
)
async def test_an_error_is_an_outcome(shop: Shop, error: BaseException, outcome: str) -> None:
    """It is raised all the same. What was refused has changed nothing; the rest may be done in part."""
    with pytest.raises(type(error)):
        async with shop.audit.action("apply"):
            raise error
    [entry] = await entries(shop)
    assert (entry.outcome, entry.error) == (outcome, str(error) or type(error).__name__)


async def test_what_is_cancelled_is_stopped(shop: Shop) -> None:
    """Its end is recorded although the task is cancelled."""
    with anyio.CancelScope() as scope:
        async with shop.audit.action("recover"):
            scope.cancel()
            await anyio.sleep(1)
    assert await told(shop) == [("recover", "", "unknown", "stopped")]


class FullDisk(AuditRecords):
    """The records of a store whose disk is full, at once or after the beginning of an entry."""

    def __init__(self, records: AuditRecords, *, begins: bool) -> None:
        self._records = records
        self._begins = begins

    async def begin(self, entry: NewAuditEntry) -> int:
        """Adds an entry while there is room."""
        if not self._begins:
            raise FULL
        return await self._records.begin(entry)

    async def end(self, number: int, end: AuditEnd) -> None:
        """Has no room for what `number` came to."""
        assert number
        assert end.at
        raise FULL

    async def newest(
        self, selection: AuditFilter = EVERY, *, below: int | None = None, limit: int = 100
    ) -> Sequence[AuditEntry]:
        """Those that are there."""
        return await self._records.newest(selection, below=below, limit=limit)

    async def oldest(self) -> str | None:
        """When the oldest of them began."""
        return await self._records.oldest()

    async def forget(self, before: str, limit: int) -> int:
        """Removes some of them."""
        return await self._records.forget(before, limit)


async def test_nothing_is_done_without_an_entry(shop: Shop) -> None:
    """What only reads may be; what is done stays done if its end cannot be recorded."""
    full = AuditLog(FullDisk(shop.store.audit, begins=False))
    filling = AuditLog(FullDisk(shop.store.audit, begins=True))
    done: list[str] = []
    with pytest.raises(StoreUnavailable):
        async with full.action("apply"):
            done.append("apply")
    assert done == []
    async with full.action("verify", is_needed=False) as action:
        done.append("verify")
        action.sample("A/web-de")
    async with filling.action("apply"):
        done.append("apply")
    assert done == ["verify", "apply"]
    assert await told(shop) == [("apply", "", "unknown", None)]


async def test_entries_have_no_secrets_and_any_text(shop: Shop) -> None:
    """Secrets and passwords are replaced, bytes that a store does not take are escaped, long text is cut off."""
    secret, token = await shop.tokens.create(["read"])
    command = f"pagefold --store postgresql://shop:hunter2@db/shop tokens revoke {secret}"
    with acting(Origin("command", "a\0b\ud800", command)):
        async with shop.audit.action("tokens revoke", "x" * 5_000, reason="r\0") as action:
            for number in range(MAX_SAMPLES + 5):
                action.sample(f"{number}\0")
    entry = (await entries(shop))[-1]
    assert entry.command == f"pagefold --store postgresql://…@db/shop tokens revoke {token.name}"
    assert (entry.actor, entry.reason, len(entry.target)) == ("a\\0b\\ud800", "r\\0", MAX_TEXT_CHARACTERS)
    assert entry.details == {"samples": [f"{number}\\0" for number in range(MAX_SAMPLES)]}


async def test_an_origin_is_that_of_its_task(shop: Shop) -> None:
    """Those who act at the same time are not mistaken for each other."""

    async def act(name: str) -> None:
        with acting(Origin("http", name)):
            await anyio.sleep(0.01)
            await shop.audit.record("sign-in")
            assert current_origin().actor == name

    async with anyio.create_task_group() as group:
        for name in ("ada", "bob"):
            group.start_soon(act, name)
    assert sorted(await told(shop)) == [("sign-in", "", "ada", "done"), ("sign-in", "", "bob", "done")]
    assert current_origin() == Origin()


async def test_entries_are_listed_and_selected(shop: Shop) -> None:
    """Newest first, in chunks; an action selects all of a command, too, but no other that begins so."""
    for action in ("apply", "apply-x", "plans refuse", "plans keep"):
        for target in ("1", "2"):
            await shop.audit.record(action, target, by=f"person {target}")
    first = await shop.audit.page(limit=3)
    assert [each.action for each in first.entries] == ["plans keep", "plans keep", "plans refuse"]
    second = await shop.audit.page(after=first.next, limit=100)
    assert (len(second.entries), second.next) == (5, None)
    assert {each.action for each in await entries(shop, AuditFilter(action="plans"))} == {"plans refuse", "plans keep"}
    assert {each.action for each in await entries(shop, AuditFilter(action="apply"))} == {"apply"}
    selected = await entries(shop, AuditFilter("person 1", "plans refuse", "1"))
    assert [(each.actor, each.action, each.target) for each in selected] == [("person 1", "plans refuse", "1")]
    for cursor in ("", "x", "-1", "1" * 19, "²"):
        with pytest.raises(UnknownCursor):
            await shop.audit.page(after=cursor)


async def test_an_end_is_final(store: Store) -> None:
    """An entry cannot be ended twice."""
    number = await store.audit.begin(NewAuditEntry("2026", "ada", "command", "apply", "", None, None))
    await store.audit.end(number, AuditEnd("2027", "done", None, "{}"))
    await store.audit.end(number, AuditEnd("2028", "failed", "no", "{}"))
    [entry] = await store.audit.newest()
    assert (entry.ended_at, entry.outcome) == ("2027", "done")


# --- who has one ----------------------------------------------------------------------------------


async def test_decisions_about_dead_letters(shop: Shop) -> None:
    """One by one and in bulk; what happens by itself has no entry."""
    await append(shop, price("10.00"), stock(1))
    for amount in ("1.00", "2.00", "3.00"):
        await shop.append([price(amount)])
    letters = [await shop.dead_letters.get(f"ingest-{number}") for number in (1, 2, 3)]
    await shop.dead_letters.retry(letters[0], by="ada")
    await shop.dead_letters.retry(letters[0])
    await shop.dead_letters.discard(letters[0], "a test", "ada")
    with pytest.raises(DeadLetterResolved):
        await shop.dead_letters.discard(letters[0], "a test", "ada")
    bad = await shop.dead_letters.correct(letters[1], {"currency": "EUR", "amount": 1.0}, "ada", reason="a typo")
    good = await shop.dead_letters.correct(letters[1], {"currency": "EUR", "amount": "1.50"}, "ada", reason="a typo")
    assert (bad.outcome, good.outcome) == ("rejected", "appended")
    assert (await shop.dead_letters.get("ingest-2")).reason == "a typo"
    await shop.retention.empty(letters[2], "ada")
    with acting(ADA):
        with pytest.raises(CountChanged):
            _ = [each async for each in shop.dead_letters.retry_all(expect=7)]
        _ = [each async for each in shop.dead_letters.retry_all(DeadLetterFilter("ingest", source="erp"))]
        _ = [each async for each in shop.dead_letters.discard_all(DeadLetterFilter("ingest"), "a test", "ada")]
    await shop.retention.enforce("ada")
    await shop.retention.enforce()
    assert await told(shop) == [
        ("dead-letters retry", "ingest-1", "ada", "done"),
        ("dead-letters discard", "ingest-1", "ada", "done"),
        ("dead-letters discard", "ingest-1", "ada", "refused"),
        ("dead-letters correct", "ingest-2", "ada", "refused"),
        ("dead-letters correct", "ingest-2", "ada", "done"),
        ("dead-letters purge", "ingest-3", "ada", "done"),
        ("dead-letters retry", "--all", "ada", "refused"),
        ("dead-letters retry", "--kind ingest --source erp", "ada", "done"),
        ("dead-letters discard", "--kind ingest", "ada", "done"),
        ("dead-letters purge", "", "ada", "done"),
    ]
    details = [each.details for each in await entries(shop)]
    assert details[0] == {"result": "still dead"}
    assert details[4] == {"position": good.position}
    assert details[7:] == [{"still dead": 1}, {"discarded": 1}, {"purged": 0}]
    assert (await entries(shop))[3].error == f"{bad.path}: {bad.reason}"


async def test_decisions_about_epochs_tokens_and_releases(shop: Shop) -> None:
    """Also those that are refused."""
    with acting(ADA):
        _, token = await shop.tokens.create(["operate"], label="night shift")
        await shop.tokens.revoke(token.name)
        with pytest.raises(UnknownToken):
            await shop.tokens.revoke("tok_000000000000")
    await shop.epochs.raise_epoch("erp", reason="a restore", operator="bob")
    await shop.releases.create("spring", by="bob", reason="a season")
    with pytest.raises(InvalidRelease):
        await shop.releases.create("spring", by="bob", reason="a season")
    await shop.releases.schedule("spring", moment() + timedelta(days=1), by="bob", reason="a season")
    await shop.releases.publish("spring", by="bob", reason="a season")
    await shop.releases.roll_back("spring", by="bob", reason="too early")
    found = await entries(shop)
    assert [(each.action, each.target, each.actor, each.outcome) for each in found] == [
        ("tokens create", token.name, "ada", "done"),
        ("tokens revoke", token.name, "ada", "done"),
        ("tokens revoke", "tok_000000000000", "ada", "refused"),
        ("epochs raise", "erp", "bob", "done"),
        ("releases create", "spring", "bob", "done"),
        ("releases create", "spring", "bob", "refused"),
        ("releases schedule", "spring", "bob", "done"),
        ("releases publish", "spring", "bob", "done"),
        ("releases rollback", "spring", "bob", "done"),
    ]
    assert found[0].details == {"scopes": ["operate"], "source": None, "label": "night shift"}
    assert found[3].details == {"epoch": 1}
    assert [found[0].via, found[3].via] == ["command", "program"]


async def test_plans_that_are_applied_and_refused(shop: Shop) -> None:
    """With how many pages differ, and how many lose something."""
    plan = await shop.plan()
    kept = await shop.plans.keep(plan, "ada")
    await shop.plans.refuse(kept.plan, by="bob", reason="not now")
    with pytest.raises(PlanDecided):
        await shop.plans.refuse(kept.plan, by="bob", reason="not now")
    with pytest.raises(CountChanged):
        await shop.apply(plan, by="ada", reason="a test", expected=5)
    await shop.apply(plan, by="ada", reason="a test", expected=0)
    found = await entries(shop)
    assert [(each.action, each.actor, each.outcome) for each in found] == [
        ("plan --keep", "ada", "done"),
        ("plans refuse", "bob", "done"),
        ("plans refuse", "bob", "refused"),
        ("apply", "ada", "refused"),
        ("apply", "ada", "done"),
    ]
    assert found[-1].details == {"changed": 0, "taken": 0}


async def test_runs_have_counts_and_samples(shop: Shop) -> None:
    """`verify` and `recover` have their start, their finish, what they counted, and some of what differed."""
    await append(shop, catalog("T-Shirt"), price("10.00"))
    await shop.catch_up()
    async with shop.store.coordination.fold_transaction("pricing") as folding:
        await folding.remove([SKU])
    for sample in (None, 5):
        await shop.verify(sample=sample)
    await shop.recover(confirmed=True)
    verified, sampled, recovered = await entries(shop)
    assert (verified.action, verified.target, verified.outcome) == ("verify", "", "done")
    assert verified.details["drifted"] == sampled.details["drifted"]
    assert sampled.details["sample"] == 5
    samples = verified.details["samples"]
    assert isinstance(samples, list)
    assert samples[0].startswith(f"{SKU}/")
    assert (recovered.action, recovered.outcome) == ("recover", "done")
    assert recovered.details["position"] == await shop.store.log.end()
