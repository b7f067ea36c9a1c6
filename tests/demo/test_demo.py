"""The demo succeeds, reports as text and JSON, and fails if a page or a rebuild is wrong."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import pytest

import pagefold
from pagefold.domains.domain import JSON
from pagefold.engine.command import app
from pagefold.engine.command.options import Exit
from pagefold.engine.demo import live_phase, sample_shop, snapshot_export
from pagefold.engine.demo.display import LiveScreen, make_console, screen_for
from pagefold.engine.demo.event_loss import GARBLED, LOST, LossyTransport
from pagefold.engine.demo.faults import BROKEN, Arrival, Faults, inject_faults
from pagefold.engine.demo.page_check import Verdict, compare_pages
from pagefold.engine.demo.reference_model import Document, Model, stream_of
from pagefold.engine.demo.report_text import format_json, shorten_json
from pagefold.engine.demo.scenario import LOSSY_DIVISOR, Size
from pagefold.engine.demo.source_feeds import Ledger
from pagefold.engine.events import AppendResult
from pagefold.engine.rebuild.rebuild_service import RebuildRequest, RunReport
from pagefold.engine.rebuild.run_observer import RunObserver
from pagefold.engine.replay.replayer import ReplayResult
from pagefold.engine.shop import Shop
from pagefold.engine.stores.sqlite.connections import PAGES
from tests.support.rebuild_fixtures import Intruder

SKUS = 150
CHANGES = 2_000
WIDTH = 110


def demo(*arguments: str, skus: int = SKUS, changes: int = CHANGES) -> int:
    """The exit code of `pagefold demo`, with a small shop."""
    return app.run(["demo", "--skus", str(skus), "--changes", str(changes), *arguments])


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary stores."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_demo_on_sqlite(temporary_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small shop succeeds, the report has every part, and nothing is left behind."""
    assert demo("--plain", changes=5_000) == Exit.DONE
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "All 600 pages equal an independent model, byte for byte" in out
    assert '"status": "live"' in out
    assert "History of" in out
    assert "pages read" in out
    assert all(kind in out for kind in BROKEN)
    assert "Losses and rebuild" in out
    assert "by rebuild " in out
    assert "and no others: " in out
    assert "lines lost" in err.splitlines()[-3]
    assert "lag 0" in err.splitlines()[-3]
    assert "level=" not in err
    assert list(temporary_folder.iterdir()) == []


