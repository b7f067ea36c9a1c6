"""The differences between two payloads of a stream, field by field. Pure."""

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from pagefold.domains.domain import JSON

if TYPE_CHECKING:
    AnyJSON: TypeAlias = JSON
else:
    AnyJSON = object  # msgspec cannot describe a recursive type

from pagefold.domains.domain import JSON


class FieldChange(msgspec.Struct, frozen=True):
    """A field that a version changed. `path` is dotted; `before` or `after` is None if the field was absent."""

    path: str
    before: AnyJSON
    after: AnyJSON


def changes_between(before: dict[str, JSON], after: dict[str, JSON]) -> list[FieldChange]:
    """The fields that differ, by path."""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return [FieldChange(path, before.get(path), after.get(path)) for path in paths]


def flatten(value: JSON, path: str = "") -> dict[str, JSON]:
    """The leaves of a document, by dotted path. Empty containers and scalars are leaves; null has none."""
    if isinstance(value, dict) and value:
        items = ((f"{path}.{key}" if path else key, item) for key, item in value.items())
    elif isinstance(value, list) and value:
        items = ((f"{path}[{index}]", item) for index, item in enumerate(value))
    else:
        return {} if value is None else {path: value}
    leaves: dict[str, JSON] = {}
    for name, item in items:
        leaves |= flatten(item, name)
    return leaves
