"""The benchmarks run on both stores and report every line. Tests do not judge how fast anything is."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import apsw
import asyncpg
import msgspec
import pytest

import pagefold
from benchmarks import bench_channels, bench_http_cache, bench_peers, bench_transforms, price_workload
from benchmarks.__main__ import LINES, sizes
from benchmarks.baseline import CHANNELS_OF_SOURCE, STREAMS_PER_READ, HeadChunk, chunk_of, rows_of
from benchmarks.bench_http_cache import CACHES
from benchmarks.bench_http_ingest import BARE as BARE_INGEST
from benchmarks.bench_http_ingest import EVENTS
from benchmarks.bench_http_reads import BARE
from benchmarks.bench_many_reads import CHANGED, REDIS
from benchmarks.bench_peers import PEERS
from benchmarks.bench_rebuild import RowMerge
from benchmarks.cpu_time import CpuCosts
from benchmarks.measurement import Claim, Line, Spread, Timed, interleave, percentile, ratio
from benchmarks.measurement import Side as Subject
from benchmarks.peer_pages import Document, keep_newest, page_table, pages_of
from benchmarks.redis_server import is_redis_missing
from benchmarks.report import Report, bound, markdown, number, verdict
from benchmarks.run_settings import Bench
from benchmarks.throwaway_stores import PostgresStores, SQLiteStores, Stores
from benchmarks.workload import RECORDED_AT, SHARES, Workload, config, encode_events
from pagefold.domains.channel_view import Completeness, ShownProduct
from pagefold.engine.dashboard.screen_table import SCREENS
from pagefold.engine.intake.event_parser import parse_event
from pagefold.engine.intake.event_validator import EventValidator
from pagefold.engine.stores.section_rows import decode_sections, parse_channels
from tests.support.nginx import nginx_program

ROOT = Path(__file__).resolve().parent.parent
SMALL, LARGE = 300, 600


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any], Path]:
    """The output of one tiny run of all benchmarks, its JSON and its chart."""
    folder = tmp_path_factory.mktemp("benchmarks")
    report, chart = folder / "report.json", folder / "chart.svg"
    command = ["-m", "benchmarks", "--quick", "--rounds", "1", "--events", f"{SMALL},{LARGE}"]
    done = subprocess.run(
        [sys.executable, *command, "--json", str(report), "--chart", str(chart)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PAGEFOLD_STORE")},
        capture_output=True,
        check=False,
        text=True,
        timeout=480,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(report.read_text("utf-8")), chart


async def test_a_contract_is_compared_with_code() -> None:
    """Both make the same of each record, which the benchmark checks, and no store takes part."""
    with ExitStack() as stack:
        bench = Bench([1], 1, quick=True, stores=[])
        [line] = await LINES["transforms"](bench, SQLiteStores(stack))
        assert await LINES["transforms"](bench, PostgresStores(stack)) == []
    assert set(line.sides) == {"pagefold", "baseline"}
    assert len(bench_transforms.mappings()) == 50


def test_every_line_is_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Each line is compared with its baseline, and on PostgreSQL with the library if that can do the work."""
    _, report, _ = run
    for store, beside in (("sqlite", {"baseline"}), ("postgres", {"baseline", "ProjectionRunner"})):
        lines = [line for line in report["lines"] if line["store"] == store]
        by_name = {line["name"]: line for line in lines}
        for name in ("append, in batches", "apply", "append and apply together"):
            assert beside | {"pagefold"} == set(by_name[name]["sides"])
            assert {line["events"] for line in lines if line["name"] == name} == {SMALL, LARGE}
        assert {"append, single events", "append to readable", "read a page", "apply, memory"} <= set(by_name)
        assert {"append and apply, one event at a time", "apply, more channels", "apply, more sources"} <= set(by_name)
        assert set(by_name["a change of a parent with variants"]["sides"]) == {"pagefold", "baseline"}
    assert any(line["name"] == "read pages, 64 at a time" for line in report["lines"])


