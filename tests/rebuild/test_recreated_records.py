"""Rebuilds find recreated records and restarted counters, on both stores."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop, StoreUnavailable
from pagefold.domains.values import format_timestamp
from pagefold.engine.errors import InvalidEpochRequest
from pagefold.engine.intake.epoch_registry import KnownEpochs
from pagefold.engine.rebuild.epoch_placement import Placement
from pagefold.engine.rebuild.older_rows import (
    MAX_EVENT_BYTES,
    OlderRows,
    OlderRowsFound,
    RecreatedCandidate,
    record_older_rows,
)
from pagefold.engine.rebuild.rebuild_service import RebuildRequest
from pagefold.engine.rebuild.run_aggregate import RebuildRun
from pagefold.engine.rebuild.run_observer import Finding
from pagefold.engine.rebuild.run_records import RunSpec
from pagefold.engine.stores.epoch_fence import Fence
from pagefold.engine.stores.log_records import CorrectionEvent
from pagefold.projections.epochs import MAX_EPOCH, epoch_of, version_of, versioned
from tests.support.rebuild_fixtures import Witness, counts_of, export, export_lines, rebuild, resume, with_snapshots
from tests.support.small_shop import (
    SKU,
    append,
    as_document,
    as_line,
    everything,
    price,
    say,
    section,
    stock,
    stream_of,
    withdrawn,
)

FUTURE = "2100-01-01T00:00:00Z"
PAST = "2026-01-01T00:00:00Z"
"""When a snapshot was taken: after all events in the log, or before."""

NEW_EPOCH = RebuildRequest(new_epoch=True)


@pytest.fixture
def config(store_url: str, tmp_path: Path) -> Config:
    """The small shop, with snapshots of a warehouse and of the ERP."""
    return with_snapshots(store_url, tmp_path, "wms-a", "erp")


async def newest(shop: Shop, *given: DomainEvent) -> list[tuple[int, int]]:
    """Epoch and version of the heads of some streams."""
    found = await shop.store.log.newest_versions([stream_of(each) for each in given])
    versions = [found[stream_of(each)] for each in given]
    return [(epoch_of(each), version_of(each)) for each in versions]


async def available(shop: Shop, sku: str = SKU) -> int | None:
    """The page's section."""
    await shop.catch_up()
    found = await section(shop, "inventory", sku=sku)
    return None if found is None else int(found["available"])


def occurred(given: DomainEvent, hours: float) -> DomainEvent:
    """The event, this many hours from now."""
    return msgspec.structs.replace(given, occurred_at=datetime.now(UTC) + timedelta(hours=hours))


async def deleted(shop: Shop, *skus: str) -> None:
    """Stock at version 5, withdrawn at version 6."""
    for sku in skus:
        await say(shop, stock(3, version=5, sku=sku), withdrawn("inventory", version=6, sku=sku, source="wms-a"))


# --- proof of life --------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 5])
@pytest.mark.parametrize("in_order", [True, False])
async def test_a_record_that_was_made_again_lives(shop: Shop, config: Config, version: int, *, in_order: bool) -> None:
    """A row older than its stream's withdrawal enters the next epoch, once; later events of the source do so too."""
    await deleted(shop, SKU)
    await say(shop, stock(7, sku="A"))
    rows = [stock(7, sku="A"), stock(9, version=version)]
    export(config, "wms-a", *(rows if in_order else rows[::-1]), taken_at=FUTURE)
    witness = Witness()
    report = await rebuild(shop, "wms-a", witness=witness)
    assert counts_of(report) == {"rows": 2, "equal": 1, "recreated": 1}
    assert (report.recreated, report.older, report.looks_reset) == ([stream_of(stock(9))], [], False)
    assert witness.drift == {stream_of(stock(9)): "recreated"}
    assert await available(shop) == 9
    assert await newest(shop, stock(9)) == [(1, version)]
    entries = [entry async for entry in shop.history(SKU)]
    assert [(each.epoch, each.version, each.drift, each.run_id) for each in entries][-1] == (
        1,
        version,
        "recreated",
        report.run,
    )
    export(config, "wms-a", *rows, taken_at=FUTURE)
    assert counts_of(await rebuild(shop, "wms-a")) == {"rows": 2, "equal": 2}
    await say(shop, stock(2, version=version + 1))
    assert await available(shop) == 2
    await say(shop, withdrawn("inventory", version=version + 2, source="wms-a"))
    assert await available(shop) is None
    assert await newest(shop, stock(9), stock(7, sku="A")) == [(1, version + 2), (0, 1)]


