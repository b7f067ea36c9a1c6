"""The payload of a domain, compiled: what reads each of its places, in the order in which it is put together."""

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeAlias

import msgspec
from msgspec import UNSET

from pagefold.engine.intake.contracts.payload_places import EVERY_MEMBER, PayloadPlace
from pagefold.projections.transforms import WITHDRAW, Compiler, InvalidValue
from pagefold.projections.transforms import Mapping as CompiledMapping
from pagefold.projections.transforms.mapping import BlankPolicy
from pagefold.projections.transforms.paths import ItemScope, Reader
from pagefold.projections.transforms.transform import ValueFunction

Path: TypeAlias = tuple[str, ...]

_PLAIN = frozenset({int, bool})
"""Types of results that are values as they are."""

_encode: Callable[[object], bytes] = msgspec.json.Encoder().encode


_Member: TypeAlias = tuple[str, Reader, bool]
"""A place: its name, what reads it, and whether that reads the item alone."""

_Text: TypeAlias = tuple[str, str, ValueFunction | None, Callable[[object], object], _Member]
"""A place with a shortcut: its column, its name, what makes a value of a text there, see `Shortcut`."""

_Field: TypeAlias = tuple[str, bool, Sequence[_Text], Sequence[_Member]]
"""A field of the payload: its name; whether it is the value of one place, or an object of several; its places.

Plain tuples are unpacked in half the time.
"""


class PayloadMapping:
    """Makes the payload of a record. `places` are its places by their paths, with the mapping of each."""

    def __init__(self, compiler: Compiler, places: Sequence[PayloadPlace], blanks: BlankPolicy) -> None:
        self.places = [
            (place.path, compiler.mapping(place.mapping, place.key, place.expects, blanks)) for place in places
        ]
        self._has_items = isinstance(compiler.scope, ItemScope)
        self._fields = list(_fields(self.places))

    def read(self, record: object) -> bytes | None:
        """The payload as JSON; None if the record withdraws. Raises `InvalidValue`."""
        return self._made(record, self._fields)

    def read_without(self, record: object, kept: Collection[Path]) -> bytes | None:
        """The same without some of its places."""
        return self._made(record, list(_fields([(path, each) for path, each in self.places if path not in kept])))

    def _made(self, record: object, fields: Sequence[_Field]) -> bytes | None:
        item = record[0] if self._has_items else record  # type: ignore[index]  # it is a pair
        payload: dict[str, object] = {}
        for field, whole, texts, members in fields:
            made = payload if whole else {}
            missed = _take_texts(made, item, texts) if texts else ()
            if missed is None:
                return None
            for name, read, of_item in (*missed, *members) if missed else members:
                value = read(item if of_item else record)
                if value is UNSET:
                    continue
                if value is WITHDRAW:
                    return None
                if name == EVERY_MEMBER:
                    _add_members(made, value)
                else:
                    made[name] = value
            if made and not whole:
                payload[field] = made
        return _encode(payload)


def _take_texts(made: dict[str, object], item: object, texts: Sequence[_Text]) -> list[_Member] | None:
    """Takes the values of texts, as most are. Returns the places where something else is; None if one withdraws."""
    row: dict[str, object] = item if type(item) is dict else {}
    missed: list[_Member] = []
    for column, name, function, finish, member in texts:
        value = row.get(column)
        if type(value) is not str or not value or value.isspace():
            missed.append(member)
            continue
        if function is not None:
            try:
                value = function(value)
            except InvalidValue:
                missed.append(member)  # its reader raises it again, with its place
                continue
            if (not value or value.isspace()) if type(value) is str else type(value) not in _PLAIN:
                value = finish(value)
                if value is WITHDRAW:
                    return None
                if value is UNSET:
                    continue
        made[name] = value
    return missed


def _fields(places: Sequence[tuple[Path, CompiledMapping]]) -> Iterator[_Field]:
    for field in dict.fromkeys(path[0] for path, _ in places):
        inside = [(path, mapping) for path, mapping in places if path[0] == field]
        texts: list[_Text] = []
        members: list[_Member] = []
        for path, mapping in inside:
            name, way, member = path[-1], mapping.shortcut, _member(path[-1], mapping)
            if way is None or name == EVERY_MEMBER:
                members.append(member)
            else:
                texts.append((way.column, name, way.function, way.finish, member))
        yield field, len(inside[0][0]) == 1, texts, members


def _member(name: str, mapping: CompiledMapping) -> _Member:
    return name, mapping.read if mapping.own is None else mapping.own, mapping.own is not None


def _add_members(made: dict[str, object], value: object) -> None:
    """Adds what `*` brings. Members that are named win."""
    if isinstance(value, dict):
        for member, inner in value.items():
            made.setdefault(member, inner)
