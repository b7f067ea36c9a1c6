"""`pagefold contracts` for channels: list, test, diff and check; what changed between two requirement sets."""

from pathlib import Path
from textwrap import dedent

import orjson
import pytest

from pagefold.engine.configuration.contract_documents import read_contract
from pagefold.engine.intake.contracts.channel_contract_diff import channel_contract_changes
from pagefold.engine.intake.contracts.requirement_diff import requirement_changes
from tests.support.command_line import run_pagefold
from tests.support.small_shop import Document

CONFIG = """
[store]
url = "sqlite:///store"
[sources.pim]
domains = ["catalog"]
[trees.shop]
rows.all = {}
rows.wear = { parent = "all" }
[channels.web-de]
locale = "de"
currency = "EUR"
contract = "web.toml"
tree = "all"
[channels.web-en]
locale = "en"
currency = "EUR"
contract = "web.toml"
tree = "all"
[channels.plain]
locale = "de"
currency = "EUR"
"""
CONTRACT = """
name = "web"
version = 3
[attributes]
title = "name"
size = { from = "size", translate = "sizes" }
barcode = { from = "gtin", check = { format = "gtin" } }
[fields]
family = { from = "@family", lookup = { values = { t = "tops" } } }
[tables.sizes.rows]
M = { de = "mittel", en = "medium" }

[[examples]]
in = { attributes = { name = "Hemd", size = "M", gtin = "7" }, family = "t" }
out = { attributes = { title = "Hemd", size = "mittel" }, family = "tops", unmapped = ["barcode"] }
locale = "de"

[[examples]]
in = { attributes = { name = "Hemd" }, categories = ["a"] }
out = { attributes = { title = "Hemd" }, categories = ["a"], parent = "P" }
"""
PRODUCTS = """
{"attributes":{"size":"M","gtin":"4006381333931","color":"red"},"localized":{"name":{"de":"Hemd"}},"family":"t","categories":["wear"]}
{"sku":"B","type":"catalog","payload":{"attributes":{"size":"XL","gtin":"1"},"family":"x","categories":["hats"]}}
{"attributes":7}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration, a contract that two channels name, and products."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAGEFOLD_STORE", raising=False)
    (tmp_path / "pagefold.toml").write_text(CONFIG)
    (tmp_path / "web.toml").write_text(CONTRACT.replace(', parent = "P"', ""))
    (tmp_path / "products.ndjson").write_text(PRODUCTS.lstrip())
    return tmp_path


def test_the_contracts_of_channels_are_listed(place: Path) -> None:
    """Each with the channels that name it; one of a source comes first."""
    assert run_pagefold("contracts", "list")[1].split() == ["contract", "channels", "web@3", "web-de,", "web-en"]
    assert orjson.loads(run_pagefold("contracts", "list", "--json")[1]) == {
        "contract": "web@3",
        "channels": "web-de, web-en",
    }
    (place / "pagefold.toml").write_text(CONFIG.replace('contract = "web.toml"', ""))
    assert run_pagefold("contracts", "list") == (0, "", "no source and no channel has a contract\n")


def test_examples_are_run(place: Path) -> None:
    """Only what is named is compared; one with a locale is tried in that, the others in those of each channel."""
    code, _, err = run_pagefold("contracts", "test", "web.toml")
    assert (code, err) == (0, "web@3: 2 examples, 0 failed\n")
    (place / "other.toml").write_text(CONTRACT)
    code, _, err = run_pagefold("contracts", "test", "other.toml")
    assert code == 1
    assert 'example 2: expected {"attributes": {"title": "Hemd"}, "categories": ["a"], "parent": "P"}, got {' in err
    assert err.endswith("web@3: 2 examples, 1 failed\n")
    language = 'in = { attributes = { size = "M" } }\nout = { attributes = { size = "mittel" } }\n'
    (place / "other.toml").write_text(CONTRACT.partition("[[examples]]")[0] + f"[[examples]]\n{language}")
    code, _, err = run_pagefold("contracts", "test", "other.toml")
    assert (code, 'got {"attributes": {"size": "medium"}}' in err) == (1, True)  # fails in web-en
    (place / "source.toml").write_text('sku = "ITEM"\n[catalog]\nfamily = "FAMILY"\n')
    code, _, err = run_pagefold("contracts", "test", "source.toml")
    assert (code, "--source: is needed" in err) == (2, True)


def test_no_command_starts_with_a_failed_example(place: Path) -> None:
    """The error has the file, the line, and both values. Examples are no part of what pages depend on."""
    (place / "web.toml").write_text(CONTRACT)
    for command in (["check"], ["work", "--once"]):
        code, _, err = run_pagefold(*command)
        assert code == 2
        assert (
            'web.toml:18: examples[1]: expected {"attributes":{"title":"Hemd"},"categories":["a"],"parent":"P"}' in err
        )


def test_an_example_that_cannot_be(place: Path) -> None:
    """It is an error of the contract, with the line."""
    (place / "web.toml").write_text(CONTRACT.replace("parent =", "parents ="))
    code, _, err = run_pagefold("check")
    assert (code, "web.toml:20: examples[1].out: object contains unknown field `parents`" in err) == (2, True)


def test_a_check_shows_what_a_channel_makes_of_payloads(place: Path) -> None:
    """What is shown and what is not, values that cannot be mapped, and lines that are no products."""
    code, out, err = run_pagefold("contracts", "check", "products.ndjson", "--channel", "web-de")
    assert code == 1
    assert 'line 1: {"attributes":{"barcode":"4006381333931","size":"mittel","title":"Hemd"},"breadcrumb":' in out
    assert 'B: {"attributes":{},' in out
    assert [line.split() for line in out.splitlines()[-3:]] == [
        ["barcode", "1", "50", "%"],
        ["size", "1", "50", "%"],
        ["title", "1", "50", "%"],
    ]
    assert err.splitlines() == [
        "refused 1: line 3: Expected `object`, got `int` - at `$.attributes`",
        'barcode: "1" cannot be mapped: 1 product',
        'categories: ["hats"] cannot be mapped: 1 product',
        'family: "x" cannot be mapped: 1 product',
        'size: "XL" cannot be mapped: 1 product',
        "not shown: color, of 1 product",
        "web@3 in web-de: 2 products, 0 not ready",
    ]
    assert not (place / "store").exists()


def test_a_check_reads_the_products_of_the_store(place: Path) -> None:
    """With a contract that the configuration does not have yet; nothing is stored."""
    event = (
        '{"type":"catalog","sku":"%s","channel":"*","source":"pim","sourceVersion":1,'
        '"occurredAt":"2026-01-01T08:00:00Z","payload":{"attributes":{"size":"%s"}}}\n'
    )
    (place / "events.ndjson").write_text(event % ("A", "M") + event % ("B", "L"))
    run_pagefold("ingest", "events.ndjson")
    run_pagefold("work", "--once")
    (place / "new.toml").write_text('[attributes]\nsizes = { from = "size", lookup = { values = { M = "m" } } }\n')
    code, out, _ = run_pagefold("contracts", "check", "--channel", "plain", "--contract", "new.toml", "--json")
    found = orjson.loads(out)
    assert (code, found["contract"], found["products"], found["shown"]) == (1, "new@1", 2, {"sizes": 1})
    assert found["unmapped"] == [{"attribute": "sizes", "value": '"L"', "count": 1}]
    assert [each["sku"] for each in found["samples"]] == ["A", "B"]
    assert "sizes" not in run_pagefold("get", "A", "plain")[1]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--channel", "web-fr"], "--channel: unknown channel 'web-fr'"),
        (["--channel", "plain"], "--contract: is needed: the configuration names none for the channel plain"),
        (["products.csv", "--channel", "web-de"], "--format: of catalog payloads is ndjson or json"),
        ([], "--source: and a file are needed, or --channel"),
    ],
)
def test_a_check_that_cannot_be(place: Path, arguments: list[str], problem: str) -> None:
    """The error names the option."""
    code, _, err = run_pagefold("contracts", "check", *arguments)
    assert (code, problem in err) == (2, True)


def changes(tmp_path: Path, old: str, new: str) -> list[tuple[str, str]]:
    """The places that change between two channel contracts, with their effects."""
    files = [tmp_path / "old.toml", tmp_path / "new.toml"]
    for file, text in zip(files, (old, new), strict=True):
        file.write_text(dedent(text))
    return [(change.place, change.effect) for change in channel_contract_changes(*map(read_contract, files))]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "name"', 'title = "name"\nsize = "size"', [("attributes.size", "compatible")]),
        ('title = "name"\nsize = "size"', 'title = "name"', [("attributes.size", "breaking")]),
        ('title = "name"', 'title = "label"', [("attributes.title", "breaking")]),
        ('title = "name"', 'title = { from = "name", default = "-" }', [("attributes.title", "compatible")]),
        ('t = "n"', 't = "n"\n[fields]\nfamily = "kind"', [("fields.family", "breaking")]),
        (
            't = "n"\n[tables.a.rows]\nx = "1"',
            't = "n"\n[tables.a.rows]\nx = "1"\ny = "2"',
            [("tables.a", "compatible")],
        ),
        ('t = "n"\n[tables.a.rows]\nx = "1"', 't = "n"\n[tables.a.rows]\nx = "2"', [("tables.a", "breaking")]),
    ],
)
def test_changes_of_mappings(tmp_path: Path, old: str, new: str, expected: list[tuple[str, str]]) -> None:
    """More is compatible; what is gone or another value is breaking."""
    head = "[attributes]\n"
    assert changes(tmp_path, head + old, head + new) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", 'others = "keep"', [("others", "compatible")]),
        ('others = "keep"', "", [("others", "breaking")]),
        ("", 'unmapped = "fail"', [("unmapped", "breaking")]),
        ('unmapped = "fail"', "", [("unmapped", "compatible")]),
        ("", 'decimal = ","', [("decimal", "breaking")]),
        ("version = 1", "version = 2", []),
    ],
)
def test_changes_of_a_whole_contract(tmp_path: Path, old: str, new: str, expected: list[tuple[str, str]]) -> None:
    """The version is no change."""
    body = '\n[attributes]\ntitle = "name"\n'
    assert changes(tmp_path, old + body, new + body) == expected


def test_a_mapping_hides_what_it_reads(tmp_path: Path) -> None:
    """Of a contract that keeps the others, an attribute that another mapping begins to read is gone."""
    head = 'others = "keep"\n[attributes]\ntitle = "name"\n'
    found = changes(tmp_path, head, head + 'dimension = "size"\n')
    assert found == [("attributes.dimension", "compatible"), ("attributes.size", "breaking")]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"requires": [{"attributes": ["a", "b"]}]}, [("requires.a", "breaking"), ("requires.b", "breaking")]),
        ({}, {"requires": [{"attributes": ["a"], "severity": "warns"}]}, [("requires.a", "compatible")]),
        ({"requires": [{"attributes": ["a"]}]}, {}, [("requires.a", "compatible")]),
        (
            {"requires": [{"attributes": ["a"], "check": {"max_length": 5}}]},
            {"requires": [{"attributes": ["a"], "check": {"max_length": 9}}]},
            [("requires.a", "compatible")],
        ),
        (
            {"requires": [{"attributes": ["a"], "check": {"max_length": 5}}]},
            {"requires": [{"attributes": ["a"], "check": {"max_length": 4}}]},
            [("requires.a", "breaking")],
        ),
        (
            {"checks": [{"attributes": ["a"], "check": {"max_length": 9}, "severity": "warns"}]},
            {"checks": [{"attributes": ["a"], "check": {"max_length": 9}}]},
            [("checks.a", "breaking")],
        ),
        (
            {"requires": [{"attributes": ["a"], "family": ["x"]}]},
            {"requires": [{"attributes": ["a"]}]},
            [("requires.a", "breaking"), ("requires.a", "compatible")],
        ),
        ({}, {"families": {"a": "b"}}, [("families.a", "breaking")]),
        ({"families": {"a": "b"}}, {}, [("families.a", "compatible")]),
        ({"version": 1}, {"version": 2}, []),
        ({}, {"valid_from": "2027-01-01"}, [("valid_from", "compatible")]),
        ({"valid_from": "2027-01-01"}, {"valid_from": "2026-12-01"}, [("valid_from", "breaking")]),
        ({"valid_from": "2027-01-01"}, {}, [("valid_from", "breaking")]),
    ],
)
def test_changes_of_requirements(old: Document, new: Document, expected: list[tuple[str, str]]) -> None:
    """What becomes required is breaking, unless it only warns."""
    found = requirement_changes({"name": "r", **old}, {"name": "r", **new})
    assert [(change.place, change.effect) for change in found] == expected


def test_a_diff_of_files(place: Path) -> None:
    """The exit code says whether a change is breaking; documents of two kinds cannot be compared."""
    (place / "next.toml").write_text(CONTRACT.replace('title = "name"', 'title = "label"'))
    code, out, err = run_pagefold("contracts", "diff", "web.toml", "next.toml")
    assert (code, out.splitlines()[1].split()[:2]) == (1, ["attributes.title", "breaking"])
    assert err.splitlines() == [
        "web@3 to web@3: 1 breaking, 0 compatible",
        "both are version 3: give the new one the next version",
    ]
    (place / "required.toml").write_text('[[requires]]\nattributes = ["a"]\n')
    code, _, err = run_pagefold("contracts", "diff", "web.toml", "required.toml")
    assert (code, "required.toml is not of the same kind as web.toml" in err) == (2, True)
    code, _, err = run_pagefold("contracts", "diff", "required.toml", "required.toml")
    assert (code, err) == (0, "required@1 to required@1: no change\n")