async def test_it_can_be_made_again_and_again(shop: Shop, config: Config) -> None:
    """Each time, its stream enters one more epoch; so does a stream that was withdrawn as an orphan."""
    for epoch in (1, 2, 3):
        await append(shop, stock(1, version=8), withdrawn("inventory", version=9, source="wms-a"))
        export(config, "wms-a", stock(epoch, version=2), taken_at=FUTURE)
        assert (await rebuild(shop, "wms-a")).counts.recreated == 1
        assert (await available(shop), await newest(shop, stock(1))) == (epoch, [(epoch, 2)])
    export(config, "wms-a", taken_at=FUTURE)
    assert (await rebuild(shop, "wms-a", RebuildRequest(confirmed=True))).counts.withdrawn == 1
    export(config, "wms-a", stock(7, version=1), taken_at="2100-01-02T00:00:00Z")
    assert (await rebuild(shop, "wms-a")).counts.recreated == 1
    assert (await available(shop), await newest(shop, stock(1))) == (7, [(4, 1)])


async def test_a_snapshot_older_than_the_withdrawal_proves_nothing(shop: Shop, config: Config) -> None:
    """The row is older than the withdrawal: the stream stays withdrawn, and nothing needs attention."""
    await deleted(shop, SKU)
    export(config, "wms-a", stock(3, version=5), taken_at=PAST)
    report = await rebuild(shop, "wms-a")
    assert (counts_of(report), report.looks_reset) == ({"rows": 1, "older": 1}, False)
    assert await available(shop) is None


async def test_a_row_that_occurred_later_proves_it(shop: Shop, config: Config) -> None:
    """The source's own timestamps prove it, even if the snapshot has no time, or an earlier one."""
    await deleted(shop, SKU)
    export(config, "wms-a", occurred(stock(9, version=1), hours=1), taken_at=PAST)
    assert (await rebuild(shop, "wms-a")).counts.recreated == 1
    assert await available(shop) == 9


async def test_an_incomplete_snapshot_proves_nothing(shop: Shop, config: Config) -> None:
    """An incomplete snapshot recreates nothing; the next complete one does."""
    await deleted(shop, SKU)
    export(config, "wms-a", stock(9, version=1), taken_at=FUTURE, end=False)
    report = await rebuild(shop, "wms-a")
    assert (counts_of(report), report.recreated) == ({"rows": 1, "older": 1}, [])
    assert await available(shop) is None
    export(config, "wms-a", stock(9, version=1), taken_at=FUTURE)
    assert (await rebuild(shop, "wms-a")).counts.recreated == 1


async def test_a_dry_run_tells_and_changes_nothing(shop: Shop, config: Config) -> None:
    """Candidates are counted and named; the log does not change."""
    await deleted(shop, SKU)
    export(config, "wms-a", stock(9, version=1), taken_at=FUTURE)
    before = await everything(shop.store)
    witness = Witness()
    report = await rebuild(shop, "wms-a", RebuildRequest(dry_run=True), witness)
    assert (report.counts.recreated, report.recreated) == (1, [stream_of(stock(9))])
    assert witness.drift == {stream_of(stock(9)): "recreated"}
    report = await rebuild(shop, "wms-a", RebuildRequest(dry_run=True, new_epoch=True), Witness())
    assert (counts_of(report), report.epoch) == ({"rows": 1, "newer": 1}, 1)
    assert await everything(shop.store) == before


async def test_a_withdrawal_and_a_named_epoch_prove_nothing(shop: Shop, config: Config) -> None:
    """A withdrawal is no proof of life; a row that names an epoch belongs to that one."""
    await deleted(shop, SKU, "B")
    rows = [withdrawn("inventory", version=2, sku="B", source="wms-a"), stock(1, version=1)]
    lines = [as_line(rows[0]), msgspec.json.encode(as_document(rows[1]) | {"epoch": 0})]
    export_lines(config, "wms-a", lines, taken_at=FUTURE)
    report = await rebuild(shop, "wms-a")
    assert (report.counts.recreated, report.counts.older) == (0, 2)
    assert [await available(shop), await available(shop, "B")] == [None, None]


