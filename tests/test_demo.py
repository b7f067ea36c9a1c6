"""The demo: it keeps its word, it says so in figures and in words, and it notices when a page is wrong."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import apsw
import pytest

import engine
from domains.domain import JSON
from engine.command import app
from engine.command.options import Exit
from engine.demo import generator, play
from engine.demo.delivering import Ledger
from engine.demo.display import LiveScreen, make_console, screen_for
from engine.demo.faults import BROKEN, Delivery
from engine.demo.model import Model
from engine.demo.rendering import pretty, shortened
from engine.demo.verify import Verdict, compare_pages
from engine.events import AppendResult
from engine.shop import Shop
from engine.stores.sqlite.connections import PAGES

SKUS = 150
CHANGES = 2_000
WIDTH = 110

MISSPELL = "UPDATE sections SET body = CAST(replace(CAST(body AS TEXT), 'attributes', 'attributed') AS BLOB)"


def demo(*arguments: str, skus: int = SKUS, changes: int = CHANGES) -> int:
    """The exit code of `pagefold demo`, with a small shop."""
    return app.run(["demo", "--skus", str(skus), "--changes", str(changes), *arguments])


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where throwaway stores go."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_demo_on_sqlite(temporary_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A small shop ends well, tells everything in plain words, and leaves nothing behind."""
    assert demo("--plain") == Exit.DONE
    out, err = capsys.readouterr()
    assert "\x1b" not in out + err
    assert "All 600 pages are, byte for byte, what an independent model says" in out
    assert '"status": "live"' in out
    assert "What was said of" in out
    assert "pages read" in out
    assert all(kind in out for kind in BROKEN)
    assert "lag 0" in err.splitlines()[-3]
    assert "level=" not in err
    assert list(temporary_folder.iterdir()) == []


def test_demo_on_postgres(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same on PostgreSQL, whose store is kept: a second demo refuses to play in it."""
    assert demo("--store", postgres_url, "--json") == Exit.DONE
    assert json.loads(capsys.readouterr().out)["pages"]["pages"] == 4 * SKUS
    assert demo("--store", postgres_url) == Exit.USAGE
    assert "needs an empty one" in capsys.readouterr().err


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The report adds up."""
    assert demo("--seed", "3", "--json") == Exit.DONE
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == []
    assert report["lines"] == sum(report["outcomes"].values()) == sum(fault["sent"] for fault in report["faults"])
    assert all(fault["outcomes"] == {fault["expected"]: fault["sent"]} for fault in report["faults"])
    assert all(fault["reason"] for fault in report["faults"] if fault["expected"] in {"rejected", "conflict"})
    folded = sum(domain["applied"] + domain["stale"] + domain["dead"] for domain in report["domains"])
    assert folded == report["outcomes"]["appended"] > CHANGES
    assert report["product"]["page"]["sku"] == report["product"]["sku"]
    assert len(report["product"]["latest"]) == 8 < report["product"]["said"]
    assert min(report["throughput"].values()) > 0


def test_kept_store(
    temporary_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--keep` leaves a store and a configuration to look around in. A configured store is never touched."""
    monkeypatch.setenv("PAGEFOLD_STORE", f"sqlite:///{temporary_folder}/precious")
    assert demo("--keep", "--plain", changes=0) == Exit.DONE
    [folder] = temporary_folder.iterdir()
    assert f"export PAGEFOLD_CONFIG={folder}/pagefold.toml" in capsys.readouterr().err
    monkeypatch.delenv("PAGEFOLD_STORE")
    config = engine.Config.load(folder / "pagefold.toml")
    assert config.store.url == f"sqlite:///{folder}/store"
    assert (folder / "store" / PAGES).is_file()


def test_corrupted_page(
    temporary_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that was changed, one that was removed and one that nobody asked for are found, and shown."""
    products = [product.sku for product in generator.Shop(skus=100).products]
    first, last = min(products), max(products)

    async def corrupt_and_compare(shop: Shop, model: Model, *arguments: object) -> Verdict:
        corrupt(temporary_folder, MISSPELL, first)
        corrupt(temporary_folder, "DELETE FROM sections", last)
        corrupt(temporary_folder, "UPDATE sections SET sku = 'GHOST', channel = 'web-us'", last, channel="web-fr")
        return await compare_pages(shop, model)

    monkeypatch.setattr(play, "compare_pages", corrupt_and_compare)
    assert demo("--plain", skus=100, changes=100) == Exit.REFUSED
    out = capsys.readouterr().out
    assert f"✘ {first} in web-de, as its storefront reads it, differs from byte " in out
    assert '"attributes"' in out
    assert '"attributed"' in out
    assert f"✘ {last} in web-de, as its storefront reads it, differs from byte 0 on\n  store  no page" in out
    assert "✘ GHOST in web-us, as its storefront reads it, differs from byte 0 on" in out
    assert "✘ 4 of 401 pages are not what the model says" in out


def corrupt(folder: Path, statement: str, sku: str, channel: str = "web-de") -> None:
    """Changes sections behind everybody's back."""
    [file] = folder.glob(f"*/store/{PAGES}")
    connection = apsw.Connection(str(file))
    connection.execute(statement + " WHERE sku = ? AND channel = ?", (sku, channel))
    connection.close()


def test_usage(temporary_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shop that is too small, and a configuration, are refused before anything is made."""
    assert demo(skus=99) == Exit.USAGE
    assert "100" in capsys.readouterr().err
    assert demo("--config", "pagefold.toml") == Exit.USAGE
    assert "brings its own configuration" in capsys.readouterr().err
    assert list(temporary_folder.iterdir()) == []


def test_surprises_are_counted() -> None:
    """A line that became something else than it had to is counted and named, without what it said."""
    ledger = Ledger()
    event = {"type": "media", "sku": "S", "channel": "*", "source": "dam", "sourceVersion": 4, "payload": {"secret": 1}}
    ledger.enter(Delivery(b"{}", None, None, "appended", event), "appended", AppendResult("rejected", reason="no"))
    ledger.enter(Delivery(b"{}", "late", None, "appended", event), "duplicate", AppendResult("appended", 1))
    ledger.enter(Delivery(b"{", "broken", "NaN", "rejected", None), "rejected", AppendResult("rejected", reason="no"))
    assert (ledger.lines, ledger.surprised) == (3, 2)
    first, second = ledger.surprises
    assert first.line == "S/*/media/dam version 4 (in order)"
    assert (first.expected, first.model, first.outcome, first.reason) == ("appended", None, "rejected", "no")
    assert (second.model, second.outcome) == ("duplicate", "appended")
    assert [(account.kind, account.as_expected) for account in ledger.accounts()] == [
        (None, False),
        (None, True),
        ("NaN", True),
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(number: signal.Signals, temporary_folder: Path) -> None:
    """Ctrl-C and SIGTERM end the demo at once, without a traceback, and leave nothing behind."""
    program = "from engine.command import main; main()"
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
    """In a terminal there are tables that move, in colour; `--plain` is stronger than any wish for colour."""
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
    """What fits on a line stays on it; long lists and texts are cut, and say so."""
    page: JSON = {"a": {"b": [1, 2, 3, 4], "text": "x" * 500}, "none": None, "deep": [{"c": "d" * 30, "e": "f" * 30}]}
    text = pretty(shortened(page), WIDTH)
    assert json.loads(text)["a"]["b"] == [1, 2, "… 2 more"]
    assert max(map(len, text.splitlines())) <= WIDTH
    assert text.splitlines()[0] == "{"
    assert '  "none": null,' in text.splitlines()
    assert Counter(text)["{"] == 3
