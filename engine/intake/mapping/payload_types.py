"""What a domain's payload takes in each of its places, as its type says."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from msgspec import inspect


class ExpectedType(NamedTuple):
    """What a domain takes in one place of its payload; `null` where it says something else than what is left out."""

    text: bool = False
    integer: bool = False
    number: bool = False
    flag: bool = False
    structure: bool = False
    free: bool = False
    null: bool = False


def expected_type(payload: type[msgspec.Struct], path: Sequence[str]) -> ExpectedType | None:
    """What a payload takes at a path; None when there is no such place in it."""
    kinds: Collection[inspect.Type] = [inspect.type_info(payload)]
    for name in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, name)]
    return _wanted(kinds) if kinds else None


def _inside(kind: inspect.Type, name: str) -> list[inspect.Type]:
    """The types of what stands under a name."""
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
    """What may stand in a field. Where it can be left out, null is that."""
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


def _wanted(kinds: Collection[inspect.Type]) -> ExpectedType:
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
