"""`pagefold diff`: counts, fields and pages that differ, as text and as JSON."""

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


def test_two_moments(workplace: Path) -> None:
    """Counts come first, then fields, then pages; exit code 1 if any page differs, and 0 if none does."""
    ingest(workplace, product(), event(), product("B"))
    run_pagefold("work", "--once")
    [end] = {entry["position"] for entry in run_pagefold("history", "B", "--json").documents}
    ingest(workplace, event(version=2, amount="2.00"))
    ran = run_pagefold("diff", "--from", str(end))
    assert (ran.code, ran.err) == (1, "")
    places = [
        ran.out.index(text) for text in ("from  position", "channel ", "  pricing.amount  ", "  A  web-at  changed")
    ]
    assert places == sorted(places)
    assert '    ~ pricing.amount: "1.00" → "2.00"' in ran.out
    assert "  B  " not in ran.out
    same = run_pagefold("diff", "--from", str(end), "--to", str(end))
    assert (same.code, same.out.endswith(": no page differs\n")) == (0, True)


def test_json_has_the_counts_and_then_each_page(workplace: Path) -> None:
    """One document; with --pages, each page that differs is a line of its own."""
    ingest(workplace, product(), product("B"))
    ingest(workplace, product("A", version=2, enabled=False))
    ran = run_pagefold("diff", "--from", "2", "--json")
    assert ran.code == 1
    found = ran.document
    assert (found["from"], found["to"]["position"]) == ({"position": 2, "configuration": None}, 3)
    assert found["diff"]["channels"]["web-de"]["effects"] == {"disabled": 1, "emptied": 1}
    counts, *pages = run_pagefold("diff", "--from", "2", "--json", "--pages", "--prefix", "A").documents
    assert counts["diff"]["skus"] == 1
    assert [(page["sku"], page["channel"]) for page in pages] == [
        ("A", name) for name in ("market-us", "web-at", "web-de")
    ]
    assert {field["path"] for field in pages[0]["fields"]} >= {"catalog.attributes.colour"}


@on_sqlite
def test_two_channels_and_two_configurations(workplace: Path) -> None:
    """The sides are named; numbers are of applied configurations, files are what would count."""
    ingest(workplace, product(), event(), event("B", channel="web-de"))
    run_pagefold("work", "--once")
    ran = run_pagefold("diff", "--channels", "web-de", "market-us", "--sku", "A")
    assert ran.code == 1
    assert ran.out.splitlines()[0].endswith(", under configuration 0, channel web-de")
    assert "  A  web-de  emptied" in ran.out
    other = workplace / "other.toml"
    other.write_text((workplace / "pagefold.toml").read_text().replace("[channels.web-de]", "[channels.web-new]"))
    ran = run_pagefold("diff", "--under", "0", "--under", "other.toml", "--json")
    assert (ran.document["from"]["configuration"], ran.document["to"]["configuration"]) == (0, "other.toml")
    assert ran.document["diff"]["channels"]["web-de"]["effects"]["removed"] == 2
    assert run_pagefold("diff", "--under", "0", "--under", "0").code == 0
    assert run_pagefold("diff", "--from", "1", "--under", "0").code == 1


@on_sqlite
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((), "give --from, --channels, or --under twice: the two sides are the same"),
        (("--to", "1"), "give --from, --channels, or --under twice"),
        (("--under", "0"), "give --from, --channels, or --under twice"),
        (("--under", "0", "--under", "0", "--under", "0"), "--under: give one configuration, or two"),
        (("--from", "x"), "--from: 'x' is no position and no time"),
        (("--from", "1", "--to", "x"), "--to: 'x' is no position and no time"),
        (("--from", "1", "--sku", "A", "--prefix", "A"), "--sku: cannot be combined with --prefix"),
        (("--channels", "web-de", "web-xx"), "--channels: unknown channel 'web-xx'"),
        (("--from", "1", "--under", "7"), "--under: no configuration was applied with the number 7"),
    ],
)
def test_what_cannot_be_compared_is_refused(workplace: Path, arguments: tuple[str, ...], problem: str) -> None:
    """Contradictions and unknown names: exit code 2, with what is allowed."""
    ingest(workplace, product())
    ran = run_pagefold("diff", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert problem in ran.err
