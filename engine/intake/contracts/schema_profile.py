"""What records have according to a JSON Schema, as a profile of records."""

from collections import Counter
from collections.abc import Iterator, Mapping

from pagefold.engine.intake.contracts.record_profile import FieldProfile, Form, RecordProfile

MAX_DEPTH = 5
MAX_REFERENCES = 20

_KINDS = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "array": "list",
    "object": "object",
}
_FORMS: Mapping[str, frozenset[Form]] = {
    "date-time": frozenset(["date", "moment"]),
    "date": frozenset(["date"]),
    "uri": frozenset(["url"]),
}

Schema = Mapping[str, object]


def is_schema(document: object) -> bool:
    """Whether a JSON document is a schema of objects, or of a list of them."""
    if not isinstance(document, dict):
        return False
    return "$schema" in document or (document.get("type") == "object" and isinstance(document.get("properties"), dict))


def schema_profile(schema: Schema) -> RecordProfile:
    """The fields of a schema's objects. A field that is required counts as filled in the one record that there is."""
    reader = _SchemaReader(schema)
    top = reader.resolved(schema)
    items = reader.resolved(top.get("items"))
    return reader.profile(items if top.get("type") == "array" else top, ())


class _SchemaReader:
    """Reads a schema with its local references."""

    def __init__(self, root: Schema) -> None:
        self._root = root

    def profile(self, schema: Schema, prefix: tuple[str, ...]) -> RecordProfile:
        profile = RecordProfile(prefix, records=1, is_schema=True)
        for each in self._fields(schema, prefix, 0):
            profile.fields[each.names] = each
        return profile

    def resolved(self, schema: object) -> Schema:
        """A schema without reference; of alternatives, the first that is not null."""
        for _ in range(MAX_REFERENCES):
            if not isinstance(schema, dict):
                return {}
            if isinstance(reference := schema.get("$ref"), str):
                schema = self._at(reference)
            elif isinstance(options := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"), list):
                schema = next((each for each in options if self._kind(each) != "null"), {})
            else:
                return schema
        return {}

    def _at(self, reference: str) -> object:
        found: object = self._root
        for name in reference.removeprefix("#").strip("/").split("/") if reference.startswith("#/") else ():
            found = found.get(name.replace("~1", "/").replace("~0", "~")) if isinstance(found, dict) else None
        return {} if found is self._root else found

    def _fields(self, schema: Schema, prefix: tuple[str, ...], depth: int) -> Iterator[FieldProfile]:
        properties, required = schema.get("properties"), schema.get("required")
        for name, given in properties.items() if isinstance(properties, dict) else ():
            inner, names = self.resolved(given), (*prefix, name)
            kind = self._kind(inner)
            if kind == "object" and "properties" in inner and depth < MAX_DEPTH:
                yield from self._fields(inner, names, depth + 1)
            else:
                filled = isinstance(required, list) and name in required
                yield self._field(names, inner, kind, filled=filled, depth=depth)

    def _field(self, names: tuple[str, ...], schema: Schema, kind: str, *, filled: bool, depth: int) -> FieldProfile:
        forms = _FORMS.get(str(schema.get("format")), frozenset())
        if kind == "integer":
            forms = frozenset(["integer", "point", "comma"])
        examples = [each for each in (schema.get("examples"), schema.get("enum")) if isinstance(each, list)]
        values = dict.fromkeys(value for each in examples for value in each if isinstance(value, str | int | float))
        found = FieldProfile(names, {_KINDS.get(kind, "text")}, Counter(forms), int(filled), dict.fromkeys(values))
        items = self.resolved(schema.get("items"))
        if kind == "array" and "properties" in items and depth < MAX_DEPTH:
            found.members = self.profile(items, names)
        return found

    def _kind(self, schema: object) -> str:
        kind = schema.get("type") if isinstance(schema, dict) else None
        kinds = kind if isinstance(kind, list) else [kind]
        return next((str(each) for each in kinds if each is not None and each != "null"), "null" if kind else "string")
