"""The parts of the documentation that are made from the code: what an event, a payload and the configuration may have.

A page has such a part between `<!-- generated: NAME -->` and `<!-- end -->`. Types, defaults and limits come from the
structs, and so do meanings: the docstring below a field of a payload, the description of a key of the configuration.
What the fields of an event are, `event_fields.toml` says.
"""

import ast
import builtins
import inspect
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from types import GenericAlias
from typing import ForwardRef, get_args, get_origin

import msgspec
from msgspec import inspect as types

from pagefold.domains import DOMAINS, AnyDomain, inventory, media
from pagefold.domains.channel_view import ShownProduct
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.endpoint_config import EndpointConfig, RequestConfig
from pagefold.engine.configuration.snapshot_config import SnapshotConfig
from pagefold.engine.intake.event_parser import EventEnvelope
from pagefold.engine.kpis.definitions import KPIS, Kpi
from pagefold.engine.kpis.readings import limit_of, shown
from pagefold.projections.channel_contracts import ChannelContract
from pagefold.projections.explanations import REASONS
from pagefold.projections.requirement_sets import Requirement
from tests.support.documents import ROOT

PAYLOADS = ROOT / "docs" / "payloads.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
CHANNELS = ROOT / "docs" / "channels.md"
TRANSFORMS = ROOT / "docs" / "transforms.md"
WHY = ROOT / "docs" / "why.md"
KPIS_PAGE = ROOT / "docs" / "kpis.md"

_part = re.compile(r"^(<!-- generated: ([\w -]+) -->\n).*?^(<!-- end -->)$", re.MULTILINE | re.DOTALL)
_text_by_locale = types.DictType(types.StrType(), types.UnionType((types.StrType(), types.NoneType())))

SERVED: Mapping[str, type[msgspec.Struct]] = {
    "catalog": ShownProduct,
    "inventory": inventory.Stock,
    "media": media.Served,
}
"""The type of a domain's section, if it differs from the payload's; of media, that of an asset."""


class UndocumentedError(Exception):
    """Fields without a meaning, or meanings without a field."""

    def __init__(self, name: str, *, fields: set[str], meanings: set[str]) -> None:
        super().__init__(f"{name}: fields without a meaning {fields}, meanings without a field {meanings}")


Maker = Callable[[str], str]
"""Makes a part of a page, of the name's second half."""


def rendered(page: str, more: Mapping[str, Maker] | None = None) -> str:
    """A page with its generated parts up to date; `more` makes parts of other kinds than those here."""
    return _part.sub(lambda found: f"{found[1]}\n{_made(found[2], more or {})}\n{found[3]}", page)


def _made(name: str, more: Mapping[str, Maker]) -> str:
    kind, _, argument = name.partition(" ")
    makers: Mapping[str, Maker] = {
        "event": lambda _: _event(),
        "payload": _payload,
        "section": _section,
        "rules": lambda domain: f"{inspect.getdoc(_domain(domain).validate)}\n",
        "fold": lambda domain: f"{inspect.getdoc(_domain(domain).fold)}\n",
        "table": _table,
        "requirement": lambda _: _keys_of(Requirement),
        "channel": lambda _: _keys_of(ChannelContract),
        "reasons": lambda _: _reasons(),
        "kpis": lambda _: _kpis(),
        **more,
    }
    return makers[kind](argument)


# --- rows -----------------------------------------------------------------------------------------


