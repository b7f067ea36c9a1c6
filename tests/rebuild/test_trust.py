"""What a rebuild must know before it withdraws: a snapshot's coverage, completeness and time."""

import gzip
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

import pagefold
from pagefold import Config, DomainEvent, Shop
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.source_rebuild import SourceRebuild
from tests.support.fake_endpoint import Answering, Asked, Reply, serving
from tests.support.rebuild_fixtures import AT_ONCE, Witness, counts_of, export, file_of, marked, rebuild, resume
from tests.support.small_shop import as_line, document, event, everything, price

SKUS = [f"SKU-{number:03}" for number in range(40)]
MANY = [f"SKU-{number:03}" for number in range(200)]


def configured(store: str, source: str, **snapshot: object) -> Config:
    """The small shop, where one source has this snapshot."""
    tables = document(store, work={"poll_seconds": 0.05, "lease_seconds": 1.0})
    tables["sources"][source]["snapshot"] = {**AT_ONCE, **snapshot} if "file" in snapshot else {"settle": 0, **snapshot}
    return Config.parse(tables, store=store)


@asynccontextmanager
async def shop_of(config: Config, *said: DomainEvent) -> AsyncIterator[Shop]:
    """An open shop with these events, now or at an earlier time, folded."""
    async with pagefold.open(config) as shop:
        await shop.append(said)
        await shop.catch_up()
        yield shop


def csv_of(header: str, rows: Iterable[str], *, end: int | None = None) -> bytes:
    """A CSV file with its end marker."""
    lines = list(rows)
    return "\n".join([header, *lines, f"#end,{len(lines) if end is None else end}", ""]).encode()


def prices(skus: Sequence[str] = SKUS, *, version: int = 5) -> list[DomainEvent]:
    """A price of every SKU, for every channel."""
    return [price("9.90", version=version, sku=sku) for sku in skus]


def products(skus: Sequence[str], **attributes: object) -> list[DomainEvent]:
    """A product of every SKU, with a name and these attributes."""
    return [event("catalog", {"attributes": {"name": sku, **attributes}}, sku=sku, version=5) for sku in skus]


async def withdrawals(shop: Shop) -> set[str]:
    """The streams whose head is a withdrawal."""
    events = await everything(shop.store)
    names = {each.originator_id for each in events if each.topic in {"pricing", "catalog", "media"}}
    return {head.originator_id for head in await shop.store.log.heads(sorted(names)) if head.state.endswith(b":null}")}


# --- coverage -------------------------------------------------------------------------------------

HEADER = "sku,v,at,price"
COLUMNS = {"sku": "sku", "sourceVersion": "v", "occurredAt": "at"}
EUR = {"constant": "EUR"}
ROW = "{},5,2026-01-01T00:00:00Z,9.90"


def contract(currency: object, channel: object = None) -> dict[str, Any]:
    """The contract of a file of prices."""
    return {**COLUMNS, "channel": channel or {"constant": "*"}, "pricing": {"amount": "price", "currency": currency}}


@pytest.mark.parametrize(
    ("channel", "currency", "left"),
    [
        (None, EUR, {"web-de", "web-us"}),
        ({"constant": "*"}, EUR, {"web-de", "web-us"}),
        ({"constant": "web-de"}, EUR, {"*", "web-us"}),
        ({"from": "shop", "lookup": {"values": {"*": "*", "web-de": "web-de"}}}, "cur", {"web-us"}),
        ("shop", EUR, {"web-us"}),
        ("shop", "cur", set()),
    ],
    ids=["no channel", "every channel", "one channel", "a table of channels", "one currency", "everything"],
)
async def test_what_a_row_cannot_name_is_no_orphan(
    store_url: str, tmp_path: Path, channel: object, currency: object, left: set[str]
) -> None:
    """A snapshot's contract limits its channels: it proves nothing about others, which are counted."""
    file = tmp_path / "prices.csv"
    config = configured(store_url, "erp", file=str(file), contract=contract(currency, channel))
    gone = {"*": "EUR", "web-de": "EUR", "web-us": "USD"}
    said = [
        event("pricing", {"currency": currency, "amount": "5.00"}, sku="GONE", channel=channel)
        for channel, currency in gone.items()
    ]
    shop_of_rows = channel["constant"] if isinstance(channel, dict) and "constant" in channel else "*"
    said += [price("9.90", version=5, sku=sku, channel=shop_of_rows) for sku in SKUS]
    async with shop_of(config, *said) as shop:
        rows = [f"{ROW.format(sku)},*,EUR" for sku in SKUS]
        file.write_bytes(csv_of(f"{HEADER},shop,cur", rows))
        report = await rebuild(shop, "erp")
        counts = {"rows": 40, "equal": 40, "orphans": 3 - len(left), "withdrawn": 3 - len(left), "uncovered": len(left)}
        assert counts_of(report) == {name: number for name, number in counts.items() if number}
        assert report.live == 43 - len(left)
        assert await withdrawals(shop) == {f"GONE/{name}/pricing/erp" for name in gone.keys() - left}


