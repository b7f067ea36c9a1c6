"""`pagefold contracts check`: what would become of an export, without writing anything."""

from pathlib import Path

import orjson
import pytest

from tests.support.command_line import run_pagefold

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
version = 2
sku = "ITEM"
sourceVersion = "REV"
occurredAt = { constant = "2026-03-01T00:00:00Z" }
[pricing]
currency = { constant = "EUR" }
amount = { from = "PRICE", decimal = { decimal = "," } }
[catalog]
attributes.color = { from = "COLOR", lookup = { values = { rd = "red", bl = "blue" } } }
"""
EXPORT = "ITEM;REV;PRICE;COLOR\n A-1 ;1;19,90;rd\nB-2;2;5,00;bl\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, a contract and an export."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(CONFIG)
    (tmp_path / "erp.toml").write_text(CONTRACT)
    (tmp_path / "items.csv").write_text(EXPORT)
    return tmp_path


def check(*options: str) -> tuple[int, str, str]:
    """The exit code and the output of a check."""
    return run_pagefold("contracts", "check", "items.csv", "--contract", "erp.toml", "--source", "erp", *options)


def test_an_export_that_arrives_whole(place: Path) -> None:
    """Samples and counts by domain; nothing is written."""
    code, out, err = check()
    assert code == 0
    assert 'pricing A-1 * erp 1: {"amount": "19.90", "currency": "EUR"}' in out
    assert 'catalog B-2 * erp 2: {"attributes": {"color": "blue"}}' in out
    assert [line.split() for line in out.splitlines()[-2:]] == [["catalog", "2", "0"], ["pricing", "2", "0"]]
    assert err == "erp@2: 2 rows, 2 records\n"
    assert not (place / "store").exists()
    assert check("--samples", "0")[1].startswith("domain")


def test_what_would_be_lost(place: Path) -> None:
    """Every kind of refusal with its number and first example, paths that no record has, values without a mapping."""
    (place / "items.csv").write_text(EXPORT + "C;3;x;gr\nD;4;y;rd\nE;5;-1;rd\nF;6\n")
    (place / "erp.toml").write_text(CONTRACT + 'attributes.weight = "WEIGHT"\n')
    code, _, err = check()
    assert code == 1
    assert "refused 2: pricing.amount of `PRICE`: 'x' is not a number" in err
    assert "(pricing, such as C, line 4)" in err
    assert "(pricing, such as E, line 6)" in err
    assert "refused 1: has 2 cells; the header has 4 (row, such as line 7)" in err
    assert "a run would stop: no record has `WEIGHT`, which the contract reads for catalog; records have ITEM," in err
    assert "catalog.attributes.color.lookup: 'gr' is not mapped (lookup): 1 value" in err
    code, out, err = check("--json")
    document = orjson.loads(out)
    assert (code, err) == (1, "")
    assert (document["contract"], document["rows"], document["records"]) == ("erp@2", 6, 5)
    assert document["statements"] == {"pricing": 2, "catalog": 5}
    assert document["absent"] == [{"domain": "catalog", "path": "WEIGHT", "needed": True}]
    assert {(kind["domain"], kind["count"]) for kind in document["refusals"]} == {
        ("pricing", 2),
        ("pricing", 1),
        ("row", 1),
    }
    assert document["values"][0]["value"] == "gr"


def test_a_value_that_no_table_has_is_lost(place: Path) -> None:
    """That alone is exit code 1; a field that the contract does not read is shown with its share, and is not."""
    (place / "items.csv").write_text("ITEM;REV;PRICE;COLOR;NOTE\nA;1;1,00;rd;new\nB;1;1,00;bl;\n")
    code, _, err = check()
    assert (code, err.splitlines()[0]) == (0, "not mapped: 'NOTE', in 50 % of the records, such as 'new'")
    (place / "items.csv").write_text("ITEM;REV;PRICE;COLOR\nA;1;1,00;gr\n")
    assert check()[0] == 1
    (place / "erp.toml").write_text('unmapped = "skip"\n' + CONTRACT)
    assert check()[0] == 0


def test_a_path_that_may_be_blank_does_not_stop_a_run(place: Path) -> None:
    """It is shown all the same."""
    (place / "erp.toml").write_text(CONTRACT + 'attributes.weight = { from = "WEIGHT", blank = "skip" }\n')
    code, _, err = check()
    assert (code, err.splitlines()[0]) == (0, "no record has `WEIGHT`, which the contract reads for catalog")


def test_a_contract_of_changes(place: Path) -> None:
    """Where the records come in decides which fields it may leave out, and that they have columns."""
    example = '[[examples]]\nin = { "A.B" = "1" }\nout = [{ sourceVersion = 1, occurredAt = "2026-01-01T00:00:00Z" }]\n'
    (place / "cdc.toml").write_text('sku = "A.B"\n[pricing]\namount = "P"\n' + example)
    for command in (("show", "cdc.toml"), ("test", "cdc.toml")):
        code, _, err = run_pagefold("contracts", *command, "--source", "erp")
        assert (code, "sourceVersion: is required" in err) == (2, True)
        assert run_pagefold("contracts", *command, "--source", "erp", "--entrance", "cdc").code == 0


def test_the_contract_of_the_configuration(place: Path) -> None:
    """Without a file, an export is read by the contract that the configuration names for the entrance."""
    checked = ("contracts", "check", "items.csv", "--source", "erp", "--samples", "0")
    code, _, err = run_pagefold(*checked)
    assert code == 2
    assert "--contract: is needed: the configuration names none for erp, snapshot" in err
    inline = """
