"""The structure of a configuration: which keys it has, and the types of their values. Finds every problem.

Wrong values are replaced by valid ones, so that everything else can still be checked.
"""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Literal, Union, get_args, get_origin

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.errors import ConfigurationError

_STAND_INS: Mapping[str, object] = {
    "store": {"url": "sqlite:///store"},
    "sources": {},
    "channels": {},
    "url": "sqlite:///store",
    "domains": [domain.name for domain in DOMAINS],
    "locale": "en",
    "currency": "EUR",
    "member": "data",
    "encoding": "base64",
}
"""A valid value for each required key."""


class StructureCheck:
    """Compares a document with the types of its tables. `problems` is filled by `repaired`."""

    def __init__(self) -> None:
        self.problems: list[ConfigurationError] = []

    def repaired(self, document: object, table: type[msgspec.Struct], key: str = "") -> dict[str, object]:
        """The document without its wrong keys and values, so that it converts to the table."""
        if not isinstance(document, Mapping):
            self._report(key, f"expected a table, got {_kind(document)}")
            document = {
                field.encode_name: _STAND_INS[field.name] for field in _fields(table).values() if field.required
            }
        good: dict[str, object] = {}
        for name, value in document.items():
            place = _joined(key, str(name))
            if name not in _fields(table):
                self._report(place, f"unknown key; {suggestion(str(name), list(_fields(table)), 'keys')}")
            elif (kept := self._value(place, value, _fields(table)[name].type)) is not msgspec.UNSET:
                good[name] = kept
        for name, field in _fields(table).items():
            if field.required and name not in document:
                self._report(_joined(key, name), "is required")
            if field.required and name not in good:
                good[name] = _STAND_INS[name]
        return good

    def _value(self, key: str, value: object, kind: object) -> object:
        """The value, repaired where it is a table; UNSET if it is wrong."""
        bare = _without_meta(kind)
        if value is None and NoneType in get_args(bare):  # TOML has no null, but a document from Python may
            return None
        is_name = isinstance(value, str) and bool(_choices(bare))  # of something that may be a table instead
        if (table := _table_in(bare)) is not None and not is_name:
            return self.repaired(value, table, key)
        if (row := _row_in(bare)) is not None and isinstance(value, list):
            return [self.repaired(each, row, f"{key}[{number}]") for number, each in enumerate(value)]
        entries = get_args(bare)[1] if get_origin(bare) is dict else object
        if entries is not object and isinstance(value, Mapping):
            found = {name: self._value(_joined(key, name), entry, entries) for name, entry in value.items()}
            return {name: entry for name, entry in found.items() if entry is not msgspec.UNSET}
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem, _, path = str(error).partition(" - at `$")
            self._report(key + path.rstrip("`"), _readable(problem, value, kind))
            return msgspec.UNSET
        return value

    def _report(self, key: str, problem: str) -> None:
        self.problems.append(ConfigurationError(key, problem))


def _fields(table: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(table)}


def _joined(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _without_meta(kind: object) -> object:
    """The type inside `Annotated`, which has limits and descriptions."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _table_in(kind: object) -> type[msgspec.Struct] | None:
    """The struct of a table's type; None for other types."""
    for each in get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,):
        if isinstance(each, type) and issubclass(each, msgspec.Struct):
            return each
    return None


def _row_in(kind: object) -> type[msgspec.Struct] | None:
    """The struct of an array of tables; None for other types."""
    return _table_in(get_args(kind)[0]) if get_origin(kind) is list else None


def _choices(kind: object) -> list[str]:
    """The values of an enumeration."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    if get_origin(kind) in (Union, UnionType, Annotated):
        return [choice for each in get_args(kind) for choice in _choices(each)]
    return []


def _readable(problem: str, value: object, kind: object) -> str:
    choices = _choices(kind)
    if choices:
        return f"unknown value {value!r}; {suggestion(str(value), choices, 'values')}"
    return problem[0].lower() + problem[1:]


def _kind(value: object) -> str:
    return "an array" if isinstance(value, list) else f"`{type(value).__name__}`"