@pytest.mark.parametrize("form", ["csv", "ndjson"])
async def test_a_snapshot_of_one_domain_proves_nothing_of_another(store_url: str, tmp_path: Path, form: str) -> None:
    """With a constant type, a file covers only that domain; otherwise all domains of the source."""
    for constants, left in (({"type": "catalog"}, True), ({}, False)):
        url = f"{store_url}-{left}" if store_url.startswith("sqlite") else store_url
        tables = document(url)
        tables["sources"]["pim"]["domains"] = ["catalog", "media"]
        file = tmp_path / f"products.{form}"
        settings: dict[str, Any] = {"file": str(file), "constants": constants, **AT_ONCE}
        tables["sources"]["pim"]["snapshot"] = settings
        config = Config.parse(tables, store=url)
        picture = {"assets": [{"url": "https://images.example/1.jpg"}]}
        pictures = [event("media", picture, sku=sku, source="pim") for sku in SKUS[:4]]
        async with shop_of(config, *products(SKUS), *pictures) as shop:
            if form == "csv":
                kind = "" if constants else ",catalog"
                header = "sku,sourceVersion,occurredAt,payload.attributes.name" + kind.replace("catalog", "type")
                file.write_bytes(csv_of(header, [f"{sku},5,2026-01-01T00:00:00Z,{sku}{kind}" for sku in SKUS]))
            else:
                file.write_bytes(marked(map(as_line, products(SKUS))))
            counts = counts_of(await rebuild(shop, "pim"))
            assert counts == {"rows": 40, "equal": 40} | ({"uncovered": 4} if left else {"orphans": 4, "withdrawn": 4})


async def test_a_row_that_its_constants_rule_out_is_refused(store_url: str, tmp_path: Path) -> None:
    """A line whose type or channel differs from the configured constant is rejected; nothing is withdrawn then."""
    tables = document(store_url)
    tables["sources"]["erp"]["snapshot"] = {
        "file": str(tmp_path / "erp.ndjson"),
        "constants": {"channel": "web-de"},
        **AT_ONCE,
    }
    config = Config.parse(tables, store=store_url)
    async with shop_of(config) as shop:
        export(config, "erp", *(price("1.00", sku=sku, channel="web-de") for sku in SKUS), price("1.00", sku="X"))
        report = await rebuild(shop, "erp")
        assert counts_of(report) == {"rows": 41, "missing": 40, "refused": 1, "unreadable": 1}
        assert report.refusals == [[41, "channel", "'*': the snapshot's constants say 'web-de'"]]


async def test_constants_are_filled_in(store_url: str, tmp_path: Path) -> None:
    """A line without a field gets the configured constant, whatever other lines have."""
    config = configured(store_url, "erp", file=str(tmp_path / "erp.ndjson"), constants={"channel": "web-de"})
    async with shop_of(config) as shop:
        rows = [orjson.loads(as_line(price("1.00", sku=sku, channel="web-de"))) for sku in SKUS]
        for number, row in enumerate(rows):
            if number % 3:
                del row["channel"]
        file_of(config, "erp").write_bytes(marked(map(orjson.dumps, rows)))
        witness = Witness()
        assert counts_of(await rebuild(shop, "erp", witness=witness)) == {"rows": 40, "missing": 40}
        assert witness.drift.keys() == {f"{sku}/web-de/pricing/erp" for sku in SKUS}