def test_rebuilds_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Rebuilds are compared with their baseline at each size, replay also with the consumers."""
    _, report, _ = run
    for store in ("sqlite", "postgres"):
        lines = [line for line in report["lines"] if line["store"] == store]
        for name, others in (
            ("rebuild, nothing drifted", {"baseline"}),
            ("replay from the log", {"baseline", "consumers"}),
        ):
            found = [line for line in lines if line["name"] == name]
            assert [line["events"] for line in found] == [SMALL, LARGE]
            assert all(others | {"pagefold"} == set(line["sides"]) for line in found)
        assert {"rebuild, everything drifted", "rebuild, memory"} <= {line["name"] for line in lines}


def test_plans_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """A plan is compared with `verify`, and its pages are those of one channel, which the benchmark checks."""
    for store in ("sqlite", "postgres"):
        found = [line for line in run[1]["lines"] if line["store"] == store and line["name"].startswith("plan of")]
        assert [line["events"] for line in found] == [SMALL, LARGE]
        assert all(set(line["sides"]) == {"plan", "verify"} for line in found)


def test_syncs_and_deliveries_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """A sync is compared with a loop that appends the same, and its memory is measured; so are deliveries."""
    report = run[1]
    for store in ("sqlite", "postgres"):
        found = {line["name"]: line for line in report["lines"] if line["store"] == store}
        assert set(found["delta sync"]["sides"]) == {"pagefold", "baseline"}
        for name in ("delta sync, memory", "deliveries, mark", "deliveries, claim", "deliveries, settle"):
            assert len(found[name]["sides"]) == 2
        assert {"deliveries in batches", "deliveries page by page", "apply with a target"} <= found.keys()


def test_channels_with_contracts_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """They are compared with channels that have none, for all domains and for the catalog alone."""
    _, report, _ = run
    for store in ("sqlite", "postgres"):
        found = [line for line in report["lines"] if line["store"] == store and "with contracts" in line["name"]]
        assert [line["name"].endswith("catalog alone") for line in found] == [False, True]
        assert all(set(line["sides"]) == {bench_channels.PLAIN, bench_channels.SHOWN} for line in found)


def test_every_screen_of_the_dashboard_is_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Each with its time and its CPU time beside the bar; and page reads with the dashboard in tabs."""
    _, report, _ = run
    for store in ("sqlite", "postgres"):
        lines = [line for line in report["lines"] if line["store"] == store]
        screens = {line["name"]: line for line in lines if line["name"].startswith("dashboard, ")}
        assert {f"dashboard, {each.title.lower()}" for each in SCREENS if each.group is not None} <= set(screens)
        assert all([claim["at_most"] for claim in line["claims"]] == [1, 1] for line in screens.values())
        assert any("dashboard in tabs" in line["name"] for line in lines) is (shutil.which("wrk") is not None)


def test_the_contract_of_the_benchmark_shows_fifty_attributes() -> None:
    """Each product has them all, mapped, in the channel's language, and lacks nothing; and fifty are read."""
    shown = {"contract": bench_channels.contract(), "requirements": [bench_channels.requirements()]}
    [channel, *_] = config("sqlite:///nowhere", shown=shown).resolved_channels
    view = channel.view
    assert view is not None
    for event in bench_channels.RichProducts(catalog_alone=True).changes(20):
        assert isinstance(event.payload, bytes)
        payload = json.loads(event.payload)
        texts = {code: text["de"] for code, text in payload["localized"].items()}
        product = ShownProduct(payload["attributes"] | texts, payload["categories"], payload["family"], None)
        assert len(product.attributes) == 50
        found = view.shown(product, lambda: dict.fromkeys(("text0", "text1", "text2", "text3", "text4"), "de"))
        assert found is not None
        assert found[1]
        assert len(found[0].attributes) == 50
        assert (found[0].unmapped, found[0].completeness) == (msgspec.UNSET, Completeness(100, []))


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_reads_over_http_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """They are compared with bare servers that read one finished row, splice rows, or keep pages in memory."""
    _, report, _ = run
    found = [line for line in report["lines"] if line["name"] == "read a page over HTTP"]
    assert [line["store"] for line in found] == ["sqlite", "postgres"]
    assert all(set(line["sides"]) == {"pagefold", *BARE} for line in found)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_reads_of_the_past_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """They are compared with reads of pages as they are, from the same server."""
    _, report, _ = run
    found = [line for line in report["lines"] if line["name"] == "read a page as it was, over HTTP"]
    assert [line["store"] for line in found] == ["sqlite", "postgres"]
    assert all(set(line["sides"]) == {"pagefold", "as it is"} for line in found)
    assert all([claim["at_least"] for claim in line["claims"]] == [None, 0.3] for line in found)


