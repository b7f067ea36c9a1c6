"""`pagefold pages`: the pages of a channel, as a list and as documents."""

from pathlib import Path

import orjson
import pytest

from pagefold.engine.command import pages
from pagefold.engine.command.pages import just_before, moment_of
from tests.support.command_line import Ran, event, lines_file, product, run_pagefold, settle

OLD, NEW = "2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z"


@pytest.fixture
def workplace(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a store of each kind: A is ready but for stock, A/1 has a price alone, AB is disabled, B is new."""
    place = settle(tmp_path, store_url, monkeypatch)
    stock = event("B", type="inventory", source="wms-berlin", payload={"available": 1})
    changed = product("B") | {"occurredAt": NEW}
    events = (product("A"), event("A"), event("A/1"), product("AB", enabled=False), changed, event("B"), stock)
    assert run_pagefold("ingest", lines_file(place / "events.ndjson", *events)).code == 0
    assert run_pagefold("work", "--once").code == 0
    return place


def skus(ran: Ran) -> list[str]:
    """The SKUs of the documents that were printed."""
    return [document["sku"] for document in ran.documents]


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ((), ["A", "A/1", "AB", "B"]),
        (("--prefix", "A"), ["A", "A/1", "AB"]),
        (("--prefix", "A/"), ["A/1"]),
        (("--prefix", "C"), []),
        (("--domain", "catalog"), ["A", "AB", "B"]),
        (("--domain", "inventory"), ["B"]),
        (("--ready",), ["B"]),
        (("--not-ready",), ["A", "A/1", "AB"]),
        (("--domain", "pricing", "--ready"), ["A", "A/1", "B"]),
        (("--since", "2026-02-01"), ["B"]),
        (("--since", "2026-03-01T01:00:00+01:00"), ["B"]),
        (("--since", "2026-03-01T00:00:01Z"), []),
        (("--prefix", "A", "--not-ready", "--domain", "pricing"), []),
    ],
)
def test_pages_are_selected(options: tuple[str, ...], listed: list[str], workplace: Path) -> None:
    """By prefix, domain, readiness and their newest change; an export has the same, without disabled pages."""
    ran = run_pagefold("pages", "list", "web-de", *options, "--json")
    assert skus(ran) == listed
    assert ran.code == (0 if listed else 1)
    assert skus(run_pagefold("pages", "export", "web-de", *options, "--disabled")) == listed
    assert skus(run_pagefold("pages", "export", "web-de", *options)) == [sku for sku in listed if sku != "AB"]


def test_an_export_has_the_bytes_that_are_served(workplace: Path) -> None:
    """Each line is what `get` prints; the number of pages goes to standard error."""
    ran = run_pagefold("pages", "export", "web-de")
    assert ran.out == "".join(run_pagefold("get", sku, "web-de").out for sku in ("A", "A/1", "B"))
    assert (ran.code, ran.err) == (0, "3 pages of web-de\n")


def test_a_list_says_what_is_missing(workplace: Path) -> None:
    """The table has status, readiness and the domains that are not ready; a message says whether there are more."""
    ran = run_pagefold("pages", "list", "web-de", "--limit", "3")
    rows = {line.split()[0]: line for line in ran.out.splitlines()}
    assert "inventory, media" in rows["A"]
    assert "disabled" in rows["AB"]
    assert "B" not in rows
    assert ran.err == "… and more; --limit shows them\n"
    assert run_pagefold("pages", "list", "web-de", "--limit", "4").err == ""
    [document] = run_pagefold("pages", "list", "web-de", "--json", "--prefix", "B").documents
    assert document["ready"]
    assert document["updatedAt"].startswith("2026-03-01T00:00:00")
    empty = run_pagefold("pages", "list", "web-de", "--prefix", "C")
    assert (empty.code, empty.err) == (1, "no pages in web-de that match\n")


def test_chunks_change_nothing(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, and pages that are too large together, print the same."""
    whole = run_pagefold("pages", "export", "web-de", "--disabled")
    monkeypatch.setattr(pages, "LIST_CHUNK", 2)
    monkeypatch.setattr(pages, "MAX_EXPORT_BYTES", 10)
    assert run_pagefold("pages", "export", "web-de", "--disabled") == whole
    assert skus(run_pagefold("pages", "export", "web-de", "--prefix", "A/")) == ["A/1"]
    assert len(run_pagefold("pages", "list", "web-de", "--json", "--limit", "3").documents) == 3


def test_prefixes_beyond_ascii(workplace: Path) -> None:
    """A prefix of any characters finds its SKUs, whatever SKUs sort before them."""
    names = ["Käse", "Käse/1", "Kä", "K\ue000x", "K\ud7ffy", "🎽a"]
    run_pagefold("ingest", lines_file(workplace / "more.ndjson", *[event(name) for name in names]))
    run_pagefold("work", "--once")
    for prefix in ("Kä", "Käse", "K\ue000", "K\ud7ff", "🎽"):
        expected = sorted((name for name in names if name.startswith(prefix)), key=str.encode)
        ran = run_pagefold("pages", "list", "web-de", "--prefix", prefix, "--json")
        assert [orjson.loads(line)["sku"] for line in ran.out.splitlines()] == expected
    assert just_before("") == ""


def test_a_moment_or_how_long_ago() -> None:
    """Times without an offset are UTC; durations count back from now."""
    assert moment_of("2026-01-31") == "2026-01-31T00:00:00.000000Z"
    assert moment_of("2026-01-31T12:00:00+02:00") == "2026-01-31T10:00:00.000000Z"
    assert moment_of("2d") < moment_of("1h") < moment_of("0s")