# --- rows of another shop -------------------------------------------------------------------------


@pytest.mark.parametrize("order", [1, -1])
async def test_rows_of_a_channel_that_is_none_here_are_counted(store_url: str, tmp_path: Path, order: int) -> None:
    """They are not errors and prevent nothing; streams of a channel that was removed from the shop stay."""
    config = configured(store_url, "erp", file=str(tmp_path / "erp.ndjson"))
    async with shop_of(config, *prices(), price("1.00", sku="OLD", channel="outlet-de")) as shop:
        pass
    tables = document(store_url)
    del tables["channels"]["outlet-de"]
    tables["sources"]["erp"]["snapshot"] = {"file": str(tmp_path / "erp.ndjson"), **AT_ONCE}
    config = Config.parse(tables, store=store_url)
    async with shop_of(config) as shop:
        elsewhere = [price("3.00", sku=sku, channel=name) for sku in SKUS[:9] for name in ("shop/pl", "shop-cz")]
        rows = sorted([*map(as_line, prices()[1:]), *map(as_line, elsewhere)])[::order]
        file_of(config, "erp").write_bytes(
            marked([*rows, as_line(price("2.00", version=2, sku=SKUS[0], channel="shop-cz"))])
        )
        report = await rebuild(shop, "erp")
        assert counts_of(report) == {
            "rows": 58,
            "equal": 39,
            "elsewhere": 18,
            "repeated": 1,
            "orphans": 1,
            "withdrawn": 1,
            "uncovered": 1,
        }
        assert (report.state, report.complete, report.refusals) == ("completed", True, [])
        assert await withdrawals(shop) == {f"{SKUS[0]}/*/pricing/erp"}


@pytest.mark.parametrize("name", ["web-de ", " web-de", "Web-DE", "", " "])
async def test_a_channel_that_is_written_otherwise_is_a_fault(store_url: str, tmp_path: Path, name: str) -> None:
    """A misspelt channel is an error: if it were ignored, all its products would be withdrawn."""
    config = configured(store_url, "erp", file=str(tmp_path / "erp.ndjson"))
    async with shop_of(config, *prices()) as shop:
        file_of(config, "erp").write_bytes(marked(as_line(price("9.90", sku=sku, channel=name)) for sku in SKUS[:5]))
        counts = counts_of(await rebuild(shop, "erp", RebuildRequest(confirmed=True)))
        assert (counts["refused"], counts["unreadable"], counts.get("withdrawn")) == (5, 5, None)


# --- completeness ---------------------------------------------------------------------------------


def paged(pages: Sequence[Sequence[DomainEvent]], totals: Sequence[int]) -> Answering:
    """These rows, page by page, each with a total."""

    def answer(asked: Asked) -> Reply:
        number = int(asked.query.get("page", 0))
        items = [orjson.loads(as_line(each)) for each in pages[number]]
        following = str(number + 1) if number + 1 < len(pages) else None
        return Reply(orjson.dumps({"items": items, "total": totals[number], "next": following}))

    return answer


PAGED = {
    "items": "items",
    "total": "total",
    "cursor": "next",
    "cursor_parameter": "page",
    "requests_per_second": 1000.0,
}


async def asked_of(
    store_url: str, answering: Answering, order: RebuildRequest | None = None, **settings: object
) -> RunReport:
    """One run of the ERP from an endpoint that answers like this; the log has all prices, and the run ends."""
    async with serving(answering) as server:
        config = configured(store_url, "erp", **{"url": f"{server.url}/p"} | PAGED | settings)
        async with shop_of(config, *prices()) as shop:
            report = await rebuild(shop, "erp", order or RebuildRequest())
            assert len(await withdrawals(shop)) == report.counts.withdrawn
            return report


async def test_a_row_that_comes_again_on_another_page_proves_that_rows_shift(store_url: str) -> None:
    """As many rows as the total, but one twice: another was skipped, and is not withdrawn."""
    rows = prices()
    pages = [rows[:10], rows[10:20], rows[19:29], [*rows[29:38], rows[39]]]
    report = await asked_of(store_url, paged(pages, [40] * 4))
    assert counts_of(report) == {"rows": 40, "equal": 39, "repeated": 1, "orphans": 1}
    assert (report.state, report.complete) == ("completed", False)
    assert "1 of its rows repeats an earlier one" in report.reason