async def test_what_was_said_meanwhile_is_not_overtaken(
    shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the source sends an event before the row is appended, the row is ignored."""
    await deleted(shop, SKU, "B")
    export(config, "wms-a", stock(9, version=1), stock(8, version=1, sku="B"), taken_at=FUTURE)
    correct = shop.store.log.correct
    spoken = False

    async def slow(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        nonlocal spoken
        if not spoken:
            spoken = True
            await append(shop, stock(70, version=7))
        return await correct(corrections, fence)

    monkeypatch.setattr(shop.store.log, "correct", slow)
    report = await rebuild(shop, "wms-a")
    assert (report.counts.recreated, report.counts.older) == (1, 1)
    assert await newest(shop, stock(1), stock(1, sku="B")) == [(0, 7), (1, 1)]


async def test_a_lost_answer_and_a_resumed_run(shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the reply is lost, or the run is stopped before it records the result, a record is recreated once."""
    skus = [f"S{number}" for number in range(4)]
    await deleted(shop, *skus)
    export(config, "wms-a", *(stock(9, version=1, sku=sku) for sku in skus), taken_at=FUTURE)
    correct = shop.store.log.correct
    failures = iter((StoreUnavailable(shop.store.name, OSError("lost")), RuntimeError("stopped")))

    async def lossy(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
        positions = await correct(corrections, fence)
        if (failure := next(failures, None)) is not None:
            raise failure
        return positions

    monkeypatch.setattr(shop.store.log, "correct", lossy)
    async with shop.rebuilds() as office:
        witness = Witness()
        report = await office.rebuild("wms-a", RebuildRequest(), witness)
        assert report.counts.recreated == 4
    await append(shop, *(withdrawn("inventory", version=2, sku=sku, source="wms-a") for sku in skus))
    with pytest.raises(RuntimeError):
        await rebuild(shop, "wms-a", witness=(witness := Witness()))
    report = await resume(shop, witness.run_id)
    assert (report.state, report.counts.recreated, report.counts.older) == ("completed", 4, 0)
    assert await newest(shop, *(stock(1, sku=sku) for sku in skus)) == [(2, 1)] * 4
    assert len(await everything(shop.store)) >= 4 * 5


async def test_the_last_epoch_has_no_next(shop: Shop, config: Config) -> None:
    """In epoch 1023 nothing is recreated: an operator must decide."""
    await shop.epochs.raise_epoch("wms-a", reason="so", operator="kim", epoch=MAX_EPOCH)
    await append(shop, withdrawn("inventory", version=6, source="wms-a"))
    export(config, "wms-a", stock(9, version=1), taken_at=FUTURE)
    report = await rebuild(shop, "wms-a")
    assert (report.looks_reset, report.older) == (True, [stream_of(stock(9))])


# --- a counter that was restarted -----------------------------------------------------------------


async def test_older_rows_are_named(shop: Shop, config: Config) -> None:
    """If the snapshot was taken later, the run reports them, and the status does until an operator answers."""
    await say(shop, stock(1, version=9), stock(2, version=9, sku="B"), stock(3, version=9, sku="C"))
    rows = [stock(1, version=9), stock(8, version=2, sku="B"), stock(3, version=9, sku="C")]
    export(config, "wms-a", *rows, taken_at=FUTURE)
    witness = Witness()
    report = await rebuild(shop, "wms-a", witness=witness)
    assert counts_of(report) == {"rows": 3, "equal": 2, "older": 1, "reset": 1}
    assert (report.looks_reset, report.older) == (True, [stream_of(stock(1, sku="B"))])
    assert witness.drift == {stream_of(stock(1, sku="B")): "older"}
    async with shop.rebuilds() as office:
        assert report.run is not None
        assert dict([each async for each in office.drifted(report.run)]) == witness.drift
    await say(shop, stock(4, version=10), stock(4, version=10, sku="B"))
    [reset] = (await shop.status()).looks_reset
    assert (reset.source, reset.domain) == ("wms-a", "inventory")
    await shop.epochs.dismiss("wms-a", reason="an old copy", operator="kim")
    assert (await shop.status()).looks_reset == []


async def test_rows_of_an_older_snapshot_are_not(shop: Shop, config: Config) -> None:
    """Events since the snapshot was taken are newer, and no sign of a reset."""
    await say(shop, stock(1, version=9))
    export(config, "wms-a", stock(1, version=2), taken_at=PAST)
    report = await rebuild(shop, "wms-a")
    assert (counts_of(report), report.looks_reset) == ({"rows": 1, "older": 1}, False)
    assert (await shop.status()).looks_reset == []


# --- a snapshot that is declared the truth --------------------------------------------------------


async def test_every_row_in_a_new_epoch(shop: Shop, config: Config) -> None:
    """Whatever versions the log has, the rows and later events win; orphans are found as usual."""
    skus = [f"S{number:02}" for number in range(30)]
    last = msgspec.structs.replace(price("99.00", sku="S00"), source_version=2**53 - 1)
    await say(shop, last, *(price("9.00", version=50, sku=sku) for sku in skus[1:]), price("7.00", sku="GONE"))
    rows = [price("1.00", version=1, sku=sku) for sku in skus]
    export(config, "erp", *rows, taken_at=FUTURE)
    report = await rebuild(shop, "erp", NEW_EPOCH)
    assert (report.epoch, report.looks_reset) == (1, False)
    assert counts_of(report) == {"rows": 30, "newer": 30, "orphans": 1, "withdrawn": 1}
    assert {tuple(each) for each in await newest(shop, *rows)} == {(1, 1)}
    assert (await section(shop, "pricing", sku="S00"))["amount"] == "1.00"
    assert await section(shop, "pricing", sku="GONE") is None
    [note] = await shop.epochs.list()
    assert (note.scope, note.epoch, note.run_id) == ("erp", 1, report.run)
    await say(shop, price("2.00", version=2, sku="S00"), price("3.00", version=1, sku="FRESH"))
    assert (await section(shop, "pricing", sku="S00"))["amount"] == "2.00"
    export(config, "erp", *rows[1:], price("2.00", version=2, sku="S00"), price("3.00", sku="FRESH"))
    assert counts_of(await rebuild(shop, "erp")) == {"rows": 31, "equal": 31}
    assert (await rebuild(shop, "erp", NEW_EPOCH)).epoch == 2


async def test_a_new_epoch_is_above_all_streams(shop: Shop, config: Config) -> None:
    """The epoch is also above those of single streams; a resumed run keeps its epoch."""
    await append(shop, msgspec.structs.replace(stock(5, version=8), epoch=6), stock(5, version=8, sku="B"))
    export(config, "wms-a", stock(1, sku="B"), stock(1), taken_at=FUTURE)
    witness = Witness()

    class Stopping(Witness):
        def found(self, drift: Finding, streams: Sequence[str]) -> None:
            raise RuntimeError(drift, streams)

    stopping = Stopping()
    with pytest.raises(RuntimeError):
        await rebuild(shop, "wms-a", NEW_EPOCH, stopping)
    report = await resume(shop, stopping.run_id)
    assert (report.state, report.epoch, report.counts.newer) == ("completed", 7, 2)
    assert await newest(shop, stock(1), stock(1, sku="B")) == [(7, 1), (7, 1)]
    assert [each.epoch for each in await shop.epochs.list() if each.what == "raised"] == [7]
    assert witness.drift == {}
    await shop.epochs.raise_epoch("wms-a", reason="so", operator="kim", epoch=MAX_EPOCH)
    with pytest.raises(InvalidEpochRequest, match="the last one"):
        await rebuild(shop, "wms-a", NEW_EPOCH)


async def test_an_epoch_that_is_raised_meanwhile(shop: Shop, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are compared before and repaired after an operator raises the epoch are in the new one."""
    await say(shop, stock(1, version=1), stock(1, version=9, sku="B"))
    export(config, "wms-a", stock(2, version=2), stock(1, version=9, sku="B"), stock(3, sku="NEW"), taken_at=FUTURE)
    correct = shop.store.log.correct
    async with pagefold.open(config, create=False) as other:

        async def slow(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
            monkeypatch.setattr(shop.store.log, "correct", correct)
            await other.epochs.raise_epoch("wms-a", reason="meanwhile", operator="kim")
            return await correct(corrections, fence)

        monkeypatch.setattr(shop.store.log, "correct", slow)
        report = await rebuild(shop, "wms-a")
    assert report.counts.newer + report.counts.missing >= 2
    assert await newest(shop, stock(2), stock(3, sku="NEW")) == [(1, 2), (1, 1)]


async def test_what_was_withheld_is_in_the_epoch_that_was_raised_meanwhile(shop: Shop, config: Config) -> None:
    """A withheld correction is appended in the epoch that is current when it is released."""
    before = msgspec.structs.replace(
        price("9.00", version=2), payload={"currency": "EUR", "amount": "9.00", "compareAt": "11.00"}
    )
    await say(shop, before, price("5.00", version=2, sku="B"))
    rows = [price("5.00", version=2, sku="B"), price("9.00", version=2), price("1.00", sku="Z")]
    export(config, "erp", *rows, taken_at=FUTURE)

    async with pagefold.open(config, create=False) as other:

        class Raising(Witness):
            def begun(self, run_id: str) -> None:
                super().begun(run_id)
                raising.append(asyncio.ensure_future(other.epochs.raise_epoch("erp", reason="so", operator="kim")))

        raising: list[asyncio.Future[object]] = []
        correct = shop.store.log.correct

        async def slow(corrections: Sequence[CorrectionEvent], fence: Fence | None = None) -> list[int | None]:
            await asyncio.gather(*raising)
            return await correct(corrections, fence)

        shop.store.log.correct = slow  # type: ignore[method-assign]  # the raise comes before anything is mended
        report = await rebuild(shop, "erp", witness=Raising())
    assert report.state == "completed"
    assert await newest(shop, price("9.00"), price("1.00", sku="Z")) == [(1, 2), (1, 1)]
    assert (await section(shop, "pricing")).get("compareAt") is None


# --- what is pure ---------------------------------------------------------------------------------


def test_entries_beside_rows() -> None:
    """A head content of the current epoch can equal a row; one of an earlier epoch equals none."""
    placement = Placement(KnownEpochs(2, {"erp": 1, "C/*/pricing/erp": 3}, frozenset({"erp"})))
    said = b'"payload":{}}'
    entries = {
        b"A/*/pricing/erp\x1f%d\x1f%b" % (versioned(1, 5), said): b"A/*/pricing/erp\x1f5\x1f" + said,
        b"B/*/pricing/erp\x1f%d\x1f%b" % (versioned(2, 5), said): b"B/*/pricing/erp\x1f5\x1f" + said,
        b"C/*/pricing/erp\x1f%d\x1f%b" % (versioned(1, 5), said): None,
        b"D/*/pricing/erp\x1f5\x1f" + said: None,
        b"E/*/stock/wms\x1f5\x1f" + said: b"E/*/stock/wms\x1f5\x1f" + said,
    }
    shown = {entry: key for key, entry in placement.comparable(entries).items()}
    assert {entry: (None if shown[entry].startswith(b"\x1f") else shown[entry]) for entry in entries} == entries


def test_a_run_names_as_many_rows_as_fit() -> None:
    """Candidates for recreated records are recorded in full, in events of a limited size."""
    run = RebuildRun.start(
        RunSpec(source="erp", domains=["pricing"], start_position=0, snapshot="s", identity="i", process="p")
    )
    moment = format_timestamp(datetime.now(UTC))
    rows = [
        RecreatedCandidate(number, f"S{number}", 1, "pricing", "x" * (MAX_EVENT_BYTES // 3 + 1), moment, None, None)
        for number in range(8)
    ]
    record_older_rows(run, OlderRows(["A", "B"], rows))
    events = [each for each in run.pending_events if isinstance(each, OlderRowsFound)]
    assert [len(each.candidates) for each in events] == [3, 3, 2]
    assert [row for each in events for row in each.candidates] == rows
    assert [each.reset for each in events] == [["A", "B"], [], []]
    assert run.older == ["A", "B"]
