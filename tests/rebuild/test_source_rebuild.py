"""A rebuild of one source, on both stores: what it finds, repairs, and leaves unchanged."""

import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.errors import RebuildInProgress, RunNotResumable, SourceFailed, StoreUnavailable
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.rebuild.run_records import RunSpec
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import CorrectionEvent
from tests.support.rebuild_fixtures import (
    Witness,
    counts_of,
    export,
    export_lines,
    file_of,
    marked,
    rebuild,
    resume,
    with_snapshots,
)
from tests.support.small_shop import (
    SKU,
    append,
    as_line,
    catalog,
    event,
    everything,
    pages_of,
    price,
    say,
    section,
    stock,
    stream_of,
    withdrawn,
)

SKUS = [f"SKU-{number:03}" for number in range(40)]


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, where the ERP, the PIM and one warehouse have snapshots."""
    return with_snapshots(store_url, tmp_path, "erp", "pim", "wms-a")


def prices(*, version: int = 5, skus: list[str] = SKUS) -> list[DomainEvent]:
    """A price of every SKU, for every channel."""
    return [price(f"{number}.00", version=version, sku=sku) for number, sku in enumerate(skus, 1)]


def soon() -> str:
    """A time after everything that was recorded so far."""
    return (datetime.now(UTC) + timedelta(minutes=1)).isoformat()


# --- rows against heads -----------------------------------------------------------------------------


async def test_each_row_is_what_it_is_against_the_log(shop: Shop, config: Config) -> None:
    """Missing and newer rows are appended, changed ones corrected, equal and older ones ignored."""
    equal, newer, changed, older, missing = SKUS[:5]
    await say(
        shop,
        price("1.00", version=5, sku=equal),
        price("2.00", version=5, sku=newer),
        price("3.00", version=5, sku=changed),
        price("4.00", version=5, sku=older),
        *(catalog(sku, sku=sku) for sku in SKUS[:5]),
    )
    rows = [
        price("1.00", version=5, sku=equal),
        price("2.50", version=6, sku=newer),
        price("3.50", version=5, sku=changed),
        price("4.50", version=4, sku=older),
        price("5.50", version=1, sku=missing),
    ]
    export(config, "erp", *rows, taken_at="2026-01-01T00:00:00Z")
    witness = Witness()
    report = await rebuild(shop, "erp", witness=witness)
    assert counts_of(report) == {"rows": 5, "equal": 1, "newer": 1, "changed": 1, "older": 1, "missing": 1}
    assert (report.state, report.complete, report.live) == ("completed", True, 4)
    found = {newer: "newer", changed: "changed", missing: "missing"}
    assert witness.drift == {f"{sku}/*/pricing/erp": drift for sku, drift in found.items()}
    amounts = [(await section(shop, "pricing", sku=sku))["amount"] for sku in SKUS[:5]]
    assert amounts == ["1.00", "2.50", "3.50", "4.00", "5.50"]


async def test_the_history_tells_what_a_rebuild_did_and_why(shop: Shop, config: Config) -> None:
    """A correction is the next revision of its version, with the run's id, the reason, and the fields it changed."""
    await append(shop, price("3.00", version=5))
    export(config, "erp", price("3.50", version=5))
    report = await rebuild(shop, "erp")
    first, second = [entry async for entry in shop.history(SKU, domain="pricing")]
    assert (first.revision, first.run_id, first.drift, first.head) == (0, None, None, False)
    assert (second.revision, second.run_id, second.drift, second.head) == (1, report.run, "changed", True)
    assert [(change.path, change.before, change.after) for change in second.changes] == [("amount", "3.00", "3.50")]
    assert report.samples == [[stream_of(price("0")), "changed", [["amount", "3.00", "3.50"]]]]


async def test_rebuilding_again_finds_nothing(shop: Shop, config: Config) -> None:
    """Repaired streams are equal the next time, and the log grows only by the run's record."""
    await append(shop, *prices(version=4))
    export(config, "erp", *prices())
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "newer": 40}
    before = [each for each in await everything(shop.store) if each.topic == "pricing"]
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "equal": 40}
    assert [each for each in await everything(shop.store) if each.topic == "pricing"] == before


async def test_a_flip_back_is_another_revision(shop: Shop, config: Config) -> None:
    """A source that returns to its first content at the same version is followed."""
    await append(shop, price("3.00"))
    for amount in ("3.50", "3.00"):
        export(config, "erp", price(amount))
        assert counts_of(await rebuild(shop, "erp")) == {"rows": 1, "changed": 1}
        assert (await section(shop, "pricing"))["amount"] == amount
    assert [each.revision for each in await everything(shop.store) if each.topic == "pricing"] == [0, 1, 2]


