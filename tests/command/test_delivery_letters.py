"""`pagefold dead-letters` of deliveries that were given up."""

import json
from pathlib import Path

import anyio
import pytest

import pagefold
from tests.support.command_line import lines_file, product, run_pagefold, settle
from tests.support.given_up import give_up

TARGET = '[targets.shop.files]\nfolder = "out"\n'


@pytest.fixture
def place(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop whose target has refused two pages."""
    folder = settle(tmp_path, store_url, monkeypatch)
    file = folder / "pagefold.toml"
    file.write_text(file.read_text("utf-8") + TARGET, "utf-8")
    assert run_pagefold("ingest", lines_file(folder / "a.ndjson", product("A"))).code == 0
    assert run_pagefold("work", "--once").code == 0

    async def refuse() -> None:
        async with pagefold.open(pagefold.Config.load(file), create=False) as shop:
            await give_up(shop, "A")
            await give_up(shop, "B")

    anyio.run(refuse)
    return folder


def test_an_operator_looks_and_decides(place: Path) -> None:
    """The page, its target, what it said and the document; then retry, another document, discard."""
    listed = run_pagefold("dead-letters", "list", "--kind", "delivery").out
    assert "delivery-1" in listed
    assert "A web-de to shop" in listed
    [cause] = run_pagefold("dead-letters", "causes", "--json").documents
    assert (cause["kind"], cause["letters"], cause["text"]) == (
        "delivery",
        2,
        "status 422 Unprocessable Content: … has no price",
    )
    text = run_pagefold("dead-letters", "show", "delivery-1").out
    for part in ("422 Unprocessable Content: A has no price", "target       shop", "document\n{", '"sku": "A"'):
        assert part in text, text
    assert run_pagefold("dead-letters", "retry", "delivery-1").out == "delivery-1  queued\n"
    document = place / "document.json"
    document.write_text(json.dumps({"sku": "B"}))
    correct = ("dead-letters", "correct", "delivery-2", "--payload", str(document), "--as", "ada")
    assert run_pagefold(*correct, "--source-version", "2").code == 2
    assert run_pagefold(*correct).out == "delivery-2  queued with this document\n"
    again = run_pagefold(*correct)
    assert (again.code, "queued" in again.err) == (1, True)
    document.write_text("[]")
    refused = run_pagefold(*correct, "--json")
    assert refused.code == 1
    assert run_pagefold("dead-letters", "list", "--kind", "delivery").err == "no dead letters\n"


def test_many_at_once(place: Path) -> None:
    """By cause, with the number that was counted; the audit has who and why."""
    [cause] = run_pagefold("dead-letters", "causes", "--json").documents
    discard = ("dead-letters", "discard", "--cause", cause["cause"], "--reason", "a test", "--as", "ada")
    assert run_pagefold(*discard, "--expect", "3").code == 1
    assert run_pagefold(*discard, "--expect", "2").code == 0
    [first, _] = run_pagefold("dead-letters", "list", "--resolved", "--json").documents
    assert (first["resolution"], first["resolvedBy"], first["reason"]) == ("discarded", "ada", "a test")
    assert run_pagefold("dead-letters", "purge", "delivery-1").out == "delivery-1  gone\n"
    assert "dead-letters discard" in run_pagefold("audit").out
    assert place.is_dir()
