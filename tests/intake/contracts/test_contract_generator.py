"""A first contract, made of a sample or of a schema: it compiles, reads the sample, and marks what is a guess."""

import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pagefold.engine.intake.contracts.contract import Contract
from pagefold.engine.intake.contracts.contract_generator import DECIDE, Facts, generated_contract
from pagefold.engine.intake.contracts.record_location import located_records
from pagefold.engine.intake.contracts.record_profile import RecordProfile, profile_of
from pagefold.engine.intake.contracts.schema_profile import is_schema, schema_profile

MOMENT = "2026-03-01T10:00:00Z"
EVERY = ("catalog", "pricing", "inventory", "media")


def generated(
    profile: RecordProfile, *, columns: bool = False, items: str | None = None, domains: Sequence[str] = EVERY
) -> str:
    """The contract of a profile. It compiles."""
    facts = Facts(
        "erp", domains, {"EUR": ["web-de", "web-at"], "USD": ["web-us"]}, ["de", "en"], "a sample", columns, items
    )
    text = generated_contract(profile, facts)
    Contract(
        tomllib.loads(text),
        source="erp",
        channels=(),
        form="columns" if columns else "json",
        defaults={"occurredAt": "@taken"},
    )
    return text


def made(*rows: Mapping[str, object], columns: bool = False, domains: Sequence[str] = EVERY) -> dict[str, Any]:
    """The contract of some rows, decoded."""
    return tomllib.loads(generated(profile_of(rows), columns=columns, domains=domains))


ROW: dict[str, object] = {
    "ITEM_NO": "A-1",
    "REV": "7",
    "CHANGED": "2026-03-01 10:00:00",
    "PRICE": "7,50",
    "OLD_PRICE": "9,00",
    "STOCK": "12",
    "NAME_DE": "Becher",
    "NAME_EN": "Mug",
    "EAN": "4006381333931",
    "IMAGES": "https://x/a.jpg,https://x/b.jpg",
    "WEIGHT": "0,35",
    "ZIP": "01234",
    "ACTIVE": "true",
    "CATEGORY": "kitchen,mugs",
    "COLOR": "rot",
}


def test_every_field_gets_a_place() -> None:
    """By its name and its values; what is left becomes an attribute."""
    assert made(ROW, ROW | {"ITEM_NO": "A-2", "OLD_PRICE": ""}, columns=True) == {
        "name": "erp",
        "version": 1,
        "decimal": ",",
        "sku": "ITEM_NO",
        "sourceVersion": "REV",
        "occurredAt": "CHANGED",
        "zone": "UTC",
        "pricing": {"currency": {"constant": "EUR"}, "amount": "PRICE", "compareAt": "OLD_PRICE"},
        "inventory": {"available": "STOCK"},
        "media": {"assets": {"from": "IMAGES", "steps": [{"split": ","}, {"each": {"members": {"url": "."}}}]}},
        "catalog": {
            "enabled": "ACTIVE",
            "categories": {"from": "CATEGORY", "split": ","},
            "references": {"gtin": {"from": "EAN", "gtin": True}},
            "localized": {"name": {"locale_columns": "NAME_{locale}"}},
            "attributes": {
                "weight": {"from": "WEIGHT", "number": {"decimal": ","}},
                "zip": "ZIP",
                "color": "COLOR",
            },
        },
    }


def test_only_the_domains_of_the_source_are_filled() -> None:
    """What nothing reads is listed."""
    text = generated(profile_of([ROW]), columns=True, domains=["inventory"])
    assert list(tomllib.loads(text)) == [
        "name",
        "version",
        "decimal",
        "sku",
        "sourceVersion",
        "occurredAt",
        "zone",
        "inventory",
    ]
    assert "# Nothing reads: PRICE, OLD_PRICE, NAME_DE," in text


def test_lines_say_what_the_sample_has() -> None:
    """The share of records, an example, and what is to be decided; a comment stays on its line."""
    text = generated(profile_of([{"sku": "A", "note": "two\nlines"}, {"sku": "B"}]))
    assert 'attributes.note = "note"  # in 50 % of the records, such as "two\\nlines"' in text
    assert f'versions = "none"  # {DECIDE}: no field has a version' in text


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([{"sku": "A", "id": 1}], {"sku": "sku"}),
        ([{"sku": "A", "id": 1}, {"sku": "A", "id": 2}], {"sku": "id"}),
        ([{"sku": "A", "x": 1}, {"sku": "A", "x": 2}], {"sku": "sku"}),
        ([{"kind": "k", "name": "a"}, {"kind": "k", "name": "b"}], {"sku": "name"}),
        ([{"sku": "A", "updatedAt": MOMENT}], {"versions": "moment", "sourceVersion": "updatedAt", "zone": None}),
        ([{"sku": "A", "updated_at": "2026-03-01"}], {"versions": "moment", "zone": "UTC"}),
        ([{"sku": "A", "version": 3, "modified": MOMENT}], {"sourceVersion": "version", "occurredAt": "modified"}),
        ([{"sku": "A", "version": "beta"}], {"versions": "none"}),
    ],
)
def test_the_key_and_the_version(rows: list[dict[str, object]], expected: dict[str, object]) -> None:
    """Names count in an order; a key that repeats, or a version that is no number, is another field."""
    document = made(*rows)
    assert {name: document.get(name) for name in expected} == expected