async def test_a_dry_run_reports_and_writes_nothing(shop: Shop, config: Config) -> None:
    """It finds what a run would find, including orphans, and writes nothing: no event, run or page."""
    await say(shop, *prices(version=4))
    before, pages = await everything(shop.store), await pages_of(shop)
    export(config, "erp", *prices(skus=SKUS[1:]), taken_at=soon())
    witness = Witness()
    report = await rebuild(shop, "erp", RebuildRequest(dry_run=True), witness)
    assert counts_of(report) == {"rows": 39, "newer": 39, "orphans": 1}
    assert (report.run, report.dry_run) == (None, True)
    assert witness.drift[f"{SKUS[0]}/*/pricing/erp"] == "orphan"
    assert len(witness.drift) == 40
    assert await everything(shop.store) == before
    assert await pages_of(shop) == pages


async def test_the_order_of_the_rows_does_not_matter(config: Config, tmp_path: Path) -> None:
    """Rows in any order give the same counts, the same withdrawals and the same pages as rows in order."""
    rows = prices()
    for sequence, restarts in ((rows, 0), ([*rows[::2], *rows[1::2]], 1), (rows[::-1], 1)):
        shuffled = with_snapshots(config.store.url, tmp_path, "erp")
        async with pagefold.open(shuffled) as shop:
            missing = [price("99.00", version=7, sku=f"GONE-{len(sequence)}-{restarts}-{sequence[1].sku}")]
            await append(shop, *missing)
            export(shuffled, "erp", *sequence, taken_at=soon())
            witness = Witness()
            report = await rebuild(shop, "erp", RebuildRequest(max_orphans=1), witness)
            assert (report.counts.rows, report.counts.withdrawn, report.state) == (40, 1, "completed")
            assert witness.restarts == restarts
            assert {stream for stream, drift in witness.drift.items() if drift == "orphan"} == {stream_of(missing[0])}


@pytest.mark.parametrize("step", [1, -1])
@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        (b'"sourceVersion":5', b'"sourceVersion":6,"sourceVersion":5'),
        (b'"sourceVersion":5', b'"sourceVersion":9007199254740993'),
        (b'"sourceVersion":5', b'"sourceVersion":1000000000000000000000'),
        (b'"sourceVersion":5', b'"sourceVersion":-1000000000000000000000'),
        (b'"sourceVersion":5', b'"sourceVersion":5,"epoch":1024'),
        (b'"sourceVersion":5', b'"sourceVersion":5,"id":""'),
    ],
)
async def test_the_order_of_the_rows_hides_no_fault(
    shop: Shop, config: Config, sound: bytes, broken: bytes, step: int
) -> None:
    """A row with an invalid envelope is rejected in any order, and changes nothing."""
    lines = [as_line(each) for each in prices(skus=SKUS[:3])]
    lines[1] = lines[1].replace(sound, broken)
    export_lines(config, "erp", lines[::step])
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 3, "missing": 2, "refused": 1}


async def test_the_newest_row_of_a_stream_counts(shop: Shop, config: Config) -> None:
    """Of several rows of a stream the highest version counts; other content at that version is rejected."""
    rows = [price("1.00", version=1), price("3.00", version=3), price("2.00", version=2), price("9.99", version=3)]
    export(config, "erp", *rows, price("3.00", version=3))
    report = await rebuild(shop, "erp")
    assert counts_of(report) == {"rows": 5, "missing": 1, "repeated": 3, "refused": 1}
    assert report.refusals == [[4, "payload", f"row 2 has another payload of {stream_of(rows[0])} at the same version"]]
    assert (await section(shop, "pricing"))["amount"] == "3.00"
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 5, "equal": 1, "repeated": 3, "refused": 1}


# --- orphans ----------------------------------------------------------------------------------------


async def test_an_orphan_is_withdrawn_and_comes_back(shop: Shop, config: Config) -> None:
    """A stream that a complete snapshot lacks is withdrawn, not deleted; if its row returns, it is live again."""
    await say(shop, *prices(), *(catalog(sku, sku=sku) for sku in SKUS))
    gone = f"{SKUS[7]}/*/pricing/erp"
    export(config, "erp", *prices()[:7], *prices()[8:], taken_at=soon())
    witness = Witness()
    report = await rebuild(shop, "erp", witness=witness)
    assert counts_of(report) == {"rows": 39, "equal": 39, "orphans": 1, "withdrawn": 1}
    assert witness.drift == {gone: "orphan"}
    page = await shop.pages.get(SKUS[7], "web-de")
    assert page is not None
    assert ("pricing" in page, page.readiness["pricing"], page.status) == (False, False, "live")
    [head] = await shop.store.log.heads([gone])
    assert (head.originator_version, head.revision) == (5, 1)
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 39, "equal": 39}

    export(config, "erp", *prices(), taken_at=soon())
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "equal": 39, "changed": 1}
    page = await shop.pages.get(SKUS[7], "web-de")
    assert page is not None
    assert page["pricing"] == {"amount": "8.00", "currency": "EUR"}


