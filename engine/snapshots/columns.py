"""Named columns as events: the cells of a CSV file, the values of a query's result, the members of a flat JSON object.

The configuration says which column gives which part of the event. What is empty is left out: missing is not zero.
Text becomes what the domain's payload wants in that place, and stays text where it wants text: a price is never a
number on its way. What does not suit is passed on as it is, for the door to refuse.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

import msgspec
from msgspec import UNSET, inspect

from domains import DOMAINS
from engine.config import Config, SnapshotConfig, fault_of_target
from engine.door import UNREADABLE
from engine.errors import ConfigurationError, Refused, SourceFailed
from engine.events import DomainEvent
from engine.snapshots.rows import Found, made_plain, members_of, moment_in, read_marker
from engine.strict_json import find_repeated_key, refusal

_integer = re.compile(r"([+-]?\d{1,40})(?:\.0+)?", re.ASCII)
_encoder = msgspec.json.Encoder()
_NULL = b"null"
_REQUIRED = ("sku", "sourceVersion", "occurredAt", "type", "payload")


class Wanted(NamedTuple):
    """What a domain takes in one place of its payload."""

    text: bool = False
    integer: bool = False
    number: bool = False
    flag: bool = False
    structure: bool = False


_NOTHING = Wanted()


class _Leaf(NamedTuple):
    """A value inside the payload: the column that gives it, or the constant, and where it goes."""

    target: str
    path: Sequence[str]
    column: int | None
    constant: object = None


class Columns:
    """Which column gives which part of a source's events. Raises `ConfigurationError` for what cannot work."""

    def __init__(self, config: Config, source: str) -> None:
        settings = config.sources[source].snapshot or SnapshotConfig()
        self.by_target = settings.column_of
        self._constants = settings.constant_of
        self._plain = made_plain(config, source)
        self._payloads: dict[str, type[msgspec.Struct]] = {
            domain.name: domain.payload for domain in DOMAINS if domain.name in config.sources[source].domains
        }
        self._key = f"sources.{source}.snapshot"
        for table, targets in (("columns", self.by_target), ("constants", self._constants)):
            for target in targets:
                if (fault := self._fault(target)) is not None:
                    raise ConfigurationError(f"{self._key}.{table}.{target}", fault)
        if self.by_target and (missing := self._missing(self.by_target)) is not None:
            raise ConfigurationError(f"{self._key}.columns.{missing}", "is required: name the column that has it")

    def bind(self, names: Sequence[str], where: str) -> "Bound":
        """These columns, as they stand in a row; without configured ones they are named as their targets.

        Raises `SourceFailed`, which names `where`.
        """
        twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
        if twice is not None:
            raise SourceFailed(where, f"has two columns named {twice!r}")
        if not self.by_target:
            self._check_names(names, where)
        columns = self.by_target or {name: name for name in names}
        for target, name in columns.items():
            if name not in names:
                problem = f"has no column {name!r}, which is to give {target}; it has {', '.join(names)}"
                raise SourceFailed(where, problem)
        indices = {target: names.index(name) for target, name in columns.items()}
        return Bound(indices, {**self._plain, **self._constants}, self._payloads)

    def _check_names(self, names: Sequence[str], where: str) -> None:
        hint = f"name the columns that count in [{self._key}.columns]"
        for name in names:
            if (fault := self._fault(name)) is not None:
                raise SourceFailed(where, f"its column {name!r} {fault}; {hint}")
            if name in self._constants:
                raise SourceFailed(where, f"has a column {name!r}, which {self._key}.constants gives as well")
        if (missing := self._missing(names)) is not None:
            raise SourceFailed(where, f"has no column {missing!r}; it has {', '.join(names)}; {hint}")

    def _missing(self, targets: Iterable[str]) -> str | None:
        given = {*targets, *self._constants, *self._plain}
        if any(target.startswith("payload.") for target in given):
            given.add("payload")
        return next((target for target in _REQUIRED if target not in given), None)

    def _fault(self, target: str) -> str | None:
        if (fault := fault_of_target(target)) is not None:
            return fault
        _, *path = target.split(".")
        if path and not any(wanted_at(payload, path) for payload in self._payloads.values()):
            return f"is no part of what {' or '.join(self._payloads)} takes"
        return None


