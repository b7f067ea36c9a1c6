"""`pagefold get --at` and `--under`, `history --at`: pages and histories as they were."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.command_line import event, lines_file, on_sqlite, product, run_pagefold, settle


@pytest.fixture
def workplace(tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, and an empty store."""
    return settle(tmp_path, store_url, monkeypatch)


def ingest(folder: Path, *events: object) -> None:
    """Appends events that must all be new."""
    ran = run_pagefold("ingest", "--json", lines_file(folder / "events.ndjson", *events))
    assert ran.counts == {"appended": len(events)}


def test_a_page_is_printed_as_it_was(workplace: Path) -> None:
    """At a position, or a time between two changes: the bytes of then, without folding anything first."""
    ingest(workplace, product(), event())
    run_pagefold("work", "--once")
    before = run_pagefold("get", "A", "web-de")
    [end] = {entry["position"] for entry in run_pagefold("history", "A", "--limit", "1", "--json").documents}
    between = datetime.now(UTC).isoformat()
    ingest(workplace, event(version=2, amount="2.00"))
    assert run_pagefold("get", "A", "web-de", "--at", str(end)) == before
    assert run_pagefold("get", "A", "web-de", "--at", between) == before
    assert run_pagefold("get", "A", "web-de", "--at", "9999-01-01T00:00:00Z").document["pricing"]["amount"] == "2.00"
    run_pagefold("work", "--once")
    assert run_pagefold("get", "A", "web-de", "--at", between, "--pretty").out != before.out
    ran = run_pagefold("get", "A", "web-de", "--at", "9999")
    assert ran.code == 0
    assert "the log ends at position" in ran.err
    assert ran.out == run_pagefold("get", "A", "web-de").out


@on_sqlite
def test_a_page_that_was_not_there_is_explained(workplace: Path) -> None:
    """Before the log, before the product, and disabled."""
    ingest(workplace, product("B"), product(enabled=False))
    run_pagefold("work", "--once")
    ran = run_pagefold("get", "A", "web-de", "--at", "0")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "the log has no event up to position 0: its first is at 1\n"
    ran = run_pagefold("get", "A", "web-de", "--at", "1")
    assert ran.err == "A had no page in web-de at position 1; `pagefold history A` shows its events\n"
    ran = run_pagefold("get", "A", "web-de", "--at", "2")
    assert ran.err == "the page of A in web-de was disabled at position 2; --disabled prints it\n"
    assert run_pagefold("get", "A", "web-de", "--at", "2", "--disabled").document["status"] == "disabled"
    assert "is not an SKU" in run_pagefold("get", "", "web-de", "--at", "2").err


@on_sqlite
@pytest.mark.parametrize("option", ["--at=yesterday", "--at=", "--at=2026-01-01"])
def test_what_is_no_moment_is_refused(workplace: Path, option: str) -> None:
    """With what is allowed."""
    for command in (("get", "A", "web-de"), ("history", "A")):
        ran = run_pagefold(*command, option)
        assert ran.code == 2
        assert "--at: " in ran.err
        assert "is no position and no time such as" in ran.err


@on_sqlite
def test_a_page_under_another_configuration(workplace: Path) -> None:
    """A file, or the number of a configuration that was applied; the store is always the one of the command."""
    ingest(workplace, product(), event())
    run_pagefold("work", "--once")
    text = (workplace / "pagefold.toml").read_text()
    other = workplace / "other.toml"
    other.write_text(text.replace("[channels.web-de]", "[channels.web-new]"))
    assert run_pagefold("get", "A", "web-new").code == 2
    assert run_pagefold("get", "A", "web-new", "--under", "other.toml").document["channel"] == "web-new"
    assert run_pagefold("get", "A", "web-new", "--under", "other.toml", "--at", "1").document["pricing"] is None
    ran = run_pagefold("get", "A", "web-de", "--under", "other.toml")
    assert ran.code == 2
    assert "unknown channel 'web-de'" in ran.err
    assert run_pagefold("get", "A", "web-de", "--under", "0") == run_pagefold("get", "A", "web-de")
    assert "no configuration was applied with the number 7" in run_pagefold("get", "A", "web-de", "--under", "7").err
    assert run_pagefold("get", "A", "web-de", "--under", "none.toml").code == 2


@on_sqlite
def test_the_history_as_it_was(workplace: Path) -> None:
    """The events up to a moment, with the head of then."""
    ingest(workplace, product(), event(), event(version=3, amount="3.00"))
    before = run_pagefold("history", "A")
    ingest(workplace, event(version=4, amount="4.00"), event(version=2, amount="2.00"))
    assert run_pagefold("history", "A", "--at", "3") == before
    assert run_pagefold("history", "A", "--at", "0") == (1, "", "no source has sent events for A up to position 0\n")
    assert run_pagefold("history", "A", "--at", datetime.now(UTC).isoformat()) == run_pagefold("history", "A")