[sources.erp.cdc]
tables = ["public.items"]
[sources.erp.cdc.contract]
name = "changes"
version = 1
sku = "ITEM"
[sources.erp.cdc.contract.catalog]
attributes.color = "COLOR"
"""
    (place / "pagefold.toml").write_text(CONFIG.replace("[channels", f'contract = "erp.toml"\n{inline}[channels'))
    code, out, err = run_pagefold(*checked)
    assert (code, err) == (0, "erp@2: 2 rows, 2 records\n")
    code, out, err = run_pagefold(*checked[:-1], "1", "--entrance", "cdc")
    assert 'catalog A-1 * erp 2: {"attributes": {"color": "rd"}}' in out
    assert "changes@1: 2 rows, 2 records" in err
    (place / "erp.toml").write_text(CONTRACT.replace('"REV"', '"@lsn"'))
    code, _, err = run_pagefold(*checked)
    assert code == 1
    assert "refused 2: catalog.sourceVersion: null is blank" in err, "a snapshot has no LSN"
    code, _, err = run_pagefold("contracts", "check", "items.csv", "--source", "other")
    assert code == 2
    assert "--source" in err


def test_the_contracts_of_a_configuration(place: Path) -> None:
    """By source and entrance, with version and place; one that is invalid, or whose example fails, is exit code 1."""
    assert run_pagefold("contracts", "list") == (0, "", "no source and no channel has a contract\n")
    tables = '[sources.erp.snapshot]\nfile = "items.csv"\n[sources.erp.webhook]\nsecret_variables = ["S"]\n'
    config = CONFIG.replace("[channels", f"{tables}[channels").replace(
        '"catalog"]', '"catalog"]\ncontract = "erp.toml"'
    )
    own = '[sources.erp.webhook.contract]\nsku = "s"\nsourceVersion = "v"\npricing.amount = "{}"\n'
    (place / "pagefold.toml").write_text(config.replace("[channels", own.format("p") + "[channels"))
    code, out, _ = run_pagefold("contracts", "list")
    assert code == 0
    assert [line.split() for line in out.splitlines()[1:]] == [
        ["erp", "snapshot", "erp@2", "erp.toml", "valid"],
        ["erp", "webhook", "erp@1", "in", "the", "configuration", "valid"],
    ]
    (place / "erp.toml").write_text(CONTRACT + "[[examples]]\nin = {}\nout = []\n")
    (place / "pagefold.toml").write_text(config.replace("[channels", own.format("..") + "[channels"))
    code, out, _ = run_pagefold("contracts", "list", "--json")
    assert code == 1
    states = [orjson.loads(line)["state"] for line in out.splitlines()]
    assert states[0] == "1 example failed"
    assert states[1].startswith("invalid: ")
    assert "pagefold.toml:" in states[1]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--source", "erb"], "did you mean 'erp'"),
        (["--delimiter", "::"], "is not one character"),
        (["--encoding", "rot13"], "'rot13' is not an encoding of texts such as 'cp1252'"),
        (["--contract", "gone.toml"], "gone.toml: cannot be read"),
    ],
)
def test_wrong_options(place: Path, options: list[str], problem: str) -> None:
    """They are refused, with exit code 2."""
    given = {"--source": "erp", "--contract": "erp.toml"} | dict([options])
    code, _, err = run_pagefold("contracts", "check", "items.csv", *[each for pair in given.items() for each in pair])
    assert code == 2
    assert problem in err
    assert place.exists()


def test_a_file_whose_format_is_not_known(place: Path) -> None:
    """It is asked for; with it, the file is read."""
    (place / "items.csv").rename(place / "items.txt")
    arguments = ("contracts", "check", "items.txt", "--contract", "erp.toml", "--source", "erp")
    code, _, err = run_pagefold(*arguments)
    assert code == 2
    assert "csv, ndjson or json" in err
    assert run_pagefold(*arguments, "--format", "csv")[0] == 0


def test_what_a_contract_fills(place: Path) -> None:
    """Each place with what it reads and its type."""
    code, out, _ = run_pagefold("contracts", "show", "erp.toml", "--source", "erp")
    assert code == 0
    assert ["pricing.sourceVersion", "REV", "integer"] in [line.split() for line in out.splitlines()]
    code, out, _ = run_pagefold("contracts", "show", "erp.toml", "--source", "erp", "--json")
    places = {each["place"]: each for each in map(orjson.loads, out.splitlines())}
    assert places["catalog.attributes.color"]["reads"] == ["COLOR"]
    assert place.exists()


def test_the_examples_of_a_contract(place: Path) -> None:
    """Exit code 1 if one fails, with what was expected and what came."""
    example = '\n[[examples]]\nin = {{ ITEM = "A", REV = "1", PRICE = "1,5", COLOR = "rd" }}\nout = [{}]\n'
    good = '{ type = "catalog" }, { type = "pricing", payload = { currency = "EUR", amount = "1.5" } }'
    (place / "erp.toml").write_text(CONTRACT + example.format(good))
    command = ("contracts", "test", "erp.toml", "--source", "erp")
    assert run_pagefold(*command) == (0, "", "erp@2: 1 example, 0 failed\n")
    (place / "erp.toml").write_text(CONTRACT + example.format(good) + example.format(""))
    code, _, err = run_pagefold(*command)
    assert code == 1
    assert "example 2: expected [], got [{" in err
    assert "erp@2: 2 examples, 1 failed" in err


def test_two_statements_of_one_stream_are_a_loss(place: Path) -> None:
    """Of an item that says two things at one version, the second would be a conflict: exit code 1, and an example."""
    (place / "items.csv").write_text(EXPORT + "B-2;2;6,00;bl\nB-2;2;5,00;bl\n")
    code, _, err = check()
    assert code == 1
    assert (
        "refused 1: another statement of this stream has other content at version 2 (pricing, such as B-2, line 4)"
        in err
    )


def test_a_check_of_the_configuration_runs_examples(place: Path) -> None:
    """Those of the contracts of sources: one that fails is a problem, with the line and both results."""
    (place / "pagefold.toml").write_text(
        CONFIG.replace('["pricing", "catalog"]', '["pricing", "catalog"]\ncontract = "erp.toml"')
    )
    example = (
        '[[examples]]\nin = { ITEM = "A", REV = 1, PRICE = "9,90" }\n'
        'out = [{ payload = { amount = "%s", currency = "EUR" } }]\n'
    )
    contract = CONTRACT.partition("[catalog]")[0]
    (place / "erp.toml").write_text(contract + example % "9.90")
    assert run_pagefold("check")[0] == 0
    (place / "erp.toml").write_text(contract + example % "9.95")
    code, _, err = run_pagefold("check")
    assert code == 2
    assert "erp.toml:10: examples[0]: of erp@2: expected [{" in err
    assert '"amount":"9.95"' in err
    assert '"amount":"9.90"' in err