async def test_a_newer_version_of_a_row_is_a_repetition_too(store_url: str) -> None:
    """An edited product that moves to the end of the list comes twice, and those after it move up."""
    rows = prices()
    edited = price("8.80", version=6, sku=SKUS[0])
    report = await asked_of(store_url, paged([rows[:20], [*rows[21:], edited]], [40] * 2))
    assert counts_of(report) == {"rows": 40, "equal": 38, "newer": 1, "repeated": 1, "orphans": 1}
    assert not report.complete


async def test_a_repetition_out_of_scope_counts_as_well(store_url: str) -> None:
    """A run limited to some SKUs reads all: a repetition of another means that one of its own may be skipped."""
    rows = prices()
    pages = [rows[:30], [rows[3], *rows[30:37], *rows[38:]]]
    report = await asked_of(store_url, paged(pages, [40] * 2), RebuildRequest(prefix="SKU-03"))
    assert counts_of(report) == {"rows": 9, "equal": 9, "orphans": 1}
    assert not report.complete


@pytest.mark.parametrize(("total", "complete"), [(39, True), (40, False), (38, False)])
async def test_in_a_stable_list_distinct_rows_count(store_url: str, total: int, complete: bool) -> None:  # noqa: FBT001
    """If rows do not shift, repetitions do not count towards the total, which must match exactly."""
    pages = [prices()[:20], prices()[19:39]]
    assert not (await asked_of(store_url, paged(pages, [total] * 2))).complete
    report = await asked_of(store_url, paged(pages, [total] * 2), stable=True)
    assert (report.complete, report.counts.withdrawn) == (complete, int(complete))


async def test_a_single_page_counts_distinct_rows(store_url: str) -> None:
    """A repeated row does not count towards the total."""
    rows = prices()
    for total, complete in ((40, False), (39, True)):
        report = await asked_of(store_url, paged([[rows[0], *rows[:39]]], [total]))
        assert (report.complete, report.counts.withdrawn) == (complete, int(complete))


async def test_a_total_that_changes_proves_that_rows_shift(store_url: str) -> None:
    """A row was deleted from an earlier page: later rows moved up, and one was skipped."""
    pages = [prices()[:20], prices()[21:]]
    report = await asked_of(store_url, paged(pages, [40, 39]))
    assert (report.complete, report.counts.withdrawn) == (False, 0)
    assert "its total changed" in report.reason
    report = await asked_of(store_url, paged(pages, [40, 39]), stable=True)
    assert (report.complete, report.counts.withdrawn) == (True, 1)


