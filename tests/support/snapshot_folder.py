"""A working folder whose sources have snapshots, for tests of the command line."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Ran, event, lines_file, ndjson, product, run_pagefold, settle

SNAPSHOTS = """
[sources.erp.snapshot]
file = "erp.ndjson"

[sources.pim.snapshot]
file = "pim.ndjson"
"""
LATER = "2100-01-01T00:00:00Z"
SKUS = [f"SKU-{number:03}" for number in range(40)]


def settle_with_snapshots(folder: Path, store_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Makes it, and changes to it. The ERP and the PIM have snapshots, which are empty."""
    place = settle(folder, store_url, monkeypatch)
    file = place / "pagefold.toml"
    file.write_text(file.read_text() + SNAPSHOTS)
    export(place)
    export(place, source="pim")
    return place


def export(place: Path, *rows: object, source: str = "erp", end: bool = True) -> None:
    """Writes a snapshot to its file; its rows are the events, in the order of their streams."""
    begin = {"snapshot": "begin", "takenAt": LATER}
    marker = [{"snapshot": "end", "count": len(rows)}] if end else []
    (place / f"{source}.ndjson").write_bytes(ndjson([begin, *rows, *marker]))


def say(place: Path, *events: object) -> None:
    """Ingests events, and folds them."""
    assert run_pagefold("ingest", lines_file(place / "events.ndjson", *events)).code == 0
    assert run_pagefold("work", "--once").code == 0


def prices(skus: Iterable[str] = SKUS, version: int = 5) -> list[dict[str, object]]:
    """A price of every SKU."""
    return [event(sku, version, f"{int(sku[-3:])}.00") for sku in skus]


def amount(sku: str) -> str | None:
    """The price on its page."""
    pricing = run_pagefold("get", sku, "web-de").document["pricing"]
    return None if pricing is None else str(pricing["amount"])


def drift_of(run: dict[str, Any]) -> dict[str, str]:
    """Every stream that has drifted, and its drift."""
    return {each["stream"]: each["drift"] for each in run["drift"]}


def counts_of(run: dict[str, Any]) -> dict[str, int]:
    """The counts that are not 0."""
    return {name: number for name, number in run["counts"].items() if number}


def held(place: Path) -> Ran:
    """A run of which 6 of 40 streams are orphans: more than 5 %, and more than five."""
    say(place, *prices(), *(product(sku) for sku in SKUS))
    export(place, *prices(SKUS[6:]))
    return run_pagefold("rebuild", "--source", "erp", "--json")
