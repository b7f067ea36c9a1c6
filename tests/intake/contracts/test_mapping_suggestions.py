"""What a contract might say of fields that it does not read: by similar names and by equal values."""

import tomllib
from collections.abc import Mapping, Sequence

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.mapping_suggestions import field_values, suggestions

TEXT = """
name = "erp"
sku = "ITEM"
sourceVersion = { constant = 1 }
occurredAt = { constant = "2026-03-01T00:00:00Z" }
[pricing]
currency = { constant = "EUR" }
amount = "PRICE"
[catalog]
attributes.state = "STATE"
[tables.color]
rows = { rd = "red", bl = "blue", gr = "green" }
"""
SKUS = ["A", "B", "C", "D"]


def suggested(
    fields: Mapping[str, Sequence[object]],
    *,
    missing: Sequence[str] = (),
    known: Mapping[str, Mapping[str, object]] | None = None,
    domains: Sequence[str] = ("pricing", "catalog"),
    text: str = TEXT,
) -> list[tuple[str, str, int]]:
    """Path, line of the contract and confidence of each suggestion, for four records with these fields."""
    compiled = Contract(tomllib.loads(text), source="erp", channels=(), form="columns")
    rows = [
        {"ITEM": sku, "STATE": "AADD"[number], **{name: values[number] for name, values in fields.items()}}
        for number, sku in enumerate(SKUS)
    ]
    found = suggestions(compiled, domains, field_values(compiled, rows), missing, known or {})
    return [(each.path, each.text, each.confidence) for each in found]


PRICES = ["1", "2", "3", "4"]


def test_a_path_that_was_renamed() -> None:
    """The most similar name, and of equal ones that which most records have."""
    found = suggested({"OLD_PRICE": ["1", "", "", ""], "PRICE_EUR": PRICES}, missing=["PRICE"])
    assert found == [
        ("PRICE_EUR", 'amount = "PRICE_EUR"', 77),
        ("OLD_PRICE", 'compareAt = "OLD_PRICE"', 70),
    ]
    assert suggested({"WEIGHT": PRICES}, missing=["PRICE"])[0][2] == 20


def test_a_field_with_the_values_of_another() -> None:
    """It needs no place; equal by chance, or one value everywhere, says nothing."""
    assert suggested({"STATUS": ["A", "A", "D", "D"]}) == [("STATUS", "# STATUS", 100)]
    assert suggested({"STATUS": ["A", "A", "D", "X"]})[0][2] == 20
    assert suggested({"STATUS": ["A", "A", "", ""]})[0][2] == 20


def test_values_that_pages_have() -> None:
    """The attribute of that name gets the field: what the source calls otherwise, or calls anew."""
    known = {
        sku: {"material": value, "n": number}
        for number, (sku, value) in enumerate(zip(SKUS, ["wool", "silk", "wool", "felt"], strict=True))
    }
    assert suggested({"M1": ["wool", "silk", "wool", "felt"]}, known=known) == [
        ("M1", 'attributes.material = "M1"', 100)
    ]
    assert suggested({"M1": ["0", "1", "2", "3"]}, known=known) == [("M1", 'attributes.n = "M1"', 100)]
    assert suggested({"M1": ["wool", "silk", "x", "y"]}, known=known)[0][2] == 20


def test_keys_of_a_table() -> None:
    """Values that a table of the contract has are looked up there."""
    assert suggested({"FARBE": ["rd", "bl", "rd", "gr"]}) == [
        ("FARBE", 'attributes.farbe = { from = "FARBE", lookup = "color" }', 90)
    ]
    assert suggested({"FARBE": ["rd", "rd", "rd", "rd"]})[0][2] == 20


@pytest.mark.parametrize(
    ("name", "values", "line"),
    [
        ("OLD_PRICE", PRICES, 'compareAt = "OLD_PRICE"'),
        ("EAN", ["4006381333931"] * 4, 'references.gtin = { from = "EAN", gtin = true }'),
        ("CATEGORY", ["a,b", "a", "b", ""], 'categories = { from = "CATEGORY", split = "," }'),
        ("STOCK", PRICES, 'attributes.STOCK = "STOCK"'),
    ],
)
def test_names_that_say_what_a_field_is(name: str, values: list[str], line: str) -> None:
    """In the domains that the source may write; without a domain for it, it is an attribute."""
    assert suggested({name: values})[0][1] == line


def test_a_source_without_a_catalog() -> None:
    """Nothing is suggested that it may not write."""
    text = TEXT.replace('[catalog]\nattributes.state = "STATE"\n', "")
    assert suggested({"COLOR": ["x", "y", "z", "x"]}, domains=["pricing"], text=text) == []