def test_demo_on_postgres(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same on PostgreSQL, whose store is kept: a second demo refuses to use it."""
    assert demo("--store", postgres_url, "--json") == Exit.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["pages"]["pages"] == 4 * SKUS
    assert report["rebuild"]["repaired"] == report["rebuild"]["damaged"] == 9
    assert demo("--store", postgres_url) == Exit.USAGE
    assert "needs an empty store" in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The report adds up."""
    assert demo("--seed", "3", "--json") == Exit.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["lines"] == sum(report["outcomes"].values()) == sum(fault["sent"] for fault in report["faults"])
    assert all(fault["outcomes"] == {fault["expected"]: fault["sent"]} for fault in report["faults"])
    assert all(fault["reason"] for fault in report["faults"] if fault["expected"] in {"rejected", "conflict"})
    folded = sum(domain["applied"] + domain["stale"] + domain["dead"] for domain in report["domains"])
    assert folded == report["outcomes"]["appended"] + report["rebuild"]["events"] > CHANGES
    assert report["product"]["page"]["sku"] == report["product"]["sku"]
    assert len(report["product"]["latest"]) == 8 < report["product"]["said"]
    assert min(report["throughput"].values()) > 0


def test_rebuild_in_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Losses and findings are reported by kind; the example stream has an event of the rebuild."""
    assert demo("--json", changes=8_000) == Exit.DONE
    rebuild = json.loads(capsys.readouterr().out)["rebuild"]
    losses, found = rebuild["losses"], rebuild["found"]
    assert {"first", "newer", "withdrawn", "garbled"} <= losses.keys()
    assert losses["newer"] == pytest.approx(LOST * 8_000 / LOSSY_DIVISOR, rel=0.5)
    assert min(found[kind] for kind in ("missing", "newer", "changed", "orphan")) > 0
    assert found["missing"] + found["newer"] <= sum(losses.values()) - losses["garbled"]
    assert sum(found.values()) == rebuild["events"]
    assert rebuild["pagesDiffering"] >= rebuild["damaged"] == rebuild["repaired"] == 9
    assert rebuild["rows"] > 5 * SKUS
    assert min(rebuild["seconds"], rebuild["rowsPerSecond"], rebuild["sections"], rebuild["foldingSeconds"]) > 0
    assert len(rebuild["runs"]) == 5
    *_, head = rebuild["stream"]["latest"]
    assert head["runId"] in rebuild["runs"]
    assert (head["head"], head["drift"]) == (True, "newer")


WriteSnapshot = Callable[[Path, Iterable[Document], datetime], None]


def omits(write: WriteSnapshot, file: Path, rows: list[Document], taken_at: datetime) -> None:
    """A row is missing, without any sign of it."""
    write(file, rows[1:], taken_at)


def invents(write: WriteSnapshot, file: Path, rows: list[Document], taken_at: datetime) -> None:
    """A row has an unknown product."""
    write(file, [*rows, rows[-1] | {"sku": "ZZZ-UNKNOWN"}], taken_at)


def withdraws_wrongly(write: WriteSnapshot, file: Path, rows: list[Document], taken_at: datetime) -> None:
    """A row is a withdrawal that its source never sent."""
    live = next(row for row in rows if row["payload"] is not None)
    write(file, [row | {"payload": None} if row is live else row for row in rows], taken_at)


def is_truncated(write: WriteSnapshot, file: Path, rows: list[Document], taken_at: datetime) -> None:
    """The end marker is missing."""
    write(file, rows, taken_at)
    file.write_bytes(file.read_bytes().rpartition(b'{"snapshot":"end"')[0])


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        (omits, r"the rebuild: found \d+ drifted streams, expected \d+; they differ in \S+/pricing/erp\n"),
        (invents, r"the rebuild: found \d+ drifted streams, expected \d+; they differ in \S+/pricing/erp\n"),
        (withdraws_wrongly, r"the rebuild: found \d+ drifted streams, expected \d+; they differ in \S+/pricing/erp\n"),
        (is_truncated, r"the rebuild: the rebuild of erp is completed; \S+"),
    ],
)
def test_wrong_snapshot(
    fault: Callable[[WriteSnapshot, Path, list[Document], datetime], None],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A snapshot that differs from its source makes the demo fail, with the wrong findings."""
    write = snapshot_export.write_snapshot

    def write_wrongly(file: Path, rows: list[Document], taken_at: datetime) -> None:
        if file.name == "erp.ndjson":
            fault(write, file, rows, taken_at)
        else:
            write(file, rows, taken_at)

    monkeypatch.setattr(snapshot_export, "write_snapshot", write_wrongly)
    assert demo("--plain", skus=100, changes=100) == Exit.REFUSED
    out = capsys.readouterr().out
    assert re.search(f"✘ {complaint}", out)
    assert "pages differ from the model" in out


def test_rebuild_that_repairs_no_page(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sections that stay corrupted make the demo fail."""
    replay = Shop.replay

    async def look_only(shop: Shop, *, write: bool, **arguments: object) -> ReplayResult:
        return await replay(shop, write=False)

    monkeypatch.setattr(Shop, "replay", look_only)
    assert demo("--plain", skus=100, changes=100) == Exit.REFUSED
    out = capsys.readouterr().out
    assert "✘ 9 of 401 pages differ from the model" in out
    assert "NOT-IN-THE-LOG in " in out


def test_kept_store(
    temporary_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--keep` leaves a store, a configuration and snapshots that agree. A configured store is never touched."""
    monkeypatch.setenv("PAGEFOLD_STORE", f"sqlite:///{temporary_folder}/precious")
    assert demo("--keep", "--plain", changes=0) == Exit.DONE
    [folder] = temporary_folder.iterdir()
    assert f"export PAGEFOLD_CONFIG={folder}/pagefold.toml" in capsys.readouterr().err
    monkeypatch.delenv("PAGEFOLD_STORE")
    config = pagefold.Config.load(folder / "pagefold.toml")
    assert config.store.url == f"sqlite:///{folder}/store"
    assert (folder / "store" / PAGES).is_file()
    for found in asyncio.run(rebuilt_again(config)):
        assert found.complete
        assert (found.drifted, found.counts.orphans, found.counts.refused) == (0, 0, 0)
        assert found.counts.equal == found.counts.rows > 0


async def rebuilt_again(config: pagefold.Config) -> list[RunReport]:
    """A rebuild of every source, after the demo's own."""
    async with pagefold.open(config) as shop, shop.rebuilds() as service:
        return [
            await service.rebuild(source, RebuildRequest(), RunObserver()) for source in service.sources(None, None)
        ]


def test_corrupted_page(
    temporary_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed, a removed and an invented page are found and shown."""
    products = [product.sku for product in Size(skus=100).sample().products]
    first, last = min(products), max(products)

    async def corrupt_and_compare(shop: Shop, model: Model, *arguments: object) -> Verdict:
        corrupt(intruder_of(temporary_folder), first, last)
        return await compare_pages(shop, model)

    monkeypatch.setattr(live_phase, "compare_pages", corrupt_and_compare)
    assert demo("--plain", skus=100, changes=100) == Exit.REFUSED
    out = capsys.readouterr().out
    assert f"✘ {first} in web-de, as read by a storefront, differs from byte " in out
    assert '"attributes"' in out
    assert '"attributed"' in out
    assert f"✘ {last} in web-de, as read by a storefront, differs from byte 0\n  store  no page" in out
    assert "✘ GHOST in web-us, as read by a storefront, differs from byte 0" in out
    assert f"✘ 4 of {4 * len(products) + 1} pages differ from the model" in out
    assert "Losses and rebuild" not in out


def intruder_of(folder: Path) -> Intruder:
    """Direct access to the sections of the demo's store."""
    [file] = folder.glob(f"*/store/{PAGES}")
    return Intruder(f"sqlite:///{file.parent}")


def corrupt(intruder: Intruder, changed: str, removed: str) -> None:
    """Misspells a field of one SKU's page, removes the page of another, and moves one to an unknown SKU."""
    sections = intruder.sections()
    misspelt = [each for key, each in sections.items() if key[:2] == (changed, "web-de")]
    intruder.put(each._replace(body=each.body and each.body.replace(b"attributes", b"attributed")) for each in misspelt)
    moved = [each for key, each in sections.items() if key[:2] == (removed, "web-fr")]
    intruder.remove([key for key in sections if key[0] == removed and key[1] in ("web-de", "web-fr")])
    intruder.put(each._replace(sku="GHOST", channel="web-us") for each in moved)


def test_usage(temporary_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shop that is too small, and a configuration, are rejected before anything is created."""
    assert demo(skus=99) == Exit.USAGE
    assert "100" in capsys.readouterr().err
    assert demo("--config", "pagefold.toml") == Exit.USAGE
    assert "brings its own configuration" in capsys.readouterr().err
    assert list(temporary_folder.iterdir()) == []


def test_unexpected_outcomes_are_counted() -> None:
    """A line with an unexpected outcome is counted and described, without its payload."""
    ledger = Ledger()
    event = {"type": "media", "sku": "S", "channel": "*", "source": "dam", "sourceVersion": 4, "payload": {"secret": 1}}
    ledger.record(Arrival(b"{}", None, None, "appended", event), "appended", AppendResult("rejected", reason="no"))
    ledger.record(Arrival(b"{}", "late", None, "appended", event), "duplicate", AppendResult("appended", 1))
    ledger.record(Arrival(b"{", "broken", "NaN", "rejected", None), "rejected", AppendResult("rejected", reason="no"))
    assert (ledger.lines, ledger.unexpected_count) == (3, 2)
    first, second = ledger.unexpected
    assert first.line == "S/*/media/dam version 4 (in order)"
    assert (first.expected, first.model, first.outcome, first.reason) == ("appended", None, "rejected", "no")
    assert (second.model, second.outcome) == ("duplicate", "appended")
    assert [(tally.kind, tally.as_expected) for tally in ledger.tallies()] == [
        (None, False),
        (None, True),
        ("NaN", True),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, temporary_folder: Path) -> None:
    """Ctrl-C and SIGTERM end the demo at once, without a traceback, and leave nothing behind."""
    program = "from pagefold.engine.command import main; main()"
    environment = os.environ | {"TMPDIR": str(temporary_folder)}
    with subprocess.Popen(
        [sys.executable, "-c", program, "demo", "--plain"], env=environment, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert b"Delivering" in process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == 128 + number
    assert number.name.encode() in rest
    assert b"Traceback" not in rest
    assert list(temporary_folder.iterdir()) == []


def test_live_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a terminal the display is live and in colour; `--plain` overrides any request for colour."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert isinstance(screen_for(make_console(plain=False, stderr=True), plain=False), LiveScreen)
    assert demo(skus=100, changes=100) == Exit.DONE
    out, err = capsys.readouterr()
    assert "\x1b[1" in out
    assert "\x1b[?25l" in err
    assert err.rindex("\x1b[?25h") > err.rindex("marketplace-de")
    assert demo("--plain", skus=100, changes=0) == Exit.DONE
    assert "\x1b" not in "".join(capsys.readouterr())


def test_pretty_page() -> None:
    """What fits on a line stays on it; long lists and texts are cut, and marked as cut."""
    page: JSON = {"a": {"b": [1, 2, 3, 4], "text": "x" * 500}, "none": None, "deep": [{"c": "d" * 30, "e": "f" * 30}]}
    text = format_json(shorten_json(page), WIDTH)
    assert json.loads(text)["a"]["b"] == [1, 2, "… 2 more"]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.splitlines()[0] == "{"
    assert '  "none": null,' in text.splitlines()
    assert Counter(text)["{"] == 3


# --- losses -------------------------------------------------------

ALL_BROKEN = Faults(late=0, reordered=0, duplicated=0, stale=0, conflicting=0, withdrawn=0, broken=1)


def test_losses_are_findings() -> None:
    """Lines that arrive have the expected outcome; the others cause drift. Every kind of loss occurs."""
    shop = sample_shop.Shop(skus=100, launched=10)
    model = Model(tomllib.loads(shop.config("sqlite:///shop")))
    for event in shop.catalog():
        model.submit(event)
    received = model.copy()
    spared = shop.products[0].sku
    missed = Counter[int]()
    line = LossyTransport(model, spared, 7, lambda amount: missed.update({amount: 1}))
    said = itertools.chain(shop.launches(), shop.changes(20_000))
    for arrival in line.passes(inject_faults(said, Faults())):
        if arrival.event is not None:
            assert received.submit(arrival.event) == arrival.expected
    lost = line.losses.total() - line.losses["garbled"] - line.losses["copy"]
    assert model.events() - received.events() == lost == missed[1]
    assert line.losses.keys() == {"first", "newer", "withdrawn", "older", "copy", "garbled"}
    assert lost / 20_000 == pytest.approx(LOST, rel=0.2)
    assert line.losses["garbled"] / 20_000 == pytest.approx(GARBLED, rel=0.5)
    drift = model.drift(received)
    assert set(drift.values()) == {"missing", "newer", "changed"}
    assert spared not in {stream.sku for stream in drift}
    assert not received.drift(model).keys() - drift.keys()


def test_losses_of_few_events() -> None:
    """The first event is lost, however few there are; broken lines are not lost."""
    shop = sample_shop.Shop(skus=1)
    model = Model(tomllib.loads(shop.config("sqlite:///shop")))
    line = LossyTransport(model, "", 7, lambda _amount: None)
    arrived = list(line.passes(inject_faults(shop.catalog(), ALL_BROKEN)))
    assert line.losses == {"first": 1, "garbled": 1}
    assert [arrival.expected for arrival in arrived].count("rejected") == model.events()
    assert [arrival.expected for arrival in arrived].count("appended") == model.events() - 1


def test_snapshots_of_the_shop(tmp_path: Path) -> None:
    """With a folder for snapshots, each source has a file of its own in it."""
    shop = sample_shop.Shop(skus=1)
    assert all("snapshot" not in source for source in tomllib.loads(shop.config("sqlite:///shop"))["sources"].values())
    sources = tomllib.loads(shop.config("sqlite:///shop", tmp_path))["sources"]
    files = {Path(source["snapshot"]["file"]) for source in sources.values()}
    assert len(files) == len(sources)
    assert {file.parent for file in files} == {tmp_path}
    assert {file.suffix for file in files} == {".ndjson", ".gz"}


def test_launched_products() -> None:
    """Neither the catalog nor the changes have the launched products; the other products are the same without them."""
    whole, shop = sample_shop.Shop(skus=100), sample_shop.Shop(skus=100, launched=10)
    assert [*shop.products, *shop.launched] == list(whole.products)
    launched = {product.sku for product in shop.launched}
    first = list(shop.launches())
    assert first == list(shop.launches())
    assert {stream_of(event).sku for event in first} == launched
    assert {event["sourceVersion"] for event in first} == {1}
    assert not any(stream_of(event).sku in launched for event in itertools.chain(shop.catalog(), shop.changes(500)))
    assert list(whole.launches()) == []