async def test_a_withdrawal_whose_answer_was_lost_is_counted(
    shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A retry finds its own event, and counts it as withdrawn once."""
    await append(shop, *prices())
    export(config, "erp", *prices()[1:], taken_at=soon())
    correct, calls = shop.store.log.correct, []

    async def lose_the_answer(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        positions = await correct(corrections, fence)
        calls.append(positions)
        if len(calls) == 1:
            raise StoreUnavailable(shop.store.name, OSError())
        return positions

    monkeypatch.setattr(shop.store.log, "correct", lose_the_answer)
    report = await rebuild(shop, "erp")
    assert (len(calls), report.counts.withdrawn, report.counts.spared) == (2, 1, 0)


async def test_an_orphan_is_live_again_with_the_next_version(shop: Shop, config: Config) -> None:
    """The source's next event brings a withdrawn product back."""
    await append(shop, *prices())
    export(config, "erp", *prices()[1:], taken_at=soon())
    await rebuild(shop, "erp")
    assert await section(shop, "pricing", sku=SKUS[0]) is None
    await say(shop, price("7.77", version=6, sku=SKUS[0]))
    assert (await section(shop, "pricing", sku=SKUS[0]))["amount"] == "7.77"


async def test_an_incomplete_snapshot_withdraws_nothing(shop: Shop, config: Config) -> None:
    """Without an end marker, a missing row proves nothing, and the report says so."""
    await append(shop, *prices(version=4))
    export(config, "erp", *prices()[:20], end=False)
    report = await rebuild(shop, "erp")
    assert counts_of(report) == {"rows": 20, "newer": 20, "orphans": 20}
    assert (report.state, report.complete) == ("completed", False)
    assert "end marker" in report.reason


@pytest.mark.parametrize("share", range(5, 100, 5))
async def test_a_snapshot_cut_anywhere_withdraws_nothing(shop: Shop, config: Config, share: int) -> None:
    """Wherever a file ends too early, in a row or between two, nothing is withdrawn."""
    await append(shop, *prices())
    export(config, "erp", *prices())
    whole = file_of(config, "erp").read_bytes()
    file_of(config, "erp").write_bytes(whole[: len(whole) * share // 100])
    report = await rebuild(shop, "erp", RebuildRequest(confirmed=True))
    assert (report.complete, report.counts.withdrawn, report.counts.changed) == (False, 0, 0)
    assert report.counts.equal < 40
    for sku in SKUS:
        assert await section(shop, "pricing", sku=sku) is not None


async def test_a_row_that_nobody_can_read_withdraws_nothing(shop: Shop, config: Config) -> None:
    """An unreadable row might name any stream, so no stream is known to be absent."""
    await append(shop, *prices())
    lines = [as_line(each) for each in prices()[:39]]
    file_of(config, "erp").write_bytes(marked([*lines, b'{"sku":']))
    report = await rebuild(shop, "erp")
    assert counts_of(report) == {"rows": 40, "equal": 39, "orphans": 1, "refused": 1, "unreadable": 1}
    assert (report.state, report.complete) == ("completed", True)


async def test_a_refused_row_is_not_absent(shop: Shop, config: Config) -> None:
    """A stream whose row breaks a rule is not absent: it keeps its head."""
    await append(shop, *prices())
    wrong = event("pricing", {"currency": "EUR", "amount": "free"}, sku=SKUS[39], version=9)
    export(config, "erp", *prices()[:39], wrong, taken_at=soon())
    report = await rebuild(shop, "erp")
    assert counts_of(report) == {"rows": 40, "equal": 39, "refused": 1}
    assert report.refusals[0][:2] == [40, "payload.amount"]  # type: ignore[index]  # it is a list
    assert (await section(shop, "pricing", sku=SKUS[39]))["amount"] == "40.00"


async def test_what_was_said_since_the_snapshot_survives(shop: Shop, config: Config) -> None:
    """A stream with events since the snapshot was taken, by its marker or its file's time, is kept."""
    await append(shop, *prices())
    export(config, "erp", *prices())
    past = time.time() - 60
    os.utime(file_of(config, "erp"), (past, past))
    await append(shop, price("1.00", sku="NEW"))
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "equal": 40, "spared": 1}
    export(config, "erp", *prices(), taken_at=datetime.fromtimestamp(past, UTC).isoformat())
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "equal": 40, "spared": 1}
    export(config, "erp", *prices(), taken_at=soon())
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 40, "equal": 40, "orphans": 1, "withdrawn": 1}