def test_prices_by_currency() -> None:
    """Columns with the shop's currencies make as many tables, for their channels; others are attributes."""
    document = made({"sku": "A", "price-EUR": "1.00", "price-USD": "2.00", "price-GBP": "3.00"}, columns=True)
    assert document["pricing"] == [
        {
            "channel": {"constant": ["web-de", "web-at"]},
            "currency": {"constant": "EUR"},
            "amount": "price-EUR",
        },
        {"channel": {"constant": ["web-us"]}, "currency": {"constant": "USD"}, "amount": "price-USD"},
    ]
    assert document["catalog"]["attributes"] == {"price-GBP": {"from": "price-GBP", "number": True}}


def test_records_without_an_sku() -> None:
    """A field that is named for it is the SKU, though the rows of pictures have none; no other is guessed."""
    rows = [{"Title": "Mug", "SKU": "A"}, {"Title": "", "SKU": "B"}, {"Title": "Cup", "SKU": ""}]
    assert made(*rows)["sku"] == "SKU"


def test_records_without_a_price() -> None:
    """Where some have none, a blank one withdraws what was said before, rather than be refused every night."""
    document = made({"sku": "A", "price": "1.00", "currency": "EUR"}, {"sku": "B", "price": "", "currency": "EUR"})
    assert document["pricing"]["amount"] == {"from": "price", "blank": "withdraw"}


def test_nested_records() -> None:
    """Members of objects are places of their own, texts by locale are texts, lists stay lists."""
    record = {
        "sku": "A",
        "title": {"de": "Hemd", "en": "Shirt"},
        "dims": {"w": 1.5, "h": {"cm": 2}},
        "tags": ["a"],
        "images": [{"src": "https://a/b.jpg", "alt": "x"}],
        "a.b": "dot",
        "a": {"b": "nested"},
    }
    catalog = made(record)["catalog"]
    assert catalog["localized"] == {"title": "title"}
    assert catalog["attributes"] == {
        "dims_w": "dims.w",
        "dims_h_cm": "dims.h.cm",
        "tags": "tags",
        "a.b": "a\\.b",
        "a_b": "a.b",
    }
    assert made(record)["media"] == {"assets": {"from": "images", "each": {"members": {"url": "src"}}}}


def test_a_contract_compiles_whatever_the_sample_has() -> None:
    """If no field fits a domain, its table says so; a few values that are no numbers do not matter."""
    text = generated(profile_of([{"sku": "A", "color": "red"}]), domains=["pricing"])
    assert tomllib.loads(text)["pricing"] == {}
    assert f"# {DECIDE}: no field looks like one of pricing" in text
    assert made({"sku": "A", "price": "1,5"}, {"sku": "B", "price": "n/a"})["pricing"]["amount"] == "price"


def test_codes_that_meet() -> None:
    """Two fields never share an attribute."""
    catalog = made({"sku": "A", "a_b": 1, "a": {"b": 2}})["catalog"]
    assert sorted(catalog["attributes"].values()) == ["a.b", "a_b"]


def test_hostile_names() -> None:
    """Quotes, dots, dollars, spaces and control characters in names are written so that TOML has them."""
    names = ['a"b', "a'b", "$", "x y", "ü", "a\nb", "a\\b", "\x7f", "$.x", "@taken"]
    text = generated(profile_of([{"sku": "A", **dict.fromkeys(names, 1)}]), columns=True)
    assert sorted(tomllib.loads(text)["catalog"]["attributes"].values()) == sorted(names)


def test_records_inside_a_document() -> None:
    """The list with most objects has the records, unless the document is a record itself."""
    document = {"total": 2, "links": [{"a": 1}], "_embedded": {"it.ems": [{"sku": "A"}, {"sku": "B"}]}}
    assert located_records([document]) == ("_embedded.it\\.ems", [{"sku": "A"}, {"sku": "B"}])
    product = {"sku": "A", "images": [{"src": "x"}, {"src": "y"}]}
    assert located_records([product]) == (None, [product])
    assert located_records([product, document])[0] is None
    assert located_records([{"a": 1}])[0] is None


URL = {"type": "string", "format": "uri"}
SCHEMA: dict[str, object] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["sku"],
    "properties": {
        "sku": {"type": "string"},
        "price": {"type": "number"},
        "updatedAt": {"type": "string", "format": "date-time"},
        "dim": {"$ref": "#/$defs/dim"},
        "color": {"anyOf": [{"type": "null"}, {"type": "string", "enum": ["red"]}]},
        "images": {"type": "array", "items": {"type": "object", "properties": {"url": URL}}},
        "self": {"$ref": "#/properties/self"},
    },
    "$defs": {"dim": {"type": "object", "properties": {"w": {"type": "integer"}}}},
}


@pytest.mark.parametrize(
    "schema", [SCHEMA, {"type": "array", "items": SCHEMA | {"$schema": None}, "$schema": "x", "$defs": SCHEMA["$defs"]}]
)
def test_a_json_schema(schema: dict[str, object]) -> None:
    """Types, formats, references and what is required say what records have; a circle of references ends."""
    assert is_schema(schema)
    text = generated(schema_profile(schema))
    document = tomllib.loads(text)
    assert (document["sku"], document["versions"], document["sourceVersion"]) == ("sku", "moment", "updatedAt")
    assert document["pricing"]["amount"] == "price"
    assert document["media"] == {"assets": {"from": "images", "each": {"members": {"url": "url"}}}}
    assert document["catalog"]["attributes"] == {"dim_w": "dim.w", "color": "color", "self": "self"}
    assert 'sku = "sku"  # required by the schema' in text
    assert "optional in the schema" in text


def test_what_is_no_schema() -> None:
    """A record with a `type` is none."""
    assert not is_schema({"type": "object", "sku": "A"})
    assert not is_schema([SCHEMA])