async def test_a_run_that_goes_on_sees_rows_that_have_shifted_meanwhile(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the list from the beginning: otherwise it would miss rows that moved to earlier pages."""
    rows, write, calls = prices(version=6), SourceRebuild._retry, itertools.count()
    pages = [rows[:10], rows[10:20], rows[20:30], rows[30:]]

    async def die(self: SourceRebuild, work: Any) -> Any:  # noqa: ANN401  # whatever it gives
        if next(calls) == 5:
            raise DiedError
        return await write(self, work)

    async with serving(paged(pages, [40] * 4)) as server:
        config = configured(store_url, "erp", **{"url": f"{server.url}/p"} | PAGED)
        async with shop_of(config, *prices()) as shop:
            monkeypatch.setattr(SourceRebuild, "_retry", die)
            witness = Witness()
            with pytest.raises((DiedError, BaseExceptionGroup)):
                await rebuild(shop, "erp", witness=witness)
            monkeypatch.setattr(SourceRebuild, "_retry", write)
            pages[1:] = [[*rows[9:19]], rows[19:29], [*rows[29:38], rows[39]]]
            report = await resume(shop, witness.run_id)
            assert (report.state, report.complete, report.counts.withdrawn) == ("completed", False, 0)
            assert (report.counts.rows, report.counts.newer, report.counts.repeated) == (40, 39, 1)


class DiedError(Exception):
    """The process is killed before its next write."""


FORMS = {
    "csv": csv_of(
        "sku,sourceVersion,occurredAt,payload", [f'{sku},5,2026-01-01T00:00:00Z,"null"' for sku in SKUS], end=0
    ),
    "ndjson": marked(map(as_line, prices()), end=False) + b'{"snapshot":"end","count":0}\n',
    "ndjson, first": b'{"snapshot":"end","count":0}\n' + marked(map(as_line, prices()), end=False),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ends", ["marker", "file"])
async def test_a_count_of_nothing_behind_rows_is_not_complete(
    store_url: str, tmp_path: Path, form: str, ends: str
) -> None:
    """In files of every format, whatever the configuration trusts, an end marker's count must match."""
    file = tmp_path / f"prices.{form[:6].strip(',')}"
    config = configured(store_url, "erp", file=str(file), ends=ends)
    async with shop_of(config, *prices(), price("1.00", sku="GONE")) as shop:
        file.write_bytes(FORMS[form].replace(b'"-"', b'"{""currency"":""EUR"",""amount"":""9.90""}"'))
        for _ in range(2):  # so that there is one before, to be measured by
            report = await rebuild(shop, "erp", RebuildRequest(confirmed=True))
            assert (report.complete, report.counts.withdrawn) == (False, 0)
            assert "marker" in report.reason


@pytest.mark.parametrize("flat", [False, True], ids=["events", "records"])
@pytest.mark.parametrize("last", [{"snapshot": "end", "count": 0}, None])
async def test_a_count_of_nothing_behind_the_rows_of_a_page_is_not_complete(
    store_url: str,
    flat: bool,  # noqa: FBT001  # a parameter
    last: Mapping[str, object] | None,
) -> None:
    """Neither as an end marker nor as a total, of rows that are events and of flat ones."""
    rows: list[Any] = [orjson.loads(as_line(each)) for each in prices()[1:]]
    fields = {"sku": "sku", "sourceVersion": "sourceVersion", "occurredAt": "occurredAt"}
    prices_of = {"amount": "payload.amount", "currency": "payload.currency"}
    body = {"items": [*rows, last] if last else rows, "total": 39 if last else 0}
    settings: dict[str, Any] = {"contract": {**fields, "pricing": prices_of}} if flat else {}
    report = await asked_of(store_url, lambda _: Reply(orjson.dumps(body)), cursor_parameter=None, **settings)
    assert counts_of(report) == {"rows": 39, "equal": 39, "orphans": 1}
    assert not report.complete


@pytest.mark.parametrize("form", ["ndjson", "csv"])
async def test_a_file_without_a_marker_is_measured_by_the_last_one(store_url: str, tmp_path: Path, form: str) -> None:
    """The first withdraws nothing; a later one does if it has 95 % of the last complete one's rows."""
    file = tmp_path / f"erp.{form}"
    settings = {"contract": contract("cur", "shop")} if form == "csv" else {}
    config = configured(store_url, "erp", file=str(file), ends="file", max_orphans="100%", **settings)

    def write(skus: Sequence[str]) -> None:
        if form == "csv":
            rows = [f"{ROW.format(sku)},*,EUR" for sku in skus]
            file.write_text("\n".join([f"{HEADER},shop,cur", *rows]))
        else:
            file.write_bytes(b"".join(as_line(each) + b"\n" for each in prices(skus)))

    async with shop_of(config, *prices(MANY), price("1.00", sku="GONE")) as shop:
        write(MANY)
        report = await rebuild(shop, "erp")
        assert (report.state, report.complete, report.counts.withdrawn) == ("completed", False, 0)
        assert "no earlier snapshot to compare" in report.reason
        write(MANY[:189])
        dry = await rebuild(shop, "erp", RebuildRequest(dry_run=True))
        assert (dry.complete, "fewer than 95 %" in dry.reason) == (False, True)
        for _ in range(2):  # it does not get used to it
            report = await rebuild(shop, "erp")
            assert (report.complete, report.counts.withdrawn) == (False, 0)
            assert "it has 189 rows, fewer than 95 % of the 200" in report.reason
        write(MANY[:190])
        report = await rebuild(shop, "erp", RebuildRequest(prefix="SKU-19"))
        assert (report.complete, report.counts.withdrawn) == (True, 10)
        report = await rebuild(shop, "erp")
        assert (report.complete, report.counts.withdrawn) == (True, 1)
        write(MANY[:100])
        assert not (await rebuild(shop, "erp")).complete
        report = await rebuild(shop, "erp", RebuildRequest(confirmed=True))
        assert (report.complete, report.counts.withdrawn) == (True, 90)


async def test_a_file_that_is_cut_off_is_not_trusted(store_url: str, tmp_path: Path) -> None:
    """A truncated compressed file is incomplete, however many rows it still has."""
    file = tmp_path / "erp.ndjson.gz"
    config = configured(store_url, "erp", file=str(file), ends="file")
    whole = gzip.compress(b"".join(as_line(each) + b"\n" for each in prices(MANY)))
    async with shop_of(config, *prices(MANY), price("1.00", sku="GONE")) as shop:
        file.write_bytes(whole)
        await rebuild(shop, "erp")
        file.write_bytes(whole[:-4])
        report = await rebuild(shop, "erp", RebuildRequest(confirmed=True))
        assert (report.complete, report.counts.withdrawn) == (False, 0)
        file.write_bytes(whole)
        assert (await rebuild(shop, "erp")).counts.withdrawn == 1


# --- time -----------------------------------------------------------------------------------------


def ago(**units: float) -> str:
    """A time in the past."""
    return (datetime.now(UTC) - timedelta(**units)).isoformat()


def aged(file: Path, seconds: float) -> None:
    """Sets a file's age."""
    os.utime(file, (time.time() - seconds, time.time() - seconds))


@pytest.mark.parametrize(
    ("settings", "taken_at", "age", "spared"),
    [
        ({}, -16 * 60, 0, False),
        ({}, -14 * 60, 0, True),
        ({"settle": 0}, -1, 0, False),
        ({"settle": "2h"}, -60 * 60, 0, True),
        ({}, None, 0, True),
        ({}, None, -(60 + 16) * 60, False),
        ({}, None, -(60 + 14) * 60, True),
        ({"settle": 0}, None, -59 * 60, True),
        ({"settle": 0}, None, -61 * 60, False),
        ({"settle": "0s", "duration": "3h"}, None, -2 * 3600, True),
        ({"settle": 0, "duration": 0}, None, -1, False),
    ],
)
async def test_since_when_a_snapshot_is_silent(
    store_url: str,
    tmp_path: Path,
    settings: dict[str, object],
    taken_at: float | None,
    age: float,
    spared: bool,  # noqa: FBT001
) -> None:
    """Events within `settle` before it was taken are kept; a file without a marker was begun `duration` earlier."""
    tables = document(store_url)
    tables["sources"]["erp"]["snapshot"] = {"file": str(tmp_path / "erp.ndjson"), **settings}
    config = Config.parse(tables, store=store_url)
    async with shop_of(config, *prices()) as shop:
        export(config, "erp", *prices()[1:], taken_at=None if taken_at is None else ago(seconds=taken_at))
        aged(tmp_path / "erp.ndjson", age)
        counts = counts_of(await rebuild(shop, "erp"))
        assert counts == {"rows": 39, "equal": 39} | ({"spared": 1} if spared else {"orphans": 1, "withdrawn": 1})


async def test_a_live_list_may_be_behind_its_events(store_url: str) -> None:
    """For an endpoint, too, streams with events within `settle` before the run are no orphans."""
    answering = paged([prices()[1:]], [39])
    assert counts_of(await asked_of(store_url, answering, settle="15m")) == {"rows": 39, "equal": 39, "spared": 1}
    counts = counts_of(await asked_of(store_url, answering, settle=0))
    assert counts == {"rows": 39, "equal": 39, "orphans": 1, "withdrawn": 1}


async def test_a_moment_before_all_moments_withdraws_nothing(store_url: str, tmp_path: Path) -> None:
    """A snapshot taken in the year 1, the zero value of some dates, is older than everything."""
    config = configured(store_url, "erp", file=str(tmp_path / "erp.ndjson"), settle="15m")
    async with shop_of(config, *prices()) as shop:
        export(config, "erp", *prices()[1:], taken_at="0001-01-01T00:00:00Z")
        assert counts_of(await rebuild(shop, "erp")) == {"rows": 39, "equal": 39, "spared": 1}
