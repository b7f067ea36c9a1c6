"""Reads a JSON Schema of products as a requirement set: what is required, and the rules for values. Pure."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from pagefold.projections.requirements import parse_requirements

Node: TypeAlias = Mapping[str, object]
Document: TypeAlias = dict[str, object]

RULES = {
    "minLength": "min_length",
    "maxLength": "max_length",
    "minItems": "min_items",
    "maxItems": "max_items",
    "minimum": "min",
    "maximum": "max",
}
"""The rule of each keyword that has the same meaning."""

FORMATS = {"uri": "url", "url": "url", "iri": "url", "email": "email", "idn-email": "email"}

WITHOUT_RULES = frozenset(
    ["$schema", "$id", "$defs", "definitions", "$comment", "title", "description", "default", "examples", "deprecated"]
)
"""Keywords that ask for nothing."""

READ_AT_TOP = frozenset(["type", "properties", "required", "allOf", "anyOf", "if", "then"])
MAX_REFERENCES = 32


class SchemaRequirements:
    """The requirement set that a JSON Schema gives. `left_out` are the places of what it cannot express."""

    def __init__(self, schema: Node, name: str) -> None:
        """Raises `InvalidMapping` if what the schema asks for is no requirement set, such as of a pattern."""
        self.left_out: list[str] = []
        self._root = schema
        self._requires: list[Document] = []
        self._checks: list[Document] = []
        self._read(schema, "", {})
        written: Document = {"name": name, "version": 1, "requires": self._requires, "checks": self._checks}
        self.document = {key: value for key, value in written.items() if value != []}
        parse_requirements(self.document)

    def _read(self, schema: Node, place: str, only: Document) -> None:
        """Reads a schema of a product, or of the products with some values."""
        schema = self._resolved(schema)
        required = schema.get("required")
        if isinstance(required, list) and required:
            self._requires.append({"attributes": list(map(str, required)), **only})
        for name, written in _members(schema, "properties"):
            if rules := self._rules(self._resolved(written), f"{place}properties.{name}"):
                self._checks.append({"attributes": [name], **only, "check": rules})
        for index, each in enumerate(_listed(schema.get("allOf"))):
            self._read(each, f"{place}allOf[{index}].", only)
        self._read_choice(schema, place, only)
        self._read_condition(schema, place, only)
        self._note(schema, READ_AT_TOP, place)

    def _read_choice(self, schema: Node, place: str, only: Document) -> None:
        """`anyOf` of schemas that only require something: one of them is enough."""
        choices = list(map(self._resolved, _listed(schema.get("anyOf"))))
        if not choices:
            return
        groups = [each["required"] if set(each) == {"required"} else None for each in choices]
        if all(isinstance(group, list) and group for group in groups):
            self._requires.append({"any_of": groups, **only})
        else:
            self.left_out.append(f"{place}anyOf")

    def _read_condition(self, schema: Node, place: str, only: Document) -> None:
        """`if` some attributes have given values, `then` more is required."""
        if "if" not in schema:
            return
        values = _given_values(schema["if"])
        then = schema.get("then")
        if values is None or only or not isinstance(then, dict):
            self.left_out.append(f"{place}if")
            return
        self._read(then, f"{place}then.", {"only": values})

    def _rules(self, schema: Node, place: str) -> Document:
        """The rules for the value of an attribute, or for the items of a list."""
        rules: Document = {RULES[key]: value for key, value in schema.items() if key in RULES}
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(allowed, list) and all(isinstance(each, str | int | bool) for each in allowed):
            rules["one_of"] = allowed
        elif allowed is not None:
            self.left_out.append(f"{place}.enum")
        if isinstance(pattern := schema.get("pattern"), str):
            rules["pattern"] = _whole(pattern)
        if (form := schema.get("format")) is not None:
            if str(form) in FORMATS:
                rules["format"] = FORMATS[str(form)]
            else:
                self.left_out.append(f"{place}.format")
        items = schema.get("items")
        if isinstance(items, dict):
            rules |= self._rules(self._resolved(items), f"{place}.items")
        self._note(schema, {*RULES, "type", "const", "enum", "pattern", "format", "items"}, f"{place}.")
        return rules

    def _note(self, schema: Node, known: frozenset[str] | set[str], place: str) -> None:
        self.left_out += [f"{place}{key}" for key in schema if key not in known and key not in WITHOUT_RULES]

    def _resolved(self, schema: Node) -> Node:
        """A schema, or the one of this document that it refers to."""
        for _ in range(MAX_REFERENCES):
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#/"):
                return schema
            found: object = self._root
            for name in reference[2:].split("/"):
                found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
            schema = found if isinstance(found, dict) else {}
        return {}


def _members(schema: Node, key: str) -> Iterator[tuple[str, Node]]:
    found = schema.get(key)
    for name, each in found.items() if isinstance(found, dict) else ():
        if isinstance(each, dict):
            yield name, each


def _listed(value: object) -> list[Node]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _given_values(condition: object) -> Document | None:
    """The values that a condition asks for, by attribute; None of any other condition."""
    if not isinstance(condition, dict) or not set(condition) <= {"properties", "required", "type"}:
        return None
    values: Document = {}
    for name, each in _members(condition, "properties"):
        allowed = [each["const"]] if set(each) == {"const"} else each.get("enum") if set(each) == {"enum"} else None
        if not isinstance(allowed, list) or not all(isinstance(value, str | int | float | bool) for value in allowed):
            return None
        values[name] = allowed
    return values or None


def _whole(pattern: str) -> str:
    """The pattern that a whole text matches where this one is found in it."""
    inner = pattern[1:-1]
    if pattern.startswith("^") and pattern.endswith("$") and not inner.endswith("\\") and "|" not in inner:
        return inner
    return f"(?s:.*)(?:{pattern})(?s:.*)"
