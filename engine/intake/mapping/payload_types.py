"""The types that a domain's payload accepts at each of its paths."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from msgspec import inspect


class ExpectedType(NamedTuple):
    """The types accepted at a path. `null` is set where null differs from leaving the value out."""

    text: bool = False
    integer: bool = False
    number: bool = False
    flag: bool = False
    structure: bool = False
    free: bool = False
    null: bool = False


def expected_type(payload: type[msgspec.Struct], path: Sequence[str]) -> ExpectedType | None:
    """The types that a payload accepts at a path; None if it has no such path."""
    kinds: Collection[inspect.Type] = [inspect.type_info(payload)]
    for name in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, name)]
    return _expected(kinds) if kinds else None


def _inside(kind: inspect.Type, name: str) -> list[inspect.Type]:
    """The types under a name."""
    match kind:
        case inspect.StructType(fields=fields):
            return [each for field in fields if field.encode_name == name for each in _alternatives_of(field)]
        case inspect.DictType(value_type=value):
            return _alternatives(value)
        case inspect.AnyType() | inspect.CustomType():  # `object`
            return [kind]
        case _:
            return []


def _alternatives_of(field: inspect.Field) -> list[inspect.Type]:
    """The types of a field. If it may be left out, null means the same and is not listed."""
    kinds = _alternatives(field.type)
    return kinds if field.required else [kind for kind in kinds if not isinstance(kind, inspect.NoneType)]


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    match kind:
        case inspect.UnionType(types=types):
            return [each for one in types for each in _alternatives(one)]
        case inspect.Metadata(type=inner):
            return _alternatives(inner)
        case _:
            return [kind]


def _expected(kinds: Collection[inspect.Type]) -> ExpectedType:
    structures = (inspect.StructType, inspect.DictType, inspect.CollectionType, inspect.TypedDictType)
    other = (inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType, *structures)
    return ExpectedType(
        text=any(not isinstance(kind, other) for kind in kinds),
        integer=any(isinstance(kind, inspect.IntType) for kind in kinds),
        number=any(isinstance(kind, inspect.FloatType) for kind in kinds),
        flag=any(isinstance(kind, inspect.BoolType) for kind in kinds),
        structure=any(isinstance(kind, structures) for kind in kinds),
        free=any(isinstance(kind, inspect.AnyType | inspect.CustomType) for kind in kinds),
        null=any(isinstance(kind, inspect.NoneType) for kind in kinds),
    )