class Bound:
    """Columns in their order: `event` makes an event of a row's values."""

    def __init__(
        self,
        indices: Mapping[str, int],
        otherwise: Mapping[str, object],
        payloads: Mapping[str, type[msgspec.Struct]],
    ) -> None:
        self._indices = indices
        self._otherwise = otherwise
        leaves = [_Leaf(target, target.split(".")[1:], index) for target, index in indices.items()]
        leaves += [_Leaf(target, target.split(".")[1:], None, value) for target, value in otherwise.items()]
        self._leaves = [leaf for leaf in leaves if leaf.path]
        self._wanted = {
            name: [wanted_at(payload, leaf.path) or _NOTHING for leaf in self._leaves]
            for name, payload in payloads.items()
        }
        self._unknown = [_NOTHING] * len(self._leaves)

    def event(self, values: Sequence[object]) -> DomainEvent:
        """The event in the values of one row; UNSET is left out, and so is None. Raises `Refused`."""
        domain = self._text("type", values)
        version = self._value("sourceVersion", values)
        return DomainEvent(
            type=domain,
            sku=self._text("sku", values),
            channel=self._text("channel", values),
            source=self._text("source", values),
            source_version=_integer_of("sourceVersion", version),
            occurred_at=_moment_of("occurredAt", self._value("occurredAt", values)),
            payload=self._payload(values, domain),
            id=self._optional_text("id", values),
            correlation_id=self._optional_text("correlationId", values),
        )

    def _value(self, target: str, values: Sequence[object]) -> object:
        index = self._indices.get(target)
        value = UNSET if index is None else values[index]
        if value is UNSET or value is None:
            value = self._otherwise.get(target, UNSET)
        if value is UNSET:
            raise Refused(target, "is required")
        return value

    def _text(self, target: str, values: Sequence[object]) -> str:
        """Numbers and UUIDs name things, too."""
        value = self._value(target, values)
        if isinstance(value, str):
            return value
        if isinstance(value, bool) or not isinstance(value, int | Decimal | UUID):
            raise Refused(target, f"expected a string, got {_kind(value)}")
        return format(value, "f") if isinstance(value, Decimal) else str(value)

    def _optional_text(self, target: str, values: Sequence[object]) -> str | None:
        if target not in self._indices and target not in self._otherwise:
            return None
        try:
            return self._text(target, values)
        except Refused as refused:
            if refused.reason == "is required":
                return None
            raise

    def _payload(self, values: Sequence[object], domain: str) -> bytes | None:
        if (index := self._indices.get("payload")) is not None:
            return _whole_payload(values[index])
        if "payload" in self._otherwise:
            return _whole_payload(self._otherwise["payload"])
        payload: dict[str, object] = {}
        for (target, path, column, constant), wanted in zip(
            self._leaves, self._wanted.get(domain, self._unknown), strict=True
        ):
            value = constant if column is None else values[column]
            if value is UNSET or value is None:
                continue
            into = payload
            for name in path[:-1]:
                into = into.setdefault(name, {})  # type: ignore[assignment]  # no target stands inside another
            into[path[-1]] = _leaf_value(target, value, wanted)
        return _encoder.encode(payload)


def _whole_payload(value: object) -> bytes | None:
    """A payload in one column, as JSON. NULL withdraws, as `null` does."""
    if value is UNSET:
        raise Refused("payload", "is required")
    if value is None:
        return None
    if isinstance(value, str):
        text = value.strip().encode()
    elif isinstance(value, msgspec.Raw):
        text = bytes(value).strip()
    else:
        raise Refused("payload", f"expected JSON, got {_kind(value)}")
    return None if text == _NULL else text


# --- values ---------------------------------------------------------------------------------------


def _leaf_value(target: str, value: object, wanted: Wanted) -> object:
    """A value as JSON has it. Raises `Refused` for what JSON has nothing like."""
    match value:
        case str():
            return value if wanted.text else _from_text(value, wanted)
        case bool() | int() | msgspec.Raw():
            return value
        case Decimal() if value.is_finite():
            return _leaf_value(target, format(value, "f"), wanted)
        case list() | tuple():
            return [None if each is None else _leaf_value(target, each, _TEXT) for each in value]
        case _:
            return _as_json(target, value)


def _as_json(target: str, value: object) -> object:
    """The same for what is rarer."""
    match value:
        case float() if math.isfinite(value):
            return value
        case float() | Decimal():
            raise Refused(target, f"{value} is not a JSON number")
        case datetime():
            return msgspec.to_builtins(_moment_of(target, value))
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:
            raise Refused(target, f"{_kind(value)} has no form in JSON; make it text")


_TEXT = Wanted(text=True)


