"""Transforms: how a contract makes a value of a record, by name, with declared types. Reads no files."""

from pagefold.projections.transforms.builtin import BUILTIN
from pagefold.projections.transforms.compiler import Compiler
from pagefold.projections.transforms.errors import InvalidMapping, InvalidValue
from pagefold.projections.transforms.mapping import WITHDRAW, Mapping
from pagefold.projections.transforms.paths import ColumnScope, NestedScope, Scope
from pagefold.projections.transforms.registry import Registry
from pagefold.projections.transforms.tables import LookupTable, RateTable, text_table
from pagefold.projections.transforms.transform import AnyTransform, Example, NoParameters, Site, Transform, WithRecord
from pagefold.projections.transforms.value_types import ValueType

BUILTIN_REGISTRY = Registry(BUILTIN)
"""The transforms that every contract has."""

__all__ = [
    "BUILTIN_REGISTRY",
    "WITHDRAW",
    "AnyTransform",
    "ColumnScope",
    "Compiler",
    "Example",
    "InvalidMapping",
    "InvalidValue",
    "LookupTable",
    "Mapping",
    "NestedScope",
    "NoParameters",
    "RateTable",
    "Registry",
    "Scope",
    "Site",
    "Transform",
    "ValueType",
    "WithRecord",
    "text_table",
]