@pytest.mark.skipif(shutil.which("wrk") is None or nginx_program() is None, reason="wrk or nginx is not installed")
def test_reads_through_a_cache_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """They are compared with Pagefold alone, for two times that pages are fresh."""
    _, report, _ = run
    found = [line for line in report["lines"] if line["name"] == "read a page through nginx's cache"]
    assert [line["store"] for line in found] == ["sqlite", "postgres"]
    assert all(set(line["sides"]) == {"pagefold", *CACHES} for line in found)


def test_ingest_over_http_is_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Each size of requests is compared with bare servers that decode and append, or only decode."""
    _, report, _ = run
    for store in ("sqlite", "postgres"):
        found = [line for line in report["lines"] if line["store"] == store and "ingest over HTTP" in line["name"]]
        assert [line["name"] for line in found] == [f"ingest over HTTP, {size:,} per request" for size in EVENTS]
        assert all(set(line["sides"]) == {"pagefold", *BARE_INGEST} for line in found)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_reads_of_a_busy_server_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Each kind of work is compared with quiet reads."""
    _, report, _ = run
    for store in ("sqlite", "postgres"):
        for work, when in (("changing", "while pages change"), ("overloaded", "while overloaded")):
            name = f"read a page over HTTP, {when}"
            [line] = [line for line in report["lines"] if (line["store"], line["name"]) == (store, name)]
            assert set(line["sides"]) == {"quiet p50", "quiet p99", f"{work} p50", f"{work} p99"}


@pytest.mark.parametrize("name", ["http", "http-busy", "http-cache", "http-past"])
async def test_without_wrk_a_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The benchmark is skipped."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with ExitStack() as stack:
        assert await LINES[name](Bench([1], 1, quick=True, stores=[]), SQLiteStores(stack)) == []
    assert "apt-get install wrk" in capsys.readouterr().err


@pytest.mark.skipif(is_redis_missing(), reason="Redis or its client is not installed")
def test_reads_of_many_pages_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """They are compared with Redis, while nothing changes and after a change."""
    _, report, _ = run
    found = [line for line in report["lines"] if line["name"] == "read 64 pages at once"]
    assert [line["store"] for line in found] == ["sqlite", "postgres"]
    assert all(set(line["sides"]) == {"pagefold", REDIS, CHANGED} for line in found)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
async def test_without_nginx_a_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is left out."""
    monkeypatch.setattr(bench_http_cache, "nginx_program", lambda: None)
    with ExitStack() as stack:
        assert await LINES["http-cache"](Bench([1], 1, quick=True, stores=[]), SQLiteStores(stack)) == []
    assert "apt-get install nginx" in capsys.readouterr().err


async def test_without_redis_a_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is left out."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with ExitStack() as stack:
        assert await LINES["many-reads"](Bench([1], 1, quick=True, stores=[]), SQLiteStores(stack)) == []
    assert "apt-get install redis-server" in capsys.readouterr().err


@pytest.mark.skipif(not all(map(find_spec, PEERS.values())), reason="Bytewax or Pathway is not installed")
def test_peers_are_there_on_both_stores(run: tuple[str, dict[str, Any], Path]) -> None:
    """Those that are installed run on the same file of events."""
    _, report, _ = run
    found = [line for line in report["lines"] if line["name"] == "a file of events, until pages are readable"]
    assert [line["store"] for line in found] == ["sqlite", "postgres"]
    assert all(set(line["sides"]) == {"pagefold", *PEERS} for line in found)


async def test_without_peers_a_message_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is left out."""
    monkeypatch.setattr(bench_peers, "find_spec", lambda _: None)
    with ExitStack() as stack:
        assert await LINES["peers"](Bench([1], 1, quick=True, stores=[]), SQLiteStores(stack)) == []
    said = capsys.readouterr().err
    assert all(f"{name} is not installed, and left out" in said for name in PEERS)


