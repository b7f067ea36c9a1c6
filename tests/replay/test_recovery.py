"""`pagefold recover`: folds every page again from the log as it is, and then everything continues."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

import pagefold
from pagefold import Config, DomainEvent, LogReplaced, Shop
from pagefold.engine.configuration.snapshot_config import OrphanLimit
from pagefold.engine.errors import PagesWouldGo, RecoveryUnderWay
from pagefold.engine.replay import lost_pages
from pagefold.engine.replay.lost_pages import LostPages
from pagefold.engine.stores.dead_letter_records import DeadLetterFilter
from tests.stores.test_log_proof import put_back
from tests.support.command_line import run_pagefold, settle
from tests.support.small_shop import (
    SKU,
    append,
    as_line,
    assert_every_event_is_counted,
    catalog,
    media,
    pages_of,
    price,
    say,
    section,
    stock,
    with_channel,
    withdrawn,
)

BEFORE = [
    catalog("shirt", sku="A"),
    catalog("shirt, again", version=2, sku="A"),
    price("19.90", sku="A"),
    stock(3, sku="A"),
    catalog("hat", sku="B"),
    media("https://example.com/b.jpg", sku="B"),
]
AFTER = [
    catalog("another shirt", version=3, sku="A"),
    price("17.90", version=2, sku="A"),
    catalog("hat for others", sku="B", channel="outlet-de"),
    catalog("socks", sku="C"),
    stock(7, sku="C"),
    withdrawn("media", version=2, sku="B"),
]


async def put_back_behind(shop: Shop, before: Sequence[DomainEvent], after: Sequence[DomainEvent]) -> None:
    """A shop that has folded everything, and a log that was truncated to its first part."""
    await say(shop, *before)
    await say(shop, *after)
    await put_back(shop, len(before))


async def test_pages_are_those_of_the_log_again(shop: Shop, config: Config) -> None:
    """Each has the same bytes as then; what the log does not have is removed, also in a single channel."""
    await say(shop, *BEFORE)
    then = await pages_of(shop)
    await say(shop, *AFTER)
    assert await pages_of(shop) != then
    await put_back(shop, len(BEFORE))
    recovered = await shop.recover(confirmed=True)
    assert await pages_of(shop) == then
    assert recovered.position == len(BEFORE)
    assert recovered.log_id == await shop.store.proof.log_id()
    assert recovered.changed > 0
    assert (await shop.verify()).changed == 0
    async with pagefold.open(config) as another:
        assert await another.store.proof.problem() is None
        assert not await another.store.proof.is_recovering()


async def test_everything_continues(shop: Shop) -> None:
    """New events get the positions of the lost ones, and are folded; every event is counted once."""
    await put_back_behind(shop, BEFORE, AFTER)
    await shop.recover(confirmed=True)
    await assert_every_event_is_counted(shop.store)
    await say(shop, *AFTER)
    await assert_every_event_is_counted(shop.store)
    assert (await section(shop, "catalog", sku="C"))["attributes"]["code"] == "socks"
    assert (await shop.verify()).changed == 0


async def test_a_much_shorter_log_is_accepted_too(shop: Shop) -> None:
    """The consumers do not wait until the log has grown to their old checkpoint."""
    await say(shop, *BEFORE)
    await say(shop, *[stock(number, sku=f"S{number:04}") for number in range(500)])
    await put_back(shop, len(BEFORE))
    async with anyio.create_task_group() as group:
        with pytest.raises(LogReplaced):
            await shop.work()
        await shop.recover(confirmed=True)
        group.start_soon(shop.work)
        await append(shop, catalog("new", sku="NEW"))
        with anyio.fail_after(20):
            while await shop.pages.get("NEW", "web-de") is None:  # noqa: ASYNC110  # the worker has no event for it
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()


async def test_workers_continue_meanwhile(shop: Shop, config: Config) -> None:
    """A recovery with an unchanged log changes nothing, while workers fold new events."""
    await say(shop, *BEFORE, *AFTER)
    before = await pages_of(shop)
    async with pagefold.open(config) as worker, anyio.create_task_group() as group:
        group.start_soon(worker.work)
        assert (await shop.recover()).changed == 0
        for number in range(3):
            await shop.recover()
            await append(shop, catalog("new", sku=f"NEW{number}"))
        with anyio.fail_after(20):
            while len(await pages_of(shop)) < len(before) + 3 * len(config.channels):  # noqa: ASYNC110  # as above
                await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert before.items() <= (await pages_of(shop)).items()
    await shop.catch_up()
    await assert_every_event_is_counted(shop.store)


async def test_dead_letters_of_missing_events_are_discarded(shop: Shop, config: Config) -> None:
    """A dead letter whose event is not in the log any more is discarded."""
    await say(shop, *BEFORE)
    await append(shop, price("9.00", channel="web-de", sku="Z"))
    async with pagefold.open(with_channel(config, "web-de", currency="USD")) as other:
        dead_letters = other.store.dead_letters
        await other.catch_up()
        assert await dead_letters.count(DeadLetterFilter("projection")) == 1
        await put_back(other, len(BEFORE))
        await other.recover(confirmed=True)
        assert await dead_letters.count(DeadLetterFilter("projection")) == 0
        await assert_every_event_is_counted(other.store)


async def test_many_pages_without_events_are_not_removed_unconfirmed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If many pages would go, it reports how many and changes nothing; withdrawn pages do not count."""
    monkeypatch.setattr(lost_pages, "UNCONFIRMED_LIMIT", OrphanLimit.parse(0))
    await say(shop, *BEFORE, withdrawn("catalog", version=3, sku="A"))
    await say(shop, catalog("shirt", version=4, sku="A"), price("1.00", sku="NEVER"), catalog("socks", sku="C"))
    await say(shop, catalog("hat for others", sku="D", channel="outlet-de"))
    before = await pages_of(shop)
    await put_back(shop, len(BEFORE) + 1)
    with pytest.raises(PagesWouldGo) as refused:
        await shop.recover()
    shown = sum(b'"status":"live"' in (body or b"") for body in before.values())
    assert (refused.value.lost, refused.value.shown) == (2 * len(shop.config.channels) + 1, shown)
    assert await pages_of(shop) == before
    assert not await shop.store.proof.is_recovering()
    with pytest.raises(LogReplaced):
        await append(shop, stock(1))
    await shop.recover(confirmed=True)
    assert [await shop.pages.get(sku, "web-de") for sku in "AC"] == [None, None]
    assert await shop.pages.get("B", "web-de") is not None
    assert (await shop.recover()).changed == 0