def _from_text(text: str, wanted: Wanted) -> object:
    """What is wanted, where the text says it; else the text, for the door to refuse."""
    if wanted.structure and text.lstrip()[:1] in {"[", "{"} and _is_json(text):
        return msgspec.Raw(text.encode())
    if wanted.integer and (integer := _integer.fullmatch(text)):
        return int(integer[1])
    for asked, kind in ((wanted.flag, bool), (wanted.number, float)):
        if asked:
            try:
                value: object = msgspec.convert(text, kind, strict=False)
            except msgspec.ValidationError:
                continue
            if not isinstance(value, float) or math.isfinite(value):
                return value
    return text


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _integer_of(target: str, value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = format(value, "f") if isinstance(value, Decimal) else value
    if isinstance(text, str) and (integer := _integer.fullmatch(text)) is not None:
        return int(integer[1])
    raise Refused(target, f"expected an integer, got {f'{value!r:.50}' if isinstance(value, str) else _kind(value)}")


def _moment_of(target: str, value: object) -> datetime:
    if isinstance(value, str):
        return moment_in(value, target)
    if not isinstance(value, datetime):
        raise Refused(target, f"expected a moment, got {_kind(value)}")
    if value.utcoffset() is None:
        problem = "needs its offset from UTC, such as '2026-01-01T00:00:00Z'; in SQL the type is timestamptz"
        raise Refused(target, problem)
    return value


def _kind(value: object) -> str:
    return f"{bytes(value)[:50]!r}"[1:] if isinstance(value, msgspec.Raw) else f"a value of type {type(value).__name__}"


class FlatJSON:
    """Reads rows that are JSON objects, whose members are the columns."""

    def __init__(self, columns: Columns, where: str) -> None:
        self._names = list(dict.fromkeys(columns.by_target.values()))
        self._bound = columns.bind(self._names, where)

    def read(self, text: bytes) -> Found:
        """What one object says."""
        if "snapshot" not in self._names and (marker := read_marker(text)) is not None:
            return marker
        try:
            members = members_of(text)
            if text.count(b":") != _encoder.encode(members).count(
                b":"
            ):  # a key that stands twice takes its colon along
                find_repeated_key(text)
            return self._bound.event([_member(members.get(name)) for name in self._names])
        except UNREADABLE as error:
            return refusal(error, text)
        except Refused as refused:
            return refused.with_traceback(None)


def _member(raw: msgspec.Raw | None) -> object:
    """A member of an object as a value. What is nested, and a number with a fraction, stays as it is written."""
    if raw is None:
        return UNSET
    text = bytes(raw)
    if text.startswith((b"{", b"[")) or (text.lstrip(b"-")[:1].isdigit() and not text.lstrip(b"-").isdigit()):
        return raw
    value: object = msgspec.json.decode(text)
    return value


# --- what a payload wants -------------------------------------------------------------------------


def wanted_at(payload: type[msgspec.Struct], path: Sequence[str]) -> Wanted | None:
    """What a payload takes at a path; None when there is no such place in it."""
    kinds: Collection[inspect.Type] = [inspect.type_info(payload)]
    for name in path:
        kinds = [inner for kind in kinds for inner in _inside(kind, name)]
    return _wanted(kinds) if kinds else None


def _inside(kind: inspect.Type, name: str) -> list[inspect.Type]:
    """The types of what stands under a name."""
    match kind:
        case inspect.StructType(fields=fields):
            return [each for field in fields if field.encode_name == name for each in _alternatives(field.type)]
        case inspect.DictType(value_type=value):
            return _alternatives(value)
        case inspect.AnyType() | inspect.CustomType():  # `object`
            return [kind]
        case _:
            return []


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    match kind:
        case inspect.UnionType(types=types):
            return [each for one in types for each in _alternatives(one)]
        case inspect.Metadata(type=inner):
            return _alternatives(inner)
        case _:
            return [kind]


def _wanted(kinds: Collection[inspect.Type]) -> Wanted:
    structures = (inspect.StructType, inspect.DictType, inspect.CollectionType, inspect.TypedDictType)
    other = (inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.NoneType, *structures)
    return Wanted(
        text=any(not isinstance(kind, other) for kind in kinds),
        integer=any(isinstance(kind, inspect.IntType) for kind in kinds),
        number=any(isinstance(kind, inspect.FloatType) for kind in kinds),
        flag=any(isinstance(kind, inspect.BoolType) for kind in kinds),
        structure=any(isinstance(kind, structures) for kind in kinds),
    )