@pytest.mark.parametrize("kind", [SQLiteStores, PostgresStores])
async def test_the_pages_of_peers_are_those_of_pagefold(kind: Callable[[ExitStack], Stores]) -> None:
    """Whatever the order of the events, and whatever was in the table."""
    events = Workload(skus=40).take(1_500)
    with ExitStack() as stack:
        stores = kind(stack)
        url = await stores.new()
        async with pagefold.open(config(url)) as shop:
            await shop.append(events)
            await shop.catch_up()
        documents: defaultdict[str, Document] = defaultdict(dict)
        for event in random.Random(3).sample(events, len(events)):
            keep_newest(documents[event.sku], json.loads(bench_peers.event_line(event)))
        table = page_table(url)
        pages = [page for sku, document in documents.items() for page in pages_of(sku, document)]
        table.write([(sku, channel, b"older") for sku, channel, _ in pages] + pages)
        table.close()
        await bench_peers.compare(url, url)
        table = page_table(url)
        table.write([(*pages[0][:2], b"{}")])
        table.close()
        with pytest.raises(KeyError):
            await bench_peers.compare(url, url)


def test_numbers_are_sane(run: tuple[str, dict[str, Any], Path]) -> None:
    """Spreads are in order, rates are positive, and every target is either met or missed."""
    targets, report = 0, run[1]
    for line in [line for line in report["lines"] if not line["name"].startswith("dashboard, ")]:
        for values in line["sides"].values():
            assert 0 < values["low"] <= values["median"] <= values["high"]
        for claim in line["claims"]:
            assert claim["spread"]["low"] <= claim["spread"]["median"] <= claim["spread"]["high"]
            limited = claim["at_least"] is not None or claim["at_most"] is not None
            assert claim["met"] in ((True, False) if limited else (None,))
            targets += limited
    growth, one_at_a_time, mapped, synced = 2 * (1 + 1 + 1 + 2 + 3 + 1), 2 * 2, 1 + 6, 2 * 2
    shown, planned, inherited, delivered, in_tabs, followed = 2 * 1, 2 * 2, 2 * 1, 2 * (3 + 3), 2 * 1, 2 * 3
    of_the_log = 2 * (1 + 2 + 1 + 1 + 1 + 2) + 2 + 2 * (2 + 1 + 2 + 2)
    others = shown + planned + inherited + delivered + in_tabs + followed + one_at_a_time + mapped + synced
    others += 2 * 3 if shutil.which("wrk") else 0
    assert targets == of_the_log + growth + others


def test_the_table_names_the_machine(run: tuple[str, dict[str, Any], Path]) -> None:
    """Absolute numbers are printed with the machine that they were measured on."""
    table, report, _ = run
    for name in ("processor", "kernel", "python", "sqlite", "postgresql", "fsync"):
        assert report["machine"][name]
        assert f"{name}: " in table
    assert "fsync on" in report["machine"]["postgresql"]
    assert "met" in table


def test_the_chart_is_drawn(run: tuple[str, dict[str, Any], Path]) -> None:
    """It is valid SVG, with one dot per comparison."""
    _, report, chart = run
    root = ET.fromstring(chart.read_text("utf-8"))  # noqa: S314  # it is our own
    dots = root.findall("{http://www.w3.org/2000/svg}circle")
    drawn = [claim for line in report["lines"] for claim in line["claims"] if claim["spread"]["low"] > 0]
    assert len(dots) == len(drawn)


