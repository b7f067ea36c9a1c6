"""How several records become one: those with the same key, those of one tree, or those that know a main record.

It becomes a record of its own, which the tables of the contract read: the first of the records (of a tree its root, or
the main record), with one more member, `records`, or a member for each role.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.engine.intake.contracts.export_rows import encode_json
from pagefold.engine.intake.contracts.statement_mapping import Record, Values
from pagefold.projections.transforms import Compiler, InvalidMapping, InvalidValue
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.paths import ItemScope, NestedScope, Scope
from pagefold.projections.transforms.tables import key_text

RECORDS = "records"
"""The member of a joined record that has all of its records; in a role's `from`, the records of the snapshot itself."""

FROM = "from"

Kind: TypeAlias = Literal["group", "tree", "roles"]

Compile: TypeAlias = Callable[[Scope], Compiler]


class JoinTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"roles": "with"}):
    """The table `[join]` of a contract, as it is written."""

    by: object = None
    order: object = None
    continued: bool = False
    only: dict[str, list[object] | bool] = {}
    id: object = None
    parent: object = None
    keys: dict[str, object] = {}
    roles: dict[str, dict[str, object]] = {}


class Node(NamedTuple):
    """The place of a record in a tree: its own id, and that of its parent."""

    id: str | None
    parent: str | None


class Link(NamedTuple):
    """What a record joins to: every main record that has this value as this key, where it has this role."""

    role: str
    key: str
    value: str


class _Role(NamedTuple):
    """Records that know main records: which part of the snapshot they are in, and by which keys they join."""

    part: str
    keys: Mapping[str, CompiledMapping]


class Join:
    """A compiled `[join]`. Raises `InvalidMapping` for one that cannot be.

    `parts` are the parts of the snapshot that it needs beside the records themselves. `reads` are the paths that it
    reads in the records, and `mappings` all of its mappings. With `paired`, a record is an item with the message around
    it.
    """

    def __init__(self, table: JoinTable, compile_for: Compile, scope: Scope, *, paired: bool) -> None:
        self.kind: Kind = _kind(table)
        self.paired = paired
        self.continued = table.continued
        compiler = compile_for(ItemScope(scope) if paired else scope)
        self._only = Values(compiler, table.only, "join.only")
        self._by = [compiler.mapping(spec, f"join.by{place}") for place, spec in _several(table.by)]
        self._order = [compiler.mapping(spec, f"join.order{place}") for place, spec in _several(table.order)]
        self._id, self._parent = (
            None if spec is None else compiler.mapping(spec, f"join.{name}")
            for name, spec in (("id", table.id), ("parent", table.parent))
        )
        self._keys = {name: compiler.mapping(spec, f"join.keys.{name}") for name, spec in table.keys.items()}
        self.roles: dict[str, _Role] = {}
        for name, role in table.roles.items():
            part = _part(name, role, table.keys)
            inner = compiler if part == RECORDS else compile_for(NestedScope() if paired else scope)
            specs = {key: spec for key, spec in role.items() if key != FROM}
            compiled = {key: inner.mapping(spec, f"join.with.{name}.{key}") for key, spec in specs.items()}
            self.roles[name] = _Role(part, compiled)
        self.parts = frozenset(role.part for role in self.roles.values()) - {RECORDS}
        self.members = frozenset(self.roles) if self.kind == "roles" else frozenset([RECORDS])
        self.mappings = [*self._by, *self._order, *filter(None, (self._id, self._parent)), *self._keys.values()]
        of_roles = [(role.part, mapping) for role in self.roles.values() for mapping in role.keys.values()]
        own = [*self.mappings, *(mapping for part, mapping in of_roles if part == RECORDS)]
        self.mappings += [mapping for _, mapping in of_roles]
        self.reads = self._only.reads.union(*(mapping.reads for mapping in own))
        self.paths = self._only.paths.union(*(mapping.paths for mapping in own))

    def takes(self, record: Record) -> bool:
        """Whether a record takes part."""
        return self._only.all_match(record)

    def key(self, record: Record) -> str | None:
        """The key of a record's group; None if it is blank. Raises `InvalidValue`."""
        parts = [_text(mapping, record) for mapping in self._by]
        if not any(part is not None for part in parts):
            return None
        return parts[0] if len(parts) == 1 else encode_json(parts).decode()

    def node(self, record: Record) -> Node:
        """A record's place in a tree. Raises `InvalidValue`."""
        own, parent = (None if each is None else _text(each, record) for each in (self._id, self._parent))
        return Node(own, parent)

    def keys(self, record: Record) -> list[tuple[str, str]]:
        """The keys by which others find a main record. Raises `InvalidValue`."""
        return [(name, value) for name, mapping in self._keys.items() for value in _texts(mapping, record)]

    def links(self, part: str, record: Record) -> list[Link]:
        """What a record of a part of the snapshot joins to. Raises `InvalidValue`."""
        return [
            Link(name, key, value)
            for name, role in self.roles.items()
            if role.part == part
            for key, mapping in role.keys.items()
            for value in _texts(mapping, record)
        ]

    def joined(self, head: Record, records: Sequence[Record], roles: Mapping[str, Sequence[Record]]) -> Record:
        """The record that others become: its head, with those of its group, or of each role.

        A role that no record has is a list without items, unless the head has a list of that name itself. Raises
        `InvalidValue`.
        """
        own = _own(head) if self.paired else head
        if type(own) is not dict:
            return head
        if self.kind == "roles":
            more = {name: [*map(self._item, roles.get(name, ()))] or _list_in(own, name) for name in self.roles}
        else:
            more = {RECORDS: [self._item(record) for record in self._sorted(records)]}
        value = {**own, **more}
        return (value, head[1]) if self.paired else value  # type: ignore[index]  # it is a pair

    def own_paths(self, paths: Collection[str]) -> tuple[set[str], bool]:
        """The paths of joined records as paths of the records that they are made of.

        What is read of a role is no field of the records. Whether each field of them is read: all of `records` is.
        """
        found = set(self.reads)
        for path in paths:
            name, _, rest = path.partition(".")
            if name not in self.members:
                found.add(path)
            elif name == RECORDS and rest:
                found.add(rest)
        return found, RECORDS in self.members and RECORDS in paths

    def _item(self, record: Record) -> object:
        return _own(record) if self.paired and type(record) is tuple else record

    def _sorted(self, records: Sequence[Record]) -> Sequence[Record]:
        if not self._order:
            return records
        return sorted(records, key=lambda record: [_rank(mapping.read(record)) for mapping in self._order])


