"""SKUs that pages name, on the command line: what is missing, which SKU does not exist, and when it does."""

import json
from pathlib import Path

import pytest

from tests.support.command_line import run_pagefold, settle

CHANNEL = """
[channels.linked]
locale = "de"
currency = "EUR"

[[channels.linked.requirements]]
name = "links"
checks = [
    { fields = ["parent"], in_catalog = true },
    { attributes = ["related"], in_catalog = true, severity = "warns" },
]
"""


@pytest.fixture
def folder(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A shop with a channel that asks for parents and related SKUs."""
    place = settle(tmp_path, store_url, monkeypatch)
    with (place / "pagefold.toml").open("a") as file:
        file.write(CHANNEL)
    return place


def say(folder: Path, sku: str, version: int, payload: object) -> None:
    """Takes an event in, and folds it."""
    event = {"type": "catalog", "sku": sku, "channel": "*", "source": "pim", "sourceVersion": version}
    (folder / "events.ndjson").write_text(
        json.dumps(event | {"occurredAt": "2026-01-01T00:00:00Z", "payload": payload})
    )
    assert run_pagefold("ingest", "events.ndjson").code == 0
    assert run_pagefold("work", "--once").code == 0


def words(*command: str, code: int = 0) -> str:
    """What a command prints, on one line."""
    ran = run_pagefold(*command)
    assert ran.code == code, ran
    return " ".join(f"{ran.out} {ran.err}".split())


def test_what_does_not_exist_is_counted_and_named_until_it_comes(folder: Path) -> None:
    """By `completeness` and `why`; `get --at` and `history` know how it was, and `verify` agrees."""
    say(folder, "TEE", 1, {"attributes": {"related": ["CAP", "MUG"]}, "parent": "MODEL"})
    say(folder, "MUG", 1, {"attributes": {}})
    counted = words("completeness", "linked", code=1)  # a page is blocked
    assert "parent 0 1 0 1 1 0" in counted
    assert "related 0 1 0 0 0 0" in counted
    assert words("completeness", "linked", "--lacking", "related", code=1) == "TEE"
    assert "links@1: the catalog does not have MODEL" in words("why", "TEE", "linked", "catalog.parent")
    assert "links@1, a warning: the catalog does not have CAP" in words("why", "TEE", "linked", "related")
    before = words("get", "TEE", "linked")
    assert '"catalog":false' in before
    say(folder, "MODEL", 1, {"attributes": {}})
    say(folder, "CAP", 1, {"attributes": {}})
    assert "4 of 4 pages complete" in words("completeness", "linked")
    assert "parent" not in words("completeness", "linked")
    assert "does not have" not in words("why", "TEE", "linked")
    assert words("get", "TEE", "linked", "--at", "3") == before
    say(folder, "CAP", 2, None)
    assert "does not have CAP" in words("why", "TEE", "linked", "related")
    assert "none has drifted" in words("verify")
