"""The parts of docs/transforms.md that are made from the registry: every transform, with examples."""

import msgspec
from msgspec import UNSET
from msgspec import inspect as types

from pagefold.projections.transforms import AnyTransform, Example
from pagefold.projections.transforms.builtin import GROUPS
from pagefold.projections.transforms.mapping import WRITTEN_REFUSALS
from pagefold.projections.transforms.rules import FORMATS, REFUSALS, Rules
from pagefold.projections.transforms.templates import FILTERS
from pagefold.projections.transforms.units import KINDS, UNITS
from pagefold.projections.transforms.value_types import MEANINGS
from tests.docs.generated import Maker, default_of, description_of, rows_of, toml_type


def transforms(group: str) -> str:
    """Every transform of a group."""
    [found] = [each for name, each in GROUPS.items() if _anchor(name) == group]
    return "\n".join(map(_transform, found))


def groups() -> list[str]:
    """The names of the groups, as the page has them."""
    return [*map(_anchor, GROUPS)]


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


def value_types(_: str) -> str:
    """The types between transforms."""
    return rows_of("type | what it is", ((str(kind), meaning) for kind, meaning in MEANINGS.items()))


def check_rules(_: str) -> str:
    """The rules of `check`, and their refusals."""
    return _parameters(Rules, None) + "\n" + _refusals(REFUSALS)


def formats(_: str) -> str:
    """The formats that `check` knows."""
    return rows_of("format | what it is", ((f"`{name}`", meaning) for name, (_, meaning) in FORMATS.items()))


def written_refusals(_: str) -> str:
    """How any mapping may refuse what it would write."""
    return _refusals(WRITTEN_REFUSALS)


def units(_: str) -> str:
    """The table of units."""
    of_kind = {kind: [unit for unit in UNITS.values() if unit.kind == kind] for kind in KINDS}
    return rows_of(
        "measures | units",
        ((kind, ", ".join(f"`{unit.name}` ({unit.symbol})" for unit in found)) for kind, found in of_kind.items()),
    )


def filters(_: str) -> str:
    """The filters of templates."""
    return ", ".join(f"`{name}`" for name in sorted(FILTERS)) + "\n"


PARTS: dict[str, Maker] = {
    "transforms": transforms,
    "types": value_types,
    "check": check_rules,
    "formats": formats,
    "refusals": written_refusals,
    "units": units,
    "filters": filters,
}
"""What makes each kind of part."""


def _transform(transform: AnyTransform) -> str:
    parts = [f"### {transform.name}\n", f"{transform.summary} {_signature(transform)}\n"]
    if msgspec.structs.fields(transform.parameters):
        parts.append(_parameters(transform.parameters, transform.main))
    if transform.refusals:
        parts.append(_refusals(transform.refusals))
    if transform.examples:
        parts.append(rows_of("mapping | value | result", (_example(transform, each) for each in transform.examples)))
    return "\n".join(parts)


def _signature(transform: AnyTransform) -> str:
    if transform.reads_record:
        return f"Reads the record, without `from`; gives {transform.output}."
    each = "; of a list, each item" if transform.per_item else ""
    return f"Takes {' or '.join(transform.inputs)}{each}; gives {transform.output}."


def _parameters(struct: type[msgspec.Struct], main: str | None) -> str:
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    return rows_of(
        "parameter | type | default | meaning",
        (
            (
                f"`{field.encode_name}`",
                parameter_type(field.type),
                default_of(field),
                description_of(field) + (" (may be written alone)" if field.name == main else ""),
            )
            for field in info.fields
        ),
    )


def parameter_type(kind: types.Type) -> str:  # noqa: PLR0911  # one line a type
    """The type of a parameter: what reads the record is a path or a table."""
    match kind:
        case types.Metadata(type=inner, extra_json_schema=extra):
            return (extra or {}).get("title") or parameter_type(inner)
        case types.UnionType(types=parts):
            named = [each for each in parts if not isinstance(each, types.NoneType)]
            return " or ".join(map(parameter_type, named))
        case types.ListType(item_type=types.TupleType()):
            return "array of pairs"
        case types.ListType(item_type=item):
            return f"array of {parameter_type(item)}"
        case types.DictType(value_type=types.AnyType()):
            return "table"
        case types.DictType(value_type=value):
            return f"table of {parameter_type(value)}"
        case _:
            return toml_type(kind)


def _refusals(refusals: object) -> str:
    assert isinstance(refusals, dict)
    lines = [f"* `{code}`: {meaning}" for code, meaning in refusals.items()]
    return "Refusals:\n\n" + "\n".join(lines) + "\n"


def _example(transform: AnyTransform, example: Example) -> tuple[str, str, str]:
    spec = f"{{ {transform.name} = {toml(example.parameters)} }}"
    if not transform.reads_record:
        spec = f'{{ from = "x", {transform.name} = {toml(example.parameters)} }}'
    shown = {} if transform.reads_record else {"x": example.value}
    given = _code(json({**shown, **example.record} if example.record is not None else example.value))
    if example.refused is not None:
        return _code(spec), given, f"refused: `{example.refused}`"
    return _code(spec), given, "blank" if example.result is UNSET else _code(json(example.result))


def _code(text: str) -> str:
    """Text as code: a row of a table has no line breaks, and backquotes need two of them around."""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def json(value: object) -> str:
    """A value as JSON; decimals as the numbers that they were."""
    text = msgspec.json.Encoder(decimal_format="number").encode(value).decode()
    return "".join(each if each.isprintable() and each != "\u00a0" else f"\\u{ord(each):04x}" for each in text)


def toml(value: object) -> str:
    """A value as TOML, in one line. Without parameters, true."""
    match value:
        case dict() if not value:
            return "true"
        case dict():
            members = ", ".join(f"{_key(name)} = {toml(each)}" for name, each in value.items())
            return f"{{ {members} }}"
        case list():
            return f"[{', '.join(map(toml, value))}]"
        case str() if "\\" in value and "'" not in value:
            return f"'{value}'"
        case _:
            return json(value)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json(name)
