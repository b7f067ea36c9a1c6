"""`pagefold contracts diff`, `suggest` and `generate`: what changed between contracts, and what one might say."""

import tomllib
from pathlib import Path

import orjson
import pytest

from tests.support.command_line import lines_file, product, run_pagefold

CONFIG = """
[store]
url = "sqlite:///store"
[sources.erp]
domains = ["pricing", "catalog"]
[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""
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
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
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


# --- generate ---------------------------------------------------------------------------------------


def generate(place: Path, *arguments: str) -> tuple[int, str, str]:
    """Runs the command in a folder with a configuration."""
    (place / "pagefold.toml").write_text(CONFIG)
    return run_pagefold("contracts", "generate", *arguments, "--source", "erp")


def test_a_contract_of_a_sample(place: Path) -> None:
    """It is written to standard output, reads the sample, and can be checked at once. Nothing is stored."""
    (place / "items.csv").write_text("ITEM_NO;REV;PRICE;COLOR\nA;1;1,50;red\nB;2;2,00;\n")
    code, out, err = generate(place, "items.csv")
    assert code == 0
    assert err == (
        "2 records make statements: 2 of catalog, 2 of pricing; refused: 0; `pagefold contracts check` shows more\n"
    )
    assert tomllib.loads(out)["pricing"]["amount"] == "PRICE"
    (place / "new.toml").write_text(out)
    code, _, err = run_pagefold("contracts", "check", "items.csv", "--contract", "new.toml", "--source", "erp")
    assert (code, err) == (0, "erp@1: 2 rows, 2 records\n")
    assert not (place / "store").exists()
    out = generate(place, "items.csv", "--records", "1")[1]
    assert "made of 1 record of items.csv" in out


def test_a_contract_of_json(place: Path) -> None:
    """Of the records in a document, and of a schema."""
    (place / "page.json").write_text('{"items": [{"sku": "A", "price": "1.00"}, {"sku": "B"}]}')
    code, out, _ = generate(place, "page.json")
    assert (code, tomllib.loads(out)["items"]) == (0, "items")
    (place / "schema.json").write_text('{"type": "object", "properties": {"sku": {"type": "string"}}}')
    code, out, err = generate(place, "schema.json")
    assert (code, tomllib.loads(out)["sku"], err) == (0, "sku", "")


@pytest.mark.parametrize(
    ("content", "arguments", "code", "problem"),
    [
        ("[]", ["page.json"], 3, "page.json: has no records with fields"),
        ("[1, 2]", ["page.json"], 3, "page.json: has no records with fields"),
        ("{", ["page.json"], 3, "is not JSON"),
        ("[]", ["page.json", "--format", "csv", "--delimiter", "::"], 2, "is not one character"),
    ],
)
def test_what_no_contract_can_be_made_of(
    place: Path, content: str, arguments: list[str], code: int, problem: str
) -> None:
    """It is an error, and nothing is written."""
    (place / "page.json").write_text(content)
    done = generate(place, *arguments)
    assert (done[0], done[1]) == (code, "")
    assert problem in done[2]


# --- suggest ----------------------------------------------------------------------------------------


def suggest(place: Path, *arguments: str) -> tuple[int, str, str]:
    """Runs the command for an export whose price was renamed."""
    (place / "pagefold.toml").write_text(CONFIG)
    rows = ["A;1;1.50;red;x", "B;1;2.00;blue;y", "C;1;3.00;red;z"]
    (place / "items.csv").write_text("\n".join(["ITEM;REV;PRICE_EUR;MATERIAL;NOTE", *rows, ""]))
    return run_pagefold("contracts", "suggest", "items.csv", "--contract", "old.toml", "--source", "erp", *arguments)


def test_suggestions_for_what_is_not_mapped(place: Path) -> None:
    """Lines of a contract with how sure they are, and why. Without a store, pages are not compared."""
    code, out, err = suggest(place)
    assert code == 0
    assert '[pricing]\namount = "PRICE_EUR"  # 77 %: the name is similar to `PRICE`' in out
    assert '[catalog]\nattributes.MATERIAL = "MATERIAL"  # 20 %' in out
    assert err == (
        "there is no store yet: values are not compared with those of pages\n"
        "not mapped: 3 fields of 3 records; these are guesses\n"
    )
    assert not (place / "store").exists()


def test_values_are_compared_with_those_of_pages(place: Path) -> None:
    """What the pages of the same SKUs have under another name."""
    suggest(place)
    products = [
        product(sku) | {"source": "erp", "payload": {"attributes": {"color": color}}}
        for sku, color in (("A", "red"), ("B", "blue"), ("C", "red"))
    ]
    assert run_pagefold("ingest", lines_file(place / "products.ndjson", *products)).code == 0
    assert run_pagefold("work", "--once").code == 0
    code, out, _ = suggest(place, "--json")
    assert code == 0
    found = {each["path"]: each for each in map(orjson.loads, out.splitlines())}
    assert (found["MATERIAL"]["place"], found["MATERIAL"]["confidence"]) == ("attributes.color", 100)
    assert found["MATERIAL"]["reason"] == "the same values as the attribute color of the pages"
