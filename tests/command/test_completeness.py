"""`pagefold completeness` and `pagefold requirements`."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import run_pagefold, settle

SET = """
[[requires]]
attributes = ["name"]
[[requires]]
attributes = ["gtin"]
[[requires]]
attributes = ["care"]
severity = "warns"
"""


def line(sku: str, **attributes: object) -> str:
    """A catalog event."""
    event = {"type": "catalog", "sku": sku, "channel": "*", "source": "pim", "sourceVersion": 1}
    payload = {"attributes": attributes, "family": "mugs"}
    return json.dumps({**event, "occurredAt": "2026-01-01T00:00:00Z", "payload": payload}) + "\n"


@pytest.fixture
def folder(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with requirements in one channel, and three products."""
    place = settle(tmp_path, store_url, monkeypatch)
    config = place / "pagefold.toml"
    config.write_text(
        config.read_text().replace("[channels.web-de]", '[channels.web-de]\nrequirements = ["shop.toml"]')
    )
    (place / "shop.toml").write_text(SET)
    lines = [line("FULL", name="Mug", gtin="1", care="none"), line("HALF", name="Mug"), line("EMPTY")]
    (place / "products.ndjson").write_text("".join(lines))
    assert run_pagefold("ingest", "products.ndjson").code == 0
    assert run_pagefold("work", "--once").code == 0
    return place


def test_what_pages_lack_is_counted(folder: Path) -> None:
    """By family and attribute; the exit code says that something blocks."""
    ran = run_pagefold("completeness", "web-de")
    assert ran.code == 1
    assert [row.split() for row in ran.out.splitlines()] == [
        ["family", "pages", "complete", "blocked", "filled"],
        ["mugs", "3", "1", "2", "44", "%"],
        [],
        ["attribute", "missing", "invalid", "unmapped", "blocks", "unblocks", "completes"],
        ["gtin", "2", "0", "0", "2", "1", "0"],
        ["care", "2", "0", "0", "0", "0", "0"],
        ["name", "1", "0", "0", "1", "0", "0"],
    ]
    assert ran.err.splitlines() == ["shop@1: 1 of 3 pages complete, 2 blocked"]
    [found] = run_pagefold("completeness", "web-de", "--json").documents
    assert (found["pages"], found["blocked"], found["requirements"]) == (3, 2, ["shop@1"])


def test_what_to_fill_first(folder: Path) -> None:
    """It is said if it completes pages; with nothing that blocks, the exit code is 0."""
    (folder / "shop.toml").write_text('[[requires]]\nattributes = ["gtin"]\n')
    assert "3 pages not folded" not in run_pagefold("completeness", "web-de").err
    assert run_pagefold("work", "--once").code == 0
    assert "to fill first: gtin on 2 SKUs completes 2 pages" in run_pagefold("completeness", "web-de").err
    (folder / "shop.toml").write_text('[[requires]]\nattributes = ["gtin"]\nseverity = "warns"\n')
    assert run_pagefold("work", "--once").code == 0
    assert run_pagefold("completeness", "web-de").code == 0


def test_who_lacks_an_attribute(folder: Path) -> None:
    """SKUs, one a line."""
    ran = run_pagefold("completeness", "web-de", "--lacking", "gtin")
    assert (ran.code, ran.out.split()) == (1, ["EMPTY", "HALF"])
    ran = run_pagefold("completeness", "web-de", "--lacking", "gtin", "--json")
    assert ran.documents[1] == {"sku": "HALF", "family": "mugs", "percent": 33}
    ran = run_pagefold("completeness", "web-de", "--lacking", "color")
    assert (ran.code, ran.err) == (0, "no page in web-de lacks color\n")


def test_a_channel_without_requirements(folder: Path) -> None:
    """There is nothing to count; nor is there in a channel that does not exist."""
    ran = run_pagefold("completeness", "web-at")
    assert (ran.code, ran.err) == (
        2,
        "pagefold: CHANNEL: channels.web-at has neither requirements nor a contract; see docs/channels.md\n",
    )
    assert run_pagefold("completeness", "web-fr").code == 2


