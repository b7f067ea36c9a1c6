"""What changed between two contracts: by place, breaking or compatible."""

import tomllib
from pathlib import Path

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_diff import contract_changes

HEAD = 'name = "shop"\nsku = "sku"\nsourceVersion = "rev"\noccurredAt = { constant = "2026-03-01T00:00:00Z" }\n'
PRICE = '[pricing]\ncurrency = { constant = "EUR" }\n'
AMOUNT = PRICE + "amount = "
BASE = HEAD + AMOUNT + '"price"\n'


def changes(old: str, new: str, folder: Path | None = None) -> list[tuple[str, str]]:
    """Place and effect of each change."""
    compiled = [Contract(tomllib.loads(each), source="shop", channels=(), folder=folder) for each in (old, new)]
    return [(change.place, change.effect) for change in contract_changes(*compiled)]


def test_equal_contracts() -> None:
    """Another order, another way to write a path, another name and version change nothing."""
    other = (
        BASE.replace('"price"', '{ from = "price" }').replace('"shop"', '"other"') + "compareAt = { from = 'was' }\n"
    )
    assert changes(BASE + 'compareAt = "was"\n', "version = 2\n" + other) == []


@pytest.mark.parametrize(
    ("old", "new", "effect"),
    [
        ('"price"', '"cost"', "breaking"),
        ('"price"', '{ from = "price", money = "EUR" }', "breaking"),
        ('"price"', '{ from = "price", default = "1.00" }', "compatible"),
        ('{ from = "price", default = "1.00" }', '{ from = "price", default = "2.00" }', "breaking"),
        ('{ from = "price", default = "1.00" }', '"price"', "breaking"),
        ('"price"', '{ from = "price", required = true }', "breaking"),
        ('{ from = "price", required = true }', '"price"', "compatible"),
        ('{ from = "price", blank = "refuse" }', '{ from = "price", blank = "skip" }', "compatible"),
        ('"price"', '{ from = "price", blank = "withdraw" }', "breaking"),
        ('"price"', '{ from = "price", check = { max = 9 } }', "breaking"),
        ('{ from = "price", check = { max = 9 } }', '{ from = "price", check = { max = 10 } }', "compatible"),
        ('{ from = "price", check = { max = 9, min = 1 } }', '{ from = "price", check = { max = 9 } }', "compatible"),
        ('{ from = "price", check = { max = 9 } }', '{ from = "price", check = { max = 8 } }', "breaking"),
        ('{ from = "price", check = { min = 1 } }', '{ from = "price", check = { min = 2 } }', "breaking"),
        (
            '{ from = "price", check = { one_of = ["1"] } }',
            '{ from = "price", check = { one_of = ["2", "1"] } }',
            "compatible",
        ),
        ('{ first_of = ["a", "b"] }', '{ first_of = ["a", "b", "c"] }', "compatible"),
        ('{ first_of = ["a", "b"] }', '{ first_of = ["b", "a"] }', "breaking"),
        (
            '{ from = "p", lookup = { values = { a = "1" } } }',
            '{ from = "p", lookup = { values = { a = "1", b = "2" } } }',
            "compatible",
        ),
        (
            '{ from = "p", lookup = { values = { a = "1" } } }',
            '{ from = "p", lookup = { values = { a = "3" } } }',
            "breaking",
        ),
        (
            '{ from = "p", lookup = { values = { a = "1" } } }',
            '{ from = "p", lookup = { values = { a = "1" }, unmapped = "fail" } }',
            "breaking",
        ),
    ],
)
def test_a_mapping_that_changed(old: str, new: str, effect: str) -> None:
    """It is compatible only if what it gave it still gives."""
    assert changes(HEAD + AMOUNT + old, HEAD + AMOUNT + new) == [("pricing.amount", effect)]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (BASE, BASE + 'compareAt = "was"\n', ("pricing.compareAt", "compatible")),
        (BASE + 'compareAt = "was"\n', BASE, ("pricing.compareAt", "breaking")),
        (BASE, BASE + '[catalog]\nattributes.a = "a"\n', ("catalog", "compatible")),
        (BASE + '[catalog]\nattributes.a = "a"\n', BASE, ("catalog", "breaking")),
        (
            BASE + '[catalog]\nattributes.a = "a"\n',
            BASE + '[catalog]\nattributes.a = "a"\nattributes."b c" = "b"\n',
            ('catalog.attributes."b c"', "compatible"),
        ),
        (
            BASE + '[catalog]\nattributes.a = "a"\n',
            BASE + '[catalog]\nattributes.a = "a"\nattributes.channel = "b"\n',
            ("catalog.attributes.channel", "compatible"),
        ),
        (BASE, BASE.replace('"sku"', '"code"'), ("sku", "breaking")),
        (BASE, BASE.replace('"sku"', '{ from = "sku", case = "upper" }'), ("sku", "breaking")),
        (BASE, 'channel = "shop"\n' + BASE, ("channel", "breaking")),
        (BASE, 'correlationId = "trace"\n' + BASE, ("correlationId", "compatible")),
        (BASE, 'decimal = ","\n' + BASE, ("decimal", "breaking")),
        ('items = "a"\n' + BASE, 'items = ["a", "b"]\n' + BASE, ("items", "compatible")),
        ('items = ["a", "b"]\n' + BASE, 'items = ["b"]\n' + BASE, ("items", "breaking")),
        (BASE, 'items = "a"\n' + BASE, ("items", "breaking")),
        (BASE, 'unmapped = "warn"\n' + BASE, ("unmapped", "compatible")),
        ("only = { s = [1] }\n" + BASE, "only = { s = [1, 2] }\n" + BASE, ("only.s", "compatible")),
        ("only = { s = [1, 2] }\n" + BASE, "only = { s = [1] }\n" + BASE, ("only.s", "breaking")),
        ("only = { s = [1] }\n" + BASE, BASE, ("only.s", "compatible")),
        ("only = { s = [1] }\n" + BASE, "only = { s = true }\n" + BASE, ("only.s", "compatible")),
        ("only = { s = true }\n" + BASE, "only = { s = [1] }\n" + BASE, ("only.s", "breaking")),
        ("only = { s = false }\n" + BASE, "only = { s = true }\n" + BASE, ("only.s", "breaking")),
        ('join.by = "a"\n' + BASE, 'join.by = ["a", "b"]\n' + BASE, ("join", "breaking")),
        (BASE, BASE + "only = { s = [1] }\n", ("pricing.only.s", "breaking")),
        (BASE, BASE + "withdraw = { s = [1] }\n", ("pricing.withdraw.s", "breaking")),
        (
            BASE + "[definitions]\nx = { constant = 1 }\n",
            BASE + "[definitions]\nx = { constant = 2 }\n",
            ("definitions.x", "breaking"),
        ),
        (
            BASE + '[tables.t]\nrows = { a = "1" }\n',
            BASE + '[tables.t]\nrows = { a = "1", b = "2" }\n',
            ("tables.t", "compatible"),
        ),
    ],
)
def test_other_places(old: str, new: str, expected: tuple[str, str]) -> None:
    """Fields, filters, records, tables of domains and definitions."""
    assert changes(old, new) == [expected]