def test_the_markdown_has_every_line() -> None:
    """A row has the sides and comparisons of both stores; a store without the line has dashes."""
    spread = Spread(0.5, 0.25, 1.0)
    rates = {"pagefold": Spread.of([1_234.0]), "baseline": Spread.of([2_468.0])}
    claims = [Claim("× baseline", spread, at_least=0.7), Claim("µs", spread)]
    both = [Line("append", store, 2_000, "events/s", rates, claims) for store in ("sqlite", "postgres")]
    alone = Line("merged", "postgres", 0, "pages/s", {"pagefold": spread}, [])
    compared = "0.50 (0.25–1.00) × baseline (≥ 0.7: missed)<br>0.50 (0.25–1.00) µs"
    assert markdown(Report({}, {}, [*both, alone])).splitlines() == [
        "| line | events | SQLite | compared | PostgreSQL | compared |",
        "|---|---|---|---|---|---|",
        "| append, events/s | 2,000" + f" | 1,234 pagefold<br>2,468 baseline | {compared}" * 2 + " |",
        "| merged, pages/s |  | – | – | 0.50 pagefold |  |",
    ]


def test_the_workload_is_what_it_says() -> None:
    """The same seed gives the same changes, all of them valid, in the stated shares."""
    events = Workload().take(4_000)
    assert events == Workload().take(4_000)
    for domain, share in SHARES.items():
        assert abs(sum(event.type == domain for event in events) / 40 - share) < 3
    rows = encode_events(EventValidator(config("sqlite:///nowhere")), events)
    assert len({row.key for row in rows}) == len(rows)
    assert all(RECORDED_AT.encode() in row.state for row in rows)


def test_a_baseline_writes_as_many_rows_as_a_consumer() -> None:
    """One row per SKU, in key order, which has the channels that read the source."""
    rows = encode_events(EventValidator(config("sqlite:///nowhere")), Workload().take(500))
    heads = {row.originator_id: (0, row.originator_id, row.originator_version, 0, row.topic, row.state) for row in rows}
    pricing = [head for head in heads.values() if head[4] == "pricing"]
    written = rows_of(pricing)
    keys = [row[:2] for row in written]
    assert keys == sorted(set(keys))
    assert {row[1] for row in written} == {"pricing"}
    assert {channel for row in written for channel in parse_channels(row[2]).index_of} == set(CHANNELS_OF_SOURCE["erp"])
    assert [len(each.contents) for each in map(decode_sections, written)] == [len(row[3]) for row in written]


@pytest.mark.parametrize("kind", [SQLiteStores, PostgresStores])
async def test_a_baseline_appends_what_the_store_reads(kind: Callable[[ExitStack], Stores]) -> None:
    """In order and unchanged; a version that exists already fails the whole batch."""
    with ExitStack() as stack:
        stores = kind(stack)
        url = await stores.new()
        rows = encode_events(EventValidator(config(url)), Workload().take(40))
        baseline = await stores.baseline(url)
        await baseline.append(rows[:30])
        with pytest.raises((apsw.ConstraintError, asyncpg.UniqueViolationError)):
            await baseline.append(rows[29:])
        await baseline.close()
        async with pagefold.open(config(url)) as shop:
            stored = await shop.store.log.events_at([row.key for row in rows])
    stored.sort(key=lambda each: each.notification_id)
    assert [(each.originator_id, each.originator_version, each.state) for each in stored] == [
        (row.originator_id, row.originator_version, row.state) for row in rows[:30]
    ]


def test_the_cpu_time_of_ended_and_running_children_counts() -> None:
    """What a child process uses is part of the cost, in microseconds per event."""
    costs = CpuCosts()
    burn = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\ninput()"
    with costs.measuring("ended", 1_000):
        subprocess.run([sys.executable, "-c", burn], input=b"\n", check=True, capture_output=True)
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        with costs.measuring("running", 1_000):
            child.stdout.readline()
        child.communicate(b"\n")
    for claim in costs.claims():
        assert 250 < claim.spread.median < 2_000, claim


