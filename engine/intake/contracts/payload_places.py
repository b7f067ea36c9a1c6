"""The places in a domain's payload that a contract may fill, and the types of values that they take."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, get_args

import msgspec

from pagefold.domains.amounts import Amount
from pagefold.domains.values import Timestamp
from pagefold.engine.configuration.spelling import suggestion
from pagefold.engine.intake.mapping.payload_types import ExpectedType, expected_type
from pagefold.projections.transforms import InvalidMapping, ValueType

EVERY_MEMBER = "*"
"""In place of a name: all members of an object that nothing else in the contract names."""


class PayloadPlace(NamedTuple):
    """A place: its names, its dotted key in the contract, what the contract says of it, and the type that it takes."""

    path: tuple[str, ...]
    key: str
    mapping: object
    expects: ValueType


def payload_places(
    domain: str, payload: type[msgspec.Struct], written: Mapping[str, object], key: str
) -> Iterator[PayloadPlace]:
    """The places that a table of a contract fills. Raises `InvalidMapping` for one that the payload does not have."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(payload)}
    for name, mapping in written.items():
        here = f"{key}.{name}"
        if name not in fields:
            hint = suggestion(name, list(fields), "fields")
            raise InvalidMapping(here, f"is not a field of the {domain} payload; {hint}")
        if _has_free_names(payload, name) and isinstance(mapping, dict):
            for inner, member in mapping.items():
                expects = ValueType.OBJECT if inner == EVERY_MEMBER else _type_at(payload, (name, inner))
                yield PayloadPlace((name, inner), f"{here}.{inner}", member, expects)
        else:
            yield PayloadPlace((name,), here, mapping, _type_at(payload, (name,)))


def _has_free_names(payload: type[msgspec.Struct], name: str) -> bool:
    """Whether the members of a field have any names, as attributes have."""
    return expected_type(payload, (name, "any name")) is not None


def _type_at(payload: type[msgspec.Struct], path: tuple[str, ...]) -> ValueType:
    expected = expected_type(payload, path) or ExpectedType()
    if expected.free or (expected.text and expected.structure):  # an id, or a list of ids
        return ValueType.ANYTHING
    if expected.flag:
        return ValueType.BOOLEAN
    if expected.integer:
        return ValueType.INTEGER
    if expected.structure:
        return _structure_at(payload, path)
    if _has_values_of(Timestamp, payload, path[0]):
        return ValueType.TIMESTAMP
    return ValueType.DECIMAL if _has_values_of(Amount, payload, path[0]) else ValueType.TEXT


def _structure_at(payload: type[msgspec.Struct], path: tuple[str, ...]) -> ValueType:
    if expected_type(payload, (*path, "any name")) is None:
        return ValueType.LIST
    return ValueType.LOCALIZED if path[0] == "localized" and len(path) > 1 else ValueType.OBJECT


def _has_values_of(kind: object, payload: type[msgspec.Struct], name: str) -> bool:
    """Whether a field, or each member of it, has this type."""
    field = next(field for field in msgspec.structs.fields(payload) if field.encode_name == name)
    return kind in (field.type, *get_args(field.type))
