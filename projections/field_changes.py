"""The differences between two payloads of a stream, field by field. Pure."""

from itertools import zip_longest
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


def differing_leaves(before: JSON, after: JSON, path: str = "") -> tuple[dict[str, JSON], dict[str, JSON]]:
    """The leaves of two documents, as `flatten` gives them, without those of parts that are equal in both."""
    leaves: dict[str, JSON] = {}
    others: dict[str, JSON] = {}
    _add_differing(leaves, others, before, after, path)
    return leaves, others


def flatten(value: JSON, path: str = "") -> dict[str, JSON]:
    """The leaves of a document, by dotted path. Empty containers and scalars are leaves; null has none."""
    leaves: dict[str, JSON] = {}
    _add_leaves(leaves, value, path)
    return leaves


def _add_differing(leaves: dict[str, JSON], others: dict[str, JSON], before: JSON, after: JSON, path: str) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict) and before and after:
        for key in {**before, **after}:
            _add_differing(leaves, others, before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and before and after:
        for index, (item, other) in enumerate(zip_longest(before, after)):
            _add_differing(leaves, others, item, other, f"{path}[{index}]")
    else:
        _add_leaves(leaves, before, path)
        _add_leaves(others, after, path)


def _add_leaves(leaves: dict[str, JSON], value: JSON, path: str) -> None:
    if isinstance(value, str):  # as most are
        leaves[path] = value
    elif isinstance(value, dict) and value:
        for key, item in value.items():
            _add_leaves(leaves, item, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            _add_leaves(leaves, item, f"{path}[{index}]")
    elif value is not None:
        leaves[path] = value
