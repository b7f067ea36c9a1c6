"""Errors of the configuration that a command meets after it has read it: they name file, line and key as well."""

from pathlib import Path

import pytest

import pagefold
from pagefold.engine.configuration.config import Config
from pagefold.engine.errors import ConfigurationError
from tests.support.command_line import finished, run_pagefold, spawn

CONFIG = """\
[store]
url = "sqlite:///store"

[sources.pim]
domains = ["catalog"]

[sources.erp]
domains = ["pricing"]

[channels.web-de]
locale = "de-DE"
currency = "EUR"
"""

SNAPSHOT = "\n[sources.erp.snapshot]\n"
WEBHOOK = '\n[sources.erp.webhook]\nsecret_variables = ["NOT_SET"]\n'
CONTRACT = 'contract = { sku = "sku", versions = "none", pricing = { currency = "c", amount = "p" } }\n'

WRONG_SNAPSHOTS = [
    (
        'url = "http://localhost/"\ntoken_variable = "NOT_SET"',
        "token_variable",
        "the environment variable NOT_SET is not",
    ),
    (
        'query = "SELECT 1"\ndatabase_variable = "NOT_SET"',
        "database_variable",
        "the environment variable NOT_SET is not",
    ),
    ('file = "a.ndjson"\nconstants = { type = "catalog" }', "constants.type", "'catalog' is not allowed"),
    (
        'file = "a.csv"\ncontract = { sku = "S", sourceVersion = "V", pricing.price = "P" }',
        "contract.pricing.price",
        "is not a field of the pricing",
    ),
    ('file = "a.csv"\ncontract = { pricing.amount = "P" }', "contract.pricing.sku", "is required"),
]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration in the working directory, whose store exists."""
    monkeypatch.chdir(tmp_path)
    for variable in ("PAGEFOLD_STORE", "PAGEFOLD_CONFIG", "NOT_SET"):
        monkeypatch.delenv(variable, raising=False)
    path = tmp_path / "pagefold.toml"
    path.write_text(CONFIG)
    assert run_pagefold("init").code == 0
    return path


def line_of(file: Path, text: str) -> int:
    """The number of the only line that begins with a text."""
    [number] = [number for number, line in enumerate(file.read_text().splitlines(), 1) if line.startswith(text)]
    return number


@pytest.mark.parametrize(("table", "key", "problem"), WRONG_SNAPSHOTS, ids=[key for _, key, _ in WRONG_SNAPSHOTS])
def test_a_snapshot_that_cannot_be_read(file: Path, table: str, key: str, problem: str) -> None:
    """A rebuild names the line of the wrong key, and `pagefold check` reports the same error."""
    (file.parent / "a.csv").write_text("")
    file.write_text(CONFIG + SNAPSHOT + table + "\n")
    line = line_of(file, key.partition(".")[0])
    start = f"pagefold: pagefold.toml:{line}: sources.erp.snapshot.{key}: {problem}"
    code, _, err = run_pagefold("rebuild", "--source", "erp")
    assert (code, err.startswith(start)) == (2, True), err
    assert run_pagefold("check").err in err


def test_a_source_without_a_snapshot(file: Path) -> None:
    """The line is that of the source; without any snapshot, the file has no line to name."""
    assert run_pagefold("rebuild").err.startswith(
        "pagefold: pagefold.toml: sources: no source has a snapshot configured"
    )
    line = line_of(file, "[sources.erp]")
    err = run_pagefold("rebuild", "--source", "erp").err
    assert err.startswith(f"pagefold: pagefold.toml:{line}: sources.erp.snapshot: is required")
    assert run_pagefold("rebuild", "--source", "epr").err.startswith(
        "pagefold: --source: unknown source 'epr'; did you mean 'erp'?"
    )


@pytest.mark.parametrize(
    ("table", "begins", "key"),
    [
        (WEBHOOK + CONTRACT, "secret_variables", "sources.erp.webhook.secret_variables[0]"),
        (
            WEBHOOK + CONTRACT.replace("amount", "price"),
            "contract",
            "sources.erp.webhook.contract.pricing.price",
        ),
        (
            '\n[sources.erp.cdc]\ncontract = { versions = "none", pricing.amount = "p" }\n',
            "contract",
            "sources.erp.cdc.contract.pricing.sku",
        ),
    ],
    ids=["secret", "webhook", "cdc"],
)
def test_a_server_that_cannot_start(file: Path, table: str, begins: str, key: str) -> None:
    """`pagefold serve` names the line of a webhook or a table that it cannot read."""
    file.write_text(CONFIG + table)
    ran = finished(spawn("serve", "--port", "0", "--workers", "1"))
    assert ran.code == 2
    assert f"pagefold: pagefold.toml:{line_of(file, begins)}: {key}: " in ran.err


def test_the_url_of_the_store(file: Path) -> None:
    """What only the driver finds names the line, unless the URL was given outside the file. It is never shown."""
    url = "postgresql://h/d?sslmode=secret"
    file.write_text(CONFIG.replace("sqlite:///store", url))
    assert run_pagefold("status").err.startswith("pagefold: pagefold.toml:2: store.url: ")
    assert run_pagefold("status", "--store", url).err.startswith("pagefold: store.url: ")


async def test_programs_get_the_place_too(file: Path) -> None:
    """An error of a shop has the place of a configuration that was read from a file, and none of one that was not."""
    config = Config.load(file)
    key = "sources.erp.snapshot"
    places = {}
    for name, each in {"file": config, "copy": config.with_http(reads="open"), "text": Config.parse(CONFIG)}.items():
        async with pagefold.open(each) as shop, shop.rebuilds() as rebuilds:
            with pytest.raises(ConfigurationError) as caught:
                rebuilds.sources(["erp"], None)
        assert caught.value.key == key
        places[name] = caught.value.place
    line = line_of(file, "[sources.erp]")
    assert places == {"file": f"{file}:{line}", "copy": f"{file}:{line}", "text": None}
    assert config == Config.parse(CONFIG)
