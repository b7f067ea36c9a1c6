"""A JSON Schema of products becomes a requirement set."""

from typing import Any

import pytest

from pagefold.domains.channel_view import ShownProduct
from pagefold.projections.requirements import Requirements, parse_requirements
from pagefold.projections.schema_requirements import SchemaRequirements
from pagefold.projections.transforms import InvalidMapping

Document = dict[str, Any]


def lacking(schema: Document, attributes: Document) -> list[str]:
    """What a product lacks of a schema that can be expressed."""
    found = SchemaRequirements(schema, "schema")
    assert found.left_out == []
    compiled = Requirements([parse_requirements(found.document)])
    completeness, _ = compiled.measure(ShownProduct(attributes, [], None, None), set())
    return [*completeness.missing, *completeness.invalid]


def test_what_is_required_and_the_rules() -> None:
    """Rules count for values that are there."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string", "minLength": 2},
            "weight": {"$ref": "#/$defs/weight"},
            "state": {"enum": ["new", "used"]},
            "link": {"format": "uri"},
            "tags": {"type": "array", "maxItems": 2, "items": {"maxLength": 3}},
        },
        "$defs": {"weight": {"minimum": 1, "maximum": 9}},
    }
    assert lacking(schema, {}) == ["name"]
    assert lacking(schema, {"name": "ab", "weight": 9, "state": "new", "link": "https://a.example/"}) == []
    wrong = {"name": "a", "weight": 10, "state": "old", "link": "a", "tags": ["long"]}
    assert lacking(schema, wrong) == ["link", "name", "state", "tags", "weight"]
    assert lacking(schema, {"name": "ab", "tags": ["a", "b", "c"]}) == ["tags"]


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [("^[A-Z]{3}$", "ABC", "ABCD"), ("B", "ABC", "AC"), ("^A", "AB", "BA"), ("C$", "AC", "CA"), ("^A|B$", "AX", "XA")],
)
def test_a_pattern_is_found_anywhere(pattern: str, good: str, bad: str) -> None:
    """As in JSON Schema, unless it says where."""
    schema = {"properties": {"a": {"pattern": pattern}}}
    assert lacking(schema, {"a": good}) == []
    assert lacking(schema, {"a": bad}) == ["a"]


def test_choices_and_conditions() -> None:
    """One of several is enough; what is required if an attribute has a value."""
    schema = {
        "anyOf": [{"required": ["gtin"]}, {"required": ["brand", "mpn"]}],
        "allOf": [{"if": {"properties": {"hazard": {"const": True}}}, "then": {"required": ["un_number"]}}],
    }
    assert lacking(schema, {"hazard": True}) == ["gtin or brand and mpn", "un_number"]
    assert lacking(schema, {"gtin": "1", "hazard": False}) == []


def test_what_cannot_be_expressed_is_listed() -> None:
    """By its place; the rest is taken."""
    schema = {
        "required": ["name"],
        "not": {"required": ["old"]},
        "properties": {"a": {"multipleOf": 3, "minimum": 1}, "b": {"format": "uuid"}, "c": {"enum": [None]}},
        "if": {"required": ["a"]},
        "anyOf": [{"properties": {}}],
    }
    found = SchemaRequirements(schema, "schema")
    assert sorted(found.left_out) == [
        "anyOf",
        "if",
        "not",
        "properties.a.multipleOf",
        "properties.b.format",
        "properties.c.enum",
    ]
    assert found.document["checks"] == [{"attributes": ["a"], "check": {"min": 1}}]


def test_a_pattern_that_cannot_be() -> None:
    """It is refused with its place: RE2 has no lookahead."""
    with pytest.raises(InvalidMapping, match=r"^checks\[0\]\.check\.pattern"):
        SchemaRequirements({"properties": {"a": {"pattern": "(?=a)"}}}, "schema")