async def test_other_sources_are_left_alone(shop: Shop, config: Config) -> None:
    """A snapshot proves nothing about other sources' streams, nor about withdrawn ones."""
    others = [stock(3, sku=sku, source="wms-b") for sku in SKUS]
    await append(shop, *others, *(stock(4, sku=sku) for sku in SKUS), withdrawn("inventory", version=2, sku="OLD"))
    export(config, "wms-a", *(stock(4, sku=sku) for sku in SKUS), taken_at=soon())
    assert counts_of(await rebuild(shop, "wms-a")) == {"rows": 40, "equal": 40}


async def test_a_row_of_another_source_is_refused(shop: Shop, config: Config) -> None:
    """A row of another source in a snapshot is rejected."""
    export(config, "wms-a", stock(3, source="wms-b"))
    report = await rebuild(shop, "wms-a")
    assert report.counts.refused == 1
    assert not [each for each in await everything(shop.store) if each.topic == "inventory"]


# --- too many orphans -------------------------------------------------------------------------------


async def test_a_run_that_would_withdraw_too_much_is_held(shop: Shop, config: Config) -> None:
    """Above five streams, or 5 % of the source's streams, a run waits for confirmation."""
    await say(shop, *prices())
    export(config, "erp", *prices()[6:], taken_at=soon())
    held = await rebuild(shop, "erp")
    assert (held.state, held.counts.orphans, held.held_limit, held.counts.withdrawn) == ("held", 6, 5, 0)
    assert (await resume(shop, held.run)).state == "held"
    assert (await section(shop, "pricing", sku=SKUS[0]))["amount"] == "1.00"
    file_of(config, "erp").unlink()  # it has been read
    done = await resume(shop, held.run, confirmed=True)
    assert (done.state, done.counts.withdrawn) == ("completed", 6)
    assert await section(shop, "pricing", sku=SKUS[0]) is None
    assert await section(shop, "pricing", sku=SKUS[6]) is not None


async def test_what_is_said_while_a_run_is_held_survives(shop: Shop, config: Config) -> None:
    """Before a withdrawal, heads are read again: a stream with events since the run began is spared."""
    await append(shop, *prices())
    export(config, "erp", *prices()[6:], taken_at=soon())
    held = await rebuild(shop, "erp")
    await append(shop, price("7.00", version=9, sku=SKUS[0]), price("0.50", version=1, sku=SKUS[1]))
    done = await resume(shop, held.run, confirmed=True)
    assert (done.counts.withdrawn, done.counts.spared) == (4, 2)
    assert (await section(shop, "pricing", sku=SKUS[0]))["amount"] == "7.00"
    assert (await section(shop, "pricing", sku=SKUS[1]))["amount"] == "2.00"


@pytest.mark.parametrize(
    ("limit", "state"), [(6, "held"), (7, "completed"), ("15%", "held"), ("5%", "held"), ("18%", "completed")]
)
async def test_the_limit_can_be_another(shop: Shop, config: Config, limit: object, state: str) -> None:
    """A number or a share of the source's live streams."""
    await append(shop, *prices())
    export(config, "erp", *prices()[7:], taken_at=soon())
    assert (await rebuild(shop, "erp", RebuildRequest(max_orphans=limit))).state == state  # type: ignore[arg-type]  # is JSON
    assert (await rebuild(shop, "erp", RebuildRequest(confirmed=True))).state == "completed"


# --- scope ------------------------------------------------------------------------------------------


async def test_a_prefix_limits_a_run(shop: Shop, config: Config) -> None:
    """Rows and orphans of other SKUs are ignored."""
    await append(shop, *prices(version=4))
    export(config, "erp", *prices()[:15], *prices()[16:], taken_at=soon())
    report = await rebuild(shop, "erp", RebuildRequest(prefix="SKU-01", max_orphans=1))
    assert counts_of(report) == {"rows": 9, "newer": 9, "orphans": 1, "withdrawn": 1}
    assert report.live == 10


# --- runs -------------------------------------------------------------------------------------------