def test_rows_of_files(tmp_path: Path) -> None:
    """Rows of CSV files are compared, not their names."""
    text = BASE + '[tables.t]\nfile = "?.csv"\nkey = "k"\nvalue = "v"\n[rates.r]\nfile = "?r.csv"\n'
    (tmp_path / "a.csv").write_text("k,v\n1,x\n2,y\n3,z\n")
    (tmp_path / "b.csv").write_text("k,v\n1,x\n2,yy\n4,z\n")
    (tmp_path / "ar.csv").write_text("base,quote,day,rate\nEUR,USD,2026-01-01,1.1\n")
    (tmp_path / "br.csv").write_text("base,quote,day,rate\nEUR,USD,2026-01-01,1.1\nEUR,USD,2026-01-02,1.2\n")
    assert changes(text.replace("?", "a"), text.replace("?", "b"), tmp_path) == [
        ("rates.r", "compatible"),
        ("tables.t", "breaking"),
        ("tables.t", "breaking"),
        ("tables.t", "compatible"),
    ]
    (tmp_path / "c.csv").write_bytes((tmp_path / "a.csv").read_bytes())
    (tmp_path / "cr.csv").write_bytes((tmp_path / "ar.csv").read_bytes())
    assert changes(text.replace("?", "a"), text.replace("?", "c"), tmp_path) == []


def test_several_tables_of_a_domain() -> None:
    """They are compared by what they are about, whatever their order."""
    table = '[[pricing]]\nchannel = {{ constant = "{0}" }}\ncurrency = {{ constant = "{1}" }}\namount = "{1}"\n'
    first, second = table.format("web-de", "EUR"), table.format("web-us", "USD")
    assert changes(HEAD + first + second, HEAD + second + first) == []
    changed = second.replace('amount = "USD"', 'amount = "dollars"')
    assert changes(HEAD + first + second, HEAD + changed + first) == [("pricing[2].amount", "breaking")]
    assert changes(HEAD + first + second, HEAD + first) == [("pricing[2]", "breaking")]
    assert changes(HEAD + first, HEAD + first + second) == [("pricing[2]", "compatible")]


def test_fields_of_the_contract_and_of_its_tables() -> None:
    """A field that moves into every table is the same; else it is compared table by table."""
    shared = HEAD + '[pricing]\ncurrency = { constant = "EUR" }\namount = "price"\n[catalog]\nfamily = "f"\n'
    moved = shared.replace('sku = "sku"\n', "").replace("[pricing]\n", '[pricing]\nsku = "sku"\n')
    moved = moved.replace("[catalog]\n", '[catalog]\nsku = "?"\n')
    assert changes(shared, moved.replace("?", "sku")) == []
    assert changes(shared, moved.replace("?", "code")) == [("catalog.sku", "breaking")]
