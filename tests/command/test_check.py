"""`pagefold check`, the schema of the configuration, and the completion of the command line."""

import subprocess
import tomllib
from pathlib import Path

import jsonschema_rs
import orjson
import pytest

from pagefold.engine.command.init import sample
from tests.configuration.test_config import EXAMPLE
from tests.support.command_line import run_pagefold
from tests.support.documents import ROOT

SECRETS = {
    "PIM_WEBHOOK_SECRET": "a-secret",
    "PIM_TOKEN": "a-token",
    "PIM_SHOP": "main",
    "WMS_DATABASE": "postgresql://reader:geheim@wms.example:5432/stock",
    "DAM_WEBHOOK_SECRET": "hush",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration of every kind of source, and nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(EXAMPLE.sub("", sample()))
    return tmp_path


def test_a_valid_configuration(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints one line on standard output, and opens and creates nothing."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    (place / "exports").mkdir()
    assert run_pagefold("check") == (0, "the configuration is valid: 5 sources, 3 channels\n", "")
    assert sorted(path.name for path in place.iterdir()) == ["exports", "pagefold.toml"]
    assert run_pagefold("check", "--json") == (0, "", "")


def test_everything_that_any_command_would_find_is_listed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists missing secrets and folders, and wrong fields of events, with their lines; exit code 2."""
    monkeypatch.setenv("PIM_TOKEN", "two words")
    monkeypatch.setenv("WMS_DATABASE", "postgresql://reader:geheim@wms.example:99999/stock")
    text = (place / "pagefold.toml").read_text()
    text = text.replace("contract.catalog.categories", "contract.catalog.categorys").replace(
        "contract.pricing.taxClass", "contract.pricing.tax"
    )
    (place / "pagefold.toml").write_text(text)
    code, out, err = run_pagefold("check")
    assert (code, out) == (2, "")
    problems = (
        "sources.pim.webhook.secret_variables[0]: the environment variable PIM_WEBHOOK_SECRET is not set",
        "sources.pim.webhook.contract.catalog.categorys: is not a field of the catalog payload; did you mean",
        "sources.pim.webhook.fetch[0].token_variable: PIM_TOKEN is not a token",
        "sources.pim.cloudevents.fetch[0].token_variable: PIM_TOKEN is not a token",
        "sources.pim.delta.fetch.token_variable: PIM_TOKEN is not a token",
        "sources.pim.snapshot.token_variable: PIM_TOKEN is not a token",
        "sources.erp.cdc.contract.pricing.tax: is not a field of the pricing payload",
        "sources.erp.snapshot.file: there is no folder exports",
        "sources.wms-berlin.snapshot.database_variable: the URL in WMS_DATABASE has a port 99999",
        "sources.dam.webhook.secret_variables[0]: the environment variable DAM_WEBHOOK_SECRET is not set",
    )
    for line, problem in zip(err.splitlines(), problems, strict=True):
        assert line.startswith("pagefold: pagefold.toml:")
        assert problem in line
        number, key = line.split(":")[2], problem.split(":")[0]
        written = "fetch" if ".fetch" in key else key.rpartition(".")[2].partition("[")[0]
        assert written in text.splitlines()[int(number) - 1]
    assert "geheim" not in err
    assert "two words" not in err
    assert [each["key"] for each in run_pagefold("check", "--json").documents] == [
        problem.split(":")[0] for problem in problems
    ]


def test_a_source_with_a_problem_in_the_file_is_not_checked_further(place: Path) -> None:
    """The replacement of a wrong value causes no further problem; the other sources are checked."""
    text = (place / "pagefold.toml").read_text()
    (place / "pagefold.toml").write_text(text.replace('["PIM_WEBHOOK_SECRET"]', "7"))
    err = run_pagefold("check").err
    assert "sources.pim.webhook.secret_variables: expected `array`, got `int`" in err
    assert "PIM_TOKEN" not in err
    assert "WMS_DATABASE" in err


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("postgresql://h:x/d", "has a port that is not a number"),
        ("postgresql://u:p@a:1,b:70000/d", "has a port 70000"),
        ("postgresql://[::1/d", "square brackets"),
        ("postgresql://u:p@a:1,b/d", None),
        ("postgresql://[::1]:5432/d", None),
        ("postgresql:///d?host=/run", None),
    ],
)
def test_the_address_of_the_store_is_checked(place: Path, url: str, problem: str | None) -> None:
    """An invalid port is found before anything connects; the password is not shown."""
    err = run_pagefold("check", "--store", url).err
    assert ("store.url" in err) == (problem is not None)
    assert problem is None or f"store.url: {'' if 'square' in problem else problem}" in err


def test_the_schema_of_the_configuration(place: Path) -> None:
    """With it, editors accept what Pagefold accepts, and reject misspelt keys and values."""
    schema = orjson.loads(run_pagefold("schema", "config").out)
    validator = jsonschema_rs.validator_for(schema)
    document = tomllib.loads((place / "pagefold.toml").read_text())
    assert list(validator.iter_errors(document)) == []
    for table, key, value in (("http", "reads", "closed"), ("work", "batch", 0), ("store", "colour", "red")):
        assert not validator.is_valid(document | {table: document.get(table, {}) | {key: value}})
    assert "pagefold schema config" in sample()


def test_the_schema_describes_every_key() -> None:
    """An editor shows for each key and table what docs/configuration.md says."""
    schema = orjson.loads(run_pagefold("schema", "config").out)
    tables = schema["$defs"]
    for name, table in tables.items():
        assert table["description"], name
        for key, value in table["properties"].items():
            described = value if "description" in value else tables[value["$ref"].rpartition("/")[2]]
            assert described["description"].endswith("."), f"{name}.{key}"
    description = schema["$defs"]["WorkConfig"]["properties"]["batch"]["description"]
    assert description in (ROOT / "docs" / "configuration.md").read_text("utf-8")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    """It has commands, options and their values."""
    out = run_pagefold("completion", shell).out
    for word in ("dead-letters", "--rejects", "inventory"):
        assert word in out


@pytest.mark.parametrize(
    ("words", "found"), [("pagefold sta", "status"), ("pagefold ingest --rej", "--rejects"), ("pagefold x", "")]
)
def test_bash_completes_a_command(words: str, found: str, tmp_path: Path) -> None:
    """The printed script completes commands and options. It is longer than an argument may be."""
    ask = f'\nCOMP_WORDS=({words}); COMP_CWORD={words.count(" ")}; _pagefold; echo "${{COMPREPLY[@]}}"'
    program = tmp_path / "completion.bash"
    program.write_text(run_pagefold("completion", "bash").out + ask, encoding="utf-8")
    ran = subprocess.run(["/bin/bash", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == found