def test_a_snapshot_has_the_contents_of_the_log(tmp_path: Path) -> None:
    """Every row is valid and has a stream of its own; unless shuffled, streams ascend; no keys are sorted."""
    file, shuffled = tmp_path / "prices.ndjson", tmp_path / "shuffled.ndjson"
    price_workload.export(file, 300, 4)
    price_workload.export(shuffled, 300, 4, shuffled=True)
    *lines, end = file.read_bytes().splitlines()
    assert json.loads(end) == {"snapshot": "end", "count": len(lines)}
    others = shuffled.read_bytes().splitlines()[:-1]
    assert others != lines == sorted(others)
    events = list(price_workload.events(300, 4))
    assert [parse_event(line) for line in lines] == events
    validator = EventValidator(config("sqlite:///nowhere"))
    rows = encode_events(validator, events)
    streams = [row.originator_id for row in rows]
    assert streams == sorted(set(streams))
    assert all(row.content not in line for row, line in zip(rows, lines, strict=True))
    newer = encode_events(validator, list(price_workload.events(300, 5)))
    assert all(row.content != then.content for row, then in zip(rows, newer, strict=True))


def test_a_baseline_merges_what_it_reads() -> None:
    """Rows are compared with heads by version, wherever the chunks of heads end; other rows are ignored.

    A newer row is appended unchecked, with the content that validation would have given it.
    """
    lines = [price_workload.line(number, 2 if number == 4 else 1) for number in range(1, 8)]
    heads = [(number, f"SKU-{number:08d}/*/pricing/erp", 1) for number in (0, 1, 3, 4, 6, 9)]
    for cut in range(len(heads) + 1):
        merge = RowMerge(lines)
        [newer] = merge.step(heads[:cut]) + merge.step(heads[cut:])
        assert (merge.equal, merge.newer) == (3, 1)
        [validated] = encode_events(EventValidator(config("sqlite:///nowhere")), [parse_event(lines[3])])
        assert newer[:3] == validated[:3]
        state, expected = json.loads(newer.state), json.loads(validated.state)
        assert state.keys() == expected.keys()
        assert state["payload"] == expected["payload"]


def test_a_scan_continues_after_its_last_stream() -> None:
    """A scan's rows are sorted by number; a full chunk is followed by another, with or without a head at its end."""
    rows = [(number, f"s{number}", 1, 0, "pricing", "{}", number) for number in range(1, STREAMS_PER_READ + 1)]
    *others, last = rows
    headless = (None, last[1], None, None, None, None, STREAMS_PER_READ)
    assert chunk_of(others[::-1]) == HeadChunk(others, None)
    assert chunk_of(rows[::-1]) == HeadChunk(rows, last[1])
    assert chunk_of([headless, *others]) == HeadChunk(others, last[1])
    assert chunk_of([]) == HeadChunk([], None)


async def test_sides_take_turns() -> None:
    """A B A B, also within the pieces of a round; ratios are taken round by round."""
    order: list[str] = []

    def side(name: str, seconds: float) -> Subject:
        async def run() -> Timed:
            order.append(name)
            return Timed(seconds, 10)

        return Subject(name, run)

    rates = await interleave([side("a", 1.0), side("b", 4.0)], rounds=2, pieces=2)
    assert order == ["a", "b"] * 4
    assert rates == {"a": [10.0, 10.0], "b": [2.5, 2.5]}
    claim = ratio(rates, "a", "b", at_least=4)
    assert (claim.spread, claim.met) == (Spread(4.0, 4.0, 4.0), True)


def test_verdicts() -> None:
    """The median decides, from above or from below."""
    spread = Spread.of([1.0, 2.0, 9.0])
    assert (spread.median, spread.low, spread.high) == (2.0, 1.0, 9.0)
    assert verdict(Claim("x", spread, at_least=3)) == "missed"
    assert verdict(Claim("x", spread, at_most=3)) == "met"
    assert verdict(Claim("x", spread)) == bound(Claim("x", spread)) == ""
    assert (number(12345.6), number(12.34), number(1.234)) == ("12,346", "12.3", "1.23")
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0


def test_the_command_line_reads_sizes() -> None:
    """`k` and `M` are understood, and sizes are sorted."""
    assert sizes("1M,100k") == [100_000, 1_000_000]
    assert sizes("500") == [500]
    assert len(LINES) == 30