async def test_some_pages_may_go(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """As many as a rebuild may withdraw unconfirmed, after a slightly older log was restored; the number is logged."""
    await say(shop, *[catalog("shirt", sku=f"S{number}") for number in range(10)], stock(1, channel="web-de", sku="N"))
    await put_back(shop, 10)
    await shop.recover()
    assert "removing pages without events in the log" in caplog.text
    assert len(await pages_of(shop)) == 10 * len(shop.config.channels)


@pytest.mark.parametrize(
    ("lost", "shown", "needs"),
    [
        (0, 0, False),
        (0, 9, False),
        (5, 9, False),
        (6, 9, True),
        (1, 1, True),
        (500, 20_000, False),
        (501, 20_000, True),
    ],
)
def test_how_many_may_go(lost: int, shown: int, *, needs: bool) -> None:
    """5 % or 500, never fewer than 5, and never all."""
    assert LostPages(lost, shown).needs_confirmation is needs


async def test_an_empty_log_removes_no_page_unconfirmed(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty log: every page would be removed, in more than one step."""
    monkeypatch.setattr(lost_pages, "STEP_SKUS", 3)
    await say(shop, withdrawn("catalog", version=1), *[catalog("shirt", sku=f"ÄPFEL/{number}") for number in range(10)])
    await put_back(shop, 1)
    with pytest.raises(PagesWouldGo, match=f"all {10 * len(shop.config.channels)} pages would go"):
        await shop.recover()
    assert await shop.pages.get("ÄPFEL/9", "web-de") is not None
    await shop.recover(confirmed=True)
    assert await shop.pages.get("ÄPFEL/9", "web-de") is None


async def test_one_at_a_time(shop: Shop, config: Config) -> None:
    """A second recovery is refused while one runs."""
    async with pagefold.open(config) as another, another.store.coordination.claim("recovery") as claimed:
        assert claimed
        with pytest.raises(RecoveryUnderWay):
            await shop.recover()


# --- the command ------------------------------------------------------------------------------------


def test_the_command_repairs_what_the_status_reports(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the refusal, with its exit code, to a shop that accepts events again."""
    place = settle(tmp_path, store_url, monkeypatch)
    config = Config.load(place / "pagefold.toml")
    (place / "events.ndjson").write_bytes(b"\n".join(map(as_line, BEFORE)))

    async def fold_and_put_back() -> None:
        async with pagefold.open(config) as shop:
            await shop.append([catalog(f"shirt {version}", version=version) for version in range(6)])
            await shop.catch_up()
            assert (await shop.status()).recovering is False
            await put_back(shop, 2)

    anyio.run(fold_and_put_back)
    for command in (["ingest", "events.ndjson"], ["work", "--once"], ["rebuild", "--from", "log"], ["verify"]):
        ran = run_pagefold(*command)
        assert (ran.code, "pagefold recover" in ran.err) == (3, True), ran
    status = run_pagefold("status")
    assert status.code == 1
    assert "up to position 7, but the log ends at 2" in status.err
    ran = run_pagefold("recover", "--json")
    assert ran.code == 0
    assert ran.document.keys() == {"logId", "position", "sections", "changed", "seconds"}
    assert ran.document["position"] == 2
    for command in (["status"], ["verify"], ["recover"], ["work", "--once"]):
        assert run_pagefold(*command).code == 0


def test_the_command_wants_a_confirmation(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It exits 1 with the number of pages that it would remove, and removes them with `--yes`."""
    config = Config.load(settle(tmp_path, store_url, monkeypatch) / "pagefold.toml")

    async def fold_and_delete() -> None:
        async with pagefold.open(config) as shop:
            await say(shop, withdrawn("catalog", version=1, sku="OTHER"), catalog("shirt"))
            await put_back(shop, 1)

    anyio.run(fold_and_delete)
    ran = run_pagefold("recover", "--json")
    assert (ran.code, ran.out) == (1, "")
    assert "pages would go, because the log has nothing of them; nothing was changed" in ran.err
    assert "`pagefold recover --yes`" in ran.err
    assert run_pagefold("get", SKU, "web-de").code == 0
    assert run_pagefold("recover", "--yes").code == 0
    assert run_pagefold("get", SKU, "web-de").code == 1
    assert run_pagefold("status").code == 0


def test_an_interrupted_recovery_is_reported(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until another one finishes, the status says so and exits 1."""
    config = Config.load(settle(tmp_path, store_url, monkeypatch) / "pagefold.toml")

    async def begin() -> None:
        async with pagefold.open(config) as shop:
            await say(shop, catalog("shirt"))
            await shop.store.proof.begin_recovery()

    anyio.run(begin)
    status = run_pagefold("status")
    assert (status.code, "run it again" in status.err) == (1, True)
    assert run_pagefold("recover").code == 0
    assert run_pagefold("status").code == 0
