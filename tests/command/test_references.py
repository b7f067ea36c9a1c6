"""`pagefold references`: kinds, ids and who states them, and what is ambiguous."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import run_pagefold, settle

GTIN, PRODUCT = "gtin", "shopify:product"


def line(sku: str, **references: object) -> str:
    """A catalog event that states references."""
    payload = {"references": {kind.replace("_", ":"): ids for kind, ids in references.items()}}
    event = {"type": "catalog", "sku": sku, "channel": "*", "source": "pim", "sourceVersion": 1}
    return json.dumps({**event, "occurredAt": "2026-01-01T00:00:00Z", "payload": payload}) + "\n"


@pytest.fixture
def folder(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with three products, of which two have one GTIN, and two are variants of one product."""
    place = settle(tmp_path, store_url, monkeypatch)
    config = place / "pagefold.toml"
    config.write_text(config.read_text().replace("# groups = []", f'groups = ["{PRODUCT}"]'))
    (place / "products.ndjson").write_text(
        line("RED", gtin=["1", "2"], shopify_product=9)
        + line("BLUE", gtin="2", shopify_product=9)
        + line("HAT", gtin=3)
    )
    assert run_pagefold("ingest", "products.ndjson").code == 0
    assert run_pagefold("work", "--once").code == 0
    return place


def test_kinds_are_counted(folder: Path) -> None:
    """With those that are ambiguous, which an operator should know of; a group is not."""
    ran = run_pagefold("references")
    assert ran.code == 1
    assert [row.split() for row in ran.out.splitlines()] == [
        ["kind", "ids", "ambiguous"],
        [GTIN, "3", "1"],
        [PRODUCT, "1", "0"],
    ]
    assert run_pagefold("references", "--json").documents == [
        {"kind": GTIN, "ids": 3, "ambiguous": 1},
        {"kind": PRODUCT, "ids": 1, "ambiguous": 0},
    ]


def test_ids_of_a_kind_are_listed(folder: Path) -> None:
    """Each with its SKU; only ambiguous ones, if asked; at most as many as asked."""
    listed = run_pagefold("references", GTIN, "--json")
    shown = [(each["id"], each["firstSku"], each["statements"], each["ambiguous"]) for each in listed.documents]
    assert shown == [("1", "RED", 1, False), ("2", "BLUE", 2, True), ("3", "HAT", 1, False)]
    assert "ambiguous: BLUE … RED" in run_pagefold("references", GTIN).out
    ran = run_pagefold("references", "--ambiguous", "--json")
    assert (ran.code, [each["id"] for each in ran.documents]) == (1, ["2"])
    ran = run_pagefold("references", GTIN, "--limit", "1")
    assert (ran.code, ran.err) == (0, "… and more; --limit shows them\n")
    assert run_pagefold("references", PRODUCT).code == 0
    assert run_pagefold("references", "other").err == "no such references\n"
    assert run_pagefold("references", GTIN, "--limit", "0").code == 2


def test_an_id_is_shown_with_who_states_it(folder: Path) -> None:
    """And whether anything is taken under it."""
    ran = run_pagefold("references", GTIN, "2")
    assert ran.code == 1
    assert [row.split() for row in ran.out.splitlines()[1:]] == [["BLUE", "*", "pim"], ["RED", "*", "pim"]]
    assert "ambiguous: 2 SKUs have it, and nothing is taken under it" in ran.err
    ran = run_pagefold("references", PRODUCT, "9", "--json")
    assert (ran.code, [each["sku"] for each in ran.documents]) == (0, ["BLUE", "RED"])
    ran = run_pagefold("references", GTIN, "9")
    assert (ran.code, ran.out) == (0, "no SKU has gtin 9\n")


def test_status_says_what_is_ambiguous(folder: Path) -> None:
    """With the command that lists it."""
    assert "1 reference is of several SKUs, and nothing is taken under them" in run_pagefold("status").err
    assert run_pagefold("status", "--json").document["references"][0] == {"kind": GTIN, "ids": 3, "ambiguous": 1}
