"""`pagefold changes`: lines of JSON, and a cursor to go on from."""

import json
import time
from pathlib import Path
from signal import SIGTERM

import pytest

from tests.support.command_line import event, lines_file, on_sqlite, product, run_pagefold, settle, spawn

CHANNELS = {"market-us", "web-at", "web-de"}


@pytest.fixture
def workplace(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and a store with a product."""
    place = settle(tmp_path, store_url, monkeypatch)
    ingest(place, product())
    return place


def ingest(folder: Path, *events: object) -> None:
    """Appends events, and folds them."""
    assert run_pagefold("ingest", lines_file(folder / "events.ndjson", *events)).code == 0
    assert run_pagefold("work", "--once").code == 0


def test_a_cursor_goes_on(workplace: Path) -> None:
    """Every page, then the cursor; from there, what changed since."""
    ran = run_pagefold("changes")
    assert (ran.code, ran.err) == (0, "")
    *pages, _, end = ran.documents
    assert {(page["sku"], page["channel"]) for page in pages[:3]} == {("A", channel) for channel in CHANNELS}
    assert end["upToDate"]
    ingest(workplace, event(version=2, amount="2.00"), product("B"))
    found = run_pagefold("changes", "--after", end["cursor"], "--channel", "web-de", "--prefix", "B").documents
    assert [(page["sku"], page["domains"]) for page in found[:-1]] == [("B", ["catalog"])]
    assert run_pagefold("changes", "--after", "now").documents[0]["upToDate"]
    page = run_pagefold("changes", "--prefix", "B", "--include-page", "--limit", "1").documents[0]
    assert page["page"]["sku"] == "B"


@on_sqlite
def test_the_cursor_is_kept_in_a_file(workplace: Path) -> None:
    """It is stored after the lines were written; the next run goes on from it."""
    file = workplace / "cursor"
    assert len(run_pagefold("changes", "--cursor-file", str(file)).documents) == len(CHANNELS)
    assert run_pagefold("changes", "--cursor-file", str(file)).out == ""
    ingest(workplace, product("B"))
    assert {each["sku"] for each in run_pagefold("changes", "--cursor-file", str(file)).documents} == {"B"}
    refused = run_pagefold("changes", "--cursor-file", str(file), "--after", "0")
    assert (refused.code, "remove the file" in refused.err) == (2, True)


@on_sqlite
def test_what_is_wrong_is_said(workplace: Path) -> None:
    """A text that is no cursor, a cursor of another log, an unknown channel."""
    assert workplace.exists()
    for given, code, text in (
        (["--after", "x"], 2, "is not a cursor"),
        (["--channel", "x"], 2, "unknown channel"),
        (["--domain", "x"], 2, "x"),
    ):
        ran = run_pagefold("changes", *given)
        assert (ran.code, text in ran.err) == (code, True), ran.err
    cursor = run_pagefold("changes", "--after", "now").documents[0]["cursor"]
    other = run_pagefold("--store", f"sqlite:///{workplace / 'other'}", "init", "--force")
    ran = run_pagefold("changes", "--store", f"sqlite:///{workplace / 'other'}", "--after", cursor)
    assert other.code in (0, 2)
    assert ran.code in (1, 3)


@on_sqlite
def test_follow(workplace: Path) -> None:
    """It goes on with what changes, until a signal."""
    process = spawn("changes", "--after", "now", "--follow", "--channel", "web-de", "--cursor-file", "cursor")
    try:
        deadline = time.monotonic() + 20
        while not (workplace / "cursor").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        ingest(workplace, event(version=2, amount="2.00"))
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert (line["sku"], line["channel"], line["domains"]) == ("A", "web-de", ["pricing"])
        process.send_signal(SIGTERM)
        assert process.wait(20) == 128 + SIGTERM
    finally:
        process.kill()
