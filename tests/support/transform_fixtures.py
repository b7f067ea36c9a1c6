"""Mappings, compiled and applied to one record, for tests of transforms."""

from collections.abc import Mapping

from msgspec import UNSET

from pagefold.projections.transforms import (
    BUILTIN_REGISTRY,
    AnyTransform,
    ColumnScope,
    Compiler,
    Example,
    InvalidValue,
    NestedScope,
    RateTable,
    Registry,
    Scope,
    ValueType,
    text_table,
)

KEY = "payload.x"


def compiler_for(
    example: Example | None = None, *, registry: Registry = BUILTIN_REGISTRY, scope: Scope | None = None, **more: object
) -> Compiler:
    """A compiler with the tables of an example."""
    tables = {name: text_table(name, rows) for name, rows in ((example and example.tables) or {}).items()}
    rates = {"ecb": RateTable("ecb", example.rates)} if example and example.rates else {}
    return Compiler(registry, scope or NestedScope(), **{"tables": tables, "rates": rates, **more})  # type: ignore[arg-type]  # as its signature has them


def made(spec: object, record: object, expects: ValueType = ValueType.ANYTHING, **more: object) -> object:
    """What a mapping makes of a record."""
    return compiler_for(**more).mapping(spec, KEY, expects).read(record)  # type: ignore[arg-type]  # as the signature has them


def transformed(name: str, value: object, parameters: object = None, **more: object) -> object:
    """What a transform makes of a value."""
    return made({"from": "x", name: {} if parameters is None else parameters}, {"x": value}, **more)  # type: ignore[arg-type]  # as the signature has them


def refusal(spec: object, record: object, expects: ValueType = ValueType.ANYTHING, **more: object) -> InvalidValue:
    """The refusal of a record by a mapping."""
    try:
        result = made(spec, record, expects, **more)
    except InvalidValue as error:
        return error
    message = f"{result!r} was made of {record!r}"
    raise AssertionError(message)


def example_spec(transform: AnyTransform, example: Example) -> tuple[dict[str, object], Mapping[str, object]]:
    """An example as a mapping, and its record."""
    record = dict(example.record or {})
    if transform.reads_record:
        return {transform.name: example.parameters}, record
    return {"from": "value", transform.name: example.parameters}, {**record, "value": example.value}


__all__ = ["KEY", "UNSET", "ColumnScope", "compiler_for", "example_spec", "made", "refusal", "transformed"]