async def test_a_source_is_rebuilt_by_one_run_at_a_time(shop: Shop, config: Config) -> None:
    """While a run is in progress, another is refused, and the error names the first."""
    export(config, "erp", *prices())
    async with shop.rebuilds() as office, shop.store.coordination.claim("rebuild-erp") as mine:
        assert mine
        run = await office.runs.start(a_plan())
        with pytest.raises(RebuildInProgress, match=run.id):
            await office.rebuild("erp", RebuildRequest(), Witness())
        assert (await office.report(run.id)).state == "running"
    async with shop.rebuilds() as office:
        assert (await office.report(run.id)).state == "interrupted"


async def test_a_run_whose_process_died_is_superseded(shop: Shop, config: Config) -> None:
    """The next run supersedes it, and it can no longer be resumed."""
    export(config, "erp", *prices())
    async with shop.rebuilds() as office:
        dead = await office.runs.start(a_plan())
        report = await office.rebuild("erp", RebuildRequest(), Witness())
        assert report.state == "completed"
        with pytest.raises(RunNotResumable, match=f"superseded by {report.run}"):
            await office.resume(dead.id, Witness(), confirmed=False)
        assert [each.run for each in await office.newest(10)] == [report.run, dead.id]


async def test_a_run_goes_on_only_with_its_own_snapshot(shop: Shop, config: Config) -> None:
    """A file that has changed since is another snapshot."""
    export(config, "erp", *prices())
    async with shop.rebuilds() as office:
        run = await office.runs.start(a_plan())
        with pytest.raises(RunNotResumable, match="is not the one"):
            await office.resume(run.id, Witness(), confirmed=False)


async def test_a_snapshot_that_is_not_there_fails(shop: Shop, config: Config) -> None:
    """Without a snapshot, no run begins."""
    with pytest.raises(SourceFailed, match="erp"):
        await rebuild(shop, "erp")
    async with shop.rebuilds() as office:
        assert not await office.newest(10)


async def test_a_completed_run_stays_as_it_is(shop: Shop, config: Config) -> None:
    """Resuming it changes nothing."""
    export(config, "erp", *prices())
    report = await rebuild(shop, "erp")
    before = await everything(shop.store)
    assert (await resume(shop, report.run)).counts == report.counts
    assert await everything(shop.store) == before


async def test_every_drifted_stream_can_be_listed(shop: Shop, config: Config) -> None:
    """The record has all of them, not only samples."""
    await append(shop, *prices(version=4, skus=SKUS[:30]), price("1.00", sku="GONE"))
    export(config, "erp", *prices(), taken_at=soon())
    witness = Witness()
    report = await rebuild(shop, "erp", RebuildRequest(max_orphans=5), witness)
    async with shop.rebuilds() as office:
        assert report.run is not None
        listed = {stream: drift async for stream, drift in office.drifted(report.run)}
    assert listed == witness.drift
    assert len(listed) == 41


# --- a counter that was restarted -------------------------------------------------------------------


async def test_a_source_that_begins_anew_is_not_swallowed_in_silence(shop: Shop, config: Config) -> None:
    """If all rows are older than the log, status and report say that the source looks reset."""
    await say(shop, *prices(version=50))
    assert not (await shop.status()).looks_reset
    restarted = [event("pricing", {"currency": "EUR", "amount": "1.00"}, sku=sku, version=1) for sku in SKUS]
    later = [msgspec.structs.replace(each, occurred_at=datetime.now(UTC)) for each in restarted]
    await say(shop, *later)
    [reset] = (await shop.status()).looks_reset
    assert (reset.source, reset.domain, reset.stale) == ("erp", "pricing", 40)
    export(config, "erp", *later)
    report = await rebuild(shop, "erp")
    assert (report.looks_reset, report.counts.older, report.counts.reset) == (True, 40, 40)
    await say(shop, price("2.00", version=51, sku=SKUS[0]))
    assert (await shop.status()).looks_reset, "it stays until somebody has answered"
    report = await rebuild(shop, "erp", RebuildRequest(new_epoch=True))
    assert (report.looks_reset, report.counts.newer) == (False, 40)
    assert not (await shop.status()).looks_reset


async def test_late_deliveries_do_not_look_like_a_reset(shop: Shop, config: Config) -> None:
    """An older version that also occurred earlier is merely late."""
    await say(shop, *prices(version=50))
    await say(shop, *prices(version=3))
    assert not (await shop.status()).looks_reset


def a_plan() -> RunSpec:
    """The id of a run that another process began."""
    return RunSpec(
        source="erp",
        domains=["pricing"],
        start_position=0,
        snapshot="elsewhere",
        identity="elsewhere",
        process="elsewhere:1",
    )
