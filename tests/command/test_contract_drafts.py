"""`pagefold contracts diff`, `suggest` and `generate`: what changed between contracts, and what one might say."""

from pathlib import Path

import orjson
import pytest

from tests.support.command_line import run_pagefold

CONTRACT = """
name = "erp"
version = 1
sku = "ITEM"
sourceVersion = "REV"
occurredAt = { constant = "2026-03-01T00:00:00Z" }
[pricing]
currency = { constant = "EUR" }
amount = "PRICE"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a contract, and no configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_CONFIG", raising=False)
    (tmp_path / "old.toml").write_text(CONTRACT)
    return tmp_path


def diff(place: Path, new: str, *options: str) -> tuple[int, str, str]:
    """The exit code and the output of a comparison with another text."""
    (place / "new.toml").write_text(new)
    return run_pagefold("contracts", "diff", "old.toml", "new.toml", *options)


def test_contracts_that_are_compared(place: Path) -> None:
    """Exit code 1 if a change is breaking; a version that was not raised is pointed out. No configuration is needed."""
    assert diff(place, CONTRACT) == (0, "", "erp@1 to erp@1: no change\n")
    more = CONTRACT.replace("version = 1", "version = 2") + 'compareAt = "WAS"\n'
    code, out, err = diff(place, more)
    assert (code, err) == (0, "erp@1 to erp@2: 0 breaking, 1 compatible\n")
    assert out.splitlines()[-1].split() == ["pricing.compareAt", "compatible", "is", "new:", '"WAS"']
    code, out, err = diff(place, more.replace('"PRICE"', '"COST"').replace("version = 2", "version = 1"), "--json")
    assert code == 1
    assert [orjson.loads(line) for line in out.splitlines()] == [
        {"place": "pricing.amount", "effect": "breaking", "text": 'was "PRICE", is "COST"'},
        {"place": "pricing.compareAt", "effect": "compatible", "text": 'is new: "WAS"'},
    ]
    assert "both are version 1: give the new one the next version" in err


def test_a_contract_that_cannot_be_compared(place: Path) -> None:
    """It is an error of usage, with the line; names of columns need their form."""
    code, _, err = diff(place, CONTRACT + "amuont = 1\n")
    assert code == 2
    assert "new.toml:10: pricing.amuont: is not a field" in err
    dots = CONTRACT.replace('"ITEM"', '"ITEM..NO"')
    assert diff(place, dots)[0] == 2
    assert diff(place, dots, "--form", "columns")[0] == 1