def rows_of(header: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A table of Markdown."""
    columns = header.count("|") + 1
    lines = [f"| {header} |", "|" + "---|" * columns]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _event() -> str:
    meanings = _meanings()
    fields = types.type_info(EventEnvelope)
    assert isinstance(fields, types.StructType)
    _compare("event", {field.encode_name for field in fields.fields}, meanings)
    return rows_of(
        "field | type | meaning",
        ((f"`{name}`", meanings[name]["type"], meanings[name]["meaning"]) for name in meanings),
    )


def _payload(domain: str) -> str:
    return rows_of("field | type | default | meaning", _payload_rows(_domain(domain).payload, ""))


def _domain(name: str) -> AnyDomain:
    [domain] = [each for each in DOMAINS if each.name == name]
    return domain


def _payload_rows(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, ...]]:
    described = _docstrings(struct)
    for field in msgspec.structs.fields(struct):
        kind = types.type_info(_without_json(field.type))
        yield f"`{prefix}{field.encode_name}`", _type(kind), default_of(field), described[field.name]
        for inner, suffix in _inner(kind):
            yield from _payload_rows(inner, f"{prefix}{field.encode_name}{suffix}.")


def _without_json(kind: object) -> object:
    """The type of a field, with `object` in place of `JSON`, a recursive type that msgspec cannot inspect.

    Of one that may be left out, the type that it has.
    """
    if msgspec.UnsetType in get_args(kind):
        [kind] = [each for each in get_args(kind) if each is not msgspec.UnsetType]
    origin = get_origin(kind)
    if origin is None or origin not in {dict, list}:
        return kind
    return GenericAlias(origin, tuple(object if _names_itself(each) else each for each in get_args(kind)))


def _names_itself(kind: object) -> bool:
    return isinstance(kind, ForwardRef) or any(map(_names_itself, get_args(kind)))


def _section(domain: str) -> str:
    struct = SERVED[domain]
    return rows_of("field | type | meaning", _section_rows(struct, "assets[]." if domain == "media" else ""))


def _section_rows(struct: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, kind, _, meaning in _payload_rows(struct, prefix):
        yield name, kind, meaning


def _reasons() -> str:
    rows = [f"| `{code}` | {text} |" for code, text in REASONS.items()]
    return "\n".join(["| code | text |", "|---|---|", *rows, ""])


def _kpis() -> str:
    """The key figures, with their limits."""
    rows = ((f"`{kpi.name}`", kpi.text, _limit(kpi), kpi.labelled_by or "-", kpi.severity, kpi.meaning) for kpi in KPIS)
    return rows_of("name | what is measured | limit | a value for each | severity | if it is crossed", rows)


def _limit(kpi: Kpi) -> str:
    window = f", {shown(kpi.window, 'seconds')}" if kpi.window else ""
    return limit_of(kpi.threshold, kpi.unit, kpi.minimum) + window


def _keys_of(struct: type[msgspec.Struct]) -> str:
    """The keys of a document."""
    found = types.type_info(struct)
    assert isinstance(found, types.StructType)
    return rows_of(
        "key | default | what",
        ((f"`{field.encode_name}`", default_of(field), description_of(field)) for field in found.fields),
    )


def _table(name: str) -> str:
    """A table of the configuration, by its key with a wildcard, such as `sources X snapshot`."""
    fields = [field for field in _fields(_tables()[name]) if _struct_in(field.type) is None]
    return rows_of(
        "key | type | default | meaning",
        (
            (f"`{field.encode_name}`", toml_type(field.type), default_of(field), description_of(field))
            for field in fields
        ),
    )


def description_of(field: types.Field) -> str:
    """The description of a key. Raises `UndocumentedError` if it has none."""
    extra = (field.type.extra_json_schema if isinstance(field.type, types.Metadata) else None) or {}
    if "description" not in extra:
        raise UndocumentedError("configuration", fields={field.encode_name}, meanings=set())
    return str(extra["description"])


@cache
def _tables() -> dict[str, type[msgspec.Struct]]:
    """Every table of the configuration, by its key."""
    found: dict[str, type[msgspec.Struct]] = {}

    def collect(struct: type[msgspec.Struct], prefix: str) -> None:
        for field in _fields(struct):
            inner = _struct_in(field.type)
            if inner is not None:
                many = " X" if isinstance(_plain(field.type), types.DictType) else ""
                key = f"{prefix} {field.encode_name}{many}".strip()
                found[key] = inner
                collect(inner, key)

    collect(Config, "")
    return found


def tables() -> set[str]:
    """The names of the tables of the configuration."""
    return set(_tables())


# --- structs --------------------------------------------------------------------------------------


def _fields(struct: type[msgspec.Struct]) -> tuple[types.Field, ...]:
    """The fields of a struct, without those of the table that it extends."""
    info = types.type_info(struct)
    assert isinstance(info, types.StructType)
    inherited = inherited_keys(struct)
    return tuple(field for field in info.fields if field.name not in inherited)


def inherited_keys(struct: type[msgspec.Struct]) -> set[str]:
    """The keys that a table has as a snapshot has them: they are described there, unless it has its own."""
    bases = [base for base in (RequestConfig, EndpointConfig, SnapshotConfig) if struct not in (base, SnapshotConfig)]
    own = inspect.get_annotations(struct)
    return {name for base in bases if issubclass(struct, base) for name in base.__struct_fields__ if name not in own}


def _plain(kind: types.Type) -> types.Type:
    """A type without its metadata, and without null."""
    if isinstance(kind, types.Metadata):
        return _plain(kind.type)
    if isinstance(kind, types.UnionType):
        others = [each for each in kind.types if not isinstance(each, types.NoneType)]
        return _plain(others[0]) if len(others) == 1 else kind
    return kind


def _struct_in(kind: types.Type) -> type[msgspec.Struct] | None:
    """The table, or the entries of the table of tables, that a value of this type is."""
    kind = _plain(kind)
    if isinstance(kind, types.DictType):
        kind = _plain(kind.value_type)
    return kind.cls if isinstance(kind, types.StructType) else None


def _inner(kind: types.Type) -> Iterator[tuple[type[msgspec.Struct], str]]:
    kind = _plain(kind)
    if isinstance(kind, types.ListType) and isinstance(kind.item_type, types.StructType):
        yield kind.item_type.cls, "[]"
    if isinstance(kind, types.StructType):
        yield kind.cls, ""


def _docstrings(struct: type[msgspec.Struct]) -> dict[str, str]:
    """The docstring below each field. Raises `UndocumentedError` if a field has none."""
    found: dict[str, str] = {}
    for each in (each for each in reversed(struct.__mro__) if each.__module__.startswith("pagefold.")):
        body = ast.parse(dedent(inspect.getsource(each))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
                case _:
                    pass
    _compare(struct.__name__, set(struct.__struct_fields__), found)
    return found


@cache
def _meanings() -> dict[str, dict[str, str]]:
    return tomllib.loads((Path(__file__).parent / "event_fields.toml").read_text("utf-8"))


def _compare(name: str, fields: Collection[str], meanings: Collection[str]) -> None:
    if set(fields) != set(meanings):
        raise UndocumentedError(name, fields={*fields} - {*meanings}, meanings={*meanings} - {*fields})


# --- types ----------------------------------------------------------------------------------------


def _type(kind: types.Type) -> str:  # noqa: C901, PLR0911, PLR0912  # one line a type
    match kind:
        case types.Metadata(type=inner):
            return _type(inner)
        case _ if kind == _text_by_locale:
            return "text by locale"
        case types.UnionType(types=parts):
            return " or ".join(_type(part) for part in parts)
        case types.NoneType():
            return "null"
        case types.BoolType():
            return "true or false"
        case types.IntType() | types.FloatType():
            return _number(kind)
        case types.StrType():
            return "text"
        case types.DateTimeType():
            return "timestamp"
        case types.LiteralType(values=values):
            return " or ".join(f'`"{value}"`' for value in values)
        case types.ListType(item_type=item) | types.VarTupleType(item_type=item):
            return f"array of {_type(item)}"
        case types.DictType(value_type=value):
            return f"object of {_type(value)}"
        case types.StructType():
            return "objects"
        case types.AnyType() | types.CustomType(cls=builtins.object):
            return "anything"
        case _:
            raise NotImplementedError(kind)


def toml_type(kind: types.Type) -> str:
    """A type in TOML's words: a key that may be null may be absent."""
    return _type(kind).removesuffix(" or null").replace("object of anything", "table").replace("object of", "table of")


def _number(kind: types.IntType | types.FloatType) -> str:
    name = "integer" if isinstance(kind, types.IntType) else "number"
    low = f"above {kind.gt}" if kind.gt is not None else f"from {kind.ge}" if kind.ge is not None else ""
    largest = 2**53 - 1
    high = "" if kind.le is None or kind.le == largest else f"up to {kind.le}"
    limits = " ".join(filter(None, ("" if kind.ge == -largest else low, high)))
    return f"{name}, {limits}" if limits else name


def default_of(field: types.Field | msgspec.structs.FieldInfo) -> str:
    """The default of a field, as its table has it."""
    if field.required:
        return "required"
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    if default is None or default is msgspec.UNSET or default in ({}, [], (), ""):
        return "–"
    return f"`{msgspec.json.encode(default).decode()}`"