def test_pages_that_are_not_measured_yet(folder: Path) -> None:
    """They are counted, and said to wait for a fold."""
    config = folder / "pagefold.toml"
    config.write_text(
        config.read_text().replace("[channels.web-at]", '[channels.web-at]\nrequirements = ["shop.toml"]')
    )
    ran = run_pagefold("completeness", "web-at")
    assert (ran.code, "are not applied yet; `pagefold plan`" in ran.err) == (2, True)
    assert run_pagefold("apply", "--reason", "a test", "--as", "ada", "--yes").code == 0
    ran = run_pagefold("completeness", "web-at")
    assert (ran.code, ran.out) == (0, "")
    assert "3 pages not folded under these documents yet: `pagefold work`" in ran.err


def test_check_names_the_line_of_a_set(folder: Path) -> None:
    """The file of the set."""
    (folder / "shop.toml").write_text(SET + "[families]\na = 1\n")
    ran = run_pagefold("check")
    assert (ran.code, ran.err) == (2, "pagefold: shop.toml:9: families[...]: expected `str`, got `int`\n")


def test_sets_in_the_box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are listed, and printed to begin with."""
    monkeypatch.chdir(tmp_path)
    assert "google-merchant     1" in run_pagefold("requirements", "list").out
    assert 'name = "google-merchant"' in run_pagefold("requirements", "show", "google-merchant").out
    ran = run_pagefold("requirements", "show", "google")
    assert (ran.code, "there is no requirement set 'google'" in ran.err) == (2, True)


def test_a_json_schema_becomes_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it cannot say is listed, and the set that is printed is one."""
    monkeypatch.chdir(tmp_path)
    schema = {"required": ["name"], "properties": {"name": {"maxLength": 9}, "a": {"multipleOf": 2}}}
    (tmp_path / "product.schema.json").write_text(json.dumps(schema))
    ran = run_pagefold("requirements", "import", "product.schema.json")
    assert (ran.code, ran.err) == (1, "left out: properties.a.multipleOf\n")
    assert ran.out == (
        'name = "product"\nversion = 1\n\n[[requires]]\nattributes = ["name"]\n\n[[checks]]\nattributes = ["name"]\n'
        "check = { max_length = 9 }\n"
    )
    (tmp_path / "wrong.json").write_text("[]")
    assert "expected an object" in run_pagefold("requirements", "import", "wrong.json").err
    (tmp_path / "wrong.json").write_text('{"properties": {"a": {"pattern": "(?=a)"}}}')
    assert run_pagefold("requirements", "import", "wrong.json").code == 2
    assert run_pagefold("requirements", "import", "nowhere.json").code != 0


@pytest.mark.usefixtures("folder")
def test_a_selection_of_pages() -> None:
    """Only those are counted, and listed; the last line says which."""
    ran = run_pagefold("completeness", "web-de", "--family", "mugs", "--attribute", "care=none")
    assert (ran.code, ran.err.splitlines()) == (
        0,
        ["shop@1, family mugs, attribute care=none: 1 of 1 page complete, 0 blocked"],
    )
    ran = run_pagefold("completeness", "web-de", "--attribute", "name", "--lacking", "gtin")
    assert (ran.code, ran.out.split()) == (1, ["HALF"])
    ran = run_pagefold("completeness", "web-de", "--category", "Tea", "--lacking", "gtin")
    assert (ran.code, ran.err.strip()) == (0, "no page in web-de, category Tea lacks gtin")
    ran = run_pagefold("completeness", "web-de", "--attribute", "=red")
    assert ran.code == 2
    assert "--attribute" in ran.err


@pytest.mark.usefixtures("folder")
def test_history_says_when_a_page_became_incomplete() -> None:
    """In text and as JSON, the newest events first or the oldest."""
    for options in ([], ["--oldest"]):
        assert "    became incomplete in web-de" in run_pagefold("history", "HALF", *options).out.splitlines()
        [found] = run_pagefold("history", "HALF", "--json", *options).documents
        assert (found["becameComplete"], found["becameIncomplete"]) == ([], ["web-de"])
    assert "    became complete in web-de" in run_pagefold("history", "FULL").out.splitlines()