def _kind(table: JoinTable) -> Kind:
    """Which of the three forms a table has. Raises `InvalidMapping` for none, or a mixture."""
    forms: dict[Kind, Sequence[str]] = {"group": ("by",), "tree": ("id", "parent"), "roles": ("keys", "roles")}
    given = {kind: [name for name in names if getattr(table, name)] for kind, names in forms.items()}
    found: list[Kind] = [kind for kind, names in given.items() if names]
    if len(found) != 1:
        problem = "needs one of `by`, `id` with `parent`, and `keys` with `with`"
        raise InvalidMapping("join", problem if not found else f"{problem}, not several")
    kind = found[0]
    for name in forms[kind]:
        if name not in given[kind]:
            raise InvalidMapping(f"join.{'with' if name == 'roles' else name}", "is required")
    if table.continued and kind != "group":
        raise InvalidMapping("join.continued", "goes with `by`")
    if table.order is not None and kind == "roles":
        raise InvalidMapping("join.order", "goes with `by`, or with `id` and `parent`")
    return kind


def _several(spec: object) -> Iterator[tuple[str, object]]:
    """A mapping, or each of a list of them, with its place in the key."""
    if isinstance(spec, list):
        yield from ((f"[{index}]", each) for index, each in enumerate(spec))
    elif spec is not None:
        yield "", spec


def _part(name: str, role: Mapping[str, object], keys: Mapping[str, object]) -> str:
    part = role.get(FROM)
    if not isinstance(part, str) or not part:
        problem = f'expected "{RECORDS}", or the name of a part of the snapshot, got {part!r:.40}'
        raise InvalidMapping(f"join.with.{name}.from", problem)
    given = [key for key in role if key != FROM]
    for key in given:
        if key not in keys:
            raise InvalidMapping(f"join.with.{name}.{key}", f"is not among join.keys: {', '.join(sorted(keys))}")
    if not given:
        raise InvalidMapping(f"join.with.{name}", f"needs one of join.keys: {', '.join(sorted(keys))}")
    return part


def _text(mapping: CompiledMapping, record: Record) -> str | None:
    value = mapping.read(record)
    return None if value is UNSET or value is None else _key_text(value, mapping)


def _texts(mapping: CompiledMapping, record: Record) -> list[str]:
    value = mapping.read(record)
    if type(value) is list:
        return [text for each in value if each is not None and (text := _key_text(each, mapping))]
    return [] if value is UNSET or value is None else [_key_text(value, mapping)]


def _key_text(value: object, mapping: CompiledMapping) -> str:
    text = key_text(value)
    if text is None:
        error = InvalidValue("wrong_type", value, "is no key: expected a text or an integer")
        raise error.located(mapping.key, ", ".join(sorted(mapping.reads)))
    return text


def _rank(value: object) -> tuple[int, object]:
    """Numbers before texts, and what is blank at the end."""
    if isinstance(value, int | float | Decimal):
        return 0, value
    return (1, value) if isinstance(value, str) else (2, 0)


def _own(record: Record) -> object:
    return record[0]  # type: ignore[index]  # it is a pair


def _list_in(own: Mapping[str, object], name: str) -> list[object]:
    value = own.get(name)
    return value if isinstance(value, list) else []
