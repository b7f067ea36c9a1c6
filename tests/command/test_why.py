"""`pagefold why`: what people and programs read."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import on_sqlite, run_pagefold, settle

MAX_WIDTH = 80
EVENTS = (
    ("catalog", "pim", 1, {"attributes": {"size": "M", "note": "wide " * 60}, "localized": {"name": {"de": "Hemd"}}}),
    ("pricing", "erp", 5, {"currency": "EUR", "amount": "19.90"}),
    ("pricing", "erp", 4, {"currency": "EUR", "amount": "17.90"}),
    ("inventory", "wms-berlin", 1, {"available": 5, "safetyStock": 2}),
    ("catalog", "pim", 2, None),
)


@pytest.fixture
def folder(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with events of two products, of which one is withdrawn."""
    place = settle(tmp_path, store_url, monkeypatch)
    lines: list[str] = []
    for domain, source, version, payload in EVENTS:
        event = {
            "type": domain,
            "sku": "A" if payload else "GONE",
            "channel": "*",
            "source": source,
            "payload": payload,
        }
        lines.append(json.dumps(event | {"sourceVersion": version, "occurredAt": "2026-01-01T00:00:00Z"}))
    (place / "events.ndjson").write_text("\n".join(lines))
    assert run_pagefold("ingest", "events.ndjson").code == 0
    assert run_pagefold("work", "--once").code == 0
    return place


@on_sqlite
@pytest.mark.usefixtures("folder")
def test_people_read_each_value_below_its_event() -> None:
    """On lines of 80 characters; a long value is cut, and whole where it is asked for."""
    ran = run_pagefold("why", "A", "web-de")
    lines = ran.out.splitlines()
    assert ran.code == 0
    assert max(map(len, lines)) <= MAX_WIDTH
    assert any(line.strip().startswith("pim version 1, 2026-01-01") for line in lines)
    assert "    attributes.name  Hemd" in lines
    assert "      from localized.name.de" in lines
    assert "wide " * 20 not in " ".join(ran.out.split())
    whole = run_pagefold("why", "A", "web-de", "note")
    assert ("wide " * 60).strip() in " ".join(whole.out.split())


@on_sqlite
@pytest.mark.usefixtures("folder")
def test_one_value_with_all_that_is_known_of_it() -> None:
    """What came late, the parts of a sum, the version that the page names; what nobody has stated."""
    price = " ".join(run_pagefold("why", "A", "web-de", "pricing.amount").out.split())
    assert "amount 19.90 erp version 4, position 3 has 17.90: The source has sent a newer version" in price
    assert "id " in price
    stock = run_pagefold("why", "A", "web-de", "inventory.available").out
    assert "wms-berlin has available: 5" in stock
    assert "wms-berlin has safetyStock: 2" in stock
    assert "sourceVersions.pricing/erp  5" in run_pagefold("why", "A", "web-de", "sourceVersions").out
    assert "No event that counts has it" in run_pagefold("why", "A", "web-de", "color").out


@on_sqlite
@pytest.mark.usefixtures("folder")
def test_the_exit_code_says_whether_there_is_a_page() -> None:
    """1 for a page that is disabled, or that nobody has sent; the answer is there all the same. 2 for bad usage."""
    gone = run_pagefold("why", "GONE", "web-de")
    assert (gone.code, gone.out.splitlines()[0]) == (1, "GONE in web-de: disabled, not ready")
    assert "The source withdrew it" in gone.out
    nobody = run_pagefold("why", "NOBODY", "web-de")
    assert (nobody.code, nobody.out.splitlines()[0]) == (1, "NOBODY in web-de: absent")
    assert run_pagefold("why", "A", "nowhere").code == 2
    assert run_pagefold("why", " A", "web-de").code == 2


@on_sqlite
@pytest.mark.usefixtures("folder")
def test_programs_read_one_object() -> None:
    """With everything, or with one place."""
    whole = run_pagefold("why", "A", "web-de", "--json").document
    assert [each["domain"] for each in whole["sections"]] == ["catalog", "pricing", "inventory", "media"]
    part = run_pagefold("why", "A", "web-de", "name", "--json").document
    assert [[value["path"] for value in each["values"]] for each in part["sections"]] == [["catalog.attributes.name"]]
    assert [each["source"] for each in part["events"]] == ["pim"]
